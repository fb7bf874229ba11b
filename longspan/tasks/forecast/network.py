"""Knows the network of horizons: a recurrent encoder beside a linear skip, quantiles or parameters out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from longspan.data.batches import Batch
from longspan.networks.encoder import Encoder

OUTPUTS = ("quantiles", "normal", "laplace", "logistic")
_WORD_WIDTH = 8
_STEP_WIDTH = 32
_SHARES = (1.0, 0.75, 0.5, 0.25)  # of what was learnt that are tried
_PARTS = ("past_words", "ahead_words", "static_words")


class ForecastNet(nn.Module):
    """Windows to what is foretold of them, on the windows' own scale.

    The answer is the sum of a linear map of the window (Zeng et al. 2023 show how far that alone goes), a
    head on the encoder's last state, and, where anything is known beforehand, a small network over that and
    the state at every step ahead.

    Args:
        sizes: what `longspan.tasks.forecast.codec.ForecastCodec.sizes` says.
        output: one of OUTPUTS: a quantile a level, or a location and a scale.
        read: how many of the context's last steps the encoder reads at most.
        hidden_size, cell, num_layers, dropout: of the encoder.
    """

    def __init__(
        self,
        sizes: Mapping[str, Any],
        *,
        output: str,
        read: int,
        hidden_size: int,
        cell: str,
        num_layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.horizon, self.output, self.read = sizes["horizon"], output, min(read, sizes["context"])
        self.outputs = sizes["levels"] if output == "quantiles" else 2
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
        self.begun: list[Tensor] = []  # the last weights as `start` put them

    def start(self, line: np.ndarray, errors: np.ndarray) -> None:
        """Start from a linear answer.

        Args:
            line: (T + 1, H), its weights and last its bias; errors: (H, Q), the quantiles of its errors, NaN
                where none are known.
        """
        spread = np.nan_to_num(errors)
        if self.output != "quantiles":
            wide = np.maximum(spread[:, -1] - spread[:, 0], 1e-3)
            spread = np.stack([0 * wide, np.log(wide / 3)], 1)
        weight, bias, spread = (torch.from_numpy(one).float() for one in (line[:-1].T, line[-1], spread))
        with torch.no_grad():
            self.skip.weight.copy_(weight)
            self.skip.bias.copy_(bias)
            self.head.bias.copy_(spread.flatten())
        self.begun = [one.detach().clone() for one in self._last()]

    def _last(self) -> list[nn.Parameter]:
        """The weights that the answer is linear in."""
        layers = [self.skip, self.head, *([] if self.steps is None else [self.steps.out])]
        return [weight for layer in layers for weight in layer.parameters()]

    def both(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The answers (B, H, K) with the last weights as training began, and as they are."""
        now = self(batch)[0]
        kept = [one.detach().clone() for one in self._last()]
        try:
            self._put(self.begun)
            return self(batch)[0], now
        finally:
            self._put(kept)

    @torch.no_grad()
    def hold_back(self, batches: Iterable[Batch], loss: Callable[[Tensor, Batch], Tensor]) -> None:
        """Go back towards the answer that training began from, as far as held-out batches say."""
        losses = torch.zeros(len(_SHARES), dtype=torch.float64)
        for batch in batches:
            first, now = self.both(batch)
            tried = [loss(torch.lerp(first, now, share), batch).double().cpu() for share in _SHARES]
            losses += torch.stack(tried) * len(now)
        self.go_back(_SHARES[int(losses.argmin())])

    def go_back(self, share: float) -> None:
        """Keep so much of what was learnt since the beginning; every answer becomes that mean of the two."""
        self._put([torch.lerp(b, w, share) for b, w in zip(self.begun, self._last(), strict=True)])

    def _put(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for one, value in zip(self._last(), values, strict=True):
                one.copy_(value)

    def forward(self, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        """(B, H, K): quantiles a level, or location and log scale; and None, since windows carry nothing."""
        s, ahead = self._read(batch)
        values = batch.x[0][..., 0]
        found = self.head(s).unflatten(1, (self.horizon, self.outputs))
        if self.steps is not None:
            found = found + self.steps(s, ahead[:, -self.horizon :])
        line = self.skip(values).unsqueeze(-1)
        if self.output == "quantiles":
            return found + line, None
        return torch.cat([found[..., :1] + line, found[..., 1:]], -1), None

    def _inputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The encoder's input (B, R, I), what is known over context and horizon, and of the series."""
        values, past, ahead, static, *words = batch.x[:7]
        past, ahead, static = (
            torch.cat([part, *(one(word[..., place]) for place, one in enumerate(table.children()))], -1)
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


def error_of(output: Tensor, y: Tensor, levels: Tensor, kind: str) -> Tensor:
    """What training makes small: the quantile loss, or the likelihood where a distribution is given.

    Args:
        output: (B, H, K), as a network of this kind of output gives it; y: (B, H), NaN where not known.
        levels: (Q,).
    """
    return pinball(output, y, levels) if kind == "quantiles" else likelihood(output, y, kind)


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
