"""Keras' dtype policies, of which there is one here: layers compute in the dtype of their weights."""

from __future__ import annotations

import types
from typing import Any


def _current() -> Any:
    return types.SimpleNamespace(name="float32", compute_dtype="float32", variable_dtype="float32")


def set_dtype_policy(policy: Any) -> None:
    """Nothing to set."""


dtype_policy = types.SimpleNamespace(dtype_policy=_current, set_dtype_policy=set_dtype_policy)
