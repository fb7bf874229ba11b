"""The member of the ensemble that starts from a language model: its recurrent layers, and a head above."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longspan.networks.encoder import recurrent
from longspan.networks.pooling import Pool
from longspan.nn.dropout import Dropout
from longspan.nn.linear import Linear
from longspan.tasks.pretrained import EncoderSizes

_HEAD_UNITS = 50  # of the layer between the pooled outputs and the scores, as in ULMFiT
_HEAD_DROPOUT = 0.1  # rate before the scores, as in ULMFiT
_POOLS = ("last", "max", "mean")


class RowNorm(nn.BatchNorm1d):
    """Batch normalization of rows (B, W); a batch of one row is normalized by the running statistics."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, W) -> (B, W)."""
        if len(input) > 1:
            return super().forward(input)
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0,
                            self.eps)  # fmt: skip


class FineTunedClassifier(nn.Module):
    """Gives texts scores of C classes by the recurrent layers of a language model (ULMFiT, arXiv 1801.06146).

    The last layer's outputs are pooled: the one after the last token, the largest and the mean of all
    (concat pooling, section 3.3). Two linear layers with batch normalization and dropout make the scores.

    Args:
        sizes: of the language model; classes: C; dropout: rate between layers and on the pooled outputs.
        recurrent_dropout: as for `longspan.nn.LSTM`.
    """

    def __init__(
        self,
        sizes: EncoderSizes,
        classes: int,
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [sizes.embedding_size, *[sizes.hidden_size] * (sizes.num_layers - 1)]
        self.layers = nn.ModuleList(
            recurrent(sizes.cell, width, sizes.hidden_size, recurrent_dropout=recurrent_dropout)
            for width in widths
        )
        self.pools = nn.ModuleList(Pool(kind, sizes.hidden_size) for kind in _POOLS)
        pooled = len(_POOLS) * sizes.hidden_size
        self.drop = Dropout(dropout)
        self.head = nn.Sequential(
            RowNorm(pooled), Dropout(dropout), Linear(pooled, _HEAD_UNITS), nn.ReLU(),
            RowNorm(_HEAD_UNITS), Dropout(_HEAD_DROPOUT), Linear(_HEAD_UNITS, classes),
        )  # fmt: skip

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Vectors (B, T, E) of tokens -> scores (B, C); lengths: (B,), None without padding."""
        for number, layer in enumerate(self.layers):
            x, _ = layer(x if number == 0 else self.drop(x), lengths=lengths)
        return self.head(torch.cat([pool(x, lengths) for pool in self.pools], -1))

    @property
    def parts(self) -> list[nn.Module]:
        """The head, and the layers from the last to the first: the order in which they start to learn."""
        return [self.head, *reversed(list(self.layers))]

    @torch.no_grad()
    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Set the layers' weights to those of a language model, see `PretrainedEncoder`."""
        for name, parameter in self.layers.named_parameters():
            parameter.copy_(weights[f"layers.{name}"])
