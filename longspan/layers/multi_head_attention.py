"""Keras' attention of several heads, with learned projections of queries, keys and values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from longspan import errors, initializers
from longspan.initializers import InitializerLike
from longspan.regularizers import RegularizerLike

from .base import Layer, LayerOptions, required_size
from .head_attention import attention_along, merged_mask
from .structure import is_shape, mask_of, to_tensors, with_mask
from .symbolic import KerasTensor
from .weights import Weight

_PARTS = ("query", "key", "value", "attention_output")
_GATED_PARTS = ("query", "key", "gate", "value", "attention_output")


@dataclass(frozen=True)
class Projection:
    """The weights of a projection into the heads, or out of them: parameters with `assign`.

    Args:
        kernel: (D, heads, size), of the output (heads, size, O).
        bias: (heads, size), of the output (O,); None without one.
    """

    kernel: Tensor
    bias: Tensor | None


class MultiHeadAttention(Layer):
    """Attention of several heads: keras.layers.MultiHeadAttention (Vaswani et al. 2017, arXiv 1706.03762).

    Called as `layer(query, value, key=None)`: query (B, Q, D), value and key (B, V, E); returns (B, Q, O).
    There may be further dimensions between the first and the last.
    Weights in Keras' order: query, key and value kernels (D, heads, key_dim) each with its bias
    (heads, key_dim), and the output's kernel (heads, value_dim, O) with its bias (O,).

    Args:
        num_heads: heads.
        key_dim: size of each head's queries and keys.
        value_dim: size of each head's values; None: key_dim.
        dropout: rate of dropout on the attention weights in training.
        use_bias: whether the projections have biases.
        output_shape: O, or several sizes; None: D.
        attention_axes: the dimensions to attend along, such as 1, the steps; None: all but the first and the
            last. The others are so many sequences of their own.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer: of all projections.
        use_gate: multiply what the heads read by a sigmoid of a further projection of the query.
        sliding_window: a query reads values fewer than so many steps away; None for all.
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
        sliding_window: int | None = None,
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
        self.attention_axes = (attention_axes,) if isinstance(attention_axes, int) else attention_axes
        self.sliding_window = sliding_window
        if sliding_window is not None:
            errors.check_int("sliding_window", sliding_window, 1, "or None")
        self.dropout = errors.check_fraction("dropout", dropout, below_one=True)
        self.use_bias = errors.check_bool("use_bias", use_bias)
        sizes = (output_shape,) if isinstance(output_shape, int) else output_shape
        if not is_shape(sizes or ()):
            raise errors.type_error("output_shape", "a size, or a list of sizes", output_shape, "None for D")
        self._output_sizes: tuple[int, ...] = tuple(sizes or ())
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
            "attention_output": (heads, wide, *(self._output_sizes or sizes[:1])),
        }
        for name in _GATED_PARTS if self.use_gate else _PARTS:
            kernel = kernels[name]
            bias = kernel[2:] if name == "attention_output" else kernel[1:]
            read = 2 if name == "attention_output" else 1  # the dimensions that the product sums over
            self._add(f"{name}_kernel", kernel, 0, read)
            if self.use_bias:
                self._add(f"{name}_bias", bias, 1)

    def _add(self, name: str, shape: tuple[int, ...], which: int, read: int = 0) -> None:
        source = self.parameter(name, shape)
        initializer, regularizer = self._initializers[which], self._regularizers[which]
        if read:
            initializer = initializers.with_axes(initializer, range(read), range(read, len(shape)))
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
            query: (B, Q, D); value, key: (B, V, E); with further dimensions as attention_axes says.
            query_mask: (B, Q) bool; value_mask, key_mask: (B, V) bool; None: what is attached to the tensors.
            attention_mask: (B, Q, V) bool, False where a query may not read a value.
            return_attention_scores: also return the attention weights (B, heads, Q, V).
            use_causal_mask: hide values at later positions than the query's.
        """
        axes = self._axes(query.dim())
        masks = (
            mask_of(query) if query_mask is None else query_mask,
            mask_of(value) if value_mask is None else value_mask,
            mask_of(key) if key_mask is None and key is not value else key_mask,
        )
        window = self._window(query, value, axes, use_causal_mask)
        seen = merged_mask(masks, attention_mask, window, axes)
        q = self._projected(query, "query")
        k, v = self._for_all_heads(key, "key"), self._for_all_heads(value, "value")
        wanted = {"return_attention_scores": True} if return_attention_scores else {}
        mixed, weights = self._compute_attention(q, k, v, seen, self.training, **wanted)
        if self.use_gate:
            mixed = mixed * self._projected(query, "gate").sigmoid()
        output = torch.tensordot(mixed, self.get_parameter("attention_output_kernel"), 2)
        if self.use_bias:
            output = output + self.get_parameter("attention_output_bias")
        return (output, weights) if return_attention_scores else output

    def _compute_attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """What the heads read, and the attention weights; a class of your own may define it otherwise.

        Args:
            query, key, value: projected, (B, Q or V, heads, key_dim), the value with value_dim.
            attention_mask: (B, Q, V) bool, False where a query may not read a value; None for no mask.
            training: whether dropout acts; None for the layer's mode.
            return_attention_scores: without effect here, the weights are there anyway.
            use_causal_mask: hide values at later positions than the query's, too.

        Returns:
            (B, Q, heads, value_dim) and (B, heads, Q, V).
        """
        query, key, value, attention_mask = to_tensors([query, key, value, attention_mask])
        axes = self._axes(query.dim() - 1)
        if use_causal_mask:
            attention_mask = merged_mask((), attention_mask, self._window(query, value, axes, True), axes)
        dropout = self.dropout if (self.training if training is None else training) else 0.0
        return attention_along(axes, query / math.sqrt(self.key_dim), key, value, attention_mask, dropout)

    def _window(self, query: Tensor, value: Tensor, axes: Sequence[int], is_causal: bool) -> Tensor | None:
        """(1, Q, V) bool, True where positions are near enough, and not later with a causal mask."""
        if not is_causal and self.sliding_window is None:
            return None
        if len(axes) > 1:
            way_out = "pass attention_mask"
            raise errors.value_error(
                "attention_axes", "one dimension for a causal mask or a window", axes, way_out
            )
        steps = [torch.arange(x.shape[axes[0]], device=x.device) for x in (query, value)]
        apart = steps[0].unsqueeze(1) - steps[1]
        near = apart >= 0 if is_causal else torch.ones_like(apart, dtype=torch.bool)
        return (
            near if self.sliding_window is None else near & (apart.abs() < self.sliding_window)
        ).unsqueeze(0)

    def _axes(self, dimensions: int) -> tuple[int, ...]:
        """The dimensions of a query that it attends along, counted from 0."""
        if self.attention_axes is None:
            return tuple(range(1, dimensions - 1))
        axes = tuple(axis % dimensions for axis in self.attention_axes)
        if any(not 0 < axis < dimensions - 1 for axis in axes):
            expected = f"dimensions between the first and the last of {dimensions}"
            raise errors.value_error("attention_axes", expected, self.attention_axes, "None takes them all")
        return axes

    def _for_all_heads(self, x: Tensor, name: str) -> Tensor:
        """Keys or values, each for as many heads of queries as share it."""
        return self._projected(x, name).repeat_interleave(self.num_heads // self.key_value_heads, -2)

    def _projected(self, x: Tensor, name: str) -> Tensor:
        out = torch.tensordot(x, self.get_parameter(f"{name}_kernel"), 1)
        return out + self.get_parameter(f"{name}_bias") if self.use_bias else out

    @property
    def query_dense(self) -> Projection:
        """The kernel and the bias of the queries."""
        return self._projection("query")

    @property
    def key_dense(self) -> Projection:
        """The kernel and the bias of the keys."""
        return self._projection("key")

    @property
    def value_dense(self) -> Projection:
        """The kernel and the bias of the values."""
        return self._projection("value")

    @property
    def output_dense(self) -> Projection:
        """The kernel and the bias of the output."""
        return self._projection("attention_output")

    def _projection(self, name: str) -> Projection:
        return Projection(
            self.get_parameter(f"{name}_kernel"),
            self.get_parameter(f"{name}_bias") if self.use_bias else None,
        )

    def call(self, x: Any, mask: Any = None) -> Any:
        return self.attend(x, x, x)

    def compute_output_shape(
        self, input_shape: Any = None, value_shape: Any = None, key_shape: Any = None, **named: Any
    ) -> Any:
        shapes = [named.get("query_shape", input_shape), named.get("value_shape", value_shape), key_shape]
        if not is_shape(shapes[0]):
            shapes = [*shapes[0], None, None][:3]
        query, value, key = shapes
        if (
            value is not None
            and key is not None
            and (not is_shape(key) or tuple(value[1:-1]) != tuple(key[1:-1]))
        ):
            expected, way_out = f"as many steps as the value's {value}", "give one key for a value"
            raise errors.value_error(f"key of {self.name}", expected, key, way_out)
        return (*query[:-1], *(self._output_sizes or query[-1:]))

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        query, value, key, rest = _arguments(args, kwargs)
        output = KerasTensor(self.compute_output_shape(query.shape, value.shape, key.shape))
        if not rest.get("return_attention_scores"):
            return output
        axes = self._axes(len(query.shape))
        kept = [query.shape[d] for d in range(len(query.shape) - 1) if d not in axes]
        pairs = [query.shape[d] for d in axes] + [value.shape[d] for d in axes]
        return output, KerasTensor((*kept, self.num_heads, *pairs))


class GroupedQueryAttention(MultiHeadAttention):
    """Attention whose heads share keys and values in groups: keras.layers.GroupQueryAttention.

    Ainslie et al. 2023, arXiv 2305.13245. Called as `MultiHeadAttention`.

    Args:
        head_dim: size of each head's queries, keys and values.
        num_query_heads: heads; num_key_value_heads: keys and values, a divisor of it.
        dropout, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
        use_gate, sliding_window, seed: as for `MultiHeadAttention`.

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
        sliding_window: int | None = None,
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
            sliding_window=sliding_window,
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
