"""Selects context length, center, scaling and transform by the validation errors of linear forecasts."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np

from longspan import errors
from longspan.data import transforms

from .codec import InitialForecast
from .linear_forecast import LinearForecast, fit_linear, mean_or_inf
from .origins import MANY_SERIES, earlier_splits, independent_windows
from .panel import Origins
from .window_encoder import WindowEncoder
from .window_scaling import CENTERS, SCALES, WindowConfig

_MAX_WINDOWS = 12_000  # training windows of the linear forecasts that are kept
_COMPARED_WINDOWS = 5_000  # training windows of linear forecasts while settings are compared
_SHORTEST, _LONGEST = 12, 512  # steps of the contexts that are tried
_PLAINER = 0.97  # error ratio below which another center, scaling or transform replaces an earlier one
_SHORTER = 0.995  # error ratio below which a longer context replaces a shorter one
_LEVEL_RISK = 1.05  # factor of the error of centers that fail when the level changes, with few windows
_UNSTEADY = 0.3  # power of the growth of a series' spread, a factor of the error with few windows
_USUAL_GROWTH = 1.4  # growth of errors with a forecast's age that the calibration allows for by itself
_GROWTH_SHARE = 0.5  # power of the growth beyond it, since few splits show it
_USUAL_OPTIMISM = 1.15  # optimism up to which the calibration allows for it by itself
_LEAST_SPLITS = 3  # splits from which on optimism is measured; a choice by one of two is chance alone
_WIDEST = 3.0  # largest factor by which intervals are widened
_LEAST_ERROR = 1e-12  # smallest error that counts, since a mean of logarithms has no 0
_HARM = 1.005  # error ratio up to which one more forecast joins the mean
_FEW_WINDOWS = 30  # independent validation windows below which settings are compared on earlier splits too
_EARLIER_SPLITS = 3  # such splits at most
_ROUNDS = 2  # times that the settings at one context, then the context at these settings are selected


def select(
    encoder: WindowEncoder,
    levels: tuple[float, ...],
    train: Origins,
    valid: Origins | None,
    *,
    context: int | None,
    center: str | None,
    scaling: str | None,
    transform: str | None,
) -> InitialForecast:
    """Configure the encoder as the linear forecast with the lowest validation error wants it.

    With few independent validation windows, settings are compared on several splits, of which each ends
    before the validation part of the next (rolling origin). Without validation windows, they are compared on
    the last fifth of the training windows.

    Args:
        levels: (Q,), of the quantiles of the forecast's errors.
        context, center, scaling, transform: a fixed value, or None to select it.

    Returns:
        The linear forecast with the selected settings.

    Raises:
        ValueError: the values do not allow the transform.
    """
    contexts = _contexts(encoder, train) if context is None else [context]
    every_center = tuple(c for c in CENTERS if c != "season" or encoder.season > 1)
    centers = every_center if center is None else (center,)
    scalings = SCALES if scaling is None else (scaling,)
    chosen_transforms = _transforms(encoder, transform)
    if valid is None:
        cut = max(1, len(train.rows) * 4 // 5)
        valid = Origins(train.panel, train.rows[cut:] if cut < len(train.rows) else train.rows)
    few = bool(independent_windows(valid, encoder.horizon)[-1] < _FEW_WINDOWS)
    splits = [(train, valid)]
    if few and valid.panel is train.panel:
        splits += earlier_splits(train, valid, encoder.horizon, _EARLIER_SPLITS)
    risk = _Risk(encoder, train, valid) if few else None
    best = WindowConfig(contexts[len(contexts) // 2], centers[0], scalings[0], chosen_transforms[0])
    for _ in range(_ROUNDS):
        before = best.context
        rest = product(chosen_transforms, centers, scalings)
        configs = [WindowConfig(before, center, scaling, transform) for transform, center, scaling in rest]
        best = _best(encoder, splits, configs, _PLAINER, risk)
        best = _best(encoder, splits, [best._replace(context=size) for size in contexts], _SHORTER, risk)
        if best.context == before:
            break
    widening = 1.0
    if risk is not None:
        ageing = max(1.0, _error_growth(encoder, splits, best) / _USUAL_GROWTH) ** _GROWTH_SHARE
        optimism = risk.optimism()
        widening = min(ageing * (optimism if optimism > _USUAL_OPTIMISM else 1.0), _WIDEST)
    forecasts_can_be_averaged = best.center != "mean" and best.scaling == "series"  # all on one scale
    others = [size for size in contexts if size != best.context] if forecasts_can_be_averaged else []
    configs = [best, *(best._replace(context=size) for size in others)]
    return _initial_forecast(_ensemble(encoder, train, valid, configs), levels)._replace(widening=widening)


def candidate_contexts(horizon: int, season: int, longest: int) -> list[int]:
    """The contexts worth trying, for series of which `longest` steps may be read."""
    sizes = {2 * horizon, 96, 336}
    if season > 1:
        sizes |= {2 * season, min(7 * season, _LONGEST), season + horizon}
    most = max(2, min(longest, _LONGEST))
    return sorted({min(max(size, season, _SHORTEST), most) for size in sizes})


def _contexts(encoder: WindowEncoder, train: Origins) -> list[int]:
    """The contexts worth trying on series of these lengths."""
    lengths = np.diff(train.panel.starts)
    many = len(lengths) >= MANY_SERIES  # their number makes up for few windows of each
    longest = int(np.median(lengths)) if many else int(lengths.max())
    share = 0.6 if many else 1 / 3
    return candidate_contexts(encoder.horizon, encoder.season, int(share * (longest - encoder.horizon)))


def _transforms(encoder: WindowEncoder, transform: str | None) -> tuple[str, ...]:
    allowed = encoder.allowed_transforms()
    if transform is None:
        return allowed
    if transform not in allowed:
        expected = f"one of {', '.join(allowed)} for these values"
        raise errors.value_error("transform", expected, repr(transform), "a logarithm takes values above 0")
    return (transform,)


def _best(
    encoder: WindowEncoder,
    splits: list[tuple[Origins, Origins]],
    configs: list[WindowConfig],
    margin: float,
    risk: _Risk | None,
) -> WindowConfig:
    """The config whose linear forecasts have the lowest error; a later one must be better by the margin.

    The error is the geometric mean over the splits, since some parts of a series are harder than others.

    Args:
        splits: training and validation origins.
        risk: of every config, a factor of its error; None for no factor.
    """
    if len(configs) == 1:
        return configs[0]
    best, least = configs[0], np.inf
    for config in configs:
        errors = [max(_error(encoder, config, *split), _LEAST_ERROR) for split in splits]
        error = float(np.exp(np.mean(np.log(errors))))
        factor = 1.0 if risk is None else risk.of(config)
        if risk is not None:
            risk.errors[config] = np.log(errors) + np.log(factor)
        if factor * error < margin * least:
            best, least = config, factor * error
    return best


class _Risk:
    """Factors of the errors of configs that fail on later data though few validation windows show it.

    Centers that are not near the last values fail when the level changes. Without a logarithm or the
    deviation of the window, the errors of a series that grows exponentially grow with it.

    Args:
        train, valid: all origins of fit.
    """

    def __init__(self, encoder: WindowEncoder, train: Origins, valid: Origins) -> None:
        panel, season = train.panel, encoder.season
        ends = np.full(len(panel.ids), -1)
        last = valid if valid.panel is panel else train
        np.maximum.at(ends, last.series, last.rows)
        spans = zip(panel.starts[:-1].tolist(), ends.tolist(), strict=True)
        self._parts = [panel.values[begin:end] for begin, end in spans if end - begin > season + 2]
        self._season, self._growth = season, dict[str, float]()
        self.errors: dict[WindowConfig, np.ndarray] = {}  # of every config, logarithms on each split

    def of(self, config: WindowConfig) -> float:
        """The factor of a config's error, 1 at least."""
        level = _LEVEL_RISK if config.center in ("mean", "none") else 1.0
        if config.scaling == "window":
            return level
        if config.transform not in self._growth:
            growth = [self._spread_growth(part, config.transform) for part in self._parts]
            self._growth[config.transform] = float(np.mean(np.concatenate(growth))) if growth else 0.0
        return level * float(np.exp(_UNSTEADY * self._growth[config.transform]))

    def optimism(self) -> float:
        """How many times larger a chosen config's error is on splits that did not choose it.

        The least of many errors on a few windows is lower by chance than that of forecasts to come (nested
        cross-validation; Varma and Simon 2006). 1 where there are few splits.
        """
        known = [row for row in self.errors.values() if np.isfinite(row).all()]
        count = len(known[0]) if known else 1
        if count < _LEAST_SPLITS:
            return 1.0
        errors = np.stack(known)
        chosen = errors[errors.mean(1).argmin()].mean()
        others = (errors.sum(1, keepdims=True) - errors).argmin(0)  # chosen by the other splits
        return float(np.exp(max(0.0, errors[others, np.arange(count)].mean() - chosen)))

    def _spread_growth(self, values: np.ndarray, transform: str) -> np.ndarray:
        """(C,): |log of the spread's growth| from the first to the second half of a series (T, C).

        Two standard errors are taken off. Spread is the mean absolute change of seasonal changes.
        """
        values = transforms.apply(values, transform, 0.5 * np.nan_to_num(np.fmin.reduce(values, 0)))
        changes = np.diff(values, axis=0)
        if self._season > 1:
            changes = changes[self._season :] - changes[: -self._season]
        halves = [np.abs(half) for half in np.array_split(changes, 2)]
        counts = [np.maximum((~np.isnan(half)).sum(0), 1) for half in halves]
        means = [np.nansum(half, 0) / count for half, count in zip(halves, counts, strict=True)]
        growth = np.zeros(values.shape[1])
        for column in range(values.shape[1]):
            early, late = (mean[column] for mean in means)
            if not (early > 0 and late > 0):
                continue
            error = sum(
                np.nanvar(half[:, column]) / mean[column] ** 2 / count[column]
                for half, mean, count in zip(halves, means, counts, strict=True)
            )
            growth[column] = max(0.0, abs(np.log(late / early)) - 2.0 * np.sqrt(error))
        return growth


def _error(encoder: WindowEncoder, config: WindowConfig, train: Origins, valid: Origins) -> float:
    """The validation error of a config's linear forecast, fitted to the training origins of a split."""
    encoder.configure(config, train)
    return fit_linear(encoder, train, valid, _COMPARED_WINDOWS).error


def _error_growth(
    encoder: WindowEncoder, splits: list[tuple[Origins, Origins]], config: WindowConfig
) -> float:
    """How many times larger a forecast's error is if the forecast was fitted one validation part earlier.

    That is how much older a forecast is after the validation part than within it. The geometric mean over
    the splits, 1 where there is one split alone.
    """
    logarithms = [0.0]
    for (train, valid), (earlier, _) in pairwise(splits):
        near, far = (max(_error(encoder, config, part, valid), _LEAST_ERROR) for part in (train, earlier))
        logarithms.append(float(np.log(far / near)))
    return float(np.exp(np.sum(logarithms) / max(1, len(logarithms) - 1)))


def _ensemble(
    encoder: WindowEncoder, train: Origins, valid: Origins, configs: list[WindowConfig]
) -> list[LinearForecast]:
    """The first config's linear forecast, plus every other one that does not raise the error of their mean.

    The mean of several forecasts is more robust when the data change (Bates and Granger 1969). The encoder
    is left with the longest context among them.
    """
    chosen: list[LinearForecast] = []
    least = np.inf
    for config in configs:
        encoder.configure(config, train)
        candidate = [*chosen, fit_linear(encoder, train, valid, _MAX_WINDOWS)]
        error = _mean_error(candidate)
        is_long = config.context > 2 * configs[0].context  # it takes much more time, so it must help
        if not chosen or error < (_SHORTER if is_long else _HARM) * least:
            chosen, least = candidate, min(error, least)
    longest = max(len(forecast.weight) for forecast in chosen)
    encoder.configure(configs[0]._replace(context=longest), train)
    return chosen


def _mean_error(forecasts: list[LinearForecast]) -> float:
    """The mean absolute error of the mean of the forecasts."""
    return mean_or_inf(np.abs(np.mean([forecast.residuals for forecast in forecasts], 0)))


def _initial_forecast(forecasts: list[LinearForecast], levels: tuple[float, ...]) -> InitialForecast:
    """The mean of the forecasts; one of a shorter context has weight 0 for older values."""
    longest = max(len(forecast.weight) for forecast in forecasts)
    padded = [np.pad(f.weight, ((longest - len(f.weight), 0), (0, 0))) for f in forecasts]
    bias = np.mean([forecast.bias for forecast in forecasts], 0)
    residuals = np.mean([forecast.residuals for forecast in forecasts], 0)
    quantiles = np.nanquantile(residuals, levels, axis=0)
    centered = quantiles - quantiles[levels.index(0.5)]  # the training part has set the median
    return InitialForecast(np.concatenate([np.mean(padded, 0), bias[None]]), centered.T)
