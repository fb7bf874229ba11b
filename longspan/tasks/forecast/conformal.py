"""Calibrates quantile forecasts by validation windows, and adapts them to the errors of recent forecasts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from longspan.statistics import t_over_normal

_RECENT = 40  # earlier forecasts of the same series to whose errors intervals are adapted
_STEP_GROUPS = 4  # groups of consecutive steps ahead, each with its own adapted width
_PRIOR_FORECASTS = 3.0  # independent recent forecasts that weigh as much as the validation windows
_CHUNK = 512  # origins that are adapted at once
_MARGIN = 1.05  # factor of every interval, since the validation windows also selected the model
_SELECTION, _SELECTION_WINDOWS = 0.5, 4.0  # share by which that widens them for few windows; half with 4
_CORRECTION = 0.5  # finite-sample correction of the coverage of n recent forecasts, as a share of 1 / n
_WIDEST = 8.0  # largest factor, and 1 / smallest, by which recent errors change an interval
_SIDES_WINDOWS = 20.0  # independent windows with which the sides of an interval are half pooled
_HISTORY_WINDOWS = 30.0  # independent windows with which the history of naive errors corrects half as much
_HISTORY_SHARE = 0.2  # share of the windows of that history that count as validation windows
_LEAST_CORRECTION, _MAX_CORRECTION = 0.85, 3.0  # factors by which that history changes an interval
_MIN_WIDTH = 0.25  # least width of a window's interval, as a share of the mean over validation windows
_MIN_ERROR = 0.1  # least width of a window's interval, as a share of the mean absolute error
_MIN_FACTOR = 0.02  # least factor of a width
_MAX_SCORE = 1e3  # largest ratio of an error to a width
_MAX_SCORES = 20_000  # scores from which a quantile is estimated
_POOLING = ((60.0, 1.0), (20.0, 1.25), (0.0, 1.5))  # independent windows -> ratio of steps that are pooled


class NaiveErrors(NamedTuple):
    """Absolute errors of a naive forecast in units of the windows' scales, NaN where a value is missing.

    valid: (N, H), on the validation windows.
    past: (M, H), on windows of the training part and the validation part.
    independent: (H,), the number of windows of `past` that count as independent, at each step ahead.
    """

    valid: np.ndarray
    past: np.ndarray
    independent: np.ndarray


class ConformalQuantiles:
    """Multiplies the distance of every quantile from the median, so that it has its nominal level.

    This is conformalized quantile regression (Romano et al. 2019) with the score of a normalised residual:
    truth minus median, divided by the distance of the quantile from the median. The factor of a level and a
    step ahead is the quantile of that score over validation windows, with four corrections for few windows:

    - Errors of consecutive windows depend on each other, so n is the number of windows that count as
      independent, at each step ahead. The factor is raised by the ratio of Student's t with n - 1 degrees of
      freedom to the normal distribution, and by 1 + 2 / (n + 4), since the windows also selected the model.
    - Neighbouring steps ahead are pooled.
    - Both sides of an interval are pooled, in their scores and their distances from the median. A trend in a
      short validation part is no reason to expect it to go on.
    - A validation part that is quieter or noisier than usual is corrected by the ratio of a naive forecast's
      errors over the whole history to those there (a ratio estimator, Cochran 1977, chapter 6). That adds
      to n.

    Attributes:
        levels: (Q,), 0.5 among them.
        floors: (H, Q), the least distance of a quantile from the median, in units of the window's scale.
        factors: (H, Q), of the distances from the median.
        symmetry: (H,), the share of the mean of both sides in the distances from the median.
    """

    def __init__(
        self, levels: tuple[float, ...], floors: np.ndarray, factors: np.ndarray, symmetry: np.ndarray
    ) -> None:
        self.levels, self.floors, self.factors, self.symmetry = levels, floors, factors, symmetry

    @classmethod
    def fit(
        cls,
        levels: tuple[float, ...],
        forecasts: np.ndarray,
        truths: np.ndarray,
        scale: np.ndarray,
        *,
        independent: np.ndarray,
        naive: NaiveErrors | None = None,
        widening: float = 1.0,
    ) -> ConformalQuantiles:
        """Fit the factors to validation windows.

        Args:
            levels: (Q,).
            forecasts: (N, H, Q); truths: (N, H), NaN where missing; scale: (N,), of the windows.
            independent: (H,), the number of windows that count as independent, at each step ahead.
            naive: errors of a naive forecast; None for no correction by them.
            widening: factor of all intervals, for what validation windows cannot tell.
        """
        median = forecasts[..., levels.index(0.5)]
        symmetry = _SIDES_WINDOWS / (independent + _SIDES_WINDOWS)
        distances = _distances(forecasts, levels, symmetry) / scale[:, None, None]
        errors = (truths - median) / scale[:, None]
        floors = np.maximum(_MIN_WIDTH * distances.mean(0), _MIN_ERROR * mean_absolute(errors)[:, None])
        distances = np.maximum(distances, floors)
        factors = np.ones(floors.shape)
        for step, count in enumerate(independent):
            pooled = _pooled_steps(step, len(independent), count)
            rows = slice(None, None, 1 + len(errors) * (pooled.stop - pooled.start) // _MAX_SCORES)
            for column, level in enumerate(levels):
                if level != 0.5:
                    scores = _scores(errors[rows, pooled], distances[rows, pooled], levels, column)
                    factor, effective = _factor(*scores, level, count), count
                    ratio = None if naive is None else _history_ratio(naive, pooled, level)
                    if naive is not None and ratio is not None:
                        weight = _HISTORY_WINDOWS / (count + _HISTORY_WINDOWS)
                        factor *= ratio**weight
                        more = max(0.0, naive.independent[step] - count)
                        effective = count + _HISTORY_SHARE * weight * more
                    factors[step, column] = factor * t_over_normal(level, effective - 1)
        selection = 1 + _SELECTION * _SELECTION_WINDOWS / (independent[:, None] + _SELECTION_WINDOWS)
        return cls(levels, floors, factors * selection * widening, symmetry)

    def apply(self, values: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Calibrated quantiles (..., H, Q), sorted by level.

        Args:
            values: (..., H, Q) not calibrated; scale: (...), of the windows.
        """
        median = values[..., self.levels.index(0.5), None]
        distances = _distances(values, self.levels, self.symmetry)
        distances = np.maximum(distances, self.floors * scale[..., None, None])
        signs = np.sign(np.array(self.levels) - 0.5)
        return np.sort(median + signs * self.factors * distances, axis=-1)

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `from_state` takes."""
        import torch

        parts = {"floors": self.floors, "factors": self.factors, "symmetry": self.symmetry}
        return {"levels": self.levels, **{n: torch.from_numpy(part.copy()) for n, part in parts.items()}}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ConformalQuantiles:
        """The calibration that gave this state."""
        parts = (state[name].numpy() for name in ("floors", "factors", "symmetry"))
        return cls(tuple(state["levels"]), *parts)


def _distances(values: np.ndarray, levels: tuple[float, ...], symmetry: np.ndarray) -> np.ndarray:
    """The distances (..., H, Q) of quantiles from the median, with a share of the mean of both sides.

    Args:
        symmetry: (H,), the share; the asymmetry of a few validation windows is mostly chance.
    """
    own = np.abs(values - values[..., levels.index(0.5), None])
    both = (own + own[..., [_mirrored(levels, column) for column in range(len(levels))]]) / 2
    return own + symmetry[:, None] * (both - own)


def _mirrored(levels: tuple[float, ...], column: int) -> int:
    """The column of the level on the other side of one half; the column itself if there is none."""
    return next((i for i, level in enumerate(levels) if abs(level - 1 + levels[column]) < 1e-9), column)


def _pooled_steps(step: int, horizon: int, independent: float) -> slice:
    """The steps ahead whose scores are pooled with those of a step: more for fewer independent windows."""
    ratio = next(ratio for least, ratio in _POOLING if independent >= least)
    return slice(int(np.ceil((step + 1) / ratio)) - 1, min(horizon, int((step + 1) * ratio)))


def _scores(
    errors: np.ndarray, distances: np.ndarray, levels: tuple[float, ...], column: int
) -> tuple[np.ndarray, np.ndarray]:
    """The scores of a level on its own side of the median, and those of the mirrored level on the other.

    Args:
        errors: (N, S), truth minus median; distances: (N, S, Q), of the quantiles from the median.
    """
    sign = 1.0 if levels[column] > 0.5 else -1.0
    mirrored = _mirrored(levels, column)
    own = _ratio(sign * errors, distances[..., column])
    other = _ratio(-sign * errors, distances[..., mirrored])
    present = ~np.isnan(errors)
    return own[present], other[present]


def _ratio(errors: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """errors / distances, limited to _MAX_SCORE; also at distance 0, where it is 0 for no error."""
    within = distances > np.abs(errors) / _MAX_SCORE
    return np.where(within, errors / np.where(within, distances, 1.0), _MAX_SCORE * np.sign(errors))


def mean_absolute(errors: np.ndarray) -> np.ndarray:
    """The mean absolute error of each column (N, H), without missing ones; 0 where all are missing."""
    present = ~np.isnan(errors)
    return np.where(present, np.abs(errors), 0.0).sum(0) / np.maximum(present.sum(0), 1)


def _factor(own: np.ndarray, other: np.ndarray, level: float, independent: float) -> float:
    """The quantile of the scores, of both sides for few windows and more and more of a level's own side."""
    if not len(own):
        return 1.0
    level = max(level, 1 - level)
    both, side = np.quantile(np.concatenate([own, other]), level), np.quantile(own, level)
    both = max(both, _MIN_FACTOR)
    side = max(side, 0.1 * both)
    weight = independent / (independent + _SIDES_WINDOWS)
    return float(side**weight * both ** (1 - weight))


def _history_ratio(naive: NaiveErrors, pooled: slice, level: float) -> float | None:
    """Naive errors over the history divided by those on the validation windows, limited; None without."""
    parts = (
        errors[:: 1 + len(errors) * (pooled.stop - pooled.start) // _MAX_SCORES, pooled]
        for errors in (naive.valid, naive.past)
    )
    valid, past = (part[~np.isnan(part)] for part in parts)
    if not len(valid) or not len(past):
        return None
    on_valid, on_past = (float(np.quantile(part, abs(2 * level - 1))) for part in (valid, past))
    if not (on_valid > 0 and on_past > 0):
        return None
    return min(max(on_past / on_valid, _LEAST_CORRECTION), _MAX_CORRECTION)


# ---- adaptation to recent forecasts


def recent_origins(row: np.ndarray, first: np.ndarray, horizon: int) -> np.ndarray:
    """Earlier origins of the same series, (n, K) rows, -1 for none.

    They are evenly spaced over the last ten horizons, 336 rows at least.

    Args:
        row: (n,), the origins; first: (n,), the earliest row that may be used for each.
        horizon: H, in rows.
    """
    back = 1 + np.linspace(0, max(10 * horizon, 336), _RECENT).round().astype(np.int64)
    rows = row[:, None] - back
    return np.where(rows >= first[:, None], rows, -1)


def adapt(
    levels: tuple[float, ...],
    values: np.ndarray,
    truths: np.ndarray,
    own: np.ndarray,
    recent: np.ndarray,
    age: np.ndarray,
    optimism: np.ndarray | None = None,
    memory: np.ndarray | None = None,
) -> np.ndarray:
    """Rescales each interval about the median to cover the recent forecasts of the same series.

    Validation windows no longer tell the width once the data have changed (Gibbs and Candes 2021,
    2208.08401). The factor is the quantile of (truth - median) / (bound - median) over the recent forecasts,
    for each group of steps ahead by itself, raised to a power below 1. That power grows with the number of
    recent forecasts that count as independent. Only truths before an origin are used. All intervals are
    widened by `_MARGIN`, because the validation windows also selected the model.

    Args:
        levels: (Q,), 0.5 among them.
        values: (R, C, H, Q), calibrated quantiles of R origins; truths: (R, C, H), NaN where missing.
        own: (n,), which of the R origins to return; recent: (n, K), earlier ones of each, -1 for none.
        age: (n, K), rows from each earlier origin to the one that is returned.
        optimism: (R, H), factors of the errors, for rows that the network has been trained on; None for 1.
        memory: (H,), rows after which errors are independent at each step ahead; None for h at step h.

    Returns:
        (n, C, H, Q).
    """
    adapted, median = values[own].copy(), levels.index(0.5)
    middle, horizon = values[own][..., median], values.shape[2]
    errors = truths - values[..., median]
    memory = np.arange(1, horizon + 1) if memory is None else memory
    if optimism is not None:
        errors = errors * optimism[:, None]
    for low, high in level_pairs(levels):
        side = np.where(errors > 0, high, low)[..., None]
        bound = np.take_along_axis(values, side, -1)[..., 0]
        needed = np.minimum(_ratio(np.abs(errors), np.abs(bound - values[..., median])), _WIDEST)
        coverage = levels[high] - levels[low]
        factors = [
            _needed_factor(needed, recent, age, group, coverage, memory[group.stop - 1])
            for group in step_groups(horizon)
        ]
        factor = _MARGIN * _interpolated(factors, horizon)
        for column in (low, high):
            adapted[..., column] = middle + (values[own][..., column] - middle) * factor
    return np.sort(adapted, axis=-1)


def step_groups(horizon: int) -> list[range]:
    """The steps ahead, from 0, in consecutive groups whose lengths grow geometrically.

    >>> step_groups(24)
    [range(0, 2), range(2, 5), range(5, 11), range(11, 24)]
    """
    ends = np.round(horizon ** (np.arange(1, _STEP_GROUPS + 1) / _STEP_GROUPS)).astype(int)
    ends = np.unique(ends).tolist()
    return [range(begin, end) for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def _needed_factor(
    needed: np.ndarray,
    recent: np.ndarray,
    age: np.ndarray,
    group: range,
    coverage: float,
    memory: float,
) -> np.ndarray:
    """The factor (n, C) with which recent intervals at a group of steps would have had this coverage.

    It is raised to the power of the recent forecasts' weight: 0 for one of them, one half for
    1 + _PRIOR_FORECASTS that are independent.

    Args:
        needed: (R, C, H), the factor with which each interval would just hold its truth.
        recent, age: (n, K), as in `adapt`.
        memory: rows after which errors are independent.
    """
    factor = np.ones((len(recent), needed.shape[1]))
    for begin in range(0, len(recent), _CHUNK):
        rows, ages = recent[begin : begin + _CHUNK], age[begin : begin + _CHUNK]
        seen = (rows >= 0)[..., None] & (ages[..., None] > np.array(group))
        scores = np.where(seen[:, :, None], needed[rows][..., group.start : group.stop], np.nan)
        scores = scores.transpose(0, 2, 1, 3).reshape(len(rows), needed.shape[1], -1)
        span = np.where(seen.any(-1), ages, 0).max(1, initial=0)
        independent = np.clip(span / memory, 1, seen.any(-1).sum(1).clip(1))
        share = np.minimum(1.0, coverage * (1 + _CORRECTION / independent))
        weight = (independent - 1) / (independent - 1 + _PRIOR_FORECASTS)
        quantile = np.maximum(_row_quantiles(scores, share), 1 / _WIDEST)
        factor[begin : begin + _CHUNK] = quantile ** weight[:, None]
    return factor


def _row_quantiles(scores: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Quantiles (n, C) of scores (n, C, M), NaN where missing, at shares (n,); 1 where all are missing."""
    count = (~np.isnan(scores)).sum(-1)
    ordered = np.where(count[..., None] > 0, np.sort(scores, -1), 1.0)  # NaN are sorted to the end
    position = share[:, None] * np.maximum(count - 1, 0)
    below = np.floor(position).astype(int)[..., None]
    above = np.minimum(below + 1, np.maximum(count - 1, 0)[..., None])
    part = position[..., None] - below
    low, high = np.take_along_axis(ordered, below, -1), np.take_along_axis(ordered, above, -1)
    return np.where(part > 0, low + (high - low) * part, low)[..., 0]


def _interpolated(factors: list[np.ndarray], horizon: int) -> np.ndarray:
    """Factors (n, C) of the groups of steps as factors (n, C, H) of the steps, linear in their logarithms."""
    centers = [(group.start + group.stop - 1) / 2 for group in step_groups(horizon)]
    weights = np.stack([np.interp(np.arange(horizon), centers, unit) for unit in np.eye(len(centers))])
    return np.exp(np.log(np.stack(factors, -1)) @ weights)


def level_pairs(levels: tuple[float, ...]) -> list[tuple[int, int]]:
    """The indices of levels that are symmetric about one half, in pairs, widest interval first."""
    pairs = []
    for low, level in enumerate(levels):
        high = next((h for h, other in enumerate(levels) if abs(other - (1 - level)) < 1e-9), None)
        if high is not None and low < high:
            pairs.append((low, high))
    return pairs


def share_inside(low: np.ndarray, high: np.ndarray, truths: np.ndarray) -> float:
    """The share of truths between two bounds, without missing ones; NaN where all are missing."""
    present = ~np.isnan(truths)
    inside = ((truths >= low) & (truths <= high))[present]
    return float(inside.mean()) if present.any() else float("nan")
