"""The network of tasks that read a text and write another: bidirectional encoder, decoder with attention."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from longspan import errors
from longspan.data.batches import Batch
from longspan.data.tokenizers import END, PAD, SPECIAL, START, UNKNOWN
from longspan.networks.decoder import Decoder, DecoderOutput, DecoderState
from longspan.networks.encoder import Encoder
from longspan.nn.dropout import Dropout
from longspan.nn.embedding import Embedding
from longspan.search import Hypothesis, beam

from .network import TaskNetwork
from .pair_codec import IGNORED, PairInputs

_END, _START = SPECIAL.index(END), SPECIAL.index(START)
_NEVER = [SPECIAL.index(token) for token in (PAD, UNKNOWN, START)]  # tokens that no answer has


class Found(NamedTuple):
    """What a search gave for each row of a batch, the best first; n_best: hypotheses asked for a row."""

    rows: list[list[Hypothesis]]
    n_best: int


class SearchState(NamedTuple):
    """Where the decoder stands, and how many tokens each row may still write (R,)."""

    decoder: DecoderState
    left: Tensor


class PairNetwork(TaskNetwork):
    """Reads one text in both directions and writes another (Sutskever et al. 2014; Bahdanau et al. 2014).

    Args:
        source_tokens, target_tokens: sizes of the vocabularies; None for target_tokens: one for both, with
            one embedding.
        embedding_size: E; hidden_size: H, units of a layer and direction.
        encoder_layers, decoder_layers: recurrent layers; attention stands above the decoder's first.
        cell: see `longspan.networks.encoder.recurrent`.
        attention: "additive" or "multiplicative"; copy, coverage: as for `longspan.networks.Decoder`.
        coverage_weight: of the coverage loss (See et al. 2017, arXiv 1704.04368, equation 13).
        dropout: rate on embeddings, between layers, on the memory and before the output layer.
        recurrent_dropout: rate on h, the same values at all steps.
        label_smoothing: share of a target's probability that is spread over all tokens, in training.
        scheduled_sampling: share of the decoder's inputs that are its own answers at the end of training
            (Bengio et al. 2015, arXiv 1506.03099); it rises in a line over `steps` training steps. The
            answers of a step come from one pass over the true ones (Mihaylova and Martins 2019, arXiv
            1906.07651), so that both passes run over all steps at once.
        steps: of the training.
    """

    updates: Tensor

    def __init__(
        self,
        source_tokens: int,
        target_tokens: int | None,
        embedding_size: int,
        hidden_size: int,
        *,
        encoder_layers: int = 1,
        decoder_layers: int = 2,
        cell: str = "LSTM",
        attention: str = "additive",
        copy: bool = False,
        coverage: bool = False,
        coverage_weight: float = 0.0,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        label_smoothing: float = 0.0,
        scheduled_sampling: float = 0.0,
        steps: int = 1,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(
            embedding_size, hidden_size, cell=cell, num_layers=encoder_layers, bidirectional=True,
            pool="steps", dropout=dropout, recurrent_dropout=recurrent_dropout,
        )  # fmt: skip
        self.decoder = Decoder(
            target_tokens or source_tokens, embedding_size, hidden_size, decoder_layers, cell=cell,
            attention=attention, memory_size=self.encoder.output_size, dropout=dropout,
            recurrent_dropout=recurrent_dropout, coverage=coverage, copy=copy,
            unknown=SPECIAL.index(UNKNOWN),
        )  # fmt: skip
        shared = target_tokens is None
        self.embedding = self.decoder.embedding if shared else Embedding(source_tokens, embedding_size)
        # Attention learns several times as fast from vectors of unit variance as from the small ones that a
        # tied output layer needs; a shared embedding is scaled as in Vaswani et al. 2017, section 3.4.
        self.scale = embedding_size**0.5 if shared else 1.0
        self.drop = Dropout(dropout)
        self.coverage_weight = coverage_weight if coverage else 0.0
        self.label_smoothing, self.scheduled_sampling = label_smoothing, scheduled_sampling
        self.steps = steps
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Batch, state: Any = None) -> tuple[DecoderOutput, None]:
        """What the decoder gives at every step of the targets, each with the true token before it."""
        inputs: PairInputs = batch.x
        first = self._begin(inputs)
        previous = inputs.previous
        if previous is None:
            raise errors.value_error("batch", "one with targets", "none", "evaluate pairs")
        if self.training:
            self.updates += 1
            if self.scheduled_sampling:
                previous = self._sampled(previous, first, inputs.steps)
        output, _ = self.decoder(previous, first, lengths=inputs.steps)
        return output, None

    def _begin(self, inputs: PairInputs) -> DecoderState:
        """The decoder's state before the first token, with the source as its memory."""
        vectors = self.drop(self.embedding(inputs.source) * self.scale)
        read, _ = self.encoder(vectors, lengths=inputs.lengths)
        extra = 0 if inputs.extra is None else int(inputs.extra)
        memory = self.decoder.remember(read, inputs.lengths, tokens=inputs.copied, extra=extra)
        return self.decoder.initial_state(len(read), memory)

    @torch.no_grad()
    def _sampled(self, previous: Tensor, first: DecoderState, steps: Tensor | None) -> Tensor:
        """The tokens (B, T) with some of them as the decoder itself would have written them."""
        output, _ = self.decoder(previous, first, lengths=steps)
        own = torch.cat([previous[:, :1], self.decoder.logits(output).argmax(-1)[:, :-1]], 1)
        share = self.scheduled_sampling * min(1.0, float(self.updates) / self.steps)
        taken = torch.rand(previous.shape, device=previous.device) < share
        return torch.where(taken & (previous != _START), own, previous)

    def loss(self, output: DecoderOutput, batch: Batch) -> Tensor:
        """Mean cross entropy of the target's tokens; in training with smoothed labels and coverage loss."""
        return self.decoder.loss(
            output, batch.y, ignore_index=IGNORED,
            label_smoothing=self.label_smoothing if self.training else 0.0,
            coverage_weight=self.coverage_weight if self.training else 0.0,
        )  # fmt: skip

    def loss_count(self, output: DecoderOutput, batch: Batch) -> Tensor:
        return (batch.y != IGNORED).sum()

    def predict(
        self, batch: Batch, *, beam_size: int = 5, n_best: int = 1, length_penalty: float = 1.0
    ) -> Found:
        """The likeliest targets by beam search, see `longspan.search.beam`."""
        limit = batch.x.limit
        rows = beam(
            self._step,
            torch.full_like(limit, _START),
            SearchState(self._begin(batch.x), limit),
            beam_size=beam_size, n_best=n_best, length_penalty=length_penalty, end=_END, min_length=1,
            max_length=int(limit.max()) + 1, reorder=_reorder,
        )  # fmt: skip
        return Found(rows, n_best)

    def _step(self, tokens: Tensor, state: SearchState) -> tuple[Tensor, SearchState, Tensor]:
        logits, decoder, attention = self.decoder.step(tokens, state.decoder)
        logits[:, _NEVER] = -torch.inf
        over = state.left <= 0
        if bool(over.any()):  # a row's own limit, so that an answer does not depend on those beside it
            end = logits[over, _END]
            logits[over] = -torch.inf
            logits[over, _END] = end
        return logits, SearchState(decoder, state.left - 1), attention


def _reorder(state: SearchState, rows: Tensor) -> SearchState:
    return SearchState(state.decoder.select(rows), state.left[rows])
