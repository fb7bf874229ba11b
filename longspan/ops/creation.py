"""Makes tensors as Keras does: of values, shapes, ranges, windows and diagonals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .calling import dtype_named, operation, promote, to_float, to_tensor
from .indexing import refuse_sparse


@operation
def convert_to_tensor(
    x: Any, dtype: Any = None, sparse: bool | None = None, ragged: bool | None = None
) -> Tensor:
    """A tensor of a number, a list or an array; `sparse` and `ragged` are accepted for None and False."""
    refuse_sparse(sparse or ragged)
    return to_tensor(x, dtype)


@operation
def array(x: Any, dtype: Any = None) -> Tensor:
    """A tensor of a number, a list or an array."""
    return to_tensor(x, dtype)


def convert_to_numpy(x: Any) -> np.ndarray:
    """The values as an array."""
    tensor = to_tensor(x).detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).resolve_conj().numpy()


def is_tensor(x: Any) -> bool:
    """Whether it is a tensor of torch."""
    return isinstance(x, Tensor)


def _dtype(dtype: Any) -> torch.dtype:
    return torch.get_default_dtype() if dtype is None else dtype_named(dtype)


def _sizes(shape: Any) -> tuple[int, ...]:
    return (int(shape),) if isinstance(shape, int) else tuple(int(size) for size in shape)


@operation
def zeros(shape: Any, dtype: Any = None) -> Tensor:
    """Zeros of a shape."""
    return torch.zeros(_sizes(shape), dtype=_dtype(dtype))


@operation
def ones(shape: Any, dtype: Any = None) -> Tensor:
    """Ones of a shape."""
    return torch.ones(_sizes(shape), dtype=_dtype(dtype))


@operation
def empty(shape: Any, dtype: Any = None) -> Tensor:
    """A tensor of a shape whose values are not set: zeros, so that they are the same each time."""
    return torch.zeros(_sizes(shape), dtype=_dtype(dtype))


@operation
def full(shape: Any, fill_value: Any, dtype: Any = None) -> Tensor:
    """One value, or values that are repeated, in a shape."""
    return torch.broadcast_to(to_tensor(fill_value, _dtype(dtype)), _sizes(shape)).clone()


@operation
def zeros_like(x: Any, dtype: Any = None) -> Tensor:
    """Zeros of the shape of x."""
    return torch.zeros_like(to_tensor(x), dtype=None if dtype is None else dtype_named(dtype))


@operation
def ones_like(x: Any, dtype: Any = None) -> Tensor:
    """Ones of the shape of x."""
    return torch.ones_like(to_tensor(x), dtype=None if dtype is None else dtype_named(dtype))


@operation
def empty_like(x: Any, dtype: Any = None) -> Tensor:
    """A tensor of the shape of x whose values are not set: zeros."""
    return torch.zeros_like(to_tensor(x), dtype=None if dtype is None else dtype_named(dtype))


@operation
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Tensor:
    """One value, or values that are repeated, in the shape of x."""
    tensor = to_tensor(x)
    wanted = tensor.dtype if dtype is None else dtype_named(dtype)
    return torch.broadcast_to(to_tensor(fill_value, wanted).to(tensor.device), tensor.shape).clone()


@operation
def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Tensor:
    """Zeros (N, M) with ones on the k-th diagonal; M is N where None."""
    columns = N if M is None else M
    rows = torch.arange(N).unsqueeze(-1)
    return (torch.arange(columns) - rows == k).to(_dtype(dtype))


@operation
def identity(n: int, dtype: Any = None) -> Tensor:
    """Zeros (n, n) with ones on the diagonal."""
    return eye(n, dtype=dtype)


@operation
def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Tensor:
    """Ones (N, M) on and below the k-th diagonal, zeros above."""
    rows = torch.arange(N).unsqueeze(-1)
    return (torch.arange(N if M is None else M) - rows <= k).to(_dtype(dtype))


@operation
def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> Tensor:
    """start, start + step, ... before stop; with one number from 0 to before it."""
    if stop is None:
        start, stop = 0, start
    step = 1 if step is None else step
    numbers = [value.item() if isinstance(value, Tensor) else value for value in (start, stop, step)]
    wanted = promote(*numbers)[0].dtype if dtype is None else dtype_named(dtype)
    if wanted == torch.bool:
        return torch.arange(*numbers, dtype=torch.int32).bool()
    return torch.arange(*numbers, dtype=wanted)


@operation
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """`num` numbers at equal distances from start to stop, which is the last one with `endpoint`.

    With retstep: the numbers and their distance.
    """
    first, last = (to_float(value) for value in promote(start, stop))
    first, last = torch.broadcast_tensors(first, last)
    step = (last - first) / max(num - endpoint, 1)
    shares = torch.arange(num, dtype=first.dtype, device=first.device).reshape(-1, *[1] * first.dim())
    values = first + shares * step
    if endpoint and num > 1:
        values = torch.cat([values[:-1], last.unsqueeze(0)])
    values = values.movedim(0, axis) if dtype is None else values.movedim(0, axis).to(dtype_named(dtype))
    return (values, step) if retstep else values


@operation
def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10,
    dtype: Any = None,
    axis: int = 0,
) -> Tensor:
    """`base` to the powers that `linspace` gives."""
    powers = linspace(start, stop, num, endpoint, axis=axis)
    values = torch.pow(to_tensor(base).to(powers), powers)
    return values if dtype is None else values.to(dtype_named(dtype))


@operation
def geomspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> Tensor:
    """`num` numbers from start to stop, each the same multiple of the one before."""
    first, last = (to_float(value) for value in promote(start, stop))
    sign = first.sign()
    powers = linspace((first * sign).log10(), (last * sign).log10(), num, endpoint, axis=axis)
    values = sign.unsqueeze(axis) * torch.pow(10.0, powers)
    return values if dtype is None else values.to(dtype_named(dtype))


@operation
def diag(x: Any, k: int = 0) -> Tensor:
    """The k-th diagonal of a matrix, or a matrix with a vector on it."""
    return torch.diag(to_tensor(x), k)


@operation
def diagflat(x: Any, k: int = 0) -> Tensor:
    """A matrix with the flattened values on the k-th diagonal."""
    return torch.diagflat(to_tensor(x), k)


@operation
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The diagonal over two axes, in a last dimension."""
    return torch.diagonal(to_tensor(x), offset, axis1, axis2)


@operation
def tril(x: Any, k: int = 0) -> Tensor:
    """The values on and below the k-th diagonal, zeros above."""
    return torch.tril(to_tensor(x), k)


@operation
def triu(x: Any, k: int = 0) -> Tensor:
    """The values on and above the k-th diagonal, zeros below."""
    return torch.triu(to_tensor(x), k)


@operation
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of a vector's values in columns, the highest first unless increasing."""
    tensor = to_tensor(x)
    count = len(tensor) if N is None else N
    powers = torch.arange(count, device=tensor.device)
    return tensor.unsqueeze(-1) ** (powers if increasing else powers.flip(0)).to(tensor.dtype)


def _window(function: Callable[..., Tensor], length: Any, **options: float) -> Tensor:
    count = int(to_tensor(length))
    return function(count, periodic=False, dtype=torch.get_default_dtype(), **options)


@operation
def hanning(x: Any) -> Tensor:
    """The Hann window of x steps."""
    return _window(torch.hann_window, x)


@operation
def hamming(x: Any) -> Tensor:
    """The Hamming window of x steps."""
    return _window(torch.hamming_window, x)


@operation
def blackman(x: Any) -> Tensor:
    """The Blackman window of x steps."""
    return _window(torch.blackman_window, x)


@operation
def bartlett(x: Any) -> Tensor:
    """The Bartlett (triangular) window of x steps."""
    return _window(torch.bartlett_window, x)


@operation
def kaiser(x: Any, beta: Any) -> Tensor:
    """The Kaiser window of x steps and the shape beta."""
    return _window(torch.kaiser_window, x, beta=float(to_tensor(beta)))
