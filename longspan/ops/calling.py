"""Calls a function of ops on tensors, arrays, numbers and lists, or on symbolic tensors as a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce, wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from longspan import errors

P = ParamSpec("P")
R = TypeVar("R")

# Name in keras.ops -> the function, for all functions that symbolic tensors may be given to.
FUNCTIONS: dict[str, Callable[..., Any]] = {}
PREFIX = "ops."  # of a function's name in the layer that it becomes, as in "ops.mean"

_PLAIN = (Tensor, float, int, bool, str, type(None))
_LEAST_INT32, _MOST_INT32 = -(2**31), 2**31 - 1
_SMALL = (torch.bool, torch.int8, torch.int16, torch.uint8)


def operation(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which on a symbolic tensor among its arguments becomes a layer of the model."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        overriding = tuple(_overriding([*args, *kwargs.values()]))
        if overriding:
            return handle_torch_function(call, overriding, *args, **kwargs)
        return function(*args, **kwargs)

    FUNCTIONS[function.__name__] = call
    return call


def _overriding(values: Iterable[Any]) -> Iterator[Any]:
    """The values, also in lists, that decide themselves what a function of torch does with them."""
    for value in values:
        if type(value) in _PLAIN:
            continue
        if isinstance(value, (list, tuple)):
            yield from _overriding(value)
        elif has_torch_function_unary(value):
            yield value


def operation_name(function: Any) -> str | None:
    """ "ops.mean" for `mean` of this package; None for any other function."""
    name = getattr(function, "__name__", "")
    return PREFIX + name if FUNCTIONS.get(name) is function else None


def named(function: Callable[..., Any], name: str, source: Callable[..., Any]) -> Callable[..., Any]:
    """The function under its name in keras.ops, described by the function of torch that it calls."""
    function.__name__ = function.__qualname__ = name
    function.__module__ = "longspan.ops"  # where pickle finds it
    function.__doc__ = f"torch's {source.__name__}, of tensors, arrays, numbers or lists."
    return operation(function)


def unary(name: str, source: Callable[..., Tensor] | None = None) -> Callable[[Any], Tensor]:
    """The function of one tensor of this name; the result's dtype is torch's."""
    function = source or getattr(torch, name)

    def call(x: Any) -> Tensor:
        return function(to_tensor(x))

    return named(call, name, function)


def float_unary(name: str, source: Callable[..., Tensor] | None = None) -> Callable[[Any], Tensor]:
    """The function of one tensor of this name; whole numbers become floats before it."""
    function = source or getattr(torch, name)

    def call(x: Any) -> Tensor:
        return function(to_float(x))

    return named(call, name, function)


def binary(name: str, source: Callable[..., Tensor] | None = None) -> Callable[[Any, Any], Tensor]:
    """The function of two tensors of this name, which take one dtype before it."""
    function = source or getattr(torch, name)

    def call(x1: Any, x2: Any) -> Tensor:
        return function(*promote(x1, x2))

    return named(call, name, function)


def float_binary(name: str, source: Callable[..., Tensor] | None = None) -> Callable[[Any, Any], Tensor]:
    """The function of two tensors of this name, which take one float dtype before it."""
    function = source or getattr(torch, name)

    def call(x1: Any, x2: Any) -> Tensor:
        return function(*(to_float(x) for x in promote(x1, x2)))

    return named(call, name, function)


def to_tensor(x: Any, dtype: Any = None) -> Tensor:
    """A tensor of any value: numbers and lists become int32, bool or the default float, as in Keras."""
    wanted = None if dtype is None else dtype_named(dtype)
    if isinstance(x, Tensor):
        return x if wanted is None else x.to(wanted)
    if isinstance(x, (list, tuple)) and any(isinstance(part, Tensor) for part in x):
        return torch.stack(promote(*x)).to(wanted)
    if isinstance(x, (bool, int, float, complex)):
        return torch.as_tensor(x, dtype=wanted or _number_dtype(x))
    array = np.asarray(x)
    if wanted is None and isinstance(x, (list, tuple)):
        wanted = _list_dtype(x, array)
    if array.dtype == np.uint32:
        array = array.astype(np.int64)
    return torch.as_tensor(array if array.flags.writeable else array.copy(), dtype=wanted)


def _number_dtype(number: complex) -> torch.dtype:
    if isinstance(number, bool):
        return torch.bool
    if isinstance(number, int):
        return torch.int32 if _LEAST_INT32 <= number <= _MOST_INT32 else torch.int64
    return torch.get_default_dtype() if isinstance(number, float) else torch.complex64


def _list_dtype(values: Sequence[Any], array: np.ndarray) -> torch.dtype | None:
    """The dtype of a list: of Python's numbers as for one number, of arrays theirs."""
    parts: list[Any] = list(values)
    while parts and isinstance(parts[0], (list, tuple)):
        parts = [value for part in parts for value in part]
    if any(isinstance(part, (np.ndarray, np.generic)) for part in parts):
        return None
    if array.dtype.kind == "f":
        return torch.get_default_dtype()
    if array.dtype.kind == "i" and (
        not array.size or (array.min() >= _LEAST_INT32 and array.max() <= _MOST_INT32)
    ):
        return torch.int32
    return None


def to_float(x: Any) -> Tensor:
    """A tensor of floats (or complex numbers): whole numbers and truths take the default float dtype."""
    tensor = to_tensor(x)
    return tensor if is_float(tensor) else tensor.to(torch.get_default_dtype())


def is_float(x: Tensor) -> bool:
    """Whether a tensor has floats or complex numbers."""
    return x.is_floating_point() or x.is_complex()


def to_int(x: Any) -> Tensor:
    """A tensor of int64, in which torch wants its indices."""
    return to_tensor(x).long()


def promote(*values: Any) -> tuple[Tensor, ...]:
    """Tensors of one dtype and device: a number takes the dtype of the others where its kind allows it."""
    tensors = [value if _is_number(value) else to_tensor(value) for value in values]
    strong = [value for value in tensors if isinstance(value, Tensor)]
    if not strong:
        tensors = strong = [to_tensor(value) for value in values]
    dtype = reduce(torch.promote_types, [value.dtype for value in strong])
    device = next((value.device for value in strong if value.device.type != "cpu"), strong[0].device)
    for value in tensors:
        if not isinstance(value, Tensor):
            dtype = _with_number(dtype, value)
    return tuple(torch.as_tensor(value, dtype=dtype, device=device) for value in tensors)


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float, complex))


def _with_number(dtype: torch.dtype, number: complex) -> torch.dtype:
    """The dtype of tensors of `dtype` and a Python number."""
    if isinstance(number, bool) or dtype.is_complex:
        return dtype
    if isinstance(number, int):
        return _number_dtype(number) if dtype == torch.bool else dtype
    if isinstance(number, float):
        return dtype if dtype.is_floating_point else torch.get_default_dtype()
    return torch.promote_types(dtype, torch.complex64)


def summed_dtype(x: Tensor) -> torch.dtype:
    """The dtype of sums and products: int32 at least for whole numbers and truths."""
    return torch.int32 if x.dtype in _SMALL else x.dtype


def dtype_named(dtype: Any) -> torch.dtype:
    """torch's dtype of a name such as "float32", of Python's type or of NumPy's dtype.

    Raises:
        ValueError: there is no such dtype.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype in (float, "float"):
        return torch.get_default_dtype()
    if dtype in (int, "int"):
        return torch.int32
    if dtype in (bool, "bool"):
        return torch.bool
    name = dtype.removeprefix("torch.") if isinstance(dtype, str) else np.dtype(dtype).name
    return DTYPES[errors.check_choice("dtype", name, DTYPES)]


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a dtype in Keras, such as "float32"."""
    return str(dtype).removeprefix("torch.")


# Keras' names of dtypes -> torch's; uint32 is kept in int64, as Keras on torch does.
DTYPES: dict[str, torch.dtype] = {
    **{
        name: getattr(torch, name)
        for name in (
            "float16",
            "bfloat16",
            "float32",
            "float64",
            "uint8",
            "int8",
            "int16",
            "int32",
            "int64",
            "bool",
            "complex64",
            "complex128",
        )
    },
    "uint16": torch.int32,
    "uint32": torch.int64,
}


def axes_of(x: Tensor, axis: Any) -> tuple[int, ...]:
    """The axes that None, a number, or several numbers mean, each from 0 on."""
    if axis is None:
        return tuple(range(x.dim()))
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    return tuple(_axis(x.dim(), number) for number in axes)


def _axis(dims: int, axis: int) -> int:
    if not -max(dims, 1) <= axis < max(dims, 1):
        way_out = "count the dimensions of the tensor from 0, or from the end with -1"
        raise errors.value_error("axis", f"a dimension of a tensor of {dims}", axis, way_out)
    return axis % max(dims, 1)


def folded(x: Tensor, axis: Any) -> tuple[Tensor, tuple[int, ...]]:
    """The tensor with all of the axes in one last dimension, and the shape that keepdims gives."""
    axes = axes_of(x, axis)
    others = [number for number in range(x.dim()) if number not in axes]
    kept = tuple(1 if number in axes else size for number, size in enumerate(x.shape))
    sizes = [x.shape[number] for number in others]
    return x.permute((*others, *axes)).reshape((*sizes, _count(x, axes))), kept


def _count(x: Tensor, axes: Sequence[int]) -> int:
    return int(np.prod([x.shape[number] for number in axes]))
