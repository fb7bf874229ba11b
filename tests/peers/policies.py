"""Keras' dtype policies, of which there is one here: layers compute in the dtype of their weights."""

from __future__ import annotations

import types
from typing import Any


class _Policies:
    """Both Keras' function `dtype_policy` and its module of this name."""

    def __call__(self) -> Any:
        return types.SimpleNamespace(name="float32", compute_dtype="float32", variable_dtype="float32")

    @property
    def dtype_policy(self) -> Any:
        return self

    def set_dtype_policy(self, policy: Any) -> None:
        """Nothing to set."""


dtype_policy = _Policies()

set_dtype_policy = dtype_policy.set_dtype_policy
