"""Knows which backend the caller has forced, and in which variant, for the calls of this thread or task."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def constant(function: Callable[P, R]) -> Callable[P, R]:
    """What torch.compiler.assume_constant_result does, without its import of the whole compiler (0.8 s)."""
    function.__dict__["_dynamo_marked_constant"] = True
    return function


# "cpu", "cpu:avx2", …; None where the library chooses.
FORCED: ContextVar[str | None] = ContextVar("longspan_backend", default=None)


# torch.compile cannot follow a context variable; it keeps the value that it finds.
@constant
def forced() -> str | None:
    """The name that the caller forced with `use_backend`, None where the library chooses."""
    return FORCED.get()


def variant(backend: str) -> str | None:
    """The instruction set that the caller forced for `backend`, None where the backend decides.

    >>> variant("cpu") is None
    True
    """
    name, _, wanted = (forced() or "").partition(":")
    return wanted if wanted and name == backend else None
