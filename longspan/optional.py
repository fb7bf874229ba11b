"""Imports optional packages; a missing one is an error that names the command to install it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from longspan import errors


def require(module: str, extra: str, what: str) -> Any:
    """The module, or an error that names the command to run.

    Args:
        module: such as "matplotlib.pyplot".
        extra: the name of the optional install of longspan that brings it.
        what: what is asked for, the sentence's subject.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0].replace("_", "-")
        way_out = f"run pip install 'longspan[{extra}]'"
        raise ImportError(errors.message(what, f"the package {package}", "none", way_out)) from error
