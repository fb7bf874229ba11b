"""An embedding that also projects vectors back to scores of the codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from longspan import errors
from longspan.initializers import InitializerLike
from longspan.regularizers import RegularizerLike

from .base import LayerOptions
from .core import Embedding
from .structure import Shape
from .symbolic import KerasTensor
from .weights import Weight

_DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}


class ReversibleEmbedding(Embedding):
    """An `Embedding` that, called with reverse=True, scores the codes: keras.layers.ReversibleEmbedding.

    Vectors (B, …, D) times the transposed table are scores (B, …, V), as at the end of a language model
    (Press and Wolf 2017, arXiv 1608.05859). Weights in Keras' order: embeddings (V, D), and without
    tie_weights reverse_embeddings (D, V).

    Args:
        input_dim, output_dim, embeddings_initializer, embeddings_regularizer, mask_zero: as for `Embedding`.
        tie_weights: whether the scores use the table itself; otherwise a weight of their own.
        reverse_dtype: the dtype of the product, such as "float32"; None: the weights'.
        logit_soft_cap: scores become cap * tanh(score / cap); None: they stay as they are.

    >>> layer = ReversibleEmbedding(10, 4)
    >>> layer(layer(torch.tensor([[1, 2, 0]])), reverse=True).shape
    torch.Size([1, 3, 10])
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        tie_weights: bool = True,
        embeddings_initializer: InitializerLike = "uniform",
        embeddings_regularizer: RegularizerLike = None,
        mask_zero: bool = False,
        reverse_dtype: str | None = None,
        logit_soft_cap: float | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(
            input_dim, output_dim, embeddings_initializer, embeddings_regularizer, mask_zero, **shared
        )
        self._options.pop("weights", None)  # an option of Embedding alone
        self.tie_weights = errors.check_bool("tie_weights", tie_weights)
        if reverse_dtype is not None:
            errors.check_choice("reverse_dtype", reverse_dtype, _DTYPES)
        if logit_soft_cap is not None and not logit_soft_cap > 0:
            raise errors.value_error(
                "logit_soft_cap", "a number above 0, or None", logit_soft_cap, "30 is usual"
            )
        self.reverse_dtype, self.logit_soft_cap = reverse_dtype, logit_soft_cap

    reverse_embeddings: Tensor

    def create_weights(self, shape: Shape) -> None:
        super().create_weights(shape)
        if not self.tie_weights:
            size = (self.output_dim, self.input_dim)
            source = self.parameter("reverse_embeddings", size)
            self.own_weights.append(Weight("reverse_embeddings", size, self._start, [source]))

    def call(self, x: Tensor, mask: Tensor | None = None, reverse: bool = False) -> Tensor:
        """Vectors for codes, or scores of the codes for vectors.

        Args:
            x: codes (B, …), or with reverse vectors (B, …, D).
            mask: accepted without effect.
            reverse: whether x are vectors.
        """
        if not reverse:
            return super().call(x, mask)
        kernel = self.weight.T if self.tie_weights else self.reverse_embeddings
        if self.reverse_dtype is not None:
            x, kernel = x.to(_DTYPES[self.reverse_dtype]), kernel.to(_DTYPES[self.reverse_dtype])
        scores = x @ kernel
        cap = self.logit_soft_cap
        return scores if cap is None else cap * torch.tanh(scores / cap)

    def compute_output_shape(self, input_shape: Sequence[int | None], reverse: bool = False) -> Any:
        return (*input_shape[:-1], self.input_dim) if reverse else super().compute_output_shape(input_shape)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        reverse = kwargs.get("reverse", False)
        return KerasTensor(self.compute_output_shape(args[0].shape, reverse), self.compute_dtype)

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> Tensor | None:
        codes = not x.is_floating_point() if isinstance(x, Tensor) else True
        return super().compute_mask(x, mask) if codes else None
