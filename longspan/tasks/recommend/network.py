"""The network of a recommender: vectors of items, a recurrent network over events, scores of items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from longspan.data.batches import Batch
from longspan.kernels.linear import linear
from longspan.networks.encoder import recurrent
from longspan.nn.dropout import Dropout, dropout_mask
from longspan.nn.embedding import Embedding, lookup
from longspan.nn.linear import Linear
from longspan.nn.output import SampledSoftmaxLoss, linear_cross_entropy
from longspan.tasks.network import StreamingNetwork

from .batches import IGNORED, Inputs
from .losses import bpr_max, full_bpr_max
from .ranking import Ranking, ScoredEvents, Scorer

_INIT = 0.05  # initial vectors are uniform in [-_INIT, _INIT]
_CATEGORY_SIZE = 16  # values of the vector of a category
_STEPS = 2048  # events of a row that are read at a time where only some outputs are kept


class LossOptions(NamedTuple):
    """The training loss.

    name: see `losses.LOSSES`; num_samples: negative items of a step; sampling_power: exponent of the items'
    frequencies by which they are drawn; label_smoothing: of the full cross entropy; regularization: of
    BPR-max.
    """

    name: str = "cross_entropy"
    num_samples: int = 2048
    sampling_power: float = 0.5
    label_smoothing: float = 0.0
    regularization: float = 1.0


class ColumnVectors(nn.Module):
    """Encoded columns (..., C) to vectors (..., W): a category has a vector, a number is itself.

    Args:
        sizes: of each column, the number of categories; 0 for a column of numbers.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        widths = [min(_CATEGORY_SIZE, size) for size in self.sizes if size]
        tables = zip([size for size in self.sizes if size], widths, strict=True)
        self.tables = nn.ModuleList(Embedding(size, width) for size, width in tables)
        self.output_size = sum(widths) + sum(size == 0 for size in self.sizes)

    def forward(self, columns: Tensor) -> Tensor:
        """(..., C) float32 -> (..., W)."""
        tables = iter(self.tables)
        parts = [
            next(tables)(columns[..., place].long()) if size else columns[..., place : place + 1]
            for place, size in enumerate(self.sizes)
        ]
        return torch.cat(parts, -1)


class RecommendNetwork(StreamingNetwork):
    """Reads a user's items (B, T) and scores all items as the next one after each.

    The vector of an item is the same where it is read and where it is scored (tied). An item's vector is its
    own, which items of training alone have, plus a linear map of its attributes.

    Args:
        trained: Vt + 1, the items of training with 0 for an unknown one, which come before all others.
        attributes: (V + 1, A) float32, the encoded attributes of all items; A may be 0.
        attribute_sizes, context_sizes: of the columns of attributes and context, see `ColumnVectors`.
        embedding_size: D; hidden_size: H; num_layers, cell: of the recurrent network.
        dropout: rate of values between layers and of the output; embedding_dropout: of an item's vector.
        item_dropout: rate of events whose item's own vector is dropped.
        loss: the training loss.
        scorer: mixes the network's scores with others, and ranks.
    """

    attributes: Tensor

    def __init__(
        self,
        trained: int,
        attributes: Tensor,
        attribute_sizes: Sequence[int],
        context_sizes: Sequence[int],
        *,
        embedding_size: int,
        hidden_size: int,
        num_layers: int,
        cell: str,
        dropout: float,
        embedding_dropout: float,
        item_dropout: float,
        loss: LossOptions,
        scorer: Scorer,
        counts: Tensor,
    ) -> None:
        super().__init__()
        self.trained, self.loss_options, self.scorer = trained, loss, scorer
        self.embedding = Embedding(trained, embedding_size)
        nn.init.uniform_(self.embedding.weight, -_INIT, _INIT)
        self.register_buffer("attributes", attributes, persistent=False)
        self.attribute_vectors = ColumnVectors(attribute_sizes) if attribute_sizes else None
        self.attribute_map = None
        if self.attribute_vectors is not None:
            width = self.attribute_vectors.output_size
            self.attribute_map = Linear(width, embedding_size, bias=False)
            nn.init.uniform_(self.attribute_map.weight, -_INIT, _INIT)
        self.context_vectors = ColumnVectors(context_sizes) if context_sizes else None
        width = embedding_size + (self.context_vectors.output_size if self.context_vectors else 0)
        self.layers = recurrent(
            cell, width, hidden_size, num_layers=num_layers, dropout=dropout if num_layers > 1 else 0.0
        )
        self.project = Linear(hidden_size, embedding_size)
        self.bias = nn.Parameter(torch.zeros(trained))
        self.embedding_drop, self.drop = Dropout(embedding_dropout), Dropout(dropout)
        self.item_dropout = item_dropout
        self.sampled = None
        if loss.name != "cross_entropy":
            self.sampled = SampledSoftmaxLoss(
                trained,
                min(loss.num_samples, trained),
                frequencies=counts[:trained].double().clamp_min(1e-3),
                power=loss.sampling_power,
                ignore_index=IGNORED,
            )

    @torch.no_grad()
    def start_from_counts(self, counts: Tensor) -> None:
        """Set the bias so that, before training, items are as likely as these counts (V + 1,)."""
        shares = counts[: self.trained].float() + 1.0
        self.bias.copy_((shares / shares.sum()).log())

    # ---- items

    def item_vectors(self) -> Tensor:
        """(Vt + 1, D) the vectors of the items of training."""
        if self.attribute_map is None:
            return self.embedding.weight
        return self.embedding.weight + self._from_attributes(self.attributes[: self.trained])

    def _from_attributes(self, columns: Tensor) -> Tensor:
        assert self.attribute_vectors is not None and self.attribute_map is not None
        return self.attribute_map(self.attribute_vectors(columns))

    @torch.no_grad()
    def all_item_vectors(self) -> tuple[Tensor, Tensor]:
        """(V + 1, D) the vectors of all items, and (V + 1,) their biases; -inf for unknown ones."""
        vectors, bias = self.item_vectors(), self.bias.clone()
        cold = len(self.attributes) - self.trained
        if cold > 0:
            vectors = torch.cat([vectors, self._from_attributes(self.attributes[self.trained :])])
            bias = torch.cat([bias, bias[1:].mean().expand(cold)])
        bias[0] = -torch.inf
        return vectors.detach(), bias

    def _read(self, items: Tensor, context: Tensor | None) -> Tensor:
        """The vectors (..., W) that the recurrent network reads."""
        own = items < self.trained
        x = lookup(self.embedding.weight, items * own) * ((items > 0) & own).unsqueeze(-1)
        if self.training and self.item_dropout:
            x = x * dropout_mask(tuple(items.shape), self.item_dropout, x).unsqueeze(-1)
        if self.attribute_map is not None:
            x = x + self._from_attributes(self.attributes[items])
        x = self.embedding_drop(x)
        if self.context_vectors is None:
            return x
        shape = (*items.shape, len(self.context_vectors.sizes))
        columns = x.new_zeros(shape) if context is None else context
        return torch.cat([x, self.context_vectors(columns)], -1)

    # ---- the parts of a task's network

    def forward(self, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        """(B, T, D), to be multiplied with the items' vectors, and the state."""
        x = self._read(batch.x.items, batch.x.context)
        out, state = self.layers(x, state, lengths=batch.lengths, reset=batch.x.reset)
        return self.project(self.drop(out)), state

    def _targets(self, batch: Batch) -> Tensor:
        """(B, T) the next items, IGNORED where there is none that training has seen."""
        return batch.y.masked_fill((batch.y == 0) | (batch.y >= self.trained), IGNORED)

    def loss_count(self, output: Tensor, batch: Batch) -> Tensor:
        return (self._targets(batch) != IGNORED).sum()

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        target = self._targets(batch)
        counts = (target != IGNORED).sum()
        if not counts:  # no event of the batch has a next one
            return output.sum() * 0.0
        options, vectors = self.loss_options, self.item_vectors()
        if options.name == "bpr_max":
            loss = self._bpr_max(output, vectors, target)
        elif self.training and self.sampled is not None:
            loss = self.sampled(output, vectors, target, linear_bias=self.bias)
        else:
            smoothing = options.label_smoothing if self.training else 0.0
            loss = linear_cross_entropy(
                output,
                vectors,
                target,
                linear_bias=self.bias,
                ignore_index=IGNORED,
                label_smoothing=smoothing,
            )
        return loss if batch.weight is None else loss * counts / batch.weight.sum()

    def _bpr_max(self, output: Tensor, vectors: Tensor, target: Tensor) -> Tensor:
        scored = target != IGNORED
        hidden, items, regularization = output[scored], target[scored], self.loss_options.regularization
        if not self.training or self.sampled is None:
            return full_bpr_max(hidden, vectors, self.bias, items, regularization)
        drawn = self.sampled.draw(self.sampled.num_samples)
        own = (hidden * lookup(vectors, items)).sum(1) + self.bias[items]
        others = linear(hidden, lookup(vectors, drawn), self.bias[drawn])
        others = others.masked_fill(drawn == items.unsqueeze(1), -torch.inf)
        return bpr_max(own, others, regularization).mean()

    def predict(self, batch: Batch, k: int | None = None, exclude_seen: bool | None = None) -> Ranking:
        """The items of the highest scores after each scored event, or after the last one of each row."""
        return self.rank(self._scored_outputs(batch), batch, k=k, exclude_seen=exclude_seen)

    @torch.no_grad()
    def rank(
        self,
        hidden: Tensor,
        batch: Batch,
        *,
        k: int | None = None,
        exclude_seen: bool | None = None,
        compare: bool = True,
    ) -> Ranking:
        """Rank all items.

        Args:
            hidden: (n, D) of the scored events, or (B, T, D) of all.
            k, exclude_seen: as the task's options; compare: whether the baselines are ranked too.
        """
        rows, steps = _scored(batch)
        if hidden.dim() == 3:
            hidden = hidden[rows, steps]
        events = ScoredEvents(batch, rows, steps)
        vectors, bias = self.all_item_vectors()
        return self.scorer.rank(
            hidden, vectors, bias, events, k=k, exclude_seen=exclude_seen, compare=compare
        )

    def _scored_outputs(self, batch: Batch) -> Tensor:
        """(n, D), the outputs that `_scored` names, reading long rows in parts."""
        rows, steps = _scored(batch)
        x: Inputs = batch.x
        hidden = x.items.new_zeros((len(rows), self.project.out_features), dtype=self.bias.dtype)
        state: Any = None
        for begin in range(0, x.items.shape[1], _STEPS):
            part = slice(begin, begin + _STEPS)
            context = None if x.context is None else x.context[:, part]
            lengths = (batch.lengths - begin).clamp(0, _STEPS) if batch.lengths is not None else None
            inputs = Batch(Inputs(x.items[:, part], context), lengths=lengths)
            out, state = self(inputs, state)
            here = (steps >= begin) & (steps < begin + _STEPS)
            hidden[here] = out[rows[here], steps[here] - begin]
        return hidden

    def read(self, items: Tensor, context: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        """More events of one user, (1, T) and (1, T, C) -> the output after the last (1, D), the state."""
        out, state = self(Batch(Inputs(items, context)), state)
        return out[:, -1], state

    def initial_state(self) -> Any:
        """The state of one user before the first event."""
        return None

    def step(self, inputs: tuple[Tensor, Tensor | None], state: Any) -> tuple[Tensor, Any]:
        """(R,) items and (R, C) context of one more event -> (R, D) and the state."""
        out, state = self.layers.step(self._read(*inputs), state)
        return self.project(out), state


def _scored(batch: Batch) -> tuple[Tensor, Tensor]:
    """The row and the step (n,) of every scored output; without targets the last of each row."""
    if batch.y is None:
        rows = torch.arange(len(batch.x.items), device=batch.x.items.device)
        if batch.lengths is None:
            return rows, torch.full_like(rows, batch.x.items.shape[1] - 1)
        return rows, (batch.lengths.to(rows) - 1).clamp_min(0)
    rows, steps = (batch.y != IGNORED).nonzero(as_tuple=True)
    return rows, steps
