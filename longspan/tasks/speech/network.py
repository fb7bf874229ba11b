"""The network of a recognizer: strided convolutions, a recurrent encoder, CTC labels a frame."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longspan.data.batches import Batch
from longspan.networks.encoder import Encoder
from longspan.nn.dropout import Dropout
from longspan.nn.linear import Linear
from longspan.tasks.network import StreamingNetwork

from .decoding import command_log_probs
from .searcher import Search
from .tokens import BLANK

STRIDES = {1: (1, 1), 2: (2, 1), 4: (2, 2), 8: (2, 2, 2)}  # frames a step -> strides of the convolutions


class CTCOutput(NamedTuple):
    """log_probs: (B, S, V) natural logarithms a step; lengths: (B,) int64, the real steps of each row."""

    log_probs: Tensor
    lengths: Tensor


class Emissions(NamedTuple):
    """What a network says about a batch, on the CPU, and how it is to be searched."""

    log_probs: Tensor
    lengths: Tensor
    search: Search


class StreamState(NamedTuple):
    """The last inputs of every convolution (1, I, K), and the state of the recurrent layers."""

    inputs: tuple[Tensor, ...]
    recurrent: Any


class CausalConvolution(nn.Module):
    """A strided convolution over time that sees no later step; then layer norm and ReLU.

    Args:
        input_size: I; filters: C; kernel_size: K; stride: steps from one output to the next.
    """

    def __init__(self, input_size: int, filters: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.before = kernel_size - 1  # steps of zeros before the first one
        self.stride = stride
        self.convolution = nn.Conv1d(input_size, filters, kernel_size, stride)
        self.norm = nn.LayerNorm(filters)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, I) -> (B, ceil(T / stride), C); steps beyond a row's length change no earlier one."""
        return self._outputs(F.pad(x.transpose(1, 2), (self.before, 0)))

    def _outputs(self, padded: Tensor) -> Tensor:
        return self.norm(self.convolution(padded).transpose(1, 2)).relu()

    def initial_inputs(self) -> Tensor:
        """The inputs (1, I, K - 1) before the first step: zeros."""
        weight = self.convolution.weight
        return weight.new_zeros(1, weight.shape[1], self.before)

    def step(self, x: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """More steps (1, T, I) -> the outputs (1, S, C) that are complete, and the inputs still needed."""
        inputs = torch.cat([inputs, x.transpose(1, 2)], 2)
        count = max(0, (inputs.shape[2] - self.before - 1) // self.stride + 1)
        if not count:
            return inputs.new_zeros(1, 0, self.convolution.out_channels), inputs
        out = self._outputs(inputs[:, :, : (count - 1) * self.stride + self.before + 1])
        return out, inputs[:, :, count * self.stride :]


class SpeechNetwork(StreamingNetwork):
    """Reads features (B, T, M) and gives the probabilities of labels at every `stride`-th frame.

    Args:
        bins: M; labels: V with the blank.
        stride: one of STRIDES.
        filters: C, channels of the convolutions; kernel_size: K, steps that each of them sees.
        hidden_size: H, units of a layer and direction; num_layers; bidirectional; cell.
        dropout: rate behind the convolutions, between the recurrent layers and before the output layer.
        recurrent_dropout: rate on h, the same values at all steps.
        commands: whether every sound has exactly one token; the loss then compares these tokens.
    """

    def __init__(
        self,
        bins: int,
        labels: int,
        *,
        stride: int = 2,
        filters: int = 128,
        kernel_size: int = 5,
        hidden_size: int = 128,
        num_layers: int = 2,
        bidirectional: bool = True,
        cell: str = "LSTM",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        commands: bool = False,
    ) -> None:
        super().__init__()
        widths = [bins, *[filters] * len(STRIDES[stride])]
        self.convolutions = nn.ModuleList(
            CausalConvolution(*pair, kernel_size, step)
            for pair, step in zip(pairwise(widths), STRIDES[stride], strict=True)
        )
        self.drop = Dropout(dropout)
        self.encoder = Encoder(
            filters, hidden_size, cell=cell, num_layers=num_layers, bidirectional=bidirectional,
            pool="steps", dropout=dropout, recurrent_dropout=recurrent_dropout,
        )  # fmt: skip
        self.output = Linear(self.encoder.output_size, labels)
        self.stride, self.commands = stride, commands

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Steps of the output for so many frames (B,)."""
        return (lengths + self.stride - 1) // self.stride

    def forward(self, batch: Batch, state: Any = None) -> tuple[CTCOutput, None]:
        x, frames = batch.x, batch.lengths
        if frames is None:
            frames = torch.full((x.shape[0],), x.shape[1])
        for convolution in self.convolutions:
            x = convolution(x)
        lengths = self.output_lengths(frames)
        x, _ = self.encoder(self.drop(x), lengths=lengths)
        return CTCOutput(self.output(x).log_softmax(-1), lengths), None

    def loss(self, output: CTCOutput, batch: Batch) -> Tensor:
        """The CTC loss of a token (Graves et al. 2006); rows too short for their texts do not count.

        For commands: the cross entropy among all commands by their CTC probabilities.
        """
        targets, counts = batch.y[0], batch.y[1].cpu()  # torch reads lengths on the CPU
        if self.commands:
            return self._command_loss(output, targets[:, 0], counts)
        losses = F.ctc_loss(
            output.log_probs.transpose(0, 1), targets, output.lengths, counts, blank=BLANK,
            reduction="sum", zero_infinity=True,
        )  # fmt: skip
        return losses / counts.sum().clamp(min=1)

    def loss_count(self, output: CTCOutput, batch: Batch) -> Tensor:
        counts = batch.y[1].cpu()
        return ((counts > 0) & (output.lengths > 0)).sum() if self.commands else counts.sum()

    def _command_loss(self, output: CTCOutput, targets: Tensor, counts: Tensor) -> Tensor:
        known = ((counts > 0) & (output.lengths > 0)).to(targets.device)
        scores = command_log_probs(output.log_probs, output.lengths)
        losses = F.cross_entropy(scores, targets, reduction="none")
        return torch.where(known, losses, 0.0).sum() / known.sum().clamp(min=1)

    def predict(
        self,
        batch: Batch,
        *,
        beam_size: int | None = None,
        language_weight: float | None = None,
        token_bonus: float | None = None,
    ) -> Emissions:
        """The labels' log-probabilities; `SpeechCodec.decode` searches texts in them."""
        output, _ = self(batch)
        search = Search(beam_size, language_weight, token_bonus)
        return Emissions(output.log_probs.cpu(), output.lengths.cpu(), search)

    def initial_state(self) -> StreamState:
        """The state of one sound before its first frame."""
        return StreamState(tuple(c.initial_inputs() for c in self._fronts()), None)

    def _fronts(self) -> list[CausalConvolution]:
        return [module for module in self.convolutions if isinstance(module, CausalConvolution)]

    def step(self, inputs: Tensor, state: StreamState) -> tuple[Tensor, StreamState]:
        """More frames (1, T, M) of one sound -> log-probabilities (S, V) of the steps that are complete."""
        x, kept = inputs, []
        for convolution, before in zip(self._fronts(), state.inputs, strict=True):
            x, rest = convolution.step(x, before)
            kept.append(rest)
        recurrent = state.recurrent
        if x.shape[1]:
            x, recurrent = self.encoder(x, recurrent)
        else:
            x = x.new_zeros(1, 0, self.encoder.output_size)
        return self.output(x).log_softmax(-1)[0], StreamState(tuple(kept), recurrent)
