"""Selects context length, center, scaling and transform by the validation errors of linear forecasts."""

from __future__ import annotations

from itertools import product

import numpy as np

from longspan import errors

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
    transforms = _transforms(encoder, transform)
    if valid is None:
        cut = max(1, len(train.rows) * 4 // 5)
        valid = Origins(train.panel, train.rows[cut:] if cut < len(train.rows) else train.rows)
    few = bool(independent_windows(valid, encoder.horizon)[-1] < _FEW_WINDOWS)
    splits = [(train, valid)]
    if few and valid.panel is train.panel:
        splits += earlier_splits(train, valid, encoder.horizon, _EARLIER_SPLITS)
    risk = _LEVEL_RISK if few else 1.0
    best = WindowConfig(contexts[len(contexts) // 2], centers[0], scalings[0], transforms[0])
    for _ in range(_ROUNDS):
        before = best.context
        rest = product(transforms, centers, scalings)
        configs = [WindowConfig(before, center, scaling, transform) for transform, center, scaling in rest]
        best = _best(encoder, splits, configs, _PLAINER, risk)
        best = _best(encoder, splits, [best._replace(context=size) for size in contexts], _SHORTER, risk)
        if best.context == before:
            break
    forecasts_can_be_averaged = best.center != "mean" and best.scaling == "series"  # all on one scale
    others = [size for size in contexts if size != best.context] if forecasts_can_be_averaged else []
    configs = [best, *(best._replace(context=size) for size in others)]
    return _initial_forecast(_ensemble(encoder, train, valid, configs), levels)


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
    risk: float,
) -> WindowConfig:
    """The config whose linear forecasts have the lowest error; a later one must be better by the margin.

    The error is the geometric mean over the splits, since some parts of a series are harder than others.

    Args:
        splits: training and validation origins.
        risk: factor of the error of the centers "mean" and "none".
    """
    if len(configs) == 1:
        return configs[0]
    best, least = configs[0], np.inf
    for config in configs:
        errors = [_error(encoder, config, *split) for split in splits]
        error = float(np.exp(np.mean(np.log(np.maximum(errors, _LEAST_ERROR)))))
        error *= risk if config.center in ("mean", "none") else 1.0
        if error < margin * least:
            best, least = config, error
    return best


def _error(encoder: WindowEncoder, config: WindowConfig, train: Origins, valid: Origins) -> float:
    """The validation error of a config's linear forecast, fitted to the training origins of a split."""
    encoder.configure(config, train)
    return fit_linear(encoder, train, valid, _COMPARED_WINDOWS).error


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
