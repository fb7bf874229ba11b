"""The recommendation demonstration: which module a Python file imports next."""

from __future__ import annotations

import re
import sysconfig
import time
from importlib.util import find_spec
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

from longspan import errors
from longspan.tasks.recommend import Recommender

from .written import show_written, write_tables

EVERY = 10  # of so many files the last is never learnt from
MOST = 3000  # files at most
_FEWEST = 3  # imports of a file that is taken
_PACKAGES = ("torch", "polars", "narwhals", "numpy")  # beside Python's own files
_IMPORT = re.compile(r"^(?:from|import)\s+([A-Za-z_]\w*(?:\.\w+)*)", re.MULTILINE)
_ASKED = ["__future__", "os", "sys"]
_LEAD = (
    "One GRU over the imports of Python files on this computer: a file is a session, a module is an item. "
    "The model learnt from nine tenths of the files; the scores are those of the others, all modules ranked."
)


def run(folder: Path) -> None:
    """Events, training, scores, recommendations, report; the files go into the folder."""
    console = Console(highlight=False)
    events = read()
    unseen = pl.col("session") % EVERY == EVERY - 1
    train, test = events.filter(~unseen), events.filter(unseen)
    console.print(
        f"[bold]1[/] Data: {events.height:,} imports of {events['module'].n_unique():,} modules in "
        f"{events['session'].n_unique():,} Python files of this computer; every {EVERY}th file is set aside."
    )
    console.print("[bold]2[/] Training on the others ...")
    began = time.perf_counter()
    model = Recommender(user="session", item="module", time="line").fit(train)
    console.print(f"  done in {time.perf_counter() - began:.0f} s, {len(model.history_.epoch)} epochs.")
    console.print("[bold]3[/] The files set aside, each import ranked by those before it:")
    scores = model.evaluate(test)
    console.print(_table(scores))
    console.print(f"[bold]4[/] A file that imports {', '.join(_ASKED)} may go on with:")
    found = model.predict([_ASKED], k=5)
    console.print("  " + ", ".join(f"{m} ({s:.0%})" for m, s in found.select("module", "score").iter_rows()))
    console.print("\n[bold]5[/] Written:")
    show_written(console, _write(model, events, test, folder), folder / "report.html")


def read() -> pl.DataFrame:
    """The imports of files: session (number of the file), module, line (number of the import).

    Raises:
        FileNotFoundError: this Python has no files of its own to read; one sentence.
    """
    folders = [Path(sysconfig.get_paths()["stdlib"])]
    specs = [find_spec(package) for package in _PACKAGES]
    folders += [Path(str(spec.origin)).parent for spec in specs if spec is not None and spec.origin]
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py")) if _is_taken(path, folder)]
    sessions = [imports for imports in map(_imports, _thinned(paths)) if len(imports) >= _FEWEST]
    if not sessions:
        way_out = "use a Python that was installed with its files"
        raise FileNotFoundError(errors.message("demo", "Python files with imports", "none", way_out))
    rows = [(n, module, line) for n, imports in enumerate(sessions) for line, module in enumerate(imports)]
    return pl.DataFrame(rows, schema=["session", "module", "line"], orient="row")


def _is_taken(path: Path, folder: Path) -> bool:
    """Whether a file belongs to the folder's own package."""
    return "site-packages" not in path.relative_to(folder).parts


def _thinned(paths: list[Path]) -> list[Path]:
    """At most MOST of the paths, evenly from all of them."""
    step = max(1, -(-len(paths) // MOST))
    return paths[::step]


def _imports(path: Path) -> list[str]:
    """The modules that a file imports, in its order, each once."""
    text = path.read_text("utf-8", errors="replace")
    return list(dict.fromkeys(_IMPORT.findall(text)))


def _table(scores: dict[str, float]) -> Table:
    """The model beside the baselines."""
    table = Table()
    for name in ("model", "hit rate @10", "NDCG @10", "MRR @10"):
        table.add_column(name, justify="left" if name == "model" else "right")
    models = {"longspan": "", "most popular": "popular_", "followers": "markov_", "item kNN": "knn_"}
    for name, prefix in models.items():
        values = (scores[f"{prefix}{metric}"] for metric in ("hr@10", "ndcg@10", "mrr@10"))
        table.add_row(name, *(f"{value:.3f}" for value in values), style=None if prefix else "bold")
    return table


def _write(model: Recommender, events: pl.DataFrame, test: pl.DataFrame, folder: Path) -> dict[Path, str]:
    """Every file, and what it is."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(folder, {"imports.csv": events})
    model.save(folder / "model")
    model.write_report(folder / "report.html", test, title="The next import of a Python file", lead=_LEAD)
    return {
        folder / "imports.csv": "the events, to try the commands on",
        folder / "model": "the model: longspan predict, evaluate, report",
        folder / "report.html": "the report, with lists and similar modules",
    }
