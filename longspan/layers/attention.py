"""Keras' attention layers over one memory: dot-product and additive."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from longspan import errors
from longspan.nn import attention

from .base import Layer, LayerOptions, required_size
from .structure import Shape, is_shape
from .symbolic import KerasTensor
from .weights import Weight


class _Reader(Layer):
    """A layer called on [query, value] or [query, value, key], (B, Q, D) and (B, V, D). Abstract.

    A lone tensor is its own query and value, so that the layer can stand in a Sequential.
    """

    def __init__(self, dropout: float, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)
        self.dropout = errors.check_fraction("dropout", dropout, below_one=True)

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """(B, Q, V)."""
        raise NotImplementedError

    def call(
        self, x: Any, mask: Any = None, return_attention_scores: bool = False, use_causal_mask: bool = False
    ) -> Any:
        """Attend to the values.

        Args:
            x: [query, value] or [query, value, key]: (B, Q, D), (B, V, D), (B, V, D); or one tensor for all.
            mask: [query's (B, Q), value's (B, V)] bool or None each; or one for both.
            return_attention_scores: also return the weights (B, Q, V).
            use_causal_mask: hide values at later positions than the query's.

        Returns:
            (B, Q, D), 0 at masked queries.
        """
        query, value, key = _three(self.name, x)
        of_query, of_value = (mask, mask) if mask is None or isinstance(mask, Tensor) else (mask[0], mask[1])
        scores = self.scores(query, key)
        seen = of_value
        if use_causal_mask:
            before = attention.causal(scores)
            seen = before if of_value is None else before & of_value.unsqueeze(1)
        out, weights = attention.attend(scores, value, seen, self.dropout if self.training else 0.0)
        if of_query is not None:
            out = out.masked_fill(~of_query.unsqueeze(-1), 0.0)
        return (out, weights) if return_attention_scores else out

    def build(self, input_shape: Any) -> None:
        super().build(input_shape if is_shape(input_shape) else tuple(input_shape[0]))

    def compute_output_shape(self, input_shape: Any) -> Any:
        if is_shape(input_shape):
            return tuple(input_shape)
        return (*input_shape[0][:-1], input_shape[1][-1])

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        output = super().compute_output_spec(*args, **kwargs)
        if not kwargs.get("return_attention_scores"):
            return output
        query, value = args[0][:2] if isinstance(args[0], (list, tuple)) else (args[0], args[0])
        return output, KerasTensor((*query.shape[:-1], value.shape[1]))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Tensor | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return mask if mask is None or isinstance(mask, Tensor) else mask[0]


def _three(name: str, x: Any) -> tuple[Tensor, Tensor, Tensor]:
    if isinstance(x, (list, tuple)):
        if len(x) not in (2, 3):
            expected = "[query, value] or [query, value, key]"
            raise errors.value_error(
                f"input of {name}", expected, f"{len(x)} tensors", "leave the others out"
            )
        query, value, *key = x
        return query, value, key[0] if key else value
    return x, x, x


class Attention(_Reader):
    """Luong's attention: keras.layers.Attention.

    Args:
        use_scale: multiply the scores by a weight, scale ().
        score_mode: "dot" for query . key; "concat" for w * sum(tanh(query + key)) with a weight w.
        dropout: rate of dropout on the attention weights in training.
        seed: taken and without effect.

    >>> Attention()([torch.zeros(2, 3, 4), torch.zeros(2, 5, 4)]).shape
    torch.Size([2, 3, 4])
    """

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(dropout, **shared)
        self.use_scale = errors.check_bool("use_scale", use_scale)
        self.score_mode = errors.check_choice("score_mode", score_mode, ("dot", "concat"))
        self.seed = seed

    def create_weights(self, shape: Shape) -> None:
        for name, wanted in (("scale", self.use_scale), ("concat_score_weight", self.score_mode == "concat")):
            if wanted:
                self.own_weights.append(Weight(name, (), "ones", [self.parameter(name, ())]))

    scale: Tensor
    concat_score_weight: Tensor

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        if self.score_mode == "dot":
            scores = attention.dot_scores(query, key)
            return scores * self.scale if self.use_scale else scores
        return self.concat_score_weight * attention.sum_scores(
            query, key, self.scale if self.use_scale else 1.0
        )


class AdditiveAttention(_Reader):
    """Bahdanau's attention: keras.layers.AdditiveAttention, scores sum(scale * tanh(query + key)).

    Args:
        use_scale: whether there is the weight scale (D,).
        dropout: rate of dropout on the attention weights in training.

    >>> AdditiveAttention()([torch.zeros(2, 3, 4), torch.zeros(2, 5, 4)]).shape
    torch.Size([2, 3, 4])
    """

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(dropout, **shared)
        self.use_scale = errors.check_bool("use_scale", use_scale)

    scale: Tensor

    def create_weights(self, shape: Shape) -> None:
        if self.use_scale:
            size = (required_size(self, shape[-1], "the features"),)
            self.own_weights.append(Weight("scale", size, "glorot_uniform", [self.parameter("scale", size)]))

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        return attention.sum_scores(query, key, self.scale if self.use_scale else 1.0)
