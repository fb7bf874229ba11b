"""Runs a model: makes its weights, brings inputs into their dtypes, and calls its layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from longspan import errors
from longspan.layers.structure import (
    Shape,
    flatten,
    map_shapes,
    map_structure,
    mask_of,
    shapes_of,
    to_tensors,
    with_mask,
)

from .layered import LayeredModel


class RunningModel(LayeredModel):
    """A model that runs as a graph of calls, or by a `call` of its own. Abstract; see Model."""

    input_keys: Any

    def build(self, input_shape: Any = None) -> None:
        """Make the weights for inputs of this shape, (B, …), or for a list of shapes."""
        if self.graph is None and not self.built:
            x = map_shapes(_zeros, input_shape)
            if not isinstance(x, Tensor):
                self.input_keys = list(x) if isinstance(x, dict) else list
                x = tuple(flatten(x))
            self.build_for(x)

    def build_from(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the layers of a class of your own make their weights as `call` calls them."""

    def build_for(self, x: Any, *, ragged: bool = False) -> None:
        """Make the weights, if they are not there, for rows like those of `x`."""
        if self.graph is None and not self.built:
            few = tuple(part[:2] for part in x) if isinstance(x, tuple) else x[:2]
            self.train(False)
            with torch.no_grad():
                self.run(self.cast_inputs(few))

    def takes_token_ids(self, index: int = 0) -> bool:
        """Whether an input is of whole numbers, for an Embedding."""
        return self.graph is not None and self.graph.takes_token_ids(index)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next((p.dtype for p in self.parameters()), torch.get_default_dtype())

    def input_dtype(self) -> torch.dtype | None:
        """The dtype of the only input; None for several, or for a class of your own."""
        if self.graph is None or len(self.graph.inputs) > 1:
            return None
        return torch.int64 if self.takes_token_ids() else self.dtype

    def cast_input(self, x: Any, index: int = 0) -> Any:
        """An input in the dtype that the layers take; None for an optional one that is not given."""
        if self.graph is not None and x is None:
            self.may_be_absent(index, x)
            return None
        if self.graph is None and not x.is_floating_point():
            return x
        if self.takes_token_ids(index):
            return x if x.dtype == torch.int64 else x.long()
        return x if x.dtype == self.dtype else x.to(self.dtype)

    def cast_inputs(self, x: Any) -> Any:
        """The input, or the tuple of all inputs, in the dtypes that the layers take."""
        if isinstance(x, (tuple, list)):
            return tuple(self.cast_input(part, index) for index, part in enumerate(x))
        return self.cast_input(x)

    def run(self, x: Any, mask: Any = None) -> tuple[Any, Any]:
        """The output for x (B, …) and the output's mask, without changing mode or dtype.

        Several inputs are a tuple; several outputs are a tuple, their masks a list.
        """
        if self.graph is None:
            return self._run_call(x, mask)
        values = list(x) if isinstance(x, (tuple, list)) else [x]
        masks = list(mask) if isinstance(mask, (tuple, list)) else [mask, *[None] * (len(values) - 1)]
        outputs, masks = self.graph.run(values, masks)
        return (outputs[0], masks[0]) if len(outputs) == 1 else (tuple(outputs), masks)

    def _run_call(self, x: Any, mask: Any) -> tuple[Any, Any]:
        """`run` for a class of your own; remembers what its outputs look like."""
        if isinstance(x, tuple) and isinstance(self.input_keys, list):
            x = dict(zip(self.input_keys, x, strict=True))
        elif isinstance(x, tuple):
            x = list(x)
        output = super().forward(x, mask=mask)
        self._note_call(x, output)
        if isinstance(output, Tensor):
            return output, mask_of(output)
        parts = tuple(flatten(output))
        masks = [mask_of(part) for part in parts]
        return parts, None if all(part is None for part in masks) else masks

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The output for x, with its mask attached.

        Args:
            x: a tensor or array (B, …); a list, tuple or dict for several inputs.
            mask: (B, T) bool, False where a step is skipped; None: what is attached to x.
            training: whether dropout acts and averages move; None: as the module's mode says, which is off
                until `train()`.
        """
        if self._calls_itself():
            output = super().forward(x, *args, **kwargs)
            self._note_call(x, output)
            return output
        return self._forward(x, *args, **kwargs)

    def _note_call(self, x: Any, output: Any) -> None:
        """Remember the shapes of the first call of a class of your own, whose layers now have weights."""
        if not self.built:
            self._output_structure = map_structure(lambda _: None, output)
            self._finish_build(shapes_of(x))

    def _calls_itself(self) -> bool:
        return self.graph is None

    def _forward(self, x: Any, mask: Any = None, training: bool | None = None) -> Any:
        values = self._in_order(to_tensors(x))
        masks = list(mask) if isinstance(mask, (list, tuple)) else [mask, *[None] * (len(values) - 1)]
        masks = [mask_of(v) if own is None else own for v, own in zip(values, masks, strict=True)]
        single = len(values) == 1
        if self.graph is not None:
            values = [self._ranked(value, index) for index, value in enumerate(values)]
        if single:
            self.build_for(values[0])
        before = self.training
        if training is not None and training != before:
            self.train(training)
        try:
            x = self.cast_inputs(values[0] if single else tuple(values))
            output, mask = self.run(x, masks[0] if single else masks)
        finally:
            if self.training != before:
                self.train(before)
        return self._packed(with_mask(output, mask))

    def _ranked(self, x: Any, index: int) -> Any:
        """An input with as many dimensions as its Input has: a last one of 1 is added or dropped.

        Raises:
            ValueError: the shape is another one.
        """
        declared = self.declared_shapes[index]
        if not isinstance(x, Tensor):
            return x
        values = x
        if x.dim() == len(declared) + 1 and x.shape[-1] == 1:
            values = x.squeeze(-1)
        elif x.dim() == len(declared) - 1 and declared[-1] == 1:
            values = x.unsqueeze(-1)
        sizes = zip(declared[1:], values.shape[1:], strict=False)
        if values.dim() != len(declared) or any(a not in (None, b) for a, b in sizes):
            argument = f"input {(self.input_names or [''])[index]} of {self.name}"
            raise errors.value_error(argument, f"shape {declared}", tuple(x.shape), "reshape it")
        return values if values is x else with_mask(values, mask_of(x))


def _zeros(shape: Shape) -> Tensor:
    """Zeros of a shape, two where the size is open."""
    return torch.zeros([2 if size is None else size for size in shape])
