"""Imports only go down and never in a circle: the floors are the architecture, kept by this test alone."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from benchmarks.house import PACKAGE, ROOT, imports, module, users

FLOORS = [
    {"__version__"},
    {"errors"},
    {"atomic_file"},
    {"optional", "cells", "artifact", "statistics", "registry", "text_table"},
    {"config"},
    {"ops"},
    {"losses", "activations", "initializers", "regularizers", "constraints"},
    {"variables"},
    {"metrics"},
    {"data"},
    {"_core"},  # the compiled csrc/
    {"kernels"},
    {"nn", "search"},
    {"networks", "layers", "report", "learn"},
    {"export"},
    {"optimizers"},
    {"callbacks"},
    {"training"},
    {"models", "tasks", "comparison"},
    {"utils", "quantization"},
    {"serve", "preprocessing", "saving", "backend"},
    {"demos"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, floor in enumerate(FLOORS) for name in floor}
TOP = {name for floor in FLOORS for name in floor} - {"__version__", "_core", "__main__"}
DOORS = {"__init__.py", "codec.py", "network.py", "report.py"}  # every task has these files
SIDE_DOORS = {("anomaly", "forecast"): {"Forecaster"}}  # what a task may import from another one
STANDARD_LIBRARY_ONLY = [
    "cells.py",
    "kernels/program.py",
    "kernels/emit_cpp.py",
    "kernels/emit_javascript.py",
    *(f"kernels/emit_triton/{path.name}" for path in (ROOT / PACKAGE / "kernels/emit_triton").glob("*.py")),
]


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


def sideways(root: Path) -> Iterator[str]:
    """Imports from one task's folder into another's, but for the side doors."""
    for path in sorted((root / "tasks").glob("*/*.py")):
        for name in imports(path, root):
            parts = [*name.split("."), "", ""]
            if parts[:2] != [PACKAGE, "tasks"] or not (root / "tasks" / parts[2]).is_dir():
                continue
            here, there = path.parent.name, parts[2]
            if here != there and parts[-3] not in SIDE_DOORS.get((here, there), set()):
                yield f"{path.relative_to(root)} may not import {name}"


def lonely(root: Path) -> Iterator[str]:
    """Files of data/ and networks/ that fewer than two rooms use."""
    for file, rooms in users(root).items():
        if len(rooms) < 2:
            yield f"{file} belongs to {', '.join(sorted(rooms)) or 'nobody'}"


def without_doors(root: Path) -> Iterator[str]:
    """Tasks without the files that every task has, or with another number of public names than one."""
    for folder in sorted(path for path in (root / "tasks").iterdir() if (path / "__init__.py").exists()):
        for door in sorted(DOORS - {path.name for path in folder.iterdir()}):
            yield f"tasks/{folder.name} lacks {door}"
        names = [
            node.value
            for node in ast.walk(ast.parse((folder / "__init__.py").read_text()))
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        ]
        count = len(ast.literal_eval(names[0])) if names else 0
        if count != 1:
            yield f"tasks/{folder.name} shows {count} names, not 1"


def unlisted(root: Path) -> list[str]:
    """Files and folders at the top that have no floor."""
    found = {path.stem for path in root.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    return sorted(name for name in found - TOP if not name.startswith("_"))


def test_imports_only_go_down() -> None:
    assert list(upward(ROOT / PACKAGE)) == []


def test_no_circles() -> None:
    assert circle(ROOT / PACKAGE) == []


def test_tasks_do_not_know_each_other() -> None:
    assert list(sideways(ROOT / PACKAGE)) == []


def test_what_is_shared_is_shared() -> None:
    assert list(lonely(ROOT / PACKAGE)) == []


def test_every_task_has_the_same_doors() -> None:
    assert list(without_doors(ROOT / PACKAGE)) == []


def test_the_top_level_is_a_closed_list() -> None:
    assert unlisted(ROOT / PACKAGE) == []


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


def test_a_wrong_room_is_seen(tmp_path: Path) -> None:
    for folder in ("data", "networks", "tasks/anomaly", "tasks/forecast", "tasks/video"):
        (tmp_path / folder).mkdir(parents=True)
    for task, names in (("anomaly", ["Detector"]), ("forecast", ["Forecaster", "Panel"])):
        (tmp_path / f"tasks/{task}/__init__.py").write_text(f"__all__ = {names}\n")
        for door in DOORS - {"__init__.py", *(["report.py"] if task == "anomaly" else [])}:
            (tmp_path / f"tasks/{task}/{door}").touch()
    (tmp_path / "data/__init__.py").touch()
    (tmp_path / "data/orphan.py").touch()
    (tmp_path / "data/one.py").touch()
    (tmp_path / "data/two.py").touch()
    (tmp_path / "cellar.py").touch()
    (tmp_path / "tasks/forecast/codec.py").write_text("from longspan.data.one import x\n")
    (tmp_path / "tasks/forecast/network.py").write_text(
        "from ...data import two\nfrom ..anomaly import alarms\n"
    )
    (tmp_path / "tasks/anomaly/codec.py").write_text(
        "from longspan.data.two import y\nfrom longspan.tasks.forecast import Forecaster\n"
        "from longspan.tasks.forecast.panel import Panel\n"
    )
    assert list(sideways(tmp_path)) == [
        "tasks/anomaly/codec.py may not import longspan.tasks.forecast.panel.Panel",
        "tasks/forecast/network.py may not import longspan.tasks.anomaly.alarms",
    ]
    assert list(lonely(tmp_path)) == [
        "data/one.py belongs to tasks.forecast", "data/orphan.py belongs to nobody"
    ]  # fmt: skip
    assert list(without_doors(tmp_path)) == [
        "tasks/anomaly lacks report.py", "tasks/forecast shows 2 names, not 1"
    ]  # fmt: skip
    assert unlisted(tmp_path) == ["cellar"]
