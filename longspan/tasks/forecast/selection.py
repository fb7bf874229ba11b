"""Selects context length, center, scaling and transform by the validation error of linear forecasts."""

from __future__ import annotations

from itertools import product

import numpy as np

from longspan import errors
from longspan.data.transforms import TRANSFORMS

from .codec import InitialForecast
from .linear_forecast import LinearForecast, fit_linear, mean_or_inf
from .origins import MANY_SERIES
from .panel import Origins
from .window_encoder import WindowEncoder
from .window_scaling import CENTERS, SCALES, WindowConfig

_MAX_WINDOWS = 12_000  # training windows of the linear forecasts that are kept
_COMPARED_WINDOWS = 5_000  # training windows of linear forecasts while settings are compared
_SHORTEST, _LONGEST = 12, 512  # steps of the contexts that are tried
_PLAINER = 0.97  # error ratio below which another center, scaling or transform replaces an earlier one
_SHORTER = 0.995  # error ratio below which a longer context replaces a shorter one
_HARM = 1.005  # error ratio up to which one more forecast joins the mean
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

    Without validation windows, settings are compared on the last fifth of the training windows.

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
    best = WindowConfig(contexts[len(contexts) // 2], centers[0], scalings[0], transforms[0])
    for _ in range(_ROUNDS):
        before = best.context
        configs = [WindowConfig(before, *rest) for rest in product(centers, scalings, transforms)]
        best = _best(encoder, train, valid, configs, _PLAINER)
        best = _best(encoder, train, valid, [best._replace(context=size) for size in contexts], _SHORTER)
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
    encoder: WindowEncoder, train: Origins, valid: Origins, configs: list[WindowConfig], margin: float
) -> WindowConfig:
    """The config whose linear forecast has the lowest error; a later one must be better by the margin."""
    best, least = configs[0], np.inf
    for config in sorted(configs, key=lambda config: TRANSFORMS.index(config.transform)):
        encoder.configure(config, train)
        error = fit_linear(encoder, train, valid, _COMPARED_WINDOWS).error if len(configs) > 1 else 0.0
        if error < margin * least:
            best, least = config, error
    return best


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
