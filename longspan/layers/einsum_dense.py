"""A dense layer between any dimensions, named by an equation of einsum."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from longspan import activations, errors, initializers
from longspan.activations import ActivationLike
from longspan.initializers import InitializerLike
from longspan.regularizers import RegularizerLike

from .base import Layer, LayerOptions, warn_mask_ends
from .structure import Shape
from .weights import Weight

_EQUATION = re.compile(r"(\.{3})?([a-zA-Z]+)(\.{3})?,([a-zA-Z]+)->(\.{3})?([a-zA-Z]+)(\.{3})?")


@dataclass(frozen=True)
class _Sizes:
    """The shapes of a layer's weights and output, and which dimensions of the kernel are read and made."""

    kernel: tuple[int, ...]
    bias: tuple[int, ...] | None
    output: Shape
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class EinsumDense(Layer):
    """A product with a kernel over the dimensions that an equation names: keras.layers.EinsumDense.

    Weights in Keras' order: kernel, and bias with bias_axes.

    Args:
        equation: such as "abc,cd->abd": the input's dimensions, the kernel's, the output's. "..." stands
            for further dimensions, before or after the input's and the output's.
        output_shape: the output's sizes without the batch and those under "..."; None where the input's
            dimension of the letter has the size.
        activation: applied to the output.
        bias_axes: the letters of the output that the bias has; None for no bias.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer: as for `Dense`.

    Raises:
        ValueError: the equation is no such one, or sizes do not fit.

    >>> EinsumDense("abc,cd->abd", output_shape=(None, 4), bias_axes="d")(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 5, 4])
    """

    def __init__(
        self,
        equation: str,
        output_shape: int | Sequence[int | None],
        activation: ActivationLike = None,
        bias_axes: str | None = None,
        kernel_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        self.equation, self.bias_axes = equation, bias_axes
        self.partial_output_shape = (output_shape,) if isinstance(output_shape, int) else tuple(output_shape)
        self.activation, self._act = activation, activations.get(activation)
        self._starts = (kernel_initializer, bias_initializer)
        self._regularizers = (kernel_regularizer, bias_regularizer)

    ends_mask = True
    kernel: Tensor

    def _sizes(self, shape: Sequence[int | None]) -> _Sizes:
        parts = _EQUATION.fullmatch(self.equation.replace(" ", ""))
        if parts is None:
            way_out = "such as 'abc,cd->abd' or '...x,xy->...y'"
            raise errors.value_error("equation", "an equation input,kernel->output", self.equation, way_out)
        before, ins, after, weight, _, outs, _ = parts.groups()
        hidden = len(shape) - len(ins)
        if hidden < 0 or (hidden and not before and not after):
            raise self._misfit(f"{len(ins)} dimensions", tuple(shape))
        named = dict(zip(ins, shape[hidden:] if before else shape[: len(ins)], strict=True))
        middle = list(shape[1:hidden]) if before else []
        output = [shape[0], *middle, *self.partial_output_shape, *(shape[len(ins) :] if after else ())]
        start = hidden if before else 0
        made: dict[str, int | None] = dict(zip(outs, output[start : start + len(outs)], strict=False))
        if len(made) < len(outs):
            raise self._misfit(f"output_shape with {len(outs) - 1} sizes", self.partial_output_shape)
        return self._checked(shape, named, made, weight, output, before)

    def _checked(
        self,
        shape: Sequence[int | None],
        named: dict[str, int | None],
        made: dict[str, int | None],
        weight: str,
        output: list[int | None],
        before: Any,
    ) -> _Sizes:
        """The sizes once every letter of the kernel and the bias has one."""
        for letter, size in made.items():
            if letter in named and size is not None and named[letter] != size:
                raise self._misfit(f"{named[letter]} for {letter!r} in output_shape", size)
            if letter not in named and letter not in weight:
                raise self._misfit(f"{letter!r} in the input or the kernel", self.equation)
            if size is None and letter in named:
                made[letter] = named[letter]
        for letter in weight:
            if made.get(letter, named.get(letter)) is None:
                raise self._misfit(f"a size for {letter!r} of the kernel", tuple(shape))
        kernel = tuple(int(made[letter] if letter in made else named[letter]) for letter in weight)  # pyright: ignore
        bias = None
        if self.bias_axes is not None:
            if any(letter not in made for letter in self.bias_axes):
                raise self._misfit(f"letters of the output in bias_axes={self.bias_axes!r}", self.equation)
            first = min(list(made).index(letter) for letter in self.bias_axes)
            bias = tuple(
                int(size or 1) if letter in self.bias_axes else 1
                for letter, size in list(made.items())[first:]
            )
            bias = (*bias, *(1,) * (0 if before else len(shape) - len(named)))
        return _Sizes(
            kernel,
            bias,
            tuple(made.get(letter, size) for letter, size in _labelled(output, made, before, len(shape))),
            tuple(place for place, letter in enumerate(weight) if letter not in made),
            tuple(place for place, letter in enumerate(weight) if letter in made),
        )

    def _misfit(self, expected: str, received: Any) -> ValueError:
        return errors.value_error(
            f"{self.equation!r} of {self.name}", expected, received, "change one of the two"
        )

    def create_weights(self, shape: Shape) -> None:
        sizes = self._sizes(shape)
        start = initializers.with_axes(self._starts[0], sizes.inputs, sizes.outputs)
        self._add("kernel", sizes.kernel, start, 0)
        if sizes.bias is not None:
            self._add("bias", sizes.bias, self._starts[1], 1)

    def _add(self, name: str, shape: tuple[int, ...], start: InitializerLike, which: int) -> None:
        source, regularizer = self.parameter(name, shape), self._regularizers[which]
        self.own_weights.append(Weight(name, shape, start, [source], regularizer=regularizer))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        return self._sizes(input_shape).output

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        out = torch.einsum(self.equation, x, self.kernel)
        return self._act(out if self.bias_axes is None else out + self.get_parameter("bias"))

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> None:
        warn_mask_ends(self, mask)


def _labelled(
    output: list[int | None], made: dict[str, int | None], before: Any, rank: int
) -> list[tuple[str, int | None]]:
    """The output's sizes with their letters, "" for those under "..."."""
    letters = list(made)
    start = len(output) - len(letters) if before else 0
    labels = [""] * start + letters
    return list(zip([*labels, *[""] * (len(output) - len(labels))], output, strict=True))
