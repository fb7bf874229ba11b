"""Keras' attention of several heads, with learned projections of queries, keys and values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from longspan import errors
from longspan.initializers import InitializerLike
from longspan.nn.attention import causal
from longspan.regularizers import RegularizerLike

from .base import Layer, LayerOptions, required_size
from .structure import mask_of, to_tensors, with_mask
from .symbolic import KerasTensor
from .weights import Weight

_PARTS = ("query", "key", "value", "attention_output")
_GATED_PARTS = ("query", "key", "gate", "value", "attention_output")


class MultiHeadAttention(Layer):
    """Attention of several heads: keras.layers.MultiHeadAttention (Vaswani et al. 2017, arXiv 1706.03762).

    Called as `layer(query, value, key=None)`: query (B, Q, D), value and key (B, V, E); returns (B, Q, O).
    Weights in Keras' order: query, key and value kernels (D, heads, key_dim) each with its bias
    (heads, key_dim), and the output's kernel (heads, value_dim, O) with its bias (O,).

    Args:
        num_heads: heads.
        key_dim: size of each head's queries and keys.
        value_dim: size of each head's values; None: key_dim.
        dropout: rate of dropout on the attention weights in training.
        use_bias: whether the projections have biases.
        output_shape: O; None: D.
        attention_axes: 1, the steps, or None for the same.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer: of all projections.
        use_gate: multiply what the heads read by a sigmoid of a further projection of the query.
        seed: accepted without effect.

    >>> MultiHeadAttention(2, 3)(torch.zeros(2, 5, 4), torch.zeros(2, 6, 4)).shape
    torch.Size([2, 5, 4])
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | Sequence[int] | None = None,
        attention_axes: int | Sequence[int] | None = None,
        kernel_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        use_gate: bool = False,
        seed: int | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        self.num_heads = errors.check_int("num_heads", num_heads, 1, "give the number of heads")
        self.key_value_heads, self.use_gate = self.num_heads, errors.check_bool("use_gate", use_gate)
        self.key_dim = errors.check_int("key_dim", key_dim, 1, "give the size of a head")
        self.value_dim = (
            key_dim if value_dim is None else errors.check_int("value_dim", value_dim, 1, "or None")
        )
        if attention_axes not in (None, 1, [1], (1,)):
            way_out = "move the dimension to attend over to the second place"
            raise errors.value_error("attention_axes", "None or 1", attention_axes, way_out)
        self.dropout = errors.check_fraction("dropout", dropout, below_one=True)
        self.use_bias = errors.check_bool("use_bias", use_bias)
        size = output_shape[0] if isinstance(output_shape, (list, tuple)) else output_shape
        self._output_size: int | None = size  # pyright: ignore[reportAttributeAccessIssue]
        self._initializers = (kernel_initializer, bias_initializer)
        self._regularizers = (kernel_regularizer, bias_regularizer)

    def build_from(self, *args: Any, **kwargs: Any) -> None:
        query, value, key, _ = _arguments(args, kwargs)
        self.build([tuple(part.shape) for part in (query, value, key)])

    def build(
        self, input_shape: Any = None, value_shape: Any = None, key_shape: Any = None, **named: Any
    ) -> None:
        """Create the weights for the shapes of query, value and key; or of these in a list."""
        query_shape = named.get("query_shape", input_shape)
        if value_shape is not None:
            query_shape = [query_shape, value_shape, value_shape if key_shape is None else key_shape]
        super().build(query_shape)

    def create_weights(self, shape: Any) -> None:
        query, value, *key = [shape, shape] if isinstance(shape[0], int) or shape[0] is None else shape
        sizes = [required_size(self, part[-1], "the features") for part in (query, *key, value)]
        if len(sizes) == 2:
            sizes.insert(1, sizes[1])
        heads, wide = self.num_heads, self.value_dim
        kernels = {
            "query": (sizes[0], heads, self.key_dim),
            "key": (sizes[1], self.key_value_heads, self.key_dim),
            "gate": (sizes[0], heads, wide),
            "value": (sizes[2], self.key_value_heads, wide),
            "attention_output": (heads, wide, self._output_size or sizes[0]),
        }
        for name in _GATED_PARTS if self.use_gate else _PARTS:
            kernel = kernels[name]
            bias = kernel[-1:] if name == "attention_output" else kernel[1:]
            self._add(f"{name}_kernel", kernel, 0)
            if self.use_bias:
                self._add(f"{name}_bias", bias, 1)

    def _add(self, name: str, shape: tuple[int, ...], which: int) -> None:
        source = self.parameter(name, shape)
        initializer, regularizer = self._initializers[which], self._regularizers[which]
        self.own_weights.append(Weight(name, shape, initializer, [source], regularizer=regularizer))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The attended values; see `attend` for the arguments."""
        query, value, key, rest = _arguments(to_tensors(args), to_tensors(kwargs))
        if not self.built:
            self.build_from(query, value, key)
        training = rest.pop("training", None)
        rest.pop("mask", None)
        mode = self.training
        if training is not None:
            self.train(bool(training))
        try:
            output = self.attend(query, value, key, **rest)
        finally:
            self.train(mode)
        return with_mask(output, mask_of(query))

    def attend(
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor,
        query_mask: Tensor | None = None,
        value_mask: Tensor | None = None,
        key_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Attend to values.

        Args:
            query: (B, Q, D); value, key: (B, V, E).
            query_mask: (B, Q) bool; value_mask, key_mask: (B, V) bool; None: what is attached to the tensors.
            attention_mask: (B, Q, V) bool, False where a query may not read a value.
            return_attention_scores: also return the attention weights (B, heads, Q, V).
            use_causal_mask: hide values at later positions than the query's.
        """
        q = self._projected(query, "query") / math.sqrt(self.key_dim)
        k, v = self._for_all_heads(key, "key"), self._for_all_heads(value, "value")
        scores = torch.einsum("bqhd,bvhd->bhqv", q, k)
        masks = (
            mask_of(query) if query_mask is None else query_mask,
            mask_of(value) if value_mask is None else value_mask,
            mask_of(key) if key_mask is None and key is not value else key_mask,
        )
        seen = _seen(masks, attention_mask, scores if use_causal_mask else None)
        if seen is not None:
            hidden = -0.7 * torch.finfo(scores.dtype).max  # a row that is hidden whole gets equal weights
            scores = scores + torch.where(seen, 0.0, hidden)
        weights = scores.softmax(-1)
        dropped = torch.dropout(weights, self.dropout, True) if self.training and self.dropout else weights
        mixed = torch.einsum("bhqv,bvhd->bqhd", dropped, v)
        if self.use_gate:
            mixed = mixed * self._projected(query, "gate").sigmoid()
        output = torch.einsum("bqhd,hdo->bqo", mixed, self.get_parameter("attention_output_kernel"))
        if self.use_bias:
            output = output + self.get_parameter("attention_output_bias")
        return (output, weights) if return_attention_scores else output

    def _for_all_heads(self, x: Tensor, name: str) -> Tensor:
        """Keys or values, each for as many heads of queries as share it."""
        return self._projected(x, name).repeat_interleave(self.num_heads // self.key_value_heads, 2)

    def _projected(self, x: Tensor, name: str) -> Tensor:
        out = torch.einsum("bti,ihd->bthd", x, self.get_parameter(f"{name}_kernel"))
        return out + self.get_parameter(f"{name}_bias") if self.use_bias else out

    def call(self, x: Any, mask: Any) -> Any:
        return self.attend(x, x, x)

    def compute_output_shape(
        self, input_shape: Any = None, value_shape: Any = None, key_shape: Any = None, **named: Any
    ) -> Any:
        input_shape = named.get("query_shape", input_shape)
        if value_shape is not None and key_shape is not None and value_shape[1:-1] != key_shape[1:-1]:
            expected, way_out = f"as many steps as the value's {value_shape}", "give one key for a value"
            raise errors.value_error(f"key of {self.name}", expected, key_shape, way_out)
        first = input_shape if isinstance(input_shape[0], (int, type(None))) else input_shape[0]
        return (*first[:-1], self._output_size or first[-1])

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        query, value, _, rest = _arguments(args, kwargs)
        output = KerasTensor(self.compute_output_shape(query.shape))
        if not rest.get("return_attention_scores"):
            return output
        return output, KerasTensor((query.shape[0], self.num_heads, query.shape[1], value.shape[1]))


class GroupedQueryAttention(MultiHeadAttention):
    """Attention whose heads share keys and values in groups: keras.layers.GroupQueryAttention.

    Ainslie et al. 2023, arXiv 2305.13245. Called as `MultiHeadAttention`.

    Args:
        head_dim: size of each head's queries, keys and values.
        num_query_heads: heads; num_key_value_heads: keys and values, a divisor of it.
        dropout, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
        use_gate, seed: as for `MultiHeadAttention`.

    >>> GroupedQueryAttention(3, 4, 2)(torch.zeros(2, 5, 4), torch.zeros(2, 6, 4)).shape
    torch.Size([2, 5, 4])
    """

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: float = 0.0,
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        use_gate: bool = False,
        seed: int | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(
            num_query_heads,
            head_dim,
            dropout=dropout,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            use_gate=use_gate,
            **shared,
        )
        self.key_value_heads = errors.check_int("num_key_value_heads", num_key_value_heads, 1, "or all heads")
        if num_query_heads % num_key_value_heads:
            expected = f"a divisor of {num_query_heads} heads"
            raise errors.value_error("num_key_value_heads", expected, num_key_value_heads, "choose another")


def _arguments(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, Any, Any, dict[str, Any]]:
    """query, value, key and the other arguments; a lone tensor attends to itself."""
    rest: dict[str, Any] = dict(
        zip(("query", "value", "key", "query_mask", "value_mask", "key_mask"), args, strict=False)
    )
    rest.update(kwargs)
    query = rest.pop("query")
    value = rest.pop("value", query)
    key = rest.pop("key", None)
    return query, value, value if key is None else key, rest


def _seen(masks: Sequence[Tensor | None], attention_mask: Any, scores: Tensor | None) -> Tensor | None:
    """(B, 1, Q, V) bool, False where a query may not read a value; None for no mask.

    masks: the query's, the value's and the key's; scores: of a causal mask's shape, None for no such mask.
    """
    query, value, key = masks
    parts = [
        None if query is None else query.bool()[:, None, :, None],
        None if value is None else value.bool()[:, None, None, :],
        None if key is None else key.bool()[:, None, None, :],
        None if attention_mask is None else _four(attention_mask.bool()),
        None if scores is None else causal(scores).unsqueeze(0),
    ]
    seen: Tensor | None = None
    for part in parts:
        if part is not None:
            seen = part if seen is None else seen & part
    return seen


def _four(mask: Tensor) -> Tensor:
    """(B, Q, V) or (Q, V) with a dimension for the heads."""
    return mask.unsqueeze(-3) if mask.dim() == 3 else mask
