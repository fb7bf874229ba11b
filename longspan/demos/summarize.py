"""Demonstrates summaries on the installed Python's own documentation: a docstring's body and its first line.

By PEP 257 the first line of a docstring summarises it, so the standard library ships thousands of pairs
written by people: what a function's name and the body say, and the first line to be written from them. The
files are read as text; nothing is imported or run. First lines often say what the body does not, so no
summarizer can be near to perfect here.
"""

from __future__ import annotations

import ast
import random
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from longspan.report import format_value
from longspan.tasks.summarize import Summarizer

from .written import show_written, write_tables

UNSEEN = 0.1  # share of the files whose docstrings are only asked for
LEAST, MOST = 6, 15  # words of a body at least, of a first line at most
OPTIONS: dict[str, Any] = {
    "max_source_length": 60,
    "hidden_size": 96,
    "embedding_size": 96,
    "num_layers": 1,
    "attention": "multiplicative",
    "epochs": 5,
    "learning_rate": 0.008,
}
_SKIPPED = {"test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__"}
_LEAD = (
    "One LSTM reads the name and the body of a docstring of Python's standard library, another writes its "
    "first line; words of the body may be copied. Everything below is about files that it never saw."
)


def run(folder: Path) -> None:
    """Pairs, training, scores, answers, report; the files go into the folder."""
    console = Console(highlight=False)
    seen, unseen = read(Path(sysconfig.get_path("stdlib")))
    console.print(f"[bold]1[/] Data: {len(seen) + len(unseen):,} docstrings of this Python's library.")
    console.print(f"[bold]2[/] Training on {len(seen):,} of them ...")
    began = time.perf_counter()
    model = Summarizer(**OPTIONS).fit(seen)
    console.print(f"  done in {time.perf_counter() - began:.0f} s.")
    console.print(f"[bold]3[/] First lines of {len(unseen)} docstrings in files that it never saw:")
    console.print(_table(model.evaluate(unseen)))
    console.print("[bold]4[/] Written:")
    show_written(console, _write(model, seen, unseen, folder), folder / "report.html")


Rows = list[tuple[str, str]]


def read(library: Path) -> tuple[Rows, Rows]:
    """Pairs (name and body, first line) to learn from, and those of other files; library: a folder."""
    files = [path for path in sorted(library.rglob("*.py")) if not _SKIPPED.intersection(path.parts)]
    random.Random(0).shuffle(files)
    count = round(UNSEEN * len(files))
    asked = {pair[0]: pair for path in files[:count] for pair in pairs_of(path)}
    learnt = {pair[0]: pair for path in files[count:] for pair in pairs_of(path) if pair[0] not in asked}
    return list(learnt.values()), list(asked.values())


def pairs_of(path: Path) -> Iterator[tuple[str, str]]:
    """The pairs of a Python file; none of one that cannot be read."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, OSError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            line, _, body = (ast.get_docstring(node) or "").partition("\n")
            words = " ".join(body.split())
            if line.strip() and len(words.split()) >= LEAST and len(line.split()) <= MOST:
                yield f"{node.name}: {words}", line.strip()


def _table(metrics: dict[str, float]) -> Table:
    """The model beside the trivial answers."""
    table = Table(caption="ROUGE, F1 with stems; more is better.")
    table.add_column("answer")
    rivals = {"longspan": "", "the first sentence": "lead_", "the best words by tf-idf": "tfidf_"}
    for name in ("rouge1", "rouge2", "rougeL"):
        table.add_column(name, justify="right")
    for name, prefix in rivals.items():
        values = [metrics[f"{prefix}{kind}"] for kind in ("rouge1", "rouge2", "rougeL")]
        table.add_row(name, *map(format_value, values), style=None if prefix else "bold")
    return table


def _write(model: Summarizer, seen: Rows, unseen: Rows, folder: Path) -> dict[Path, str]:
    """Every file, and what it is."""
    model.save(folder / "model")
    tables = {
        "docstrings.csv": pl.DataFrame(seen, schema=["source", "target"], orient="row"),
        "answers.csv": model.predict_table([source for source, _ in unseen]),
    }
    write_tables(folder, tables)
    title = "First lines of Python's docstrings"
    model.write_report(folder / "report.html", unseen, title=title, lead=_LEAD)
    return {
        folder / "docstrings.csv": "the pairs, to try the commands on",
        folder / "model": "the model: longspan predict, evaluate, report",
        folder / "answers.csv": "first lines for docstrings that it never saw",
        folder / "report.html": "the report, with what attention read",
    }
