"""Finds a cell's compiled kernels: built in, or, for a user's own, printed as C++, compiled and cached."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from longspan import _core, errors
from longspan.cells import CELLS, Cell

from .cache import cache_folder
from .emit_cpp import norm_struct_source, struct_source
from .selection import constant

HEADERS = Path(_core.__file__).parent / "csrc"
ABI: int = _core.ABI
INSTRUCTION_SETS: tuple[str, ...] = tuple(_core.instruction_sets())  # that this machine runs, widest first
WIDEST: str = os.environ.get("LONGSPAN_ISA") or INSTRUCTION_SETS[0]
# How many letters a kernel has room for, as in csrc/call.h.
LIMITS = {"gates": 12, "states": 8, "params": 12}

_INSTALL = (
    "install g++ (Debian: apt-get install g++; Fedora: dnf install gcc-c++; macOS: xcode-select --install)"
)


def compile_cell(cell: Cell, isa: str | None = None) -> Path:
    """Build the kernels of a cell of your own: from then on its layers run on them, in later processes too.

    The result is kept under `$LONGSPAN_CACHE`, else `~/.cache/longspan`; a second call finds it there.
    Changing the cell's equations makes another file. Needs a C++17 compiler (`$CXX`, else `g++`, `clang++` or
    `c++`).

    Args:
        cell: made with `@longspan.cell`.
        isa: one of the instruction sets that `longspan info` lists; None: the widest.

    Returns:
        The path of the compiled file.

    Raises:
        TypeError: `cell` is not a cell.
        ValueError: the cell is built in, has more gates, states or params than a kernel can hold, or `isa` is
            not one that this machine runs.
        RuntimeError: there is no compiler, or it fails (its first error is given), or the cache cannot be
            written.

    Example:
        >>> import longspan as ls
        >>> @ls.cell(gates="fg", states="h")
        ... def minimal(x, r, s, p):
        ...     f = (x.f + r.f).sigmoid()
        ...     return (f * s.h + (1 - f) * (x.g + r.g).tanh(),)
        >>> path = ls.compile_cell(minimal)  # doctest: +SKIP
    """
    _check(cell)
    isa = errors.check_choice("isa", WIDEST if isa is None else isa, INSTRUCTION_SETS)
    path = _path(cell, isa)
    if not os.path.exists(path) or _load(path).problem:
        _build(cell, isa, path)
    _kernels_of.cache_clear()
    _open.cache_clear()
    if problem := _load(path).problem:
        raise RuntimeError(f"compile_cell: {path} {problem}; install longspan again.")
    key_of(cell)
    return path


def _check(cell: object) -> None:
    if not isinstance(cell, Cell):
        raise errors.type_error("cell", "a cell of your own", cell, "put @longspan.cell(...) over its step")
    if CELLS.get(cell.name) is cell:
        raise errors.value_error(
            "cell", "a cell of your own", f"the built-in {cell.name}", "use it as it is: it is compiled"
        )
    if reason := _too_big(cell):
        raise errors.value_error(
            "cell", "one that a kernel can hold", f"{cell.name!r}, which {reason}", "let the reference run it"
        )


def _too_big(cell: Cell) -> str | None:
    counts = {role: len(getattr(cell, role)) for role in LIMITS}
    return next((f"has {n} {k} of at most {LIMITS[k]}" for k, n in counts.items() if n > LIMITS[k]), None)


# torch.compile does not trace these: it keeps their answers.


@constant
def address_of(cell: Cell, isa: str) -> int:
    """The address of the cell's compiled functions, 0 where there are none."""
    return _kernels_of(cell, isa).address


@constant
def why_not(cell: Cell, isa: str) -> str:
    """Why a cell of the user's runs on the reference, as a clause."""
    subject = f"the cell {cell.name!r} is your own and"
    if reason := _too_big(cell):
        return f"{subject} {reason} that a kernel can hold"
    if problem := _kernels_of(cell, isa).problem:
        way_out = "longspan.compile_cell(cell) builds it again"
        return f"{subject} its compiled file {_path(cell, isa)} {problem} ({way_out})"
    if compiler() is None:
        return f"{subject} there is no C++ compiler for longspan.compile_cell(cell) ({_INSTALL})"
    return f"{subject} not compiled for {isa} yet (longspan.compile_cell(cell) does it, once)"


def path_of(cell: Cell, isa: str) -> Path | None:
    """The file with the kernels compiled for a cell of the user's; None for a built-in one."""
    return None if CELLS.get(cell.name) is cell else _path(cell, isa)


def compiler() -> list[str] | None:
    """The command of the C++ compiler that would be used, or None."""
    chosen = shlex.split(os.environ.get("CXX", ""))
    commands = [chosen] * bool(chosen) + [["g++"], ["clang++"], ["c++"]]
    return next(([path, *rest] for tool, *rest in commands if (path := shutil.which(tool))), None)


class _Kernels(NamedTuple):
    """Kernels in memory: their address, or 0; and why an existing file cannot be used, as a clause."""

    address: int
    problem: str | None = None


@lru_cache(maxsize=256)
def _kernels_of(cell: Cell, isa: str) -> _Kernels:
    if isa not in INSTRUCTION_SETS or _too_big(cell):
        return _Kernels(0)
    if CELLS.get(cell.name) is cell:
        return _Kernels(_core.cell(isa, cell.name))
    path = _path(cell, isa)
    return (
        _load(path) if os.path.exists(path) else _Kernels(0)
    )  # none either where the folder may not be read


def _load(path: Path) -> _Kernels:
    """Loads a compiled library. dlopen caches by path, so the file's modification time is part of the key."""
    return _open(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _open(path: Path, changed: int) -> _Kernels:
    try:
        function = ctypes.CDLL(str(path)).longspan_entry
    except (OSError, AttributeError) as error:
        return _Kernels(0, f"cannot be loaded: {error}")
    function.restype = ctypes.c_void_p
    address = function()
    version = ctypes.c_int.from_address(address).value
    if version != ABI:
        return _Kernels(0, f"was made for version {version} of the kernels, where this one is {ABI}")
    return _Kernels(address)


_cells_by_key: dict[str, Cell] = {}


@constant
def key_of(cell: Cell) -> str:
    """A cell's name in the operators' arguments: the same wherever the equations are the same."""
    if CELLS.get(cell.name) is cell:
        return cell.name
    key = _key_of_own(cell)
    return _cells_by_key.setdefault(key, cell) and key


@lru_cache(maxsize=256)
def _key_of_own(cell: Cell) -> str:
    return f"{cell.name}:{hashlib.sha256(_source(cell).encode()).hexdigest()[:16]}"


def cell_of(key: str) -> Cell:
    """The inverse of `key_of`, for cells that this process has used."""
    cell = CELLS.get(key) or _cells_by_key.get(key)
    if cell is None:
        raise RuntimeError(
            f"longspan::recur: expected a cell that this process knows, received {key!r}; define the cell "
            "as it was when the program was made, and call longspan.compile_cell(cell)."
        )
    return cell


def _source(cell: Cell) -> str:
    cell = replace(cell, name=f"own_{cell.name}")  # a Python name may mean something else in C++
    norm = "c" in cell.states
    structs = struct_source(cell) + (norm_struct_source(cell) if norm else "")
    pair = f"LS_ISA::{cell.name}, LS_ISA::{f'{cell.name}_norm' if norm else 'NoNorm'}"
    return (
        f'// {cell.name}: printed by longspan.\n#include "point.h"\n'
        f"namespace LS_ISA {{\nnamespace {{\n{structs}}}\n}}\n"
        f'extern "C" __attribute__((visibility("default"))) const void* longspan_entry() {{\n'
        f"  return LS_ISA::Entry<{pair}>::get();\n}}\n"
    )


def _flags(isa: str) -> list[str]:
    shared = ["-std=gnu++17", "-fPIC", "-shared", "-fvisibility=hidden", f"-I{HEADERS}"]
    return [*shlex.split(_core.flags(isa)), *shared]


def _path(cell: Cell, isa: str) -> Path:
    headers = "".join((HEADERS / name).read_text() for name in ("call.h", "simd.h", "point.h"))
    text = "\n".join([_source(cell), headers, *_flags(isa)])
    return cache_folder() / f"{cell.name}-{isa}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.so"


def _build(cell: Cell, isa: str, path: Path) -> None:
    """Compile beside `path` and rename, so that no process ever loads half a file."""
    tool = compiler()
    if tool is None:
        raise RuntimeError(
            f"compile_cell: expected a C++17 compiler to compile {cell.name!r}, found none; {_INSTALL} "
            "or name one in $CXX."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            source, library = Path(folder) / "cell.cpp", Path(folder) / "cell.so"
            source.write_text(_source(cell), encoding="utf-8")
            _compile(cell, [*tool, *_flags(isa), str(source), "-o"], library)
            library.replace(path)
    except OSError as error:
        raise RuntimeError(
            f"compile_cell: expected a folder to keep compiled cells in, received {path.parent} "
            f"({error.strerror}); name another in $LONGSPAN_CACHE."
        ) from error


def _compile(cell: Cell, command: list[str], library: Path) -> None:
    try:
        done = subprocess.run([*command, str(library)], capture_output=True, text=True, errors="replace")
    except OSError as error:
        message = f"compile_cell: {command[0]} cannot be run: {error.strerror}; correct $CXX."
        raise RuntimeError(message) from error
    if done.returncode or not library.exists():
        lines = (done.stdout + done.stderr).strip().splitlines()
        lines = lines or [f"it ended with status {done.returncode}, no file and no message"]
        first = next((line for line in lines if "error" in line), lines[0])
        raise RuntimeError(f"compile_cell: {command[0]} could not compile {cell.name!r}: {first}")
