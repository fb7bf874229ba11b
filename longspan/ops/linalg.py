"""Computes Keras' linear algebra: products, norms, decompositions, solutions, correlations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from longspan import errors

from .calling import axes_of, float_unary, operation, promote, summed_dtype, to_float, to_tensor

det, inv, logdet = (
    float_unary("det", torch.linalg.det),
    float_unary("inv", torch.linalg.inv),
    float_unary("logdet"),
)
eigh, eig = float_unary("eigh", torch.linalg.eigh), float_unary("eig", torch.linalg.eig)  # pyright: ignore


def _product(function: Callable[..., Tensor], *values: Any) -> Tensor:
    """A product of tensors of any dtype: small whole numbers and truths are summed in int32."""
    tensors = promote(*values)
    wanted = summed_dtype(tensors[0])
    return function(*(tensor.to(wanted) for tensor in tensors)).to(tensors[0].dtype)


@operation
def matmul(x1: Any, x2: Any) -> Tensor:
    """The matrix product over the last two dimensions."""
    return _product(torch.matmul, x1, x2)


@operation
def dot(x1: Any, x2: Any) -> Tensor:
    """The sum of products over the last dimension of x1 and the last but one of x2."""
    first, second = promote(x1, x2)
    if first.dim() == 0 or second.dim() == 0:
        return first * second
    return tensordot(first, second, [[-1], [-1 if second.dim() == 1 else -2]])


@operation
def tensordot(x1: Any, x2: Any, axes: Any = 2) -> Tensor:
    """The sum of products over the last `axes` dimensions of x1 and the first of x2, or over two lists."""
    pairs: Any = axes if isinstance(axes, int) else [[a] if isinstance(a, int) else list(a) for a in axes]
    return _product(lambda first, second: torch.tensordot(first, second, pairs), x1, x2)


@operation
def vdot(x1: Any, x2: Any) -> Tensor:
    """The sum of products of the flattened tensors, of the conjugate of x1 where it is complex."""
    return _product(lambda first, second: torch.vdot(first.reshape(-1), second.reshape(-1)), x1, x2)


@operation
def inner(x1: Any, x2: Any) -> Tensor:
    """The sum of products over both last dimensions."""
    return _product(torch.inner, x1, x2)


@operation
def outer(x1: Any, x2: Any) -> Tensor:
    """The product of each pair of values of the flattened tensors."""
    first, second = promote(x1, x2)
    return torch.outer(first.reshape(-1), second.reshape(-1))


@operation
def kron(x1: Any, x2: Any) -> Tensor:
    """The Kronecker product."""
    return torch.kron(*promote(x1, x2))


@operation
def einsum(subscripts: str, *operands: Any) -> Tensor:
    """The sum of products that the subscripts name, such as "bij,bjk->bik"."""
    return _product(lambda *tensors: torch.einsum(subscripts, *tensors), *operands)


@operation
def cross(
    x1: Any, x2: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Tensor:
    """The cross product of vectors of 2 or 3 values, at the axes; `axis` stands for all three."""
    if axis is not None:
        axisa = axisb = axisc = axis
    first, second = promote(x1, x2)
    first, second = first.movedim(axisa, -1), second.movedim(axisb, -1)
    flat = first.shape[-1] == second.shape[-1] == 2
    first, second = (F.pad(part, (0, 3 - part.shape[-1])) for part in (first, second))
    product = torch.linalg.cross(*torch.broadcast_tensors(first, second))
    return product[..., 2] if flat else product.movedim(-1, axisc)


@operation
def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The sum of the diagonal over two axes."""
    tensor = to_tensor(x)
    return torch.diagonal(tensor, offset, axis1, axis2).sum(-1, dtype=summed_dtype(tensor))


@operation
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """A norm of vectors or matrices over one or two axes, as numpy.linalg.norm.

    Args:
        x: the tensor.
        ord: None: the square root of the sum of squares; a number, "fro" or "nuc".
        axis: one for vectors, two for matrices; None: over all.
        keepdims: whether the axes stay with size 1.
    """
    tensor = to_float(x)
    if ord is None:
        return torch.linalg.vector_norm(tensor, 2, axes_of(tensor, axis), keepdims)
    axes = axes_of(tensor, axis)
    if len(axes) == 1:
        return torch.linalg.vector_norm(tensor, ord, axes, keepdims)
    if len(axes) != 2:
        raise errors.value_error("axis", "one or two dimensions with ord", axis, "leave ord out")
    return torch.linalg.matrix_norm(tensor, ord, axes, keepdims)


@operation
def cholesky(x: Any, upper: bool = False) -> Tensor:
    """The triangular L of x = L L^T, or with upper U of x = U^T U."""
    return torch.linalg.cholesky(to_float(x), upper=upper)


@operation
def cholesky_inverse(x: Any, upper: bool = False) -> Tensor:
    """The inverse of the matrix whose `cholesky` is x."""
    return torch.cholesky_inverse(to_float(x), upper=upper)


@operation
def qr(x: Any, mode: str = "reduced") -> tuple[Tensor, Tensor]:
    """Q, whose columns are orthonormal, and the upper triangular R, with x = Q R."""
    errors.check_choice("mode", mode, ("reduced", "complete"))
    q, r = torch.linalg.qr(to_float(x), mode)
    return q, r


@operation
def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """U, the singular values and V^T; the singular values alone without compute_uv."""
    tensor = to_float(x)
    return tuple(torch.linalg.svd(tensor, full_matrices)) if compute_uv else torch.linalg.svdvals(tensor)


@operation
def solve(a: Any, b: Any) -> Tensor:
    """The x of a x = b."""
    first, second = (to_float(part) for part in promote(a, b))
    return torch.linalg.solve(first, second)


@operation
def solve_triangular(a: Any, b: Any, lower: bool = False) -> Tensor:
    """The x of a x = b for an upper triangular a, or a lower one."""
    first, second = (to_float(part) for part in promote(a, b))
    if second.dim() == first.dim() - 1:
        return torch.linalg.solve_triangular(first, second.unsqueeze(-1), upper=not lower).squeeze(-1)
    return torch.linalg.solve_triangular(first, second, upper=not lower)


@operation
def lstsq(a: Any, b: Any, rcond: float | None = None) -> Tensor:
    """The x of the least |a x - b|^2, the smallest such x.

    Singular values of a below rcond times the largest count as 0; None: the dtype's precision times the
    larger size of a.
    """
    first, second = (to_float(part) for part in promote(a, b))
    share = rcond if rcond is not None else torch.finfo(first.dtype).eps * max(first.shape[-2:])
    inverse = torch.linalg.pinv(first, rtol=share)
    return inverse @ second


@operation
def pinv(x: Any, rcond: float | None = None) -> Tensor:
    """The Moore-Penrose inverse; singular values below rcond times the largest count as 0."""
    return torch.linalg.pinv(to_float(x), rtol=rcond)


@operation
def matrix_rank(x: Any, tol: Any = None) -> Tensor:
    """The number of singular values above tol."""
    tensor = to_float(x)
    if tol is None:
        return torch.linalg.matrix_rank(tensor).int()
    return torch.linalg.matrix_rank(tensor, atol=to_float(tol).to(tensor), rtol=0.0).int()


@operation
def lu_factor(x: Any) -> tuple[Tensor, Tensor]:
    """The LU decomposition in one matrix, and the rows that were exchanged, counted from 0."""
    factors, pivots = torch.linalg.lu_factor(to_float(x))
    return factors, pivots - 1


@operation
def slogdet(x: Any) -> tuple[Tensor, Tensor]:
    """The sign of the determinant, and the logarithm of its absolute value."""
    sign, logarithm = torch.linalg.slogdet(to_float(x))
    return sign, logarithm


@operation
def cdist(x: Any, y: Any) -> Tensor:
    """The Euclidean distances of each pair of rows, (..., M, D) and (..., N, D) -> (..., M, N)."""
    first, second = (to_float(part) for part in promote(x, y))
    return torch.cdist(first, second)


@operation
def corrcoef(x: Any) -> Tensor:
    """The correlations of the rows with each other."""
    return torch.corrcoef(to_float(x))


@operation
def correlate(x1: Any, x2: Any, mode: str = "valid") -> Tensor:
    """The cross-correlation of two vectors where they overlap wholly ("valid"), half ("same") or at all."""
    errors.check_choice("mode", mode, ("valid", "same", "full"))
    first, second = (to_float(part) for part in promote(x1, x2))
    longer, shorter = len(first), len(second)
    if longer < shorter:
        return correlate(second, first, mode).flip(0)
    before, after = {
        "valid": (0, 0),
        "same": (shorter // 2, (shorter - 1) // 2),
        "full": (shorter - 1, shorter - 1),
    }[mode]
    padded = F.pad(first, (before, after))
    return F.conv1d(padded[None, None], second.conj_physical()[None, None])[0, 0]


@operation
def diff(a: Any, n: int = 1, axis: int = -1) -> Tensor:
    """The differences of neighbours along the axis, n times."""
    return torch.diff(to_tensor(a), n, axis)


@operation
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Tensor:
    """The integral along the axis by the trapezoidal rule, at the points x or at distances dx."""
    values = to_float(y)
    if x is not None:
        return torch.trapezoid(values, to_tensor(x).to(values), dim=axis)
    if not isinstance(dx, Tensor):
        return torch.trapezoid(values, dx=dx, dim=axis)
    return torch.trapezoid(values, dx=1.0, dim=axis) * dx


def jvp(fun: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False) -> Any:
    """The function's value at the primals, and its derivative in the direction of the tangents.

    With has_aux the function returns (value, anything), which is returned third.
    """
    points, directions = (tuple(to_float(part) for part in parts) for parts in (primals, tangents))
    return torch.func.jvp(fun, points, directions, has_aux=has_aux)
