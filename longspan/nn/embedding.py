"""Embedding lookups whose dense gradient reuses memory that an earlier step gave back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longspan.kernels.cpu_driver import allocate
from longspan.kernels.tracing import in_transform, is_tracing


class _Lookup(torch.autograd.Function):
    """(table (V, E), numbers (...)) -> (..., E).

    The gradient is dense, as that of torch's embedding. It lies in memory that an earlier step gave back:
    most of the time that torch takes for a large one goes into fresh pages.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, numbers: Tensor) -> Tensor:
        ctx.save_for_backward(numbers)
        ctx.rows = table.shape[0]
        return F.embedding(numbers, table)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (numbers,), (grad,) = ctx.saved_tensors, grads
        if torch.is_grad_enabled():  # to be differentiated again
            return torch.ops.aten.embedding_dense_backward(grad, numbers, ctx.rows, -1, False), None
        table_grad = allocate(grad, (ctx.rows, grad.shape[-1]), zero=True)
        return table_grad.index_add_(0, numbers.reshape(-1), grad.reshape(-1, grad.shape[-1])), None


class _BagMeans(torch.autograd.Function):
    """(table (V, E), numbers (N,), starts (U,)) -> (U, E), with the gradient as in _Lookup."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, numbers: Tensor, starts: Tensor) -> Tensor:
        ctx.save_for_backward(numbers, starts)
        ctx.rows = table.shape[0]
        return F.embedding_bag(numbers, table, starts, mode="mean")

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (numbers, starts), (grad,) = ctx.saved_tensors, grads
        counts = torch.diff(starts, append=starts.new_tensor([len(numbers)]))
        each = (grad / counts.clamp_min(1).unsqueeze(1)).repeat_interleave(counts, 0)
        if torch.is_grad_enabled():  # to be differentiated again
            return torch.ops.aten.embedding_dense_backward(each, numbers, ctx.rows, -1, False), None, None
        return allocate(grad, (ctx.rows, grad.shape[1]), zero=True).index_add_(0, numbers, each), None, None


# Without Function.apply's search for torch.func's wrappers, since these take the other way.
_apply_lookup: Any = super(torch.autograd.Function, _Lookup).apply  # pyright: ignore[reportAttributeAccessIssue]
_apply_bag_means: Any = super(torch.autograd.Function, _BagMeans).apply  # pyright: ignore[reportAttributeAccessIssue]


def lookup(table: Tensor, numbers: Tensor) -> Tensor:
    """Rows of a table by their numbers: what torch.nn.functional.embedding gives, its gradient too.

    Args:
        table: (V, E) floating; numbers: (...) int64 or int32, each from 0 to V - 1.

    Returns:
        (..., E).

    Raises:
        IndexError: a number is out of range; torch's own words.

    >>> lookup(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), torch.tensor([1, 1]))
    tensor([[2., 3.],
            [2., 3.]])
    """
    return (
        _apply_lookup(table, numbers) if _needs_fast_gradient(table, numbers) else F.embedding(numbers, table)
    )


def bag_means(table: Tensor, numbers: Tensor, starts: Tensor) -> Tensor:
    """Means of rows of a table: what torch.nn.functional.embedding_bag gives, its gradient too.

    Args:
        table: (V, E) floating; numbers: (N,) int64, of all groups end to end; starts: (U,) int64, where each
            group begins among them.

    Returns:
        (U, E); zeros for a group without numbers.

    >>> bag_means(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), torch.tensor([0, 1, 1]), torch.tensor([0, 2]))
    tensor([[1., 2.],
            [2., 3.]])
    """
    if _needs_fast_gradient(table, numbers):
        return _apply_bag_means(table, numbers, starts)
    return F.embedding_bag(numbers, table, starts, mode="mean")


def _needs_fast_gradient(table: Tensor, numbers: Tensor) -> bool:
    """Whether the table needs a gradient on the CPU and nothing traces or transforms the call."""
    return (
        table.requires_grad
        and torch.is_grad_enabled()
        and table.device.type == "cpu"
        and type(numbers) is Tensor
        and type(table) in (Tensor, nn.Parameter)
        and not torch.compiler.is_compiling()
        and not is_tracing()
        and not in_transform()
    )


class Embedding(nn.Embedding):
    """torch.nn.Embedding with the fast gradient of `lookup`, without padding_idx, max_norm or sparse."""

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__(num_embeddings, embedding_dim)

    def forward(self, input: Tensor) -> Tensor:
        """(...) whole numbers -> (..., E)."""
        return lookup(self.weight, input)
