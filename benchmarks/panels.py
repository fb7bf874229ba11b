"""Panels of many short series, from generators or cut from public data, and the theta method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from longspan.data.readers.tables import read_table

Series = list[np.ndarray]


@dataclass(frozen=True)
class PanelSet:
    """Series of one kind, the horizon, and the season that the baselines are told.

    Attributes:
        draw: makes the series; read: reads them from the folder of the data sets. One of both is given.
        metric: "smape", or "mase" where values are often zero.
    """

    horizon: int
    season: int
    draw: Callable[[np.random.Generator], Series] | None = None
    read: Callable[[Path], Series] | None = None
    metric: str = "smape"


# ---- generators


def _heights(random: np.random.Generator, count: int) -> np.ndarray:
    return np.exp(random.normal(6, 1.5, count))


def damped(steps: np.ndarray, damping: float, share: float) -> np.ndarray:
    """A level whose trend is fed by a share of every step and damped (Gardner and McKenzie 1985)."""
    trend, level = 0.0, np.zeros(len(steps))
    for place, step in enumerate(steps):
        trend = damping * trend + share * step
        level[place] = (level[place - 1] if place else 0.0) + trend + step
    return level


def weekly(random: np.random.Generator) -> Series:
    """150 series of 90 to 400 weeks: walks, damped trends, noise about walks, momentum, some with years."""
    series = []
    for height in _heights(random, 150):
        rows, size = int(random.choice([90, 150, 260, 400])), np.exp(random.normal(-3.9, 0.5))
        noise = size * random.standard_normal(rows)
        kind = random.integers(4)
        if kind == 0:
            level = np.cumsum(noise + size * random.normal(0.03, 0.06))
        elif kind == 1:
            level = damped(0.6 * noise, random.uniform(0.7, 0.98), 0.5)
        elif kind == 2:
            level = np.cumsum(0.4 * size * random.standard_normal(rows)) + noise
        else:
            level = damped(noise, 0.0, random.uniform(-0.4, 0.5))
        weeks = np.arange(rows) / 52.18 + random.random()
        year = random.choice([0.0, 1.0, 4.0]) * size * np.sin(2 * np.pi * weeks)
        series.append(height * np.exp(level + year))
    return series


def walks(random: np.random.Generator) -> Series:
    """100 random walks of 80 to 400 steps, whose logarithms drift."""
    series = []
    for height in _heights(random, 100):
        rows, size = int(random.integers(80, 400)), np.exp(random.normal(-3.5, 0.5))
        series.append(height * np.exp(np.cumsum(size * random.normal(random.normal(0.05, 0.1), 1, rows))))
    return series


def monthly(random: np.random.Generator) -> Series:
    """120 series of 60 to 200 months, with seasons of their own whose height changes."""
    series = []
    for height in _heights(random, 120):
        rows = int(random.integers(60, 200))
        level = np.cumsum(random.normal(random.normal(0.003, 0.003), 0.012, rows))
        season = random.choice([0.02, 0.1, 0.25]) * random.standard_normal(12)[np.arange(rows) % 12]
        season *= np.exp(np.cumsum(0.02 * random.standard_normal(rows)))
        series.append(height * np.exp(level + season + 0.03 * random.standard_normal(rows)))
    return series


def quarterly(random: np.random.Generator) -> Series:
    """200 series of 40 to 90 quarters with damped trends, and seasons in two of three."""
    series = []
    for height in _heights(random, 200):
        rows = int(random.integers(40, 90))
        level = damped(0.02 * random.standard_normal(rows), random.uniform(0.8, 0.99), 0.25)
        season = random.choice([0, 0.03, 0.1]) * random.standard_normal(4)[np.arange(rows) % 4]
        series.append(height * np.exp(level + season + random.normal(0.01, 0.01) * np.arange(rows)))
    return series


def shifts(random: np.random.Generator) -> Series:
    """100 series of 120 to 300 days whose level jumps now and then, some with a weekly season."""
    series = []
    for height in _heights(random, 100):
        rows = int(random.integers(120, 300))
        level = np.cumsum((random.random(rows) < 0.015) * random.normal(0, 0.25, rows))
        season = random.choice([0, 0.05, 0.1]) * random.standard_normal(7)[np.arange(rows) % 7]
        series.append(height * np.exp(level + season + 0.05 * random.standard_normal(rows)))
    return series


def retail(random: np.random.Generator) -> Series:
    """100 series of 150 to 400 days of counts, mostly small, with a weekly season."""
    week, series = np.array([0.8, 0.75, 0.8, 0.9, 1.2, 1.5, 1.1]), []
    for height in np.exp(random.standard_normal(100)):
        rows = int(random.integers(150, 400))
        rate = height * week[np.arange(rows) % 7] * np.exp(np.cumsum(0.02 * random.standard_normal(rows)))
        series.append(random.poisson(random.gamma(2, rate / 2)).astype(float))
    return series


# ---- public data, cut to pieces


def _m4(folder: Path) -> Series:
    """The training parts of M4's hourly series."""
    frame = read_table(folder / "forecasting/M4_hourly/Hourly-train.csv.gz")
    rows = frame.select(frame.columns[1:]).to_numpy().astype(float)
    return [row[~np.isnan(row)] for row in rows]


def m4_days(folder: Path) -> Series:
    """Sums of M4's hourly series over days: 414 series of 29 or 40 rows."""
    return [row[len(row) % 24 :].reshape(-1, 24).sum(1) for row in _m4(folder)]


def m4_weeks(folder: Path) -> Series:
    """The last eight days of every second of M4's hourly series."""
    return [row[-192:] for row in _m4(folder)[::2]]


def _numbers(path: Path) -> np.ndarray:
    frame = read_table(path)
    return frame.select([name for name in frame.columns if frame[name].dtype.is_float()]).to_numpy()


def exchange(folder: Path) -> Series:
    """104 pieces of 250 days of eight exchange rates."""
    rows = _numbers(folder / "forecasting/exchange_rate/exchange_rate.csv")
    return [rows[begin : begin + 250, rate] for rate in range(8) for begin in range(0, len(rows) - 250, 600)]


def ett(folder: Path) -> Series:
    """168 pieces of two weeks of the seven channels of ETTh1's first 500 days."""
    rows = _numbers(folder / "forecasting/ETTh1/ETTh1.csv")[:12_000]
    begins = range(0, len(rows) - 336, 500)
    return [rows[begin : begin + 336, channel] for channel in range(7) for begin in begins]


PANELS: Mapping[str, PanelSet] = {
    "panel_weekly": PanelSet(13, 1, weekly), "panel_walks": PanelSet(13, 1, walks),
    "panel_monthly": PanelSet(18, 12, monthly), "panel_quarterly": PanelSet(8, 4, quarterly),
    "panel_shifts": PanelSet(7, 7, shifts), "panel_retail": PanelSet(14, 7, retail, metric="mase"),
    "panel_m4_days": PanelSet(7, 7, read=m4_days), "panel_m4_weeks": PanelSet(24, 24, read=m4_weeks),
    "panel_exchange": PanelSet(10, 1, read=exchange), "panel_ett": PanelSet(24, 24, read=ett, metric="mase"),
}  # fmt: skip


def panel_series(name: str, folder: Path | None, development: bool) -> Series:
    """The series of a set, the rows to forecast at their ends; the same ones every time.

    Args:
        development: whether the last horizon is dropped, so that the one before it is forecast.
    """
    part, number = PANELS[name], list(PANELS).index(name)
    if part.draw is not None:
        series = part.draw(np.random.default_rng([2_024, number]))
    elif part.read is not None and folder is not None:
        series = part.read(folder)
    else:
        raise ValueError(f"{name} is read from the folder of the data sets")
    return [values[: -part.horizon] for values in series] if development else series


# ---- errors and theta


def panel_error(name: str, series: Series, forecasts: Sequence[np.ndarray]) -> float:
    """sMAPE in percent (M4's definition) or MASE of forecasts (H,) of the ends of the series."""
    part = PANELS[name]
    errors = []
    for values, forecast in zip(series, forecasts, strict=True):
        train, truth = values[: -part.horizon], values[-part.horizon :]
        error = np.abs(truth - forecast)
        if part.metric == "smape":
            errors.append(200 * (error / np.maximum(np.abs(truth) + np.abs(forecast), 1e-300)).mean())
        elif (unit := np.abs(train[part.season :] - train[: -part.season]).mean()) > 0:
            errors.append(error.mean() / unit)
    return float(np.mean(errors))


def seasonal_naive(values: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """The last season of values (T,) repeated, (horizon,)."""
    return values[len(values) - season + np.arange(horizon) % season]


def theta(values: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """The theta method (Assimakopoulos and Nikolopoulos 2000) of values (T,), (horizon,).

    That is simple exponential smoothing with half of the linear trend as drift (Hyndman and Billah 2003), on
    values without their season, which is multiplicative where all values are above 0.
    """
    multiplies = bool(values.min() > 0)
    pattern = np.full(season, 1.0 if multiplies else 0.0)
    if season > 1 and len(values) >= 3 * season and _is_seasonal(values, season):
        pattern = _pattern(values, season, multiplies)
    phase = np.arange(len(values) + horizon) % season
    plain = values / pattern[phase[: len(values)]] if multiplies else values - pattern[phase[: len(values)]]
    drift = np.polyfit(np.arange(len(plain)), plain, 1)[0] / 2
    smooth = [_smoothed(plain, alpha) for alpha in np.linspace(0.05, 1.0, 20)]
    level, alpha, _ = min(smooth, key=lambda found: found[2])
    ahead = level + drift * (np.arange(horizon) + (1 - (1 - alpha) ** len(plain)) / alpha)
    return ahead * pattern[phase[len(values) :]] if multiplies else ahead + pattern[phase[len(values) :]]


def _is_seasonal(values: np.ndarray, season: int) -> bool:
    """Whether the autocorrelation at the season's lag is beyond its 90 % limit (as in M4's benchmarks)."""
    centered = values - values.mean()
    total = max(float((centered**2).sum()), 1e-300)
    lags = [float((centered[lag:] * centered[:-lag]).sum()) / total for lag in range(1, season + 1)]
    limit = 1.645 * np.sqrt((1 + 2 * np.square(lags[:-1]).sum()) / len(values))
    return abs(lags[-1]) > limit


def _pattern(values: np.ndarray, season: int, multiplies: bool) -> np.ndarray:
    """The season (season,) by classical decomposition: means of what moving averages leave."""
    weights = np.ones(season) if season % 2 else np.r_[0.5, np.ones(season - 1), 0.5]
    level, half = np.convolve(values, weights / season, "valid"), len(weights) // 2
    inner = np.arange(half, half + len(level))
    left = values[inner] / level if multiplies else values[inner] - level
    means = np.array([left[inner % season == place].mean() for place in range(season)])
    return means / means.mean() if multiplies else means - means.mean()


def _smoothed(values: np.ndarray, alpha: float) -> tuple[float, float, float]:
    """The last level of simple exponential smoothing, its alpha, and its squared error one step ahead."""
    level, error = values[0], 0.0
    for value in values[1:]:
        error += (value - level) ** 2
        level += alpha * (value - level)
    return float(level), alpha, float(error)


def mean_ranks(errors: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The mean rank of every method over the sets, 1 for the smallest error; ties share their ranks.

    Args:
        errors: by set and method; only methods that are there for every set are ranked.
    """
    methods = [m for m in next(iter(errors.values())) if all(m in row for row in errors.values())]
    rows = np.array([[row[method] for method in methods] for row in errors.values()])
    below = (rows[:, None, :] < rows[:, :, None]).sum(2)
    same = (rows[:, None, :] == rows[:, :, None]).sum(2)
    return dict(zip(methods, (below + (same + 1) / 2).mean(0).tolist(), strict=True))
