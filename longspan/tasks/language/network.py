"""The network of a language model: a decoder without memory, its loss, and the scores of given tokens."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longspan.data.batches import Batch
from longspan.networks.decoder import Decoder, DecoderOutput, DecoderState
from longspan.nn.output import SampledSoftmaxLoss
from longspan.tasks.network import StreamingNetwork

from .batches import IGNORED, ScoredSegments
from .tokens import BOUNDARY

_SAMPLES = 4000  # negative tokens a batch at most
_SAMPLED_SHARE = 0.1  # share of the vocabulary that is sampled, where that is fewer


class SegmentScores(NamedTuple):
    """document, begin: (B,) as in `ScoredSegments`; log_probs: of each segment's tokens, float32 (T_i,)."""

    document: Tensor
    begin: Tensor
    log_probs: list[Tensor]


class LanguageNetwork(StreamingNetwork):
    """Reads tokens (B, T) and gives the probabilities of the next ones; starts afresh at every BOUNDARY.

    Args:
        decoder: without attention.
        counts: (V,) how often each token occurs; then the training loss is a sampled softmax, see
            `longspan.nn.SampledSoftmaxLoss`. Validation, scores and steps are by all tokens. None for a
            training loss by all tokens too.
    """

    def __init__(self, decoder: Decoder, counts: Tensor | None = None) -> None:
        super().__init__()
        self.decoder = decoder
        self.sampled = None
        if counts is not None:
            self.sampled = SampledSoftmaxLoss(
                decoder.vocabulary,
                min(_SAMPLES, math.ceil(_SAMPLED_SHARE * decoder.vocabulary)),
                frequencies=counts + 1.0,
                ignore_index=IGNORED,
            )

    @torch.no_grad()
    def start_from_counts(self, counts: Tensor) -> None:
        """Set the output layer's bias so that, before training, tokens are as likely as these counts (V,)."""
        shares = (counts + 1.0) / (counts + 1.0).sum()
        self.decoder.output.bias.copy_(shares.log())

    def forward(self, batch: Batch, state: Any = None) -> tuple[DecoderOutput, DecoderState]:
        tokens = batch.x.tokens if isinstance(batch.x, ScoredSegments) else batch.x
        starts = tokens == BOUNDARY
        starts[:, 0] &= state is not None
        return self.decoder(tokens, state, lengths=batch.lengths, reset=starts if starts.any() else None)

    def loss(self, output: DecoderOutput, batch: Batch) -> Tensor:
        if self.training and self.sampled is not None:
            layer = self.decoder.output
            return self.sampled(output.hidden, layer.weight, batch.y, linear_bias=layer.bias)
        if batch.weight is None:
            return self.decoder.loss(output, batch.y, ignore_index=IGNORED)
        return self.decoder.loss(output, batch.y, ignore_index=IGNORED, reduction="sum") / batch.weight.sum()

    def loss_count(self, output: DecoderOutput, batch: Batch) -> Tensor:
        return (batch.y != IGNORED).sum()

    def predict(self, batch: Batch) -> SegmentScores:
        """The log-probability of every token that is scored."""
        output, _ = self(batch)
        losses = self.decoder.loss(output, batch.y, ignore_index=IGNORED, reduction="none").cpu()
        counts = batch.y.cpu() != IGNORED
        scores = [-row[mask].float() for row, mask in zip(losses, counts, strict=True)]
        return SegmentScores(batch.x.document.cpu(), batch.x.begin.cpu(), scores)

    def initial_state(self) -> DecoderState:
        """The state of one row before its first token."""
        return self.decoder.initial_state(1)

    def step(self, inputs: Tensor, state: Any) -> tuple[Tensor, DecoderState]:
        """Tokens (R,) -> logits (R, V) of the next ones, and the state."""
        logits, state = self.decoder.step(inputs, state)
        return logits, state

    def read(self, tokens: Tensor, state: Any) -> DecoderState:
        """The state of one row after more of its tokens (T,)."""
        with torch.no_grad():
            for chunk in tokens.split(1024):
                _, state = self.decoder(chunk.unsqueeze(0), state)
        return state
