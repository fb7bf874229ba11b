"""Detects tracing (dispatch modes, torch.func, torch.jit.trace), which reads of raw pointers would bypass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .selection import constant

_C: Any = torch._C  # of whose stubs these are not a part
# How many dispatch modes are on.
dispatch_modes: Callable[[], int] = _C._len_torch_dispatch_stack
# The innermost torch.func transform, or None.
innermost_transform: Callable[[], object] = _C._functorch.peek_interpreter_stack
# What torch.jit.trace records, or None.
jit_trace: Callable[[], object] = _C._get_tracing_state


# torch.compile does not call these; it keeps their answers while it traces, inside transforms of its own.
@constant
def in_transform() -> bool:
    """Whether a torch.func transform, forward-mode differentiation or torch.jit.trace is under way."""
    return (
        innermost_transform() is not None
        or torch.autograd.forward_ad._current_level >= 0
        or jit_trace() is not None
    )


@constant
def maps_only() -> bool:
    """Whether all that is under way is torch.vmap, torch.func.grad at most once, or both."""
    if torch.autograd.forward_ad._current_level >= 0 or jit_trace() is not None or dispatch_modes():
        return False
    kinds = [interpreter.key() for interpreter in _C._functorch.get_interpreter_stack() or ()]
    types = _C._functorch.TransformType
    return kinds.count(types.Grad) <= 1 and set(kinds) <= {types.Vmap, types.Grad}


def is_mapped(tensor: Tensor) -> bool:
    """Whether torch.vmap maps over a dimension of `tensor`, so that its values cannot be read."""
    return innermost_transform() is not None and _C._functorch.is_batchedtensor(tensor)


def is_tracing() -> bool:
    """Whether a dispatch mode, a torch.func transform or torch.jit.trace sees the operations of tensors."""
    return bool(dispatch_modes()) or innermost_transform() is not None or jit_trace() is not None
