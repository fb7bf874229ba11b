"""Demonstrates translation on numbers in words, English to German: five thousand pairs made by a stated rule.

No parallel texts come with Python or with a small package, so the pairs are made here: both languages' rules
for reading a number aloud. German puts units before tens and writes one word ("einundzwanzig"), so the
translator has to reorder and to spell. It is asked for numbers that it has never seen.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from longspan.report import format_value
from longspan.tasks.translate import Translator

from .written import show_written, write_tables

SEEN, UNSEEN = 5000, 300  # numbers to learn from, and to be asked for
LARGEST = 99_999
OPTIONS: dict[str, Any] = {
    "hidden_size": 96,
    "embedding_size": 48,
    "num_layers": 1,
    "dropout": 0.1,
    "epochs": 7,
    "learning_rate": 0.005,
}
_ENGLISH = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_ENGLISH_TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_GERMAN = [
    "null", "ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf",
    "dreizehn", "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn",
]  # fmt: skip
_GERMAN_TENS = [
    "", "", "zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig",
]  # fmt: skip
_LEAD = (
    "One LSTM reads a number in English words, another spells it in German. The pairs are made by the two "
    "languages' rules for reading numbers aloud; everything below is about numbers that it never saw."
)


def run(folder: Path) -> None:
    """Pairs, training, scores, answers, report; the files go into the folder."""
    console = Console(highlight=False)
    seen, unseen = pairs()
    console.print(
        f"[bold]1[/] Data: {SEEN:,} numbers below {LARGEST + 1:,} in words, made by rule: {seen[0][0]}"
    )
    console.print(f"  is {seen[1][0]}.")
    console.print("[bold]2[/] Training ...")
    began = time.perf_counter()
    model = Translator(**OPTIONS).fit(*seen)
    console.print(f"  done in {time.perf_counter() - began:.0f} s.")
    console.print(
        f"[bold]3[/] {UNSEEN} numbers that it never saw, all else of the {LARGEST:,} being possible too:"
    )
    console.print(_table(model.evaluate(*unseen)))
    console.print("[bold]4[/] Written:")
    show_written(console, _write(model, seen, unseen, folder), folder / "report.html")


def pairs() -> tuple[tuple[list[str], list[str]], tuple[list[str], list[str]]]:
    """Sources and targets to learn from, and those to be asked for, all different."""
    numbers = random.Random(0).sample(range(1, LARGEST + 1), SEEN + UNSEEN)
    rows = [(english(number), german(number)) for number in numbers]
    seen, unseen = rows[:SEEN], rows[SEEN:]
    return ([s for s, _ in seen], [t for _, t in seen]), ([s for s, _ in unseen], [t for _, t in unseen])


def english(number: int) -> str:
    """A number from 1 to 999,999 as it is read in English.

    >>> english(4321)
    'four thousand three hundred and twenty-one'
    """
    if number < 20:
        return _ENGLISH[number]
    if number < 100:
        rest = f"-{_ENGLISH[number % 10]}" if number % 10 else ""
        return _ENGLISH_TENS[number // 10] + rest
    if number < 1000:
        rest = f" and {english(number % 100)}" if number % 100 else ""
        return f"{_ENGLISH[number // 100]} hundred{rest}"
    between = " and " if 0 < number % 1000 < 100 else " "
    rest = between + english(number % 1000) if number % 1000 else ""
    return f"{english(number // 1000)} thousand{rest}"


def german(number: int) -> str:
    """A number from 1 to 999,999 as it is read in German.

    >>> german(4321), german(1001)
    ('viertausenddreihunderteinundzwanzig', 'eintausendeins')
    """
    word = _within(number)
    return f"{word}s" if number % 100 == 1 else word


def _within(number: int) -> str:
    """As `german`, with one as it stands within a word."""
    if number < 20:
        return _GERMAN[number]
    if number < 100:
        units = f"{_GERMAN[number % 10]}und" if number % 10 else ""
        return units + _GERMAN_TENS[number // 10]
    size, name = (100, "hundert") if number < 1000 else (1000, "tausend")
    return _within(number // size) + name + (_within(number % size) if number % size else "")


def _table(metrics: dict[str, float]) -> Table:
    """The model beside copying the source."""
    table = Table()
    table.add_column("answer")
    rows = {"longspan": "", "the source itself": "copy_"}
    for name in ("all right", "edits a character"):
        table.add_column(name, justify="right")
    for name, prefix in rows.items():
        right, edits = metrics[f"{prefix}exact_match"], metrics[f"{prefix}edit_distance"]
        table.add_row(name, f"{100 * right:.0f} %", format_value(edits), style=None if prefix else "bold")
    return table


def _write(
    model: Translator, seen: tuple[list[str], list[str]], unseen: tuple[list[str], list[str]], folder: Path
) -> dict[Path, str]:
    """Every file, and what it is."""
    model.save(folder / "model")
    tables = {
        "numbers.csv": pl.DataFrame({"source": seen[0], "target": seen[1]}),
        "answers.csv": model.predict_table(unseen[0]),
    }
    write_tables(folder, tables)
    title = "Numbers in words, from English to German"
    rows = list(zip(*unseen, strict=True))
    model.write_report(folder / "report.html", rows, title=title, lead=_LEAD)
    return {
        folder / "numbers.csv": "the pairs, to try the commands on",
        folder / "model": "the model: longspan predict, evaluate, report",
        folder / "answers.csv": "answers to numbers that it never saw",
        folder / "report.html": "the report, with what attention read",
    }
