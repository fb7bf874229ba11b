"""Measures the code itself: lengths of functions, classes and files, users of shared files, options, imports.

python -m benchmarks.house
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from rich.console import Console
from rich.table import Table

PACKAGE = "longspan"
ROOT = Path(__file__).resolve().parents[1]
SHARED = ("data", "networks")  # rooms of files that several rooms must use
MEDIAN, NINTH_DECILE, FUNCTION = 5, 15, 40  # lines of a function's body, at most
CLASS, FILE = 300, 550  # lines that a class and a file stay under
ARROWS = 116  # pairs of rooms, one of which imports from the other, at most


@dataclass(frozen=True)
class Row:
    """A line of the table: what is measured, its figure, its aim; `good` is None where there is no aim."""

    what: str
    figure: str
    aim: str = ""
    good: bool | None = None


def module(path: Path, root: Path) -> str:
    """longspan/kernels/cpu.py -> longspan.kernels.cpu, a folder's __init__.py -> the folder."""
    return ".".join((PACKAGE, *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")


def imports(path: Path, root: Path) -> Iterator[str]:
    """The full name of everything that a file imports, at its top or inside a function."""
    package = module(path, root).split(".") + (["__init__"] if path.name == "__init__.py" else [])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: -node.level] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def room(name: str, root: Path) -> str:
    """The room of a module: a task's folder, or the first name below the package."""
    parts = [*name.split("."), "", ""]
    return ".".join(parts[1:3]) if parts[1] == "tasks" and (root / "tasks" / parts[2]).is_dir() else parts[1]


def arrows(root: Path) -> set[tuple[str, str]]:
    """Pairs (importing room, imported room); longspan/__init__ and the compiled _core are no rooms."""
    rooms = {room(module(path, root), root) for path in root.rglob("*.py")} - {""}
    pairs = {
        (room(module(path, root), root), room(name, root))
        for path in root.rglob("*.py")
        for name in imports(path, root)
        if name.startswith(f"{PACKAGE}.")
    }
    return {(here, there) for here, there in pairs if here != there and {here, there} <= rooms}


def users(root: Path) -> dict[str, set[str]]:
    """Files of data/ and networks/ -> the rooms that use them, themselves or through other shared files.

    A room's public names count as a room that uses the file.
    """
    files = {module(path, root): path for path in sorted(root.rglob("*.py"))}
    importers: dict[str, set[str]] = {name: set() for name in files}
    for name, path in files.items():
        for full in imports(path, root):
            importers.get(full, importers.get(full.rpartition(".")[0], set())).add(name)

    def shared(name: str) -> bool:
        return name.split(".")[1] in SHARED and files[name].name != "__init__.py"

    def rooms_of(name: str, seen: frozenset[str]) -> set[str]:
        rooms: set[str] = set()
        for other in importers[name] - seen - {PACKAGE}:
            if shared(other):
                rooms |= rooms_of(other, seen | {other})
            else:
                rooms.add(other if files[other].name == "__init__.py" else room(other, root))
        return rooms

    return {
        files[name].relative_to(root).as_posix(): rooms_of(name, frozenset({name}))
        for name in files
        if name != PACKAGE and shared(name)
    }


def lengths(root: Path) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Lines of functions (their bodies, without docstrings) and of classes (whole), each with its name."""
    functions, classes = [], []
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                functions.append((_body(node), f"{path.relative_to(root).as_posix()} {node.name}"))
            elif isinstance(node, ast.ClassDef):
                whole = (node.end_lineno or node.lineno) - node.lineno + 1
                classes.append((whole, f"{path.relative_to(root).as_posix()} {node.name}"))
    return sorted(functions, reverse=True), sorted(classes, reverse=True)


def _body(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    statements = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (statements[-1].end_lineno or 0) - statements[0].lineno + 1 if statements else 0


def _over(what: str, sizes: list[tuple[int, str]], limit: int) -> list[Row]:
    """The longest of all, and every one that reaches the limit."""
    return [
        Row(what, f"{size} {name}", f"< {limit}", size < limit)
        for index, (size, name) in enumerate(sizes)
        if index == 0 or size >= limit
    ]


def code(root: Path) -> list[Row]:
    """Lengths of functions, classes and files, and the arrows between rooms."""
    functions, classes = lengths(root)
    lines = [size for size, _ in functions]
    middle, ninth = median(lines), quantiles(lines, n=10)[-1]
    files = sorted(
        (
            (len(path.read_text().splitlines()), path.relative_to(root.parent).as_posix())
            for folder in (root, root.parent / "csrc")
            for path in folder.rglob("*")
            if path.suffix in (".py", ".cpp", ".h")
        ),
        reverse=True,
    )
    pairs = len(arrows(root))
    return [
        Row(f"lines of {len(lines)} functions, median", f"{middle:g}", f"<= {MEDIAN}", middle <= MEDIAN),
        Row("lines of functions, 90 %", f"{ninth:g}", f"<= {NINTH_DECILE}", ninth <= NINTH_DECILE),
        *_over("longest function", functions, FUNCTION + 1),
        *_over("longest class", classes, CLASS),
        *_over("longest file", files, FILE),
        Row("import arrows between rooms", str(pairs), f"<= {ARROWS}", pairs <= ARROWS),
    ]


def shared_files(root: Path) -> list[Row]:
    """The rooms that use each file of data/ and networks/."""
    return [
        Row(file, f"{len(rooms)}: {', '.join(sorted(rooms))}", ">= 2", len(rooms) >= 2)
        for file, rooms in users(root).items()
    ]


def options() -> list[Row]:
    """The number of options of every task, those under Advanced apart."""
    from longspan.tasks import TASKS, task  # here: measuring a folder needs no PyTorch
    from longspan.tasks.options import options_of

    rows = []
    for name in TASKS:
        every = options_of(task(name)).values()
        advanced = sum(entry.advanced for entry in every)
        rows.append(Row(f"options of {name}", f"{len(every) - advanced} and {advanced} advanced"))
    return rows


def main() -> None:
    """Print the table; what misses its aim is marked."""
    table = Table("measured", "figure", "aim", "", title="The house")
    for section in (code(ROOT / PACKAGE), shared_files(ROOT / PACKAGE), options()):
        for row in section:
            mark = {None: "", True: "kept", False: "MISSED"}[row.good]
            table.add_row(row.what, row.figure, row.aim, mark, style="bold" if row.good is False else None)
        table.add_section()
    Console().print(table)
    Console().print(
        "A room is a task's folder or the first name below the package. An arrow is a pair of rooms,"
        " the first of which imports from the second: at its top, in a function or for types."
        " A function's lines are those of its body without the docstring."
    )


if __name__ == "__main__":
    main()
