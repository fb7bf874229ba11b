"""The network of a captioner: a grid of features of a picture, and a decoder that attends to its cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longspan import errors
from longspan.data.batches import Batch
from longspan.data.padding import sequence_mask
from longspan.data.tokenizers import END, PAD, SPECIAL, START, UNKNOWN
from longspan.networks.decoder import Decoder, DecoderOutput, DecoderState
from longspan.networks.frames import FrameGrid
from longspan.nn.dropout import Dropout
from longspan.nn.linear import Linear
from longspan.search import Hypothesis, beam
from longspan.tasks.network import TaskNetwork
from longspan.training.objective import LossTerm

from .batches import IGNORED, CaptionInputs
from .sampling import draw_captions, uniforms_of

_END, _START = SPECIAL.index(END), SPECIAL.index(START)
_MAPPED = 128  # values of a cell that the features of the user's model are mapped to
_NEVER = [SPECIAL.index(token) for token in (PAD, UNKNOWN, START)]  # tokens that no caption has


class CaptionOutput(NamedTuple):
    """decoder: the decoder's outputs for the captions; words: (B, V) logits of a picture's words."""

    decoder: DecoderOutput
    words: Tensor


class PictureShape(NamedTuple):
    """What the network sees: frames (channels, height, width), or the user's features on a grid of cells.

    channels: of a frame, or F; features: whether height and width count cells.
    """

    channels: int
    height: int
    width: int
    features: bool = False


class GridEncoder(nn.Module):
    """Gives the cells (B, S, M) of pictures that a decoder attends to, each with a vector for its position.

    Args:
        shape: of the pictures, or of the user's features.
        filters: of the convolutional net's stages; None for 16, 32, 64, 128 until the grid is 8 cells a side.
    """

    net: nn.Module

    def __init__(self, shape: PictureShape, filters: Sequence[int] | None) -> None:
        super().__init__()
        size = shape.height, shape.width
        if shape.features:
            self.net = _FeatureMap(shape)
        else:
            self.net = FrameGrid(shape.channels, size, filters)
        self.shape, self.output_size = self.net.shape, self.net.output_size
        self.norm = nn.LayerNorm(self.output_size)
        self.position = nn.Parameter(torch.zeros(self.shape[0] * self.shape[1], self.output_size))

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (B, C, H, W), or features (B, S, F), -> (B, S, M)."""
        return self.norm(self.net(frames)) + self.position


class _FeatureMap(nn.Module):
    """Scales each feature by the training part, and maps the features of a cell to _MAPPED values."""

    def __init__(self, shape: PictureShape) -> None:
        super().__init__()
        self.shape, self.output_size = (shape.height, shape.width), _MAPPED
        self.scale = nn.BatchNorm1d(shape.channels)
        self.linear = Linear(shape.channels, _MAPPED)

    def forward(self, cells: Tensor) -> Tensor:
        """(B, S, F) -> (B, S, _MAPPED)."""
        return self.linear(self.scale(cells.transpose(1, 2)).transpose(1, 2)).relu()


class CaptionNetwork(TaskNetwork):
    """Sees a picture as a grid of cells, and writes a caption while attending to them (arXiv 1502.03044).

    A linear layer predicts a caption's words from the mean of the cells; its loss teaches the convolutional
    net much faster than captions alone (visual concepts, Fang et al. 2014, arXiv 1411.4952).

    Args:
        shape: of the pictures, or of the user's features.
        vocabulary: V; longest: tokens that a caption may have.
        filters: of the convolutional net's stages, None for found ones.
        embedding_size, hidden_size, num_layers, cell, attention: as for `longspan.networks.Decoder`.
        dropout: rate on embeddings, between layers, before the output layers, and half of it on cells.
        recurrent_dropout: rate on h, the same values at all steps.
        label_smoothing: share of a target's probability that is spread over all tokens, in training.
        attention_weight: of the doubly stochastic term, which asks that a caption reads all cells equally.
        word_weight: of the loss of the predicted words.
    """

    def __init__(
        self,
        shape: PictureShape,
        vocabulary: int,
        longest: int,
        *,
        filters: Sequence[int] | None = None,
        embedding_size: int = 128,
        hidden_size: int = 192,
        num_layers: int = 1,
        cell: str = "LSTM",
        attention: str = "multiplicative",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        label_smoothing: float = 0.0,
        attention_weight: float = 1.0,
        word_weight: float = 0.2,
    ) -> None:
        super().__init__()
        self.encoder = GridEncoder(shape, filters)
        self.decoder = Decoder(
            vocabulary, embedding_size, hidden_size, num_layers, cell=cell, attention=attention,
            memory_size=self.encoder.output_size, dropout=dropout, variational=True,
            recurrent_dropout=recurrent_dropout,
        )  # fmt: skip
        self.words = Linear(self.encoder.output_size, vocabulary)
        self.drop, self.drop_cells = Dropout(dropout), Dropout(dropout / 2)
        self.longest, self.label_smoothing = longest, label_smoothing
        self.attention_weight, self.word_weight = attention_weight, word_weight

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the cells that are attended to."""
        return self.encoder.shape

    def forward(self, batch: Batch, state: Any = None) -> tuple[CaptionOutput, None]:
        """What the decoder gives at every step of the captions, each with the true token before it."""
        inputs: CaptionInputs = batch.x
        previous, owner = inputs.previous, inputs.owner
        if previous is None or owner is None:
            raise errors.value_error("batch", "one with captions", "none", "evaluate pictures with captions")
        cells = self.encoder(inputs.frames)
        first = self._begin(self.drop_cells(cells).index_select(0, owner))
        output, _ = self.decoder(previous, first, lengths=inputs.steps)
        return CaptionOutput(output, self.words(self.drop(cells.mean(1)))), None

    def _begin(self, cells: Tensor) -> DecoderState:
        """The decoder's state before the first token, with the cells as its memory."""
        return self.decoder.initial_state(len(cells), self.decoder.remember(cells))

    def loss(self, output: CaptionOutput, batch: Batch) -> Tensor:
        """Mean cross entropy of the captions' tokens; in training with the terms that the class names."""
        first, *others = (term.mean for term in self.loss_terms(output, batch))
        return sum(others, first)

    def loss_terms(self, output: CaptionOutput, batch: Batch) -> list[LossTerm]:
        tokens = self.decoder.loss(
            output.decoder, batch.y, ignore_index=IGNORED,
            label_smoothing=self.label_smoothing if self.training else 0.0,
        )  # fmt: skip
        terms = [LossTerm(tokens, (batch.y != IGNORED).sum())]
        if self.training and self.word_weight:
            words = F.binary_cross_entropy_with_logits(output.words, batch.x.words, reduction="sum")
            terms.append(LossTerm(self.word_weight * words / len(output.words), len(output.words)))
        if self.training and self.attention_weight:
            unevenness = self._unevenness(output.decoder, batch.x.steps)
            terms.append(LossTerm(self.attention_weight * unevenness, len(batch.y)))
        return terms

    def take_rows(self, batch: Batch, rows: Tensor) -> Batch:
        """Some pictures of a batch with their captions."""
        inputs, numbers = batch.x, torch.full((len(batch.x.frames),), -1)
        numbers[rows] = torch.arange(len(rows))
        captions = (numbers[inputs.owner] >= 0).nonzero().squeeze(1)
        x = inputs._replace(
            frames=inputs.frames[rows],
            previous=inputs.previous[captions],
            steps=inputs.steps[captions],
            owner=numbers[inputs.owner[captions]],
            words=inputs.words[rows],
        )
        return replace(batch, x=x, y=batch.y[captions])

    def _unevenness(self, output: DecoderOutput, steps: Tensor) -> Tensor:
        """The mean squared difference of what each cell was read, in all steps, from an equal share.

        Xu et al. 2015, equation 14, with steps / cells in the place of 1, so that it can be reached.
        """
        attention = output.attention
        if attention is None:
            return output.hidden.new_zeros(())
        counted = sequence_mask(steps, attention.shape[1], device=attention.device).unsqueeze(-1)
        share = steps.to(attention.device).unsqueeze(1) / attention.shape[2]
        return (share - (attention * counted).sum(1)).square().mean()

    def predict(
        self,
        batch: Batch,
        *,
        beam_size: int | None = None,
        length_penalty: float = 0.6,
        samples: int = 50,
        temperature: float = 1.0,
        top_p: float = 0.95,
    ) -> list[list[Hypothesis]]:
        """Captions of each picture, among which the codec chooses.

        Args:
            beam_size: of `longspan.search.beam`, which gives the likeliest caption alone; None for `samples`
                captions that are drawn.
            length_penalty: of the beam search.
            temperature, top_p: as for `.sampling.draw_captions`.
        """
        cells = self.encoder(batch.x.frames)
        if beam_size is None:
            uniforms = uniforms_of(batch.x.seeds, samples, self.longest)
            return draw_captions(
                self._step, self._begin(cells), _START, _END, uniforms, temperature=temperature, top_p=top_p
            )
        return self._searched(cells, beam_size, length_penalty)

    def _searched(self, cells: Tensor, beam_size: int, length_penalty: float) -> list[list[Hypothesis]]:
        """The likeliest caption of each picture."""
        return beam(
            self._step,
            torch.full((len(cells),), _START, device=cells.device),
            self._begin(cells),
            beam_size=beam_size, length_penalty=length_penalty, end=_END, min_length=1,
            max_length=self.longest, reorder=Decoder.reorder,
        )  # fmt: skip

    def _step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState, Tensor]:
        logits, state, attention = self.decoder.step(tokens, state)
        logits[:, _NEVER] = -torch.inf
        return logits, state, attention
