"""A user's own cell as compiled kernels: printed as C++, built by the machine's compiler, kept in a cache for next time."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from longspan import _core
from longspan.cells import Cell

from .emit import norm_struct_source, struct_source

HEADERS = Path(_core.__file__).parent / "csrc"


def compile_cell(cell: Cell, isa: str | None = None) -> Path:
    """Build the kernels of a cell of your own; from then on its layers run on them, in this process and later ones.

    The result is kept under `$LONGSPAN_CACHE`, else `~/.cache/longspan`; a second call finds it there. Changing the
    cell's equations makes another file. Needs a C++17 compiler (`$CXX`, else `g++`, `clang++` or `c++`).

    Args:
        cell: made with `@longspan.cell`.
        isa: one of the instruction sets that `longspan info` lists; None: the widest.

    Returns:
        The path of the compiled file.

    Raises:
        RuntimeError: there is no compiler, or it fails; its first error is given.

    Example:
        >>> import longspan as ls
        >>> @ls.cell(gates="fg", states="h")
        ... def minimal(x, r, s, p):
        ...     f = (x.f + r.f).sigmoid()
        ...     return (f * s.h + (1 - f) * (x.g + r.g).tanh(),)
        >>> path = ls.compile_cell(minimal)  # doctest: +SKIP
    """
    isa = isa or _core.instruction_sets()[0]
    path = _path(cell, isa)
    if not path.exists():
        _build(cell, isa, path)
    _entry_of.cache_clear()
    return path


def entry(cell: Cell, isa: str) -> int:
    """The address of the kernels compiled for `cell`, 0 where it has not been compiled."""
    return _entry_of(cell, isa)


def why_not(cell: Cell) -> str:
    """Why a cell of the user's runs on the reference: it waits to be compiled, or nothing could compile it."""
    if compiler() is None:
        return f"the cell {cell.name!r} is your own and no C++ compiler is there to compile it (install g++)"
    return (
        f"the cell {cell.name!r} is your own and not compiled yet (longspan.compile_cell(cell) does it, once)"
    )


def compiler() -> str | None:
    """The C++ compiler that would be used, or None."""
    names = (os.environ.get("CXX"), "g++", "clang++", "c++")
    return next((path for name in names if name and (path := shutil.which(name))), None)


@lru_cache(maxsize=256)
def _entry_of(cell: Cell, isa: str) -> int:
    path = _path(cell, isa)
    if not path.exists():
        return 0
    function = ctypes.CDLL(str(path)).longspan_entry
    function.restype = ctypes.c_void_p
    return function()


def _source(cell: Cell) -> str:
    norm = "c" in cell.states
    structs = struct_source(cell) + (norm_struct_source(cell) if norm else "")
    pair = f"{cell.name}, {f'{cell.name}_norm' if norm else 'NoNorm'}"
    return (
        f'// {cell.name}: printed by longspan.\n#include "point.h"\nnamespace LS_ISA {{\nnamespace {{\n{structs}}}\n}}\n'
        f'extern "C" __attribute__((visibility("default"))) const void* longspan_entry() {{\n'
        f"  return LS_ISA::Entry<LS_ISA::{pair.replace(', ', ', LS_ISA::')}>::get();\n}}\n"
    )


def _command(isa: str) -> list[str]:
    return [
        *shlex.split(_core.flags(isa)),
        "-std=gnu++17",
        "-fPIC",
        "-shared",
        "-fvisibility=hidden",
        f"-I{HEADERS}",
    ]


def _path(cell: Cell, isa: str) -> Path:
    root = os.environ.get("LONGSPAN_CACHE")
    folder = Path(root) if root else Path.home() / ".cache" / "longspan"
    headers = "".join((HEADERS / name).read_text() for name in ("call.h", "simd.h", "point.h"))
    text = "\n".join([_source(cell), headers, *_command(isa)])
    return folder / f"{cell.name}-{isa}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.so"


def _build(cell: Cell, isa: str, path: Path) -> None:
    tool = compiler()
    if tool is None:
        raise RuntimeError(
            f"compile_cell: expected a C++17 compiler to compile {cell.name!r}, found none; install g++ (Debian: "
            "apt-get install g++; Fedora: dnf install gcc-c++; macOS: xcode-select --install) or name one in $CXX."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        source, made = Path(folder) / "cell.cpp", Path(folder) / "cell.so"
        source.write_text(_source(cell))
        done = subprocess.run(
            [tool, *_command(isa), str(source), "-o", str(made)], capture_output=True, text=True
        )
        if done.returncode:
            error = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip())
            raise RuntimeError(f"compile_cell: {tool} could not compile {cell.name!r}: {error}")
        made.replace(path)
