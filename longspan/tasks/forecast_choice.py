"""Knows what a forecast's network needs to be told, chosen by how a linear forecast does on held-out windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from longspan.data import gather
from longspan.data.panel import Origins

from .forecast_codec import ForecastCodec

_MOST_WINDOWS = 12_000  # that a linear forecast is fitted on
_FEW_WINDOWS = 5_000  # when ways are compared
_MOST_HELD = 2_000
_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the mean square of the inputs, times the number of windows
_CHUNK = 1_000  # windows at once
_LEAST_WINDOWS = 8
_LONGEST = 512
_PLAINER = 0.97  # what another center or scaling must bring: the last value follows a level that drifts
_SHORTER = 0.995  # what a longer context must bring


class Linear(NamedTuple):
    """A linear forecast of windows: weight (T, H), bias (H,), its mean absolute error on held-out windows."""

    weight: np.ndarray
    bias: np.ndarray
    error: float
    residuals: np.ndarray


def contexts(horizon: int, season: int, longest: int) -> list[int]:
    """The contexts worth trying, for series of which `longest` steps may be read."""
    wanted = {2 * horizon, 96, 336}
    if season > 1:
        wanted |= {2 * season, min(7 * season, _LONGEST), season + horizon}
    most = max(1, min(longest, _LONGEST))
    return sorted({max(2, min(size, most)) for size in wanted})


def choose(
    codec: ForecastCodec,
    train: Origins,
    held: Origins | None,
    *,
    sizes: list[int],
    centers: tuple[str, ...],
    scalings: tuple[str, ...],
) -> None:
    """Set the codec's context, center and scaling to those whose linear forecast errs least; keep that one.

    Without held-out windows the shortest sizes are compared on the training windows' last fifth.
    """
    if held is None:
        cut = max(1, len(train.rows) * 4 // 5)
        held = Origins(train.panel, train.rows[cut:] if cut < len(train.rows) else train.rows)
    middle = sizes[len(sizes) // 2]
    ways = [(middle, c, k) for c in centers for k in scalings if c != "season" or codec.season > 1]
    _, center, scaling = _least(codec, train, held, ways, _PLAINER)
    found = _least(codec, train, held, [(size, center, scaling) for size in sizes], _SHORTER)
    codec.context, codec.center, codec.scaling = found
    line = fit_linear(codec, train, held, _MOST_WINDOWS)
    codec.skip = np.concatenate([line.weight, line.bias[None]])
    codec.residuals = np.nanquantile(line.residuals, codec.levels, axis=0).T


Way = tuple[int, str, str]  # context, center and scaling


def _least(codec: ForecastCodec, train: Origins, held: Origins, ways: list[Way], margin: float) -> Way:
    """The way whose linear forecast errs least; one that comes later must be better by the margin."""
    best, least = ways[0], np.inf
    for way in ways:
        codec.context, codec.center, codec.scaling = way
        error = fit_linear(codec, train, held, _FEW_WINDOWS).error if len(ways) > 1 else 0.0
        if error < margin * least:
            best, least = way, error
    return best


def fit_linear(codec: ForecastCodec, train: Origins, held: Origins, most: int) -> Linear:
    """Ridge regression from windows to what follows them, its strength chosen on the held-out ones."""
    size, horizon = codec.context, codec.horizon
    count, sx, sy = 0, np.zeros(size), np.zeros(horizon)
    square, right = np.zeros((size, size)), np.zeros((size, horizon))
    for x, y, _ in _pairs(codec, train, most):
        known = ~np.isnan(y).any(1)
        x, y = x[known], y[known]
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
    return _best_of(candidates, list(_pairs(codec, held, _MOST_HELD)))


Part = tuple[np.ndarray, np.ndarray, np.ndarray]


def _best_of(candidates: list[tuple[np.ndarray, np.ndarray]], held: list[Part]) -> Linear:
    """The candidate that errs least on held-out windows, with its errors there."""
    best: Linear | None = None
    for weight, bias in candidates:
        errors = [y - (x @ weight + bias) for x, y, _ in held]
        gaps = np.concatenate([np.abs(e) * unit for e, (_, _, unit) in zip(errors, held, strict=True)])
        error = float(np.nanmean(gaps)) if not np.isnan(gaps).all() else np.inf
        if best is None or error < best.error:
            best = Linear(weight, bias, error, np.concatenate(errors))
    assert best is not None
    return best


def _pairs(codec: ForecastCodec, origins: Origins, most: int) -> Iterator[Part]:
    """Windows (n, T), what follows (n, H), and a unit in the series' own deviations (n, 1), part by part."""
    count = len(origins.rows) * origins.panel.values.shape[1]
    take = gather.thinned(np.arange(count), most) if count <= 4 * most else _spread(count, most)
    known = codec.known(origins.panel)
    for begin in range(0, len(take), _CHUNK):
        at = gather.places(origins, take[begin : begin + _CHUNK])
        found = codec.scaled(origins.panel, at, known)
        y = (gather.ahead(origins.panel, at, codec.horizon) - found.center) / found.scale
        yield found.values, y, found.scale / known[1][at.series, at.channel][:, None]


def _spread(count: int, most: int) -> np.ndarray:
    """`most` numbers below `count`, evenly spread."""
    return np.linspace(0, count - 1, most).round().astype(np.int64)
