"""Knows who may be following what is done to tensors, so that they must not be read behind PyTorch's back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .selection import constant

_C: Any = torch._C  # of whose stubs these are not a part
# How many dispatch modes are on.
modes: Callable[[], int] = _C._len_torch_dispatch_stack
# The innermost torch.func transform, or None.
interpreters: Callable[[], object] = _C._functorch.peek_interpreter_stack
# What torch.jit.trace records, or None.
tracing: Callable[[], object] = _C._get_tracing_state


# torch.compile does not call these; it keeps what it is told while it traces, inside of its own transforms.
@constant
def transformed() -> bool:
    """Whether a torch.func transform, forward-mode differentiation or torch.jit.trace is under way."""
    return (
        interpreters() is not None or torch.autograd.forward_ad._current_level >= 0 or tracing() is not None
    )


def followed() -> bool:
    """Whether anyone at all is following: a dispatch mode, a transform or a tracer."""
    return bool(modes()) or interpreters() is not None or tracing() is not None
