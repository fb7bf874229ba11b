"""Knows the public names; each is loaded when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longspan import cells as cells
    from longspan import nn as nn
    from longspan.cells import cell as cell
    from longspan.kernels import compile_cell as compile_cell
    from longspan.kernels import use_backend as use_backend
    from longspan.nn.recurrent import explain as explain

__version__ = "0.1.0"

# public name -> the module that has it; a name that stands for the module itself has no attribute
_HOMES = {
    "cell": ("longspan.cells", "cell"),
    "cells": ("longspan.cells", ""),
    "compile_cell": ("longspan.kernels", "compile_cell"),
    "explain": ("longspan.nn.recurrent", "explain"),
    "nn": ("longspan.nn", ""),
    "use_backend": ("longspan.kernels", "use_backend"),
}

__all__ = ["__version__", "cell", "cells", "compile_cell", "explain", "nn", "use_backend"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'longspan' has no attribute {name!r}; it has {', '.join(_HOMES)}")
    home, attribute = _HOMES[name]
    module = import_module(home)
    value = getattr(module, attribute) if attribute else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
