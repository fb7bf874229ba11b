"""The functions of `longspan.ops` by Keras' other place for those that NumPy has: keras.ops.numpy."""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """The function of this name in `longspan.ops`."""
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(import_module("longspan.ops"), name)
