"""Forecasts windows without training: repeats the last value or season, or smooths exponentially."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

_MOST_STEPS = 256  # of a window that are smoothed, its last ones
_LEAST_STEPS = 4  # of a window, below which nothing is smoothed
_LEVELS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0)  # smoothing parameters of the level
_TRENDS = [(a, b, phi) for a in (0.2, 0.5, 1.0) for b in (0.1, 0.4) for phi in (0.8, 0.95)]
_LEAST_SQUARES = 1e-9  # sum of squared errors that counts as none, on the network's scale
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


SMOOTHING: Mapping[str, Sequence[Parameters]] = {
    # simple exponential smoothing with half the slope as drift (Hyndman and Billah 2003)
    "theta": [Parameters(level, drift=0.5) for level in _LEVELS],
    "trend": [*map(Parameters, _LEVELS), *(Parameters(*trend) for trend in _TRENDS)],
}


class WindowShape(NamedTuple):
    """T and H, steps of a window and of a forecast; the season, 1 for none; whether it is taken off."""

    context: int
    horizon: int
    season: int = 1
    has_seasonal_center: bool = False

    def forecasts(self) -> tuple[str, ...]:
        """The names of the simple forecasts of such windows."""
        names = [] if self.has_seasonal_center else ["last"]
        if self.season > 1 and (self.has_seasonal_center or self.season <= self.context):
            names.append("season")
        return (*names, *(SMOOTHING if self.context >= _LEAST_STEPS else ()))


class SimpleForecasts(nn.Module):
    """The weighted sum of simple forecasts of windows, on the network's scale.

    Args:
        shares: by name; shape: of the windows.
    """

    def __init__(self, shares: Mapping[str, float], shape: WindowShape) -> None:
        super().__init__()
        self.total = sum(shares.values())
        self.shares = tuple(shares.values())
        season = 1 if shape.has_seasonal_center else shape.season
        self.parts = nn.ModuleList(
            Smoothing(SMOOTHING[name], shape.context, shape.horizon, season)
            if name in SMOOTHING
            else Repetition(name, shape)
            for name in shares
        )

    def forward(self, values: Tensor, count: Tensor) -> Tensor:
        """(B, H), the weighted sum for windows (B, T), of whose values `count` (B,) are known."""
        forecasts = (share * part(values, count) for share, part in zip(self.shares, self.parts, strict=True))
        return torch.stack(list(forecasts)).sum(0)


class Repetition(nn.Module):
    """Repeats the "last" value or "season" of windows."""

    def __init__(self, name: str, shape: WindowShape) -> None:
        super().__init__()
        self.season = 1 if name == "last" else shape.season
        self.horizon, self.is_center = shape.horizon, shape.has_seasonal_center

    def forward(self, values: Tensor, count: Tensor) -> Tensor:
        """Forecasts (B, H) of windows (B, T)."""
        if self.is_center:
            return values.new_zeros(len(values), self.horizon)
        steps = torch.arange(self.horizon, device=values.device) % self.season
        return values[:, values.shape[1] - self.season + steps]


class Smoothing(nn.Module):
    """Forecasts windows by exponential smoothing with the parameters that fit them, with or without a season.

    Every choice of parameters forecasts linearly. The forecasts of a window are averaged with weights by the
    Bayesian information criterion of their errors one step ahead in the window.

    Args:
        parameters: to choose from; context: T, steps of a window; horizon: H.
        season: steps, 1 for none; it is taken off where a window has two of them and two steps.
    """

    def __init__(self, parameters: Sequence[Parameters], context: int, horizon: int, season: int) -> None:
        super().__init__()
        self.steps = min(context, _MOST_STEPS)
        seasons = [1, season] if season > 1 and self.steps >= 2 * season + 2 else [1]
        pairs = [smoothing_maps(parameters, self.steps, horizon, each) for each in seasons]
        ahead, errors = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        learnt = np.repeat(seasons, len(parameters)) - 1.0  # values of the season's shape
        self.ahead: Tensor
        self.errors: Tensor
        self.learnt: Tensor
        for name, part in (("ahead", ahead), ("errors", errors), ("learnt", learnt)):
            self.register_buffer(name, torch.from_numpy(part).float(), persistent=False)

    def forward(self, values: Tensor, count: Tensor) -> Tensor:
        """Forecasts (B, H) of windows (B, T), of whose values `count` (B,) are known."""
        size = max(1, _AT_ONCE // self.errors.shape[0] // self.steps)
        parts = zip(values[:, -self.steps :].split(size), count.split(size), strict=True)
        return torch.cat([self._forecasts(*part) for part in parts])

    def _forecasts(self, values: Tensor, count: Tensor) -> Tensor:
        choices, horizon, steps = self.ahead.shape
        last = values[:, -1:]
        from_last = (values - last).to(self.ahead.dtype)
        errors = (from_last @ self.errors.reshape(-1, steps).T).unflatten(1, (choices, -1))
        known = count.clamp(2, steps).to(errors.dtype)[:, None]
        misfit = known * errors.square().sum(-1).clamp_min(_LEAST_SQUARES).log() + self.learnt * known.log()
        weights = torch.softmax(-0.5 * misfit, 1)
        forecasts = (from_last @ self.ahead.reshape(-1, steps).T).unflatten(1, (choices, horizon))
        return last + (weights.unsqueeze(-1) * forecasts).sum(1)


def smoothing_maps(
    parameters: Sequence[Parameters], steps: int, horizon: int, season: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of windows of T steps that forecast them, (P, H, T), and that give their errors, (P, T - 1, T).

    Args:
        parameters: P of them; season: 1 for none; else it is taken off first and added to the forecasts.
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
    inside, after = season_maps(steps, horizon, season)
    rest = unit - inside
    return forecasts @ rest + after, errors @ rest


def season_maps(steps: int, horizon: int, season: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights of windows of T steps that give their season, (T, T), and its continuation, (H, T).

    It is the mean, by phase, of what moving averages over a season leave (classical decomposition).
    """
    weights = np.ones(season) if season % 2 else np.r_[0.5, np.ones(season - 1), 0.5]
    half = len(weights) // 2
    left = np.eye(steps)[half : steps - half]
    for row in range(len(left)):
        left[row, row : row + len(weights)] -= weights / season
    phase = (np.arange(len(left)) + half) % season
    shape = np.stack([left[phase == each].mean(0) for each in range(season)])
    shape -= shape.mean(0)
    every = np.arange(steps + horizon) % season
    return shape[every[:steps]], shape[every[steps:]]
