"""Selects context length, center, scaling and transform by the validation error of linear forecasts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from longspan import errors as checks
from longspan.data.transforms import TRANSFORMS, invert

from . import windows
from .codec import CENTERS, SCALES, ForecastCodec
from .origins import MANY_SERIES
from .panel import Origins

_MOST_WINDOWS = 12_000  # windows that the final linear forecasts are fitted to
_FEW_WINDOWS = 5_000  # windows that linear forecasts are fitted to while settings are compared
_MOST_HELD = 2_000
_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the mean square of the inputs, times the number of windows
_CHUNK = 1_000  # windows at once
_LEAST_WINDOWS = 8
_SHORTEST, _LONGEST = 12, 512
_PLAINER = 0.97  # error ratio below which another center, scaling or transform replaces an earlier one
_SHORTER = 0.995  # error ratio below which a longer context replaces a shorter one
_HARM = 1.005  # error ratio up to which one more forecast joins the mean
_ROUNDS = 2


class LinearForecast(NamedTuple):
    """A linear forecast of windows: weight (T, H), bias (H,), and its errors on held-out windows.

    error: the mean absolute error in deviations of each series; where all values are above 0, the geometric
    mean of that and of the mean relative error (sMAPE's), since either may be what counts. residuals: (N, H),
    on the network's scale.
    """

    weight: np.ndarray
    bias: np.ndarray
    error: float
    residuals: np.ndarray


def contexts(horizon: int, season: int, longest: int) -> list[int]:
    """The contexts worth trying, for series of which `longest` steps may be read."""
    wanted = {2 * horizon, 96, 336}
    if season > 1:
        wanted |= {2 * season, min(7 * season, _LONGEST), season + horizon}
    most = max(2, min(longest, _LONGEST))
    return sorted({min(max(size, season, _SHORTEST), most) for size in wanted})


def select(
    codec: ForecastCodec,
    train: Origins,
    held: Origins | None,
    *,
    context: int | None,
    center: str | None,
    scaling: str | None,
    transform: str | None,
) -> None:
    """Set the codec's context, center, scaling and transform to those with the lowest linear forecast error.

    Without validation windows, settings are compared on the last fifth of the training windows.

    Args:
        context, center, scaling, transform: a fixed value, or None to select it.

    Raises:
        ValueError: the values do not allow the transform.
    """
    sizes = _contexts(codec, train) if context is None else [context]
    centers = tuple(c for c in CENTERS if c != "season" or codec.season > 1) if center is None else (center,)
    scalings = SCALES if scaling is None else (scaling,)
    transforms = _transforms(codec, transform)
    if held is None:
        cut = max(1, len(train.rows) * 4 // 5)
        held = Origins(train.panel, train.rows[cut:] if cut < len(train.rows) else train.rows)
    way = WindowConfig(sizes[len(sizes) // 2], centers[0], scalings[0], transforms[0])
    for _ in range(_ROUNDS):  # the way at one context, the context for that way
        before = way.context
        ways = [WindowConfig(before, *rest) for rest in product(centers, scalings, transforms)]
        way = _best(codec, train, held, ways, _PLAINER)
        way = _best(codec, train, held, [way._replace(context=size) for size in sizes], _SHORTER)
        if way.context == before:
            break
    alike = way.center != "mean" and way.scaling == "series"  # whatever the context, windows look the same
    others = [size for size in sizes if size != way.context] if alike else []
    _start(codec, _ensemble(codec, train, held, [way, *(way._replace(context=size) for size in others)]))


def _contexts(codec: ForecastCodec, train: Origins) -> list[int]:
    """The contexts worth trying on series of these lengths."""
    lengths = np.diff(train.panel.starts)
    many = len(lengths) >= MANY_SERIES  # they make up for few windows of each
    longest = int(np.median(lengths)) if many else int(lengths.max())
    share = 0.6 if many else 1 / 3
    return contexts(codec.horizon, codec.season, int(share * (longest - codec.horizon)))


def _transforms(codec: ForecastCodec, wanted: str | None) -> tuple[str, ...]:
    allowed = codec.allowed_transforms()
    if wanted is None:
        return allowed
    if wanted not in allowed:
        expected = f"one of {', '.join(allowed)} for these values"
        raise checks.value_error("transform", expected, repr(wanted), "a logarithm takes values above 0")
    return (wanted,)


class WindowConfig(NamedTuple):
    """One way to look at windows."""

    context: int
    center: str
    scaling: str
    transform: str


def _best(
    codec: ForecastCodec, train: Origins, held: Origins, ways: list[WindowConfig], margin: float
) -> WindowConfig:
    """The setting whose linear forecast has the lowest error; a later one must be better by the margin."""
    best, least = ways[0], np.inf
    for way in sorted(ways, key=lambda way: TRANSFORMS.index(way.transform)):
        _set(codec, train, way)
        error = fit_linear(codec, train, held, _FEW_WINDOWS).error if len(ways) > 1 else 0.0
        if error < margin * least:
            best, least = way, error
    return best


def _set(codec: ForecastCodec, train: Origins, way: WindowConfig) -> None:
    codec.context, codec.center, codec.scaling = way[:3]
    if way.transform != codec.transform:
        codec.fit_scale(train, way.transform)


def _ensemble(
    codec: ForecastCodec, train: Origins, held: Origins, ways: list[WindowConfig]
) -> list[LinearForecast]:
    """The best setting's linear forecast, plus every other one that does not raise the error of their mean.

    The mean of several forecasts is more robust when the data change (Bates and Granger 1969).
    """
    chosen: list[LinearForecast] = []
    least = np.inf
    for way in ways:
        _set(codec, train, way)
        tried = [*chosen, fit_linear(codec, train, held, _MOST_WINDOWS)]
        error = _mean_error(tried)
        far = way.context > 2 * ways[0].context  # what takes much more time must bring something
        if not chosen or error < (_SHORTER if far else _HARM) * least:
            chosen, least = tried, min(error, least)
    codec.context = max(len(one.weight) for one in chosen)
    return chosen


def _mean_error(lines: list[LinearForecast]) -> float:
    return _mean(np.abs(np.mean([one.residuals for one in lines], 0)))


def _start(codec: ForecastCodec, lines: list[LinearForecast]) -> None:
    """Set the codec's linear forecast to the mean of these; a shorter one has weight 0 for older values."""
    weight = np.mean([np.pad(one.weight, ((codec.context - len(one.weight), 0), (0, 0))) for one in lines], 0)
    codec.skip = np.concatenate([weight, np.mean([one.bias for one in lines], 0)[None]])
    errors = np.mean([one.residuals for one in lines], 0)
    spread = np.nanquantile(errors, codec.levels, axis=0)
    codec.residuals = (
        spread - spread[codec.levels.index(0.5)]
    ).T  # the training part says where the middle is


def fit_linear(codec: ForecastCodec, train: Origins, held: Origins, most: int) -> LinearForecast:
    """Ridge regression from windows to the horizons after them; validation error selects its strength."""
    size, horizon = codec.context, codec.horizon
    count, sx, sy = 0, np.zeros(size), np.zeros(horizon)
    square, right = np.zeros((size, size)), np.zeros((size, horizon))
    for part in _pairs(codec, train, most):
        known = ~np.isnan(part.y).any(1)
        x, y = part.x[known], part.y[known]
        count, sx, sy = count + len(x), sx + x.sum(0), sy + y.sum(0)
        square += x.T @ x
        right += x.T @ y
    candidates = [(np.zeros((size, horizon)), sy / max(count, 1))]
    if count >= _LEAST_WINDOWS:
        mx, my = sx / count, sy / count
        values, vectors = np.linalg.eigh(square - count * np.outer(mx, mx))
        turned, unit = vectors.T @ (right - count * np.outer(mx, my)), max(values.mean(), 1e-12)
        weights = [vectors @ (turned / (np.maximum(values, 0) + r * unit)[:, None]) for r in _RIDGES]
        candidates += [(weight, my - mx @ weight) for weight in weights]
    return _best_of(candidates, list(_pairs(codec, held, _MOST_HELD)), codec)


class _Part(NamedTuple):
    """Windows x (n, T) and what follows y (n, H) on the network's scale; center (n, H), scale (n, 1).

    In the user's units: truth (n, H), and deviation (n, 1), that of the series.
    """

    x: np.ndarray
    y: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    truth: np.ndarray
    deviation: np.ndarray

    def gaps(self, answer: np.ndarray, transform: str) -> tuple[np.ndarray, np.ndarray]:
        """How far answers are from the truths (n, H): in deviations of the series, and relative to both."""
        found = invert(answer * self.scale + self.center, transform)
        gap = np.abs(found - self.truth)
        return gap / self.deviation, gap / np.maximum(np.abs(found) + np.abs(self.truth), 1e-300)


def _best_of(
    candidates: list[tuple[np.ndarray, np.ndarray]], held: list[_Part], codec: ForecastCodec
) -> LinearForecast:
    """The candidate that errs least on held-out windows, with its errors there."""
    best: LinearForecast | None = None
    for weight, bias in candidates:
        answers = [part.x @ weight + bias for part in held]
        pairs = list(zip(held, answers, strict=True))
        found = zip(*(part.gaps(answer, codec.transform) for part, answer in pairs), strict=True)
        error, relative = (_mean(np.concatenate(gaps)) for gaps in found)
        if codec.positive:
            error = float(np.sqrt(error * relative))
        if best is None or error < best.error:
            best = LinearForecast(
                weight, bias, error, np.concatenate([part.y - answer for part, answer in pairs])
            )
    assert best is not None
    return best


def _mean(gaps: np.ndarray) -> float:
    return float(np.nanmean(gaps)) if not np.isnan(gaps).all() else np.inf


def _pairs(codec: ForecastCodec, origins: Origins, most: int) -> Iterator[_Part]:
    """Windows and what follows them, part by part."""
    count = len(origins.rows) * origins.panel.values.shape[1]
    take = windows.subsample(np.arange(count), most) if count <= 4 * most else _spread(count, most)
    known = codec.statistics(origins.panel)
    for begin in range(0, len(take), _CHUNK):
        at = windows.window_index(origins, take[begin : begin + _CHUNK])
        found = codec.scaled(origins.panel, at, known)
        y = (codec.targets(origins.panel, at, known) - found.center) / found.scale
        truth = windows.future(origins.panel, at, codec.horizon)
        deviation = known.deviation[at.series, at.channel][:, None]
        yield _Part(found.values, y, found.center, found.scale, truth, deviation)


def _spread(count: int, most: int) -> np.ndarray:
    """`most` numbers below `count`, evenly spread."""
    return np.linspace(0, count - 1, most).round().astype(np.int64)
