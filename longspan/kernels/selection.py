"""Holds the backend that the caller has forced, and its variant, for the calls of this thread or task."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def constant(function: Callable[P, R]) -> Callable[P, R]:
    """torch.compiler.assume_constant_result, without importing the whole compiler (0.8 s)."""
    function.__dict__["_dynamo_marked_constant"] = True
    return function


# "cpu", "cpu:avx2", …; None where the library chooses.
FORCED: ContextVar[str | None] = ContextVar("longspan_backend", default=None)


# torch.compile cannot trace a context variable; it keeps the value of the time when it traces.
@constant
def forced() -> str | None:
    """The name that the caller forced with `use_backend`, None where the library chooses."""
    return FORCED.get()


def variant(backend: str) -> str | None:
    """The variant of `backend` that the caller forced, None where the backend decides.

    >>> variant("cpu") is None
    True
    """
    name, _, variant = (forced() or "").partition(":")
    return variant if variant and name == backend else None
