"""Symbolic tensors: what layers are called on to describe a model before there are data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn, Protocol

import torch
from torch import Tensor, nn

from longspan import errors
from longspan.ops.calling import operation_name

from .calling import running
from .structure import Shape, flatten, is_shape, map_structure

# Sizes that stand for None where a shape is found by running a layer: twice, with different ones.
_TRIAL_SIZES = ((2, 23), (3, 29))


class LayerLike(Protocol):
    """A layer, as a node of a graph uses it."""

    name: str
    inbound_nodes: list[Node]
    classes: ClassVar[dict[str, Any]]

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


@dataclass(eq=False)
class Node:
    """One call of a layer on symbolic tensors.

    Attributes:
        layer: the layer.
        args, kwargs: of the call: symbolic tensors and other values, in nested lists, tuples and dicts.
        outputs: the symbolic tensors that the call returned, in one list.
        structure: the call's result, whose tensors `outputs` lists.
    """

    layer: LayerLike
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[KerasTensor] = field(default_factory=list)
    structure: Any = None

    @property
    def inputs(self) -> list[KerasTensor]:
        """The symbolic tensors among the arguments, in one list."""
        return [part for part in flatten([self.args, self.kwargs]) if isinstance(part, KerasTensor)]


class KerasTensor:
    """A tensor without values, with the layer call that it comes from: what `Input` and layers return.

    Attributes:
        shape: (B, …), None where any size will do.
        dtype: such as "float32".
        name: the layer's name.
        node: the call that returned it; index: its place among the call's outputs.
        optional: whether a model may be called on None in its place.

    >>> from longspan.layers import Dense, Input
    >>> Dense(4)(Input(shape=(3,))).shape
    (None, 4)
    """

    def __init__(self, shape: Sequence[int | None], dtype: str = "float32", name: str | None = None) -> None:
        self.shape: Shape = tuple(shape)
        self.dtype, self.name = dtype, name
        self.sparse = self.ragged = False  # as Keras says of dense tensors
        self.node: Node | None = None
        self.index = 0
        self.optional = False

    @property
    def ndim(self) -> int:
        """The number of dimensions, with the batch."""
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"

    def __add__(self, other: Any) -> Any:
        return self._operation("add", self, other)

    def __radd__(self, other: Any) -> Any:
        return self._operation("add", other, self)

    def __sub__(self, other: Any) -> Any:
        return self._operation("subtract", self, other)

    def __rsub__(self, other: Any) -> Any:
        return self._operation("subtract", other, self)

    def __mul__(self, other: Any) -> Any:
        return self._operation("multiply", self, other)

    def __rmul__(self, other: Any) -> Any:
        return self._operation("multiply", other, self)

    def __truediv__(self, other: Any) -> Any:
        return self._operation("divide", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._operation("divide", other, self)

    def __matmul__(self, other: Any) -> Any:
        return self._operation("matmul", self, other)

    def __pow__(self, other: Any) -> Any:
        return self._operation("power", self, other)

    def __neg__(self) -> Any:
        return self._operation("negative", self)

    def __abs__(self) -> Any:
        return self._operation("absolute", self)

    def __gt__(self, other: Any) -> Any:
        return self._operation("greater", self, other)

    def __ge__(self, other: Any) -> Any:
        return self._operation("greater_equal", self, other)

    def __lt__(self, other: Any) -> Any:
        return self._operation("less", self, other)

    def __le__(self, other: Any) -> Any:
        return self._operation("less_equal", self, other)

    def __getitem__(self, key: Any) -> Any:
        return self._operation("get_item", self, key)

    def __len__(self) -> NoReturn:
        raise _no_values("its length")

    def __iter__(self) -> Iterator[Any]:
        raise _no_values("an iteration over it")

    def __bool__(self) -> NoReturn:
        raise _no_values("its truth")

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise _no_values("its values")

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """A function of torch or `longspan.ops` on symbolic tensors becomes a layer that calls it."""
        tensor = next(part for part in flatten([list(args), kwargs or {}]) if isinstance(part, KerasTensor))
        name = operation_name(function) or torch.overrides.resolve_name(function) or function.__name__
        return tensor._operation(name, *args, **(kwargs or {}))

    def _operation(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """The result of an operator or function, as the call of a layer of its own."""
        if self.node is None:
            raise _no_values(f"{name} of one that no layer returned")
        return self.node.layer.classes["Operation"](name)(*args, **kwargs)


def _no_values(wanted: str) -> TypeError:
    way_out = "use it inside a layer, such as Lambda(function)(x)"
    return TypeError(errors.message("symbolic tensor", "a layer or an operator on it", wanted, way_out))


def any_symbolic(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a symbolic tensor is among the arguments of a call."""
    if args and type(args[0]) is Tensor:
        return False
    return any(isinstance(part, KerasTensor) for part in flatten([list(args), dict(kwargs)]))


def record(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a layer on symbolic tensors: build it, and return symbolic tensors for its outputs.

    Raises:
        ValueError: a user's layer is called with a number, text or bool that has no name.
    """
    for value in flatten(list(args)) if layer.is_own else ():
        if isinstance(value, (bool, int, float, str)):
            expected, way_out = "tensors as arguments by position", "pass it by name"
            raise errors.value_error(f"call of {layer.name}", expected, repr(value), way_out)
    if not layer.built:
        layer.build_from(*args, **kwargs)
    node = Node(layer, args, kwargs)

    def output(spec: KerasTensor) -> KerasTensor:
        tensor = KerasTensor(spec.shape, spec.dtype, layer.name)
        tensor.node, tensor.index = node, len(node.outputs)
        node.outputs.append(tensor)
        return tensor

    node.structure = map_structure(output, layer.compute_output_spec(*args, **kwargs))
    layer.inbound_nodes.append(node)
    return node.structure


def specs(shapes: Any, dtype: str) -> Any:
    """Symbolic tensors without a layer, of a shape or of a structure of shapes."""
    if is_shape(shapes):
        return KerasTensor(shapes, dtype)
    if isinstance(shapes, Mapping):
        return {key: specs(shape, dtype) for key, shape in shapes.items()}
    parts = [specs(shape, dtype) for shape in shapes]
    return tuple(parts) if isinstance(shapes, tuple) else parts


def trial_call(layer: nn.Module, args: Any, kwargs: Any) -> Any:
    """What a layer returns for symbolic tensors, found by calling it on zeros in evaluation mode."""
    was_training, was_on_trial = layer.training, running.on_trial
    layer.eval()
    running.on_trial = True
    try:
        return trial_output(layer, args, kwargs)
    finally:
        running.on_trial = was_on_trial
        layer.train(was_training)


def trial_output(function: Any, args: Any, kwargs: Any) -> Any:
    """What a function returns for symbolic tensors, found by calling it on zeros of two different sizes.

    Raises:
        Exception: the function's own error.
    """
    first, second = (_trial(function, args, kwargs, sizes) for sizes in _TRIAL_SIZES)
    pairs = iter(zip(flatten(first), flatten(second), strict=True))

    def spec(value: Any) -> Any:
        one, other = next(pairs)
        shape = [a if a == b else None for a, b in zip(one.shape, other.shape, strict=True)]
        return KerasTensor(shape, str(value.dtype).removeprefix("torch."))

    return map_structure(spec, first)


@torch.no_grad()
def _trial(function: Any, args: Any, kwargs: Any, sizes: tuple[int, int]) -> Any:
    def zeros(value: Any) -> Any:
        if not isinstance(value, KerasTensor):
            return value
        rows, others = sizes
        shape = [rows if axis == 0 else others for axis in range(value.ndim)]
        shape = [b if a is None else a for a, b in zip(value.shape, shape, strict=True)]
        return torch.zeros(shape, dtype=torch_dtype(value.dtype))

    return function(*map_structure(zeros, args), **map_structure(zeros, kwargs))


def torch_dtype(name: str) -> torch.dtype:
    """The dtype that keeps values of a Keras dtype: int64 for whole numbers, torch's default for float32."""
    if name.startswith(("int", "uint")):
        return torch.int64
    dtypes = {
        "bool": torch.bool,
        "float16": torch.float16,
        "bfloat16": torch.bfloat16,
        "float64": torch.float64,
    }
    return dtypes.get(name, torch.get_default_dtype())
