"""The language demonstration: Python's own reference manual, learnt character by character in a minute."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from longspan import errors
from longspan.atomic_file import atomic_write
from longspan.tasks.language import LanguageModel

from .written import show_written

MINUTES = 1.0  # of training
EVERY = 10  # of so many chapters the last is never learnt from
PROMPT = "The following statement "
_LEAD = (
    "One LSTM over the characters of Python's reference manual, as the installed Python ships it for its "
    "help(). It learnt for a minute from nine tenths of the chapters; the scores are those of the others."
)


def run(folder: Path) -> None:
    """Text, training, scores, generated text, report; the files go into the folder."""
    console = Console(highlight=False)
    chapters = read()
    seen = [text for number, text in enumerate(chapters) if number % EVERY != EVERY - 1]
    unseen = chapters[EVERY - 1 :: EVERY]
    console.print(
        f"[bold]1[/] Data: {len(chapters)} chapters of the manual that this Python ships for help(), "
        f"{sum(map(len, chapters)):,} characters; {len(unseen)} chapters are set aside."
    )
    console.print(f"[bold]2[/] Training for {MINUTES:g} min on the others ...")
    began = time.perf_counter()
    model = LanguageModel(token_level="characters", hidden_size=256, max_minutes=MINUTES, epochs=100)
    model.fit(seen)
    console.print(f"  done in {time.perf_counter() - began:.0f} s, {len(model.history_.epoch)} epochs.")
    console.print("[bold]3[/] The chapters set aside, beside an n-gram model of the same text:")
    console.print(_table(model.evaluate(unseen)))
    console.print("[bold]4[/] It goes on from a beginning (temperature 0.7; it knows letters, not Python):\n")
    console.print(PROMPT + model.generate(PROMPT, 300, temperature=0.7, seed=0), style="dim", markup=False)
    console.print("\n[bold]5[/] Written:")
    show_written(console, _write(model, chapters, unseen, folder), folder / "report.html")


def read() -> list[str]:
    """The chapters of the reference manual.

    Raises:
        ImportError: this Python was installed without them; one sentence.
    """
    try:
        topics = import_module("pydoc_data.topics")
    except ImportError as error:
        way_out = "use a Python that was installed with it"
        raise ImportError(errors.message("demo", "Python's manual in pydoc_data", "none", way_out)) from error
    chapters: dict[str, str] = topics.topics
    return [chapters[name] for name in sorted(chapters)]


def _table(scores: dict[str, float]) -> Table:
    """The model beside the n-gram model."""
    table = Table()
    for name in ("model", "perplexity", "bits per character"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for name, prefix in (("longspan", ""), ("Kneser-Ney 6-gram", "ngram_")):
        values = scores[f"{prefix}perplexity"], scores[f"{prefix}bits_per_character"]
        table.add_row(name, *(f"{value:.3f}" for value in values), style=None if prefix else "bold")
    return table


def _write(model: LanguageModel, chapters: list[str], unseen: list[str], folder: Path) -> dict[Path, str]:
    """Every file, and what it is."""
    model.save(folder / "model")
    with atomic_write(folder / "manual.txt") as file:
        file.write("\n".join(chapters).encode())
    title = "Python's reference manual, letter by letter"
    model.write_report(folder / "report.html", unseen, title=title, lead=_LEAD)
    return {
        folder / "manual.txt": "the text, to try the commands on",
        folder / "model": "the model: longspan predict, evaluate, report",
        folder / "report.html": "the report, with samples and the least expected places",
    }
