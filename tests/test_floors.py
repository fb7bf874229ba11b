"""Imports only go down and never in a circle: the floors are the architecture, kept by this test alone."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "longspan"
FLOORS = [
    {"__version__"},
    {"errors"},
    {"atomic_file"},
    {"optional", "cells", "artifact", "search", "statistics", "registry", "text_table"},
    {"losses", "activations", "initializers", "regularizers"},
    {"metrics"},
    {"data"},
    {"_core"},  # the compiled csrc/
    {"kernels"},
    {"nn"},
    {"networks", "layers", "report"},
    {"export"},
    {"optimizers"},
    {"callbacks"},
    {"training"},
    {"models", "tasks", "comparison"},
    {"utils"},
    {"serve", "preprocessing", "saving", "backend"},
    {"demos"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, floor in enumerate(FLOORS) for name in floor}
STANDARD_LIBRARY_ONLY = [
    "cells.py",
    "kernels/program.py",
    "kernels/emit_cpp.py",
    *(f"kernels/emit_triton/{path.name}" for path in (ROOT / PACKAGE / "kernels/emit_triton").glob("*.py")),
]


def module(path: Path, root: Path) -> str:
    """longspan/kernels/cpu.py -> longspan.kernels.cpu, a folder's __init__.py -> the folder."""
    return ".".join((PACKAGE, *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")


def imports(path: Path, root: Path) -> Iterator[str]:
    """The full name of everything that a file imports, at its top or inside a function."""
    here = module(path, root).split(".") + (["__init__"] if path.name == "__init__.py" else [])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: -node.level] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def upward(root: Path) -> Iterator[str]:
    """Imports of the same floor or a higher one, and of names that have no floor."""
    for path in sorted(root.rglob("*.py")):
        home = module(path, root).split(".")[1:2]
        if not home:
            continue  # the package's own __init__ shows every floor
        for name in imports(path, root):
            parts = [*name.split("."), "the package itself"]
            if parts[0] == PACKAGE and parts[1] != home[0] and LEVEL.get(parts[1], 99) >= LEVEL[home[0]]:
                yield f"{path.relative_to(root)} may not import {parts[1]}"


def circle(root: Path) -> list[str]:
    """One circle of files that import each other, or nothing."""
    files = {module(path, root): path for path in root.rglob("*.py") if path.parent != root}
    graph = {
        name: {full if full in files else full.rpartition(".")[0] for full in imports(path, root)}
        & files.keys()
        for name, path in files.items()
    }
    try:
        TopologicalSorter({name: needs - {name} for name, needs in graph.items()}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_imports_only_go_down() -> None:
    assert list(upward(ROOT / PACKAGE)) == []


def test_no_circles() -> None:
    assert circle(ROOT / PACKAGE) == []


@pytest.mark.parametrize("name", STANDARD_LIBRARY_ONLY)
def test_the_build_needs_a_bare_python_only(name: str) -> None:
    allowed = {*sys.stdlib_module_names, PACKAGE}
    assert {full.split(".")[0] for full in imports(ROOT / PACKAGE / name, ROOT / PACKAGE)} <= allowed


def test_a_wrong_import_is_seen(tmp_path: Path) -> None:
    (tmp_path / "kernels").mkdir()
    (tmp_path / "errors.py").write_text("from .kernels import cpu\nimport longspan\n")
    (tmp_path / "cells.py").write_text("from longspan import metrics, _core\nimport torch\n")
    (tmp_path / "kernels/cpu.py").write_text(
        "from ..nn import LSTM\nfrom ..cells import CELLS\nfrom . import job\n"
    )
    (tmp_path / "kernels/job.py").write_text("from .cpu import run\nfrom longspan.basement import x\n")
    assert list(upward(tmp_path)) == [
        "cells.py may not import metrics",
        "cells.py may not import _core",
        "errors.py may not import kernels",
        "errors.py may not import the package itself",
        "kernels/cpu.py may not import nn",
        "kernels/job.py may not import basement",
    ]
    assert {"longspan.kernels.cpu", "longspan.kernels.job"} <= set(circle(tmp_path))
