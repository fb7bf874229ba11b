"""Gives Student's t: exactly for 95 % intervals, and by an expansion for any level.

Both are needed: the table holds one level, and the expansion is a quarter too small at one degree of freedom.
"""

from __future__ import annotations

from statistics import NormalDist

# The values that 2.5 % of Student's t distribution exceed, for 1 to 30 degrees of freedom.
# fmt: off
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)
# fmt: on


def t_95(df: int) -> float:
    """The value between whose negative and itself 95 % of Student's t lies; the normal's beyond df = 30.

    Args:
        df: degrees of freedom, from 1.

    >>> t_95(1), t_95(1000)
    (12.706, 1.96)
    """
    return _T[df - 1] if df <= len(_T) else 1.96


def t_over_normal(level: float, df: float) -> float:
    """The quantile of Student's t at `level`, divided by the normal distribution's; 1 at the median.

    Cornish and Fisher's expansion to the third order in 1 / df (Abramowitz and Stegun 1964, 26.7.5).

    Args:
        level: of the quantile, in (0, 1).
        df: degrees of freedom; below 1 counts as 1.

    >>> round(t_over_normal(0.975, 10) * 1.96, 2)
    2.23
    """
    if level == 0.5:
        return 1.0
    df, z2 = max(df, 1.0), NormalDist().inv_cdf(level) ** 2
    first = (z2 + 1) / 4
    second = (5 * z2**2 + 16 * z2 + 3) / 96
    third = (3 * z2**3 + 19 * z2**2 + 17 * z2 - 15) / 384
    return 1 + first / df + second / df**2 + third / df**3
