"""Knows where a cell's kernels are: built in, or, for a user's own, printed as C++, compiled and cached."""

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

from .emit_cpp import norm_struct_source, struct_source
from .selection import constant

HEADERS = Path(_core.__file__).parent / "csrc"
ABI: int = _core.ABI
INSTRUCTION_SETS: tuple[str, ...] = tuple(_core.instruction_sets())  # that this machine runs, widest first
WIDEST: str = os.environ.get("LONGSPAN_ISA") or INSTRUCTION_SETS[0]
# What one kernel can hold, as csrc/call.h says.
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
    _found.cache_clear()
    _loaded.cache_clear()
    if problem := _load(path).problem:
        raise RuntimeError(f"compile_cell: {path} {problem}; install longspan again.")
    key(cell)
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


# torch.compile does not look into files and addresses: it keeps what it is told.


@constant
def entry(cell: Cell, isa: str) -> int:
    """The address of the cell's compiled functions, 0 where there are none."""
    return _found(cell, isa).address


@constant
def why_not(cell: Cell, isa: str) -> str:
    """Why a cell of the user's runs on the reference, as a clause."""
    own = f"the cell {cell.name!r} is your own and"
    if reason := _too_big(cell):
        return f"{own} {reason} that a kernel can hold"
    if problem := _found(cell, isa).problem:
        again = "longspan.compile_cell(cell) builds it again"
        return f"{own} its compiled file {_path(cell, isa)} {problem} ({again})"
    if compiler() is None:
        return f"{own} there is no C++ compiler for longspan.compile_cell(cell) ({_INSTALL})"
    return f"{own} not compiled for {isa} yet (longspan.compile_cell(cell) does it, once)"


def where(cell: Cell, isa: str) -> Path | None:
    """The file with the kernels compiled for a cell of the user's; None for a built-in one."""
    return None if CELLS.get(cell.name) is cell else _path(cell, isa)


def compiler() -> list[str] | None:
    """The command of the C++ compiler that would be used, or None."""
    named = shlex.split(os.environ.get("CXX", ""))
    commands = [named] * bool(named) + [["g++"], ["clang++"], ["c++"]]
    return next(([path, *rest] for tool, *rest in commands if (path := shutil.which(tool))), None)


class _Loaded(NamedTuple):
    """Kernels in memory: their address, or 0; and why a file that is there does not do, as a clause."""

    address: int
    problem: str | None = None


@lru_cache(maxsize=256)
def _found(cell: Cell, isa: str) -> _Loaded:
    if isa not in INSTRUCTION_SETS or _too_big(cell):
        return _Loaded(0)
    if CELLS.get(cell.name) is cell:
        return _Loaded(_core.cell(isa, cell.name))
    path = _path(cell, isa)
    return _load(path) if os.path.exists(path) else _Loaded(0)  # nor where nobody may look


def _load(path: Path) -> _Loaded:
    """The kernels of a file; an opened library stays when its file is replaced, so its time belongs to it."""
    return _loaded(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _loaded(path: Path, changed: int) -> _Loaded:
    try:
        function = ctypes.CDLL(str(path)).longspan_entry
    except (OSError, AttributeError) as error:
        return _Loaded(0, f"cannot be loaded: {error}")
    function.restype = ctypes.c_void_p
    address = function()
    made_for = ctypes.c_int.from_address(address).value
    if made_for != ABI:
        return _Loaded(0, f"was made for version {made_for} of the kernels, where this one is {ABI}")
    return _Loaded(address)


_known: dict[str, Cell] = {}


@constant
def key(cell: Cell) -> str:
    """The name under which the operators know a cell: the same wherever the equations are the same."""
    if CELLS.get(cell.name) is cell:
        return cell.name
    name = _own_key(cell)
    return _known.setdefault(name, cell) and name


@lru_cache(maxsize=256)
def _own_key(cell: Cell) -> str:
    return f"{cell.name}:{hashlib.sha256(_source(cell).encode()).hexdigest()[:16]}"


def named(name: str) -> Cell:
    """The cell that `key` named so."""
    found = CELLS.get(name) or _known.get(name)
    if found is None:
        raise RuntimeError(
            f"longspan::recur: expected a cell that this process knows, received {name!r}; define the cell "
            "as it was when the program was made, and call longspan.compile_cell(cell)."
        )
    return found


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
    ours = ["-std=gnu++17", "-fPIC", "-shared", "-fvisibility=hidden", f"-I{HEADERS}"]
    return [*shlex.split(_core.flags(isa)), *ours]


def _path(cell: Cell, isa: str) -> Path:
    root = os.environ.get("LONGSPAN_CACHE")
    folder = Path(root).absolute() if root else Path.home() / ".cache" / "longspan"
    headers = "".join((HEADERS / name).read_text() for name in ("call.h", "simd.h", "point.h"))
    text = "\n".join([_source(cell), headers, *_flags(isa)])
    return folder / f"{cell.name}-{isa}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.so"


def _build(cell: Cell, isa: str, path: Path) -> None:
    """Compile beside `path` and rename, so that nobody ever finds half a file there."""
    tool = compiler()
    if tool is None:
        raise RuntimeError(
            f"compile_cell: expected a C++17 compiler to compile {cell.name!r}, found none; {_INSTALL} "
            "or name one in $CXX."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            source, made = Path(folder) / "cell.cpp", Path(folder) / "cell.so"
            source.write_text(_source(cell), encoding="utf-8")
            _compile(cell, [*tool, *_flags(isa), str(source), "-o"], made)
            made.replace(path)
    except OSError as error:
        raise RuntimeError(
            f"compile_cell: expected a folder to keep compiled cells in, received {path.parent} "
            f"({error.strerror}); name another in $LONGSPAN_CACHE."
        ) from error


def _compile(cell: Cell, command: list[str], made: Path) -> None:
    try:
        done = subprocess.run([*command, str(made)], capture_output=True, text=True, errors="replace")
    except OSError as error:
        words = f"compile_cell: {command[0]} cannot be run: {error.strerror}; correct $CXX."
        raise RuntimeError(words) from error
    if done.returncode or not made.exists():
        lines = (done.stdout + done.stderr).strip().splitlines()
        lines = lines or [f"it ended with status {done.returncode}, no file and no word"]
        first = next((line for line in lines if "error" in line), lines[0])
        raise RuntimeError(f"compile_cell: {command[0]} could not compile {cell.name!r}: {first}")
