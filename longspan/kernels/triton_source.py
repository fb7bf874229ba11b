"""Turns printed Triton into functions: writes it to a file in the cache and imports that once."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from functools import lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from longspan.cells import Cell

from .cache import cache_folder
from .emit_triton import Variant, source
from .selection import constant

INSTALL = "pip install 'longspan[gpu]'"


@constant
def missing() -> str | None:
    """Why Triton cannot be used, as a clause that names the way out; None when it can."""
    if "triton" not in sys.modules and importlib.util.find_spec("triton") is None:
        return f"Triton is not installed ({INSTALL} installs it)"
    return None


@constant
def interpreted() -> bool:
    """Whether Triton interprets its kernels, on the CPU too: TRITON_INTERPRET=1 when it is imported."""
    return missing() is None and os.environ.get("TRITON_INTERPRET") == "1"


@lru_cache(maxsize=256)
def kernels(cell: Cell, variant: Variant) -> ModuleType:
    """The kernels of a cell and variant: printed, kept under `$LONGSPAN_CACHE`, else `~/.cache/longspan`.

    Raises:
        RuntimeError: Triton is not installed, or the folder cannot be written.
    """
    if reason := missing():
        raise RuntimeError(f"gpu: {reason}.")
    path = _path(cell, text := source(cell, variant))
    if not path.exists():
        _write(path, text)
    spec = importlib.util.spec_from_file_location(f"longspan_printed_{path.stem.replace('-', '_')}", path)
    assert isinstance(spec, ModuleSpec) and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _path(cell: Cell, text: str) -> Path:
    return cache_folder() / f"{cell.name}-triton-{hashlib.sha256(text.encode()).hexdigest()[:16]}.py"


def _write(path: Path, text: str) -> None:
    """Write beside `path` and rename, so that no process ever imports half a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            part = Path(folder) / path.name
            part.write_text(text, encoding="utf-8")
            part.replace(path)
    except OSError as error:
        raise RuntimeError(
            f"gpu: expected a folder to keep printed kernels in, received {path.parent} ({error.strerror}); "
            "name another in $LONGSPAN_CACHE."
        ) from error
