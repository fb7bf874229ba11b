"""The forecasting network: a recurrent encoder beside a linear skip; quantiles or a distribution out."""

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
from longspan.tasks.network import TaskNetwork

OUTPUTS = ("quantiles", "normal", "laplace", "logistic")
_WORD_WIDTH = 8
_STEP_WIDTH = 32
_SHARES = (1.0, 0.75, 0.5, 0.25)  # shares of the training's change that are tried, see `shrink_to_init`
_PARTS = ("past_words", "ahead_words", "static_words")


class ForecastInputs(NamedTuple):
    """B windows of T steps with H steps after them, as the network reads them.

    values (B, T, V): the scaled values, where some are missing also whether a value is there and the steps
    since the last one; past (B, T, P) and future (B, T + H, F): covariates; static (B, S): those of the
    series; past_words (B, T, _), future_words (B, T + H, _), static_words (B, _): categorical ones, as
    numbers in their vocabularies; center (B, H) and scale (B, 1), float64: an output times the scale plus the
    center is on the transform's scale.
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


class ForecastNetwork(TaskNetwork):
    """Windows to what is foretold of them, on the windows' own scale.

    The answer is the sum of a linear map of the window (Zeng et al. 2023 show how far that alone goes), a
    head on the encoder's last state, and, where anything is known beforehand, a small network over that and
    the state at every step ahead.

    Args:
        sizes: what `longspan.tasks.forecast.codec.ForecastCodec.sizes` says.
        levels: (Q,), the quantiles to predict.
        distribution: one of OUTPUTS: a quantile a level, or a location and a scale.
        read: how many of the context's last steps the encoder reads at most.
        hidden_size, cell, num_layers, dropout: of the encoder.
    """

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
        wide = [_WORD_WIDTH * len(sizes[part]) for part in _PARTS]
        ahead = sizes["ahead"] + wide[1]
        width = sizes["values"] + sizes["past"] + wide[0] + ahead
        self.encoder = Encoder(width, hidden_size, cell=cell, num_layers=num_layers, dropout=dropout)
        state = hidden_size + sizes["static"] + wide[2]
        self.skip = nn.Linear(sizes["context"], self.horizon)
        self.head = nn.Linear(state, self.horizon * self.outputs)
        self.steps = _Steps(state, ahead, self.horizon, self.outputs) if ahead else None
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.initial_weights: list[Tensor] = []  # the last layers' as `init_from_linear` set them

    def init_from_linear(self, line: np.ndarray, errors: np.ndarray) -> None:
        """Start from a linear answer.

        Args:
            line: (T + 1, H), its weights and last its bias; errors: (H, Q), the quantiles of its errors, NaN
                where none are known.
        """
        spread = np.nan_to_num(errors)
        if self.distribution != "quantiles":
            wide = np.maximum(spread[:, -1] - spread[:, 0], 1e-3)
            spread = np.stack([0 * wide, np.log(wide / 3)], 1)
        weight, bias, spread = (torch.from_numpy(one).float() for one in (line[:-1].T, line[-1], spread))
        with torch.no_grad():
            self.skip.weight.copy_(weight)
            self.skip.bias.copy_(bias)
            self.head.bias.copy_(spread.flatten())
        self.initial_weights = [one.detach().clone() for one in self._last()]

    def _last(self) -> list[nn.Parameter]:
        """The weights that the answer is linear in."""
        layers = [self.skip, self.head, *([] if self.steps is None else [self.steps.out])]
        return [weight for layer in layers for weight in layer.parameters()]

    def initial_and_now(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The answers (B, H, K) with the last weights as training began, and as they are."""
        now = self(batch)[0]
        kept = [one.detach().clone() for one in self._last()]
        try:
            self._put(self.initial_weights)
            return self(batch)[0], now
        finally:
            self._put(kept)

    @torch.no_grad()
    def shrink_to_init(self, batches: Iterable[Batch]) -> None:
        """Move the last layers towards their initial weights by the share with the least validation loss."""
        losses = torch.zeros(len(_SHARES), dtype=torch.float64)
        for batch in batches:
            first, now = self.initial_and_now(batch)
            tried = [self.loss(torch.lerp(first, now, share), batch).double().cpu() for share in _SHARES]
            losses += torch.stack(tried) * len(now)
        self.set_shrinkage(_SHARES[int(losses.argmin())])

    def set_shrinkage(self, share: float) -> None:
        """Set the last layers between their initial weights (share 0) and their trained ones (share 1)."""
        self._put([torch.lerp(b, w, share) for b, w in zip(self.initial_weights, self._last(), strict=True)])

    def _put(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for one, value in zip(self._last(), values, strict=True):
                one.copy_(value)

    def forward(self, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        """(B, H, K): quantiles a level, or location and log scale; and None, since windows carry nothing."""
        s, ahead = self._read(batch)
        values = batch.x.values[..., 0]
        found = self.head(s).unflatten(1, (self.horizon, self.outputs))
        if self.steps is not None:
            found = found + self.steps(s, ahead[:, -self.horizon :])
        line = self.skip(values).unsqueeze(-1)
        if self.distribution == "quantiles":
            return found + line, None
        return torch.cat([found[..., :1] + line, found[..., 1:]], -1), None

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The quantile loss, or the likelihood where a distribution is predicted; output (B, H, K)."""
        if self.distribution == "quantiles":
            return pinball(output, batch.y, self.levels.to(output.dtype))
        return likelihood(output, batch.y, self.distribution)

    def predict(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Quantiles (B, H, Q) on the scale of the transform, and the windows' scales (B,), both float64."""
        quantiles = quantiles_of(self(batch)[0].double(), self.levels, self.distribution)
        center, scale = batch.x.center, batch.x.scale
        return quantiles * scale.unsqueeze(-1) + center.unsqueeze(-1), scale[:, 0]

    def _inputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The encoder's input (B, R, I), what is known over context and horizon, and of the series."""
        values, past, ahead, static, *words, _, _ = batch.x
        past, ahead, static = (
            torch.cat([part, *(one(word[..., place]) for place, one in enumerate(table.children()))], -1)
            if word.shape[-1]
            else part
            for part, table, word in zip((past, ahead, static), self.words, words, strict=True)
        )
        read = slice(values.shape[1] - self.read, values.shape[1])
        return torch.cat([values[:, read], past[:, read], ahead[:, read]], -1), ahead, static

    def _read(self, batch: Batch) -> tuple[Tensor, Tensor]:
        x, ahead, static = self._inputs(batch)
        mask = None if batch.mask is None else batch.mask[:, -self.read :]
        s, _ = self.encoder(x, mask=mask)
        return torch.cat([s, static], -1), ahead

    def gates(self, batch: Batch) -> list[dict[str, Tensor]]:
        """What the encoder's gates did over the steps it read: per layer, letter -> (B, R, H)."""
        x, _, _ = self._inputs(batch)
        return self.encoder.gates(x, mask=None if batch.mask is None else batch.mask[:, -self.read :])


class _Steps(nn.Module):
    """A small network over the state and what is known of every step ahead."""

    def __init__(self, state: int, ahead: int, horizon: int, outputs: int) -> None:
        super().__init__()
        self.state, self.ahead = nn.Linear(state, _STEP_WIDTH), nn.Linear(ahead, _STEP_WIDTH, bias=False)
        self.place = nn.Parameter(torch.zeros(horizon, _STEP_WIDTH))
        self.out = nn.Linear(_STEP_WIDTH, outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, s: Tensor, ahead: Tensor) -> Tensor:
        """s (B, S), ahead (B, H, F) -> (B, H, K)."""
        return self.out(torch.relu(self.state(s).unsqueeze(1) + self.ahead(ahead) + self.place))


def _embeddings(counts: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(nn.Embedding(count, _WORD_WIDTH) for count in counts)


def pinball(output: Tensor, y: Tensor, levels: Tensor) -> Tensor:
    """The mean quantile loss (Koenker and Bassett 1978) over the steps that are known, times 2.

    output (B, H, Q), y (B, H) with NaN where not known, levels (Q,). At level 0.5 it is the absolute error.
    """
    known = ~y.isnan()
    error = torch.where(known, y, 0.0).unsqueeze(-1) - output
    values = torch.maximum(levels * error, (levels - 1) * error)
    return 2 * (values * known.unsqueeze(-1)).sum() / (known.sum().clamp_min(1) * len(levels))


def likelihood(output: Tensor, y: Tensor, kind: str) -> Tensor:
    """The mean negative log-likelihood over the steps that are known; output (B, H, 2), y (B, H)."""
    known = ~y.isnan()
    place, log_scale = output[..., 0], output[..., 1].clamp(-7.0, 7.0)
    z = (torch.where(known, y, 0.0) - place) * (-log_scale).exp()
    if kind == "normal":
        values = 0.5 * z.square() + log_scale + 0.5 * math.log(2 * math.pi)
    elif kind == "laplace":
        values = z.abs() + log_scale + math.log(2)
    else:
        values = z + log_scale + 2 * functional.softplus(-z)
    return (values * known).sum() / known.sum().clamp_min(1)


def quantiles_of(output: Tensor, levels: Tensor, kind: str) -> Tensor:
    """(B, H, Q) out of what the network gives, in order."""
    if kind == "quantiles":
        return output.sort(-1).values
    place, scale = output[..., :1], output[..., 1:].clamp(-7.0, 7.0).exp()
    if kind == "normal":
        z = torch.special.ndtri(levels)
    elif kind == "laplace":
        z = -torch.sign(levels - 0.5) * torch.log1p(-2 * (levels - 0.5).abs())
    else:
        z = torch.logit(levels)
    return place + scale * z
