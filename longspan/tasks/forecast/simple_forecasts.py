"""Forecasts series without training: repeats the last value or season, or smooths exponentially."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

_MOST_STEPS = 256  # of a window that are smoothed, its last ones
_LEAST_STEPS = 4  # of a window, below which nothing is smoothed
_LONGER = 1.3  # times the window's steps that the long history has at least
_LATE_SEASONS = 3  # from which the season of the long history is taken, its last ones
_LEVELS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0)  # smoothing parameters of the level
_TRENDS = [(a, b, phi) for a in (0.2, 0.5, 1.0) for b in (0.1, 0.4) for phi in (0.8, 0.95)]
_LEAST_SQUARES = 1e-9  # sum of squared errors that counts as none, in variances of the window
_LEAST_DEVIATION = 1e-100  # of a window, by which it is divided
_AT_ONCE = 1 << 22  # errors that are held at once


class Parameters(NamedTuple):
    """Of exponential smoothing.

    level, trend: smoothing parameters; damping: of the trend (Gardner and McKenzie 1985).
    drift: share of the slope of the least squares line through the window that is added in every step.
    """

    level: float
    trend: float = 0.0
    damping: float = 1.0
    drift: float = 0.0


_LONG = "long_"  # begins the names of forecasts that read the long history
SMOOTHING: Mapping[str, Sequence[Parameters]] = {
    # simple exponential smoothing with half the slope as drift (Hyndman and Billah 2003)
    "theta": [Parameters(level, drift=0.5) for level in _LEVELS],
    "trend": [*map(Parameters, _LEVELS), *(Parameters(*trend) for trend in _TRENDS)],
}


class HistoryShape(NamedTuple):
    """The steps of a window, of the long history and of a forecast; the season, 1 for none."""

    context: int
    long: int
    horizon: int
    season: int = 1

    @property
    def steps(self) -> int:
        """The steps before a forecast that simple forecasts read."""
        return max(min(self.context, _MOST_STEPS), self.long)

    def forecasts(self) -> tuple[str, ...]:
        """The names of the simple forecasts of such windows."""
        names = ["last", *(["season"] if 1 < self.season <= self.steps else [])]
        if self.context >= _LEAST_STEPS:
            names += SMOOTHING
        if self.long > max(_LONGER * self.context, _LEAST_STEPS):
            names += [_LONG + name for name in SMOOTHING]
        return tuple(names)

    def forecast(self, name: str) -> nn.Module:
        """The simple forecast of a name."""
        if name in ("last", "season"):
            return Repetition(self.horizon, 1 if name == "last" else self.season)
        is_long = name.startswith(_LONG)
        steps = self.long if is_long else min(self.context, _MOST_STEPS)
        late = _LATE_SEASONS if is_long else steps
        return Smoothing(SMOOTHING[name.removeprefix(_LONG)], steps, self.horizon, self.season, late)


class SimpleForecasts(nn.Module):
    """The weighted sum of simple forecasts.

    Args:
        shares: by name; shape: of the history before a forecast.
    """

    def __init__(self, shares: Mapping[str, float], shape: HistoryShape) -> None:
        super().__init__()
        self.total = sum(shares.values())
        self.shares = tuple(shares.values())
        self.parts = nn.ModuleList(shape.forecast(name) for name in shares)

    def forward(self, history: Tensor, known: Tensor) -> Tensor:
        """(B, H), the weighted sum for histories (B, T), of which `known` (B,) values are not filled in."""
        forecasts = (
            share * part(history, known) for share, part in zip(self.shares, self.parts, strict=True)
        )
        return torch.stack(list(forecasts)).sum(0)


class Repetition(nn.Module):
    """Repeats the last season of values, with season 1 the last value."""

    def __init__(self, horizon: int, season: int) -> None:
        super().__init__()
        self.horizon, self.season = horizon, season

    def forward(self, history: Tensor, known: Tensor) -> Tensor:
        """Forecasts (B, H) of histories (B, T)."""
        steps = torch.arange(self.horizon, device=history.device) % self.season
        return history[:, history.shape[1] - self.season + steps]


class Smoothing(nn.Module):
    """Forecasts windows by exponential smoothing with the parameters that fit them, with or without a season.

    Every choice of parameters forecasts linearly. The forecasts of a window are averaged with weights by the
    Bayesian information criterion of their errors one step ahead in the window.

    Args:
        parameters: to choose from; steps: T, that are read; horizon: H.
        season: steps, 1 for none; it is taken off where T has two of them and two steps.
        late: number of seasons, the last ones, from which its shape is taken.
    """

    def __init__(
        self, parameters: Sequence[Parameters], steps: int, horizon: int, season: int, late: int
    ) -> None:
        super().__init__()
        self.steps = steps
        seasons = [1, season] if season > 1 and steps >= 2 * season + 2 else [1]
        pairs = [smoothing_maps(parameters, steps, horizon, each, late) for each in seasons]
        ahead, errors = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        learnt = np.repeat(seasons, len(parameters)) - 1.0  # values of the season's shape
        self.ahead: Tensor
        self.errors: Tensor
        self.learnt: Tensor
        for name, part in (("ahead", ahead), ("errors", errors), ("learnt", learnt)):
            self.register_buffer(name, torch.from_numpy(part).float(), persistent=False)

    def forward(self, history: Tensor, known: Tensor) -> Tensor:
        """Forecasts (B, H) of histories (B, T or more), of which `known` (B,) values are not filled in."""
        size = max(1, _AT_ONCE // self.errors.shape[0] // self.steps)
        parts = zip(history[:, -self.steps :].split(size), known.split(size), strict=True)
        return torch.cat([self._forecasts(*part) for part in parts])

    def _forecasts(self, values: Tensor, known: Tensor) -> Tensor:
        choices, horizon, steps = self.ahead.shape
        last, deviation = values[:, -1:], values.std(1, unbiased=False, keepdim=True)
        deviation = deviation.clamp_min(_LEAST_DEVIATION)
        scaled = ((values - last) / deviation).to(self.ahead.dtype)
        errors = (scaled @ self.errors.reshape(-1, steps).T).unflatten(1, (choices, -1))
        count = known.clamp(2, steps).to(errors.dtype)[:, None]
        misfit = count * errors.square().sum(-1).clamp_min(_LEAST_SQUARES).log() + self.learnt * count.log()
        weights = torch.softmax(-0.5 * misfit, 1)
        forecasts = (scaled @ self.ahead.reshape(-1, steps).T).unflatten(1, (choices, horizon))
        return last + deviation * (weights.unsqueeze(-1) * forecasts).sum(1)


def smoothing_maps(
    parameters: Sequence[Parameters], steps: int, horizon: int, season: int = 1, late: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of windows of T steps that forecast them, (P, H, T), and that give their errors, (P, T - 1, T).

    Args:
        parameters: P of them.
        season: 1 for none; else it is taken off first and added to the forecasts; late: see `season_maps`.
    """
    level, trend, damping, drift = (np.array(column)[:, None] for column in zip(*parameters, strict=True))
    unit, ahead = np.eye(steps), np.arange(1, horizon + 1)
    place = np.arange(steps) - (steps - 1) / 2
    slope = drift * (place / (place @ place))
    levels, trends = np.repeat(unit[None, 0], len(level), 0), np.zeros((len(level), steps))
    errors = np.empty((len(level), steps - 1, steps))
    for step in range(1, steps):
        expected = levels + damping * trends + slope
        error = errors[:, step - 1] = unit[step] - expected
        levels, trends = expected + level * error, damping * trends + level * trend * error
    damped = np.cumsum(damping**ahead, 1)
    forecasts = levels[:, None] + damped[..., None] * trends[:, None] + ahead[:, None] * slope[:, None]
    if season == 1:
        return forecasts, errors
    inside, after = season_maps(steps, horizon, season, late)
    rest = unit - inside
    return forecasts @ rest + after, errors @ rest


def season_maps(steps: int, horizon: int, season: int, late: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights of windows of T steps that give their season, (T, T), and its continuation, (H, T).

    It is the mean, by phase, of what moving averages over a season leave (classical decomposition).

    Args:
        late: number of seasons, the last ones that moving averages reach, whose mean is taken.
    """
    weights = np.ones(season) if season % 2 else np.r_[0.5, np.ones(season - 1), 0.5]
    half, width = len(weights) // 2, len(weights)
    rows = np.arange(max(0, steps - width + 1 - late * season), steps - width + 1)
    left = np.eye(steps)[rows + half]
    for number, row in enumerate(rows):
        left[number, row : row + width] -= weights / season
    shape = np.stack([left[(rows + half) % season == phase].mean(0) for phase in range(season)])
    shape -= shape.mean(0)
    every = np.arange(steps + horizon) % season
    return shape[every[:steps]], shape[every[steps:]]
