"""Scores forecasts beside the two baselines, the last value and the last season repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from longspan import errors

from .conformal import level_pairs, share_inside
from .panel import Origins
from .predictions import Forecasts
from .series_statistics import SeriesStatistics

_OUTSIDE_SHARE = 0.05  # share of values outside the range of training from which on a notice is given
_OUTSIDE_COUNT = 10  # such values at least

Score = Callable[[Forecasts, np.ndarray], float]
BASELINES = {"naive": "repeating the last value", "seasonal_naive": "repeating the last season"}


def mae(answer: np.ndarray, truth: np.ndarray) -> float:
    """The mean absolute error, without missing values."""
    return _mean(np.abs(answer - truth))


def mse(answer: np.ndarray, truth: np.ndarray) -> float:
    """The mean squared error."""
    return _mean((answer - truth) ** 2)


def rmse(answer: np.ndarray, truth: np.ndarray) -> float:
    """The root of the mean squared error."""
    return float(np.sqrt(mse(answer, truth)))


def smape(answer: np.ndarray, truth: np.ndarray) -> float:
    """The symmetric mean absolute percentage error, 0 to 200 (Makridakis 1993; M4's definition)."""
    total = np.abs(answer) + np.abs(truth)
    return 200.0 * _mean(np.abs(answer - truth) / np.where(total > 0, total, 1.0))


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if values.size and not np.isnan(values).all() else float("nan")


def mase(answer: np.ndarray, truth: np.ndarray, unit: np.ndarray) -> float:
    """The mean absolute error in units of the seasonal naive's in training (Hyndman and Koehler 2006)."""
    return _mean(np.abs(answer - truth) / unit)


def mase_by_origin(forecasts: Forecasts, unit: np.ndarray) -> np.ndarray:
    """`mase` of every forecast by itself, (n, C), NaN without an actual value; unit: (n, 1, C)."""
    errors = np.abs(forecasts.point - forecasts.actual) / unit
    counts = np.isfinite(errors).sum(1)
    return np.where(counts > 0, np.nansum(errors, 1) / np.maximum(counts, 1), np.nan)


def crps(forecasts: Forecasts, truth: np.ndarray) -> float:
    """The continuous ranked probability score by the mean quantile loss of the levels, times 2."""
    error = truth[..., None] - forecasts.quantiles
    levels = np.array(forecasts.levels)
    return 2.0 * _mean(np.maximum(levels * error, (levels - 1) * error))


def interval_pairs(levels: tuple[float, ...]) -> list[tuple[int, int, int]]:
    """The intervals between symmetric levels: (percent, index of the lower, of the upper), widest first."""
    return [(round(100 * (levels[high] - levels[low])), low, high) for low, high in level_pairs(levels)]


def coverage(forecasts: Forecasts, truth: np.ndarray, low: int, high: int) -> float:
    """The share of known truths inside the interval between the levels with these indices."""
    return share_inside(forecasts.quantiles[..., low], forecasts.quantiles[..., high], truth)


def forecast_metrics(
    levels: tuple[float, ...], mase_scales: Callable[[Forecasts], np.ndarray]
) -> dict[str, Score]:
    """The scores by name: MAE, RMSE, sMAPE and MASE of model and baselines, CRPS and coverages of the model.

    Args:
        levels: (Q,); mase_scales: the denominators of MASE, (n, 1, C), of forecasts.
    """
    names = ("model", *BASELINES)
    scores: dict[str, Score] = {}
    for kind, score in {"mae": mae, "rmse": rmse, "smape": smape}.items():
        for name in names:
            scores[metric_name(name, kind)] = lambda f, t, name=name, score=score: score(
                f.baselines()[name], t
            )
    for name in names:
        scores[metric_name(name, "mase")] = lambda f, t, name=name: mase(
            f.baselines()[name], t, mase_scales(f)
        )
    scores["crps"] = crps
    for percent, low, high in interval_pairs(levels):
        scores[f"coverage_{percent}"] = lambda f, t, low=low, high=high: coverage(f, t, low, high)
    return scores


def metric_name(name: str, kind: str) -> str:
    """The name of a score of the model or of a baseline.

    >>> metric_name("model", "mae"), metric_name("naive", "mae")
    ('mae', 'naive_mae')
    """
    return kind if name == "model" else f"{name}_{kind}"


def warn_if_baseline_wins(scores: Mapping[str, float], where: str) -> None:
    """Notice if a baseline is as good as the model; scores: mean absolute errors of "model" and baselines."""
    if not scores or scores["model"] == 0:
        return
    better = [name for name in BASELINES if scores.get(name, np.inf) <= scores["model"]]
    if better:
        name = min(better, key=scores.__getitem__)
        errors.notice(
            f"The model does not beat {BASELINES[name]} on {where}: mean absolute error "
            f"{scores['model']:.4g} "
            f"against {scores[name]:.4g}; prefer that forecast, or give the model more data."
        )


def warn_if_out_of_range(origins: Origins, horizon: int, statistics: SeriesStatistics) -> None:
    """Notice if many of the values to forecast are outside the range of their series in training.

    Args:
        statistics: of the panel's series, by their training part.
    """
    panel, series = origins.panel, origins.series
    first, end = np.full(len(panel.ids), len(panel.values)), np.zeros(len(panel.ids), np.int64)
    np.minimum.at(first, series, origins.rows)
    np.maximum.at(end, series, origins.rows + horizon)
    rows = np.arange(len(panel.values))
    owner = panel.series_of(rows)
    is_forecast = (rows >= first[owner]) & (rows < end[owner])
    values, owner = panel.values[is_forecast], owner[is_forecast]
    outside = (values < statistics.low[owner]) | (values > statistics.high[owner])
    counts = outside.sum(0)
    shares = counts / np.maximum((~np.isnan(values)).sum(0), 1)
    targets = [
        f"{name} ({share:.0%} of the values)"
        for name, count, share in zip(panel.columns.target, counts, shares, strict=True)
        if count >= _OUTSIDE_COUNT and share >= _OUTSIDE_SHARE
    ]
    if targets:
        errors.notice(
            f"The rows to forecast leave the range of the training part in {', '.join(targets)}; forecasts "
            "and intervals are less reliable there."
        )


def summary(scores: Mapping[str, float]) -> str:
    """One sentence on whether the model beats the baselines; scores: as `evaluate` gives them."""
    lost = [words for name, words in BASELINES.items() if scores[metric_name(name, "mae")] <= scores["mae"]]
    if lost:
        return f"The model does not beat {' and '.join(lost)} here: prefer the plain forecast."
    return f"The model beats {' and '.join(BASELINES.values())}."
