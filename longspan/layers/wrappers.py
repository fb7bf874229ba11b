"""Layers made of other layers: Bidirectional, TimeDistributed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from longspan import errors
from longspan.nn.explain import explain

from .base import Layer, LayerOptions, check_rank, required_size
from .normalization import BatchNormalization
from .recurrent import GRU, RNNBase, split_states
from .structure import Shape, to_tensor
from .weights import Weight
from .wrapper import Wrapper

MERGES = ("concat", "sum", "mul", "ave")


def copy_with(layer: Layer, **changes: Any) -> Any:
    """A new layer of the same class with the same options, except `changes`."""
    kind: Callable[..., Any] = type(layer)
    options: dict[str, Any] = {**layer._options, "name": layer.name, "trainable": layer.trainable}
    return kind(**(options | changes))


class Bidirectional(Layer):
    """A recurrent layer and a copy that reads backwards, merged: keras.layers.Bidirectional.

    Weights in Keras' order: the forward layer's, then the backward layer's. Where both directions have the
    same options, one call of the kernels runs them. With return_state the states follow the output, the
    forward layer's first. With return_sequences outputs at masked steps are 0, as in Keras.

    Args:
        layer: a recurrent layer; each direction is a new layer with its options.
        merge_mode: "concat", "sum", "mul", "ave", or None for a pair of outputs.
        weights: weights to start with, as `get_weights` gives them.
        backward_layer: another layer for the second direction, with the other go_backwards.

    Raises:
        ValueError, TypeError: the layers do not go together; the sentence says in what.

    >>> from longspan.layers import LSTM
    >>> Bidirectional(LSTM(4, return_sequences=True))(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        layer: RNNBase,
        merge_mode: str | None = "concat",
        weights: Sequence[Any] | None = None,
        backward_layer: RNNBase | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        for argument, wrapped in (("layer", layer), ("backward_layer", backward_layer)):
            if not isinstance(wrapped, RNNBase) and wrapped is not None:
                raise errors.type_error(argument, "a recurrent layer, such as LSTM(32)", wrapped, "wrap one")
        if merge_mode is not None:
            errors.check_choice("merge_mode", merge_mode, MERGES)
        self.merge_mode, self._initial_weights = merge_mode, weights
        stem = layer.name.removeprefix("forward_")
        self.forward_layer: RNNBase = copy_with(layer, name=f"forward_{stem}")
        reversed_copy: RNNBase = copy_with(layer, name=f"backward_{stem}", go_backwards=True)
        self.backward_layer = reversed_copy if backward_layer is None else backward_layer
        self._same_options = backward_layer is None or (
            not backward_layer.built and _have_same_options(reversed_copy, backward_layer)
        )
        self._verify()

    def _verify(self) -> None:
        ahead, back = self.forward_layer, self.backward_layer
        if ahead.go_backwards == back.go_backwards:
            expected, received = "the other go_backwards than the forward layer's", back.go_backwards
            raise errors.value_error("backward_layer", expected, received, "change one of them")
        for option in ("stateful", "return_sequences", "return_state"):
            if getattr(ahead, option) != getattr(back, option):
                expected = f"the forward layer's {option}={getattr(ahead, option)}"
                raise errors.value_error(
                    "backward_layer", expected, getattr(back, option), "give both the same"
                )
        ahead.zero_output_for_mask = back.zero_output_for_mask = ahead.return_sequences

    @property
    def return_sequences(self) -> bool:
        """Whether the layer returns the output of every step."""
        return self.forward_layer.return_sequences

    @property
    def return_state(self) -> bool:
        """Whether the layer returns the last states after the output."""
        return self.forward_layer.return_state

    @property
    def stateful(self) -> bool:
        """Whether the state is carried from batch to batch."""
        return self.forward_layer.stateful

    def keras_weights(self) -> list[Weight]:
        return self.forward_layer.keras_weights() + self.backward_layer.keras_weights()

    def create_weights(self, shape: Shape) -> None:
        check_rank(
            self, shape, "(B, T, I)", "a sequence has one row of values a step; reshape it to (B, T, 1)"
        )
        ahead, back = self.forward_layer, self.backward_layer
        if self._one_call():
            self.core = ahead.new_core(
                required_size(self, shape[2], "the values of a step"), bidirectional=True
            )
            ahead.attach(self.core, "")
            back.attach(self.core, "_reverse")
            for weight in self.keras_weights():
                weight.draw()
        else:
            ahead.build(shape)
            back.build(shape)
        if self._initial_weights is not None:
            self.set_weights(self._initial_weights)

    def _one_call(self) -> bool:
        """Whether one call of the kernels may run both directions: each draws input dropout of its own."""
        reset_before = isinstance(self.forward_layer, GRU) and not self.forward_layer.reset_after
        return self._same_options and not self.forward_layer.dropout and not reset_before

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        shape = self.forward_layer.compute_output_shape(input_shape)
        shape, states = (shape[0], shape[1:]) if self.return_state else (shape, ())
        merged: Any = (*shape[:-1], 2 * shape[-1]) if self.merge_mode == "concat" else shape
        outputs = (merged, merged) if self.merge_mode is None else (merged,)
        return (*outputs, *states, *states) if len(outputs) + len(states) > 1 else merged

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> Any:
        if not self.return_sequences:
            return None
        return mask if self.merge_mode is not None else [mask, mask]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*split_states(args, kwargs), **kwargs)

    def call(self, x: Tensor, mask: Tensor | None = None, initial_state: Any = None) -> Any:
        """As the wrapped layer's; initial_state: the forward layer's states, then the backward layer's."""
        run = self._run_together if self._one_call() else self._run_separately
        y, back, states = run(x, None if mask is None else mask.bool(), initial_state)
        merged = _merged(y, back, self.merge_mode)
        outputs = merged if isinstance(merged, tuple) else (merged,)
        if self.return_state:
            return (*outputs, *states)
        return merged

    def _run_together(
        self, x: Tensor, mask: Tensor | None, initial_state: Any
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Outputs of both directions and their states, by one call of the kernels."""
        check_rank(self, x.shape, "(B, T, I)", "add the missing dimension, such as x[..., None]")
        starts = [
            layer.starting_states(x, part)
            for layer, part in zip(self._pair(), _halves(initial_state), strict=True)
        ]
        state = None if starts[0] is None else _side_by_side(starts)
        out, last = self.core(x, state, mask=mask)
        last = last if isinstance(last, tuple) else (last,)
        ends = [tuple([state[d] for state in last]) for d in (0, 1)]
        if self.stateful:
            for layer, end in zip(self._pair(), ends, strict=True):
                layer.states = tuple([state.detach() for state in end])
        if not self.return_sequences:
            return ends[0][0], ends[1][0], (*ends[0], *ends[1])
        if mask is not None:
            out = out.masked_fill(~mask.unsqueeze(2), 0.0)
        y, back = out.chunk(2, -1)
        return y, back, (*ends[0], *ends[1])

    def _run_separately(
        self, x: Tensor, mask: Tensor | None, initial_state: Any
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Outputs of both directions and their states, one layer after the other."""
        answers = [
            layer(x, mask, initial_state=part)
            for layer, part in zip(self._pair(), _halves(initial_state), strict=True)
        ]
        (y, *ahead), (back, *behind) = answers if self.return_state else [(answer,) for answer in answers]
        return y, back.flip(1) if self.return_sequences else back, (*ahead, *behind)

    def _pair(self) -> tuple[RNNBase, RNNBase]:
        return self.forward_layer, self.backward_layer

    def reset_states(self) -> None:
        for layer in self._pair():
            layer.reset_states()

    def explain(self, x: Any, mask: Tensor | None = None) -> str:
        """Which kernel runs the layer on x (B, T, I), and why the others do not, in words."""
        x = to_tensor(x)
        if not self.built:
            self.build(tuple(x.shape))
        if self._one_call():
            return f"{self.name}: {explain(self.core, x, mask=mask)}"  # pyright: ignore[reportArgumentType]
        return "\n".join(layer.explain(x, mask) for layer in self._pair())


def _have_same_options(first: RNNBase, second: RNNBase) -> bool:
    """Whether two layers have the same class and options, apart from names and zero_output_for_mask."""
    apart = ("name", "zero_output_for_mask")
    configs = [{k: v for k, v in layer.get_config().items() if k not in apart} for layer in (first, second)]
    return type(first) is type(second) and configs[0] == configs[1]


def _halves(states: Any) -> tuple[Any, Any]:
    if states is None:
        return None, None
    half = len(states) // 2
    return tuple(states[:half]), tuple(states[half:])


def _side_by_side(starts: Sequence[Any]) -> Any:
    """Each state of both directions as (2, B, H), bare where there is one."""
    stacked = tuple([torch.stack(pair) for pair in zip(*starts, strict=True)])
    return stacked[0] if len(stacked) == 1 else stacked


def _merged(y: Tensor, back: Tensor, mode: str | None) -> Tensor | tuple[Tensor, Tensor]:
    if mode is None:
        return y, back
    if mode == "concat":
        return torch.cat((y, back), -1)
    if mode == "mul":
        return y * back
    return y + back if mode == "sum" else (y + back) / 2


class TimeDistributed(Wrapper):
    """A layer applied to every step, weights shared, (B, T, …) -> (B, T, …): keras.layers.TimeDistributed.

    Args:
        layer: any layer for the values of one step.

    >>> from longspan.layers import Dense
    >>> TimeDistributed(Dense(4))(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 5, 4])
    """

    def __init__(self, layer: Layer, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(layer, **shared)

    ends_mask = False

    def create_weights(self, shape: Shape) -> None:
        self._check(shape)
        self.layer.build((None, *shape[2:]))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        self._check(input_shape)
        inner = self.layer.compute_output_shape((input_shape[0], *input_shape[2:]))
        return (inner[0], input_shape[1], *inner[1:])

    def call(self, x: Tensor, mask: Tensor | None = None) -> Any:
        self._check(x.shape)
        if isinstance(self.layer, BatchNormalization):  # its moving averages are updated once a step
            return torch.stack([self.layer(step) for step in x.unbind(1)], 1)
        rows, steps = x.shape[0], x.shape[1]
        if mask is not None and tuple(mask.shape[:2]) != (rows, steps):
            expected, way_out = f"a mask of ({rows}, {steps}) steps", "it has the rows and steps of x"
            raise errors.value_error(f"mask of {self.name}", expected, tuple(mask.shape), way_out)
        takes = mask is not None and (mask.dim() > 2 or self.layer.is_own)
        inner = mask.flatten(0, 1) if mask is not None and takes else None
        out = self.layer(x.reshape(rows * steps, *x.shape[2:]), mask=inner)
        return out.reshape(rows, steps, *out.shape[1:])

    def _check(self, shape: Sequence[int | None]) -> None:
        if len(shape) < 3:
            way_out = "give every step at least one value"
            raise errors.value_error(f"input of {self.name}", "shape (B, T, …)", tuple(shape), way_out)
