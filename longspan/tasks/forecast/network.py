"""Forecasts quantiles or a distribution by a linear map of the window plus a recurrent encoder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from longspan.data.batches import Batch
from longspan.networks.encoder import Encoder
from longspan.nn.linear import Linear
from longspan.tasks.network import TaskNetwork

from .simple_forecasts import SimpleForecasts
from .window_spread import mean_change

# One output for each quantile, or a distribution, which has its branch in `likelihood` and in `quantiles_of`.
OUTPUTS = ("quantiles", "normal", "laplace", "logistic")
_WORD_WIDTH = 8  # size of the embedding of a category
_STEP_WIDTH = 32  # units of the layer that reads the future covariates of a step
_SHARES = (1.0, 0.75, 0.5, 0.25)  # of the weights' change in training that is kept, see `shrink_to_init`
_MAX_LOG_SCALE = 7.0  # magnitude at which the log scale of a distribution is clipped
_PARTS = ("past_words", "ahead_words", "static_words")  # the categorical inputs in the encoder's `sizes`


class ForecastInputs(NamedTuple):
    """The network's input: B windows of T steps, each followed by the H steps to forecast.

    values: (B, T, V), the scaled values, V = 1. In data with gaps V = 3: also whether the value is present,
        and a logarithm of the steps since the last present value.
    past, future, static: (B, T, P), (B, T + H, F) and (B, S), numeric covariates.
    past_words, future_words, static_words: (B, T, _), (B, T + H, _) and (B, _), categorical covariates as
        vocabulary indices.
    center, scale: (B, H) and (B, 1), float64; output * scale + center is a value after the transform (see
        `longspan.data.transforms`).
    history, known: (B, _) float64, transformed values before the origin for simple forecasts, missing ones
        filled in; (B,), how many are not. (B, 0) where there are no simple forecasts.
    """

    values: Tensor
    past: Tensor
    future: Tensor
    static: Tensor
    past_words: Tensor
    future_words: Tensor
    static_words: Tensor
    center: Tensor
    scale: Tensor
    history: Tensor
    known: Tensor


class ForecastNetwork(TaskNetwork):
    """Forecasts windows of H steps ahead, on each window's own scale.

    The forecast is the sum of a linear map of the window (strong by itself, Zeng et al. 2023) and a linear
    map of the encoder's last state. With future covariates or a calendar, a small network reads that state
    and the covariates of a step ahead, and its output is added to the forecast of the step.

    Args:
        sizes: of the inputs, see `longspan.tasks.forecast.window_encoder.WindowEncoder.sizes`.
        levels: (Q,), the quantiles to predict.
        distribution: one of OUTPUTS. The K outputs of a step are its quantiles, or location and log scale.
        read: R, the largest number of steps, at the end of the context, that the encoder reads.
        hidden_size, cell, num_layers, dropout: of the encoder.
    """

    joins = True

    def __init__(
        self,
        sizes: Mapping[str, Any],
        *,
        levels: Sequence[float],
        distribution: str,
        read: int,
        hidden_size: int,
        cell: str,
        num_layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.horizon, self.distribution = sizes["horizon"], distribution
        self.read = min(read, sizes["context"])
        self.outputs = len(levels) if distribution == "quantiles" else 2
        self.levels: Tensor
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.float64), persistent=False)
        self.words = nn.ModuleList(_embeddings(sizes[part]) for part in _PARTS)
        embedded = [_WORD_WIDTH * len(sizes[part]) for part in _PARTS]
        ahead = sizes["ahead"] + embedded[1]
        width = sizes["values"] + sizes["past"] + embedded[0] + ahead
        self.encoder = Encoder(width, hidden_size, cell=cell, num_layers=num_layers, dropout=dropout)
        state = hidden_size + sizes["static"] + embedded[2]
        self.skip = Linear(sizes["context"], self.horizon)
        self.head = Linear(state, self.horizon * self.outputs)
        self.steps = _Steps(state, ahead, self.horizon, self.outputs) if ahead else None
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self._middle = min(range(len(levels)), key=lambda place: abs(levels[place] - 0.5))
        self.simple: SimpleForecasts | None = None  # to which `predict` moves the forecasts by their share
        self.initial_weights: list[Tensor] = []  # of the last layers, as `init_from_linear` set them

    def init_from_linear(self, line: np.ndarray, errors: np.ndarray) -> None:
        """Set the weights so that the network starts as a linear forecast.

        Args:
            line: (T + 1, H), the linear forecast's weights, with its bias in the last row.
            errors: (H, Q), the quantiles of the forecast's errors, NaN where there are none.
        """
        spread = np.nan_to_num(errors)
        if self.distribution != "quantiles":
            width = np.maximum(spread[:, -1] - spread[:, 0], 1e-3)
            spread = np.stack([0 * width, np.log(width / 3)], 1)  # location 0 and a log scale
        parts = (line[:-1].T, line[-1], spread)
        weight, bias, spread = (torch.from_numpy(part).float() for part in parts)
        with torch.no_grad():
            self.skip.weight.copy_(weight)
            self.skip.bias.copy_(bias)
            self.head.bias.copy_(spread.flatten())
        self.initial_weights = [weight.detach().clone() for weight in self._last_weights()]

    def _last_weights(self) -> list[nn.Parameter]:
        """The weights of the last layers, in which the output is linear."""
        layers = [self.skip, self.head, *([] if self.steps is None else [self.steps.out])]
        return [weight for layer in layers for weight in layer.parameters()]

    def initial_and_now(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The outputs (B, H, K) with the initial weights of the last layers, and with the present ones."""
        now = self(batch)[0]
        present = [weight.detach().clone() for weight in self._last_weights()]
        try:
            self._set_last_weights(self.initial_weights)
            return self(batch)[0], now
        finally:
            self._set_last_weights(present)

    @torch.no_grad()
    def shrink_to_init(self, batches: Iterable[Batch]) -> None:
        """Move the last layers towards their initial weights by the share with the least validation loss."""
        losses = torch.zeros(len(_SHARES), dtype=torch.float64)
        for batch in batches:
            initial, now = self.initial_and_now(batch)
            by_share = [self.loss(torch.lerp(initial, now, share), batch).double().cpu() for share in _SHARES]
            losses += torch.stack(by_share) * len(now)
        self.set_shrinkage(_SHARES[int(losses.argmin())])

    def set_shrinkage(self, share: float) -> None:
        """Set the last layers between their initial weights (share 0) and their trained ones (share 1)."""
        pairs = zip(self.initial_weights, self._last_weights(), strict=True)
        self._set_last_weights([torch.lerp(initial, trained, share) for initial, trained in pairs])

    def set_simple(self, simple: SimpleForecasts | None) -> None:
        """Set the simple forecasts to which `predict` moves the forecasts by their shares; None for none."""
        self.simple = None if simple is None else simple.to(self.skip.weight.device)

    def _set_last_weights(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for weight, value in zip(self._last_weights(), values, strict=True):
                weight.copy_(value)

    def forward(self, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        """(B, H, K), quantiles or location and log scale; and None, since windows carry no state."""
        encoded, future = self._read(batch)
        values = batch.x.values[..., 0]
        output = self.head(encoded).unflatten(1, (self.horizon, self.outputs))
        if self.steps is not None:
            output = output + self.steps(encoded, future[:, -self.horizon :])
        linear = self.skip(values).unsqueeze(-1)
        if self.distribution == "quantiles":
            return output + linear, None
        return torch.cat([output[..., :1] + linear, output[..., 1:]], -1), None

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The quantile loss, or the negative log-likelihood of a distribution; output (B, H, K)."""
        if self.distribution == "quantiles":
            return pinball(output, batch.y, self.levels.to(output.dtype))
        return likelihood(output, batch.y, self.distribution)

    def loss_count(self, output: Tensor, batch: Batch) -> Tensor:
        return (~batch.y.isnan()).sum()

    def predict(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Quantiles (B, H, Q) of the transformed values, the windows' scales (B,) and mean changes (B,)."""
        quantiles = quantiles_of(self(batch)[0].double(), self.levels, self.distribution)
        center, scale = batch.x.center, batch.x.scale
        last = slice(-2 * self.horizon - 1, None)
        values = batch.x.values[:, last].double()
        present = values[..., 1] > 0 if values.shape[-1] > 1 else None  # data with gaps
        if present is None and batch.mask is not None:
            present = batch.mask[:, last]
        changes = mean_change(values[..., 0], present)
        quantiles = quantiles * scale.unsqueeze(-1) + center.unsqueeze(-1)
        if self.simple is not None:
            moved = self.simple(batch.x.history, batch.x.known)
            moved = moved - self.simple.total * quantiles[..., self._middle]
            quantiles = quantiles + moved.unsqueeze(-1)
        return quantiles, scale[:, 0], changes

    def _inputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Embedded: the encoder's input (B, R, I), future (B, T + H, F) and static covariates (B, S)."""
        values, past, future, static, *words = batch.x[: 4 + len(_PARTS)]
        past, future, static = (
            torch.cat([part, *(embed(word[..., i]) for i, embed in enumerate(tables.children()))], -1)
            if word.shape[-1]
            else part
            for part, tables, word in zip((past, future, static), self.words, words, strict=True)
        )
        read = slice(values.shape[1] - self.read, values.shape[1])
        return torch.cat([values[:, read], past[:, read], future[:, read]], -1), future, static

    def _read(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The encoder's last state with the static covariates (B, S), and the future covariates."""
        x, future, static = self._inputs(batch)
        mask = None if batch.mask is None else batch.mask[:, -self.read :]
        encoded, _ = self.encoder(x, mask=mask)
        return torch.cat([encoded, static], -1), future

    def gates(self, batch: Batch) -> list[dict[str, Tensor]]:
        """The encoder's gates over the R steps that it reads: per layer, letter -> (B, R, H)."""
        x, _, _ = self._inputs(batch)
        return self.encoder.gates(x, mask=None if batch.mask is None else batch.mask[:, -self.read :])


class _Steps(nn.Module):
    """Maps the encoder's state and the future covariates of a step to what is added to that step's output."""

    def __init__(self, state: int, ahead: int, horizon: int, outputs: int) -> None:
        super().__init__()
        self.state, self.ahead = Linear(state, _STEP_WIDTH), Linear(ahead, _STEP_WIDTH, bias=False)
        self.place = nn.Parameter(torch.zeros(horizon, _STEP_WIDTH))  # a bias for each step ahead
        self.out = Linear(_STEP_WIDTH, outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, encoded: Tensor, future: Tensor) -> Tensor:
        """encoded (B, S), future (B, H, F) -> (B, H, K)."""
        return self.out(torch.relu(self.state(encoded).unsqueeze(1) + self.ahead(future) + self.place))


def _embeddings(counts: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(nn.Embedding(count, _WORD_WIDTH) for count in counts)


def pinball(output: Tensor, y: Tensor, levels: Tensor) -> Tensor:
    """The mean quantile loss (Koenker and Bassett 1978) over the steps that are present, times 2.

    output (B, H, Q), y (B, H) with NaN where missing, levels (Q,). At level 0.5 it is the absolute error.
    """
    present = ~y.isnan()
    error = torch.where(present, y, 0.0).unsqueeze(-1) - output
    values = torch.maximum(levels * error, (levels - 1) * error)
    return 2 * (values * present.unsqueeze(-1)).sum() / (present.sum().clamp_min(1) * len(levels))


def likelihood(output: Tensor, y: Tensor, kind: str) -> Tensor:
    """The mean negative log-likelihood over the steps that are present.

    Args:
        output: (B, H, 2), location and log scale; y: (B, H), NaN where missing. Both are on the window's
            scale: centered, scaled and after the transform.
        kind: a distribution of OUTPUTS.
    """
    present = ~y.isnan()
    location, log_scale = output[..., 0], output[..., 1].clamp(-_MAX_LOG_SCALE, _MAX_LOG_SCALE)
    z = (torch.where(present, y, 0.0) - location) * (-log_scale).exp()
    if kind == "normal":
        values = 0.5 * z.square() + log_scale + 0.5 * math.log(2 * math.pi)
    elif kind == "laplace":
        values = z.abs() + log_scale + math.log(2)
    else:  # logistic
        values = z + log_scale + 2 * functional.softplus(-z)
    return (values * present).sum() / present.sum().clamp_min(1)


def quantiles_of(output: Tensor, levels: Tensor, kind: str) -> Tensor:
    """Quantiles (B, H, Q), rising with the level, of the network's output (B, H, K); kind: one of OUTPUTS."""
    if kind == "quantiles":
        return output.sort(-1).values
    location, scale = output[..., :1], output[..., 1:].clamp(-_MAX_LOG_SCALE, _MAX_LOG_SCALE).exp()
    if kind == "normal":
        z = torch.special.ndtri(levels)
    elif kind == "laplace":
        z = -torch.sign(levels - 0.5) * torch.log1p(-2 * (levels - 0.5).abs())
    else:  # logistic
        z = torch.logit(levels)
    return location + scale * z
