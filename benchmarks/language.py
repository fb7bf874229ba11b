"""Measures the accuracy and the speed of LanguageModel, with its defaults, on tinyshakespeare and Penn Treebank.

    python -m benchmarks.language --data FOLDER [--sections tinyshakespeare,ptb,speed,generation]
        [--minutes 20] [--models FOLDER]

FOLDER is that of the data sets. Minutes are processor minutes of training, so that a machine that others use
too gives the same figures: 20 are 10 minutes of 2 cores. Every test part is touched once, by the fitted model.
Fitted models are saved in the folder of models, where one is named.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import NamedTuple
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table

from longspan import LanguageModel
from longspan.tasks.language import training

METRICS = ("nats_per_token", "perplexity", "bits_per_character")
ROUNDS = 5


class Parts(NamedTuple):
    """A text in its parts."""

    train: str
    valid: str
    test: str


def tinyshakespeare(data: Path) -> Parts:
    """90, 5 and 5 % of the characters, as in char-rnn."""
    text = (data / "language_modelling/tinyshakespeare/input.txt").read_text()
    ends = int(0.9 * len(text)), int(0.95 * len(text))
    return Parts(text[: ends[0]], text[ends[0] : ends[1]], text[ends[1] :])


def ptb(data: Path) -> Parts:
    """Mikolov's split of words; the end of a line is a token."""
    with zipfile.ZipFile(data / "language_modelling/ptb/ptb.zip") as archive:
        names = {Path(name).name: name for name in archive.namelist()}
        return Parts(
            *(archive.read(names[f"ptb.{part}.txt"]).decode() for part in ("train", "valid", "test"))
        )


SETS: dict[str, tuple[Callable[[Path], Parts], float, str]] = {
    "tinyshakespeare": (tinyshakespeare, 20.0, "at most 1.50 nats a character in 10 minutes of 2 cores"),
    "ptb": (ptb, 30.0, "perplexity at most 100 in 30 processor minutes"),
}


def accuracy(console: Console, name: str, data: Path, minutes: float | None, models: Path | None) -> None:
    """Fit on the training part, validate on the validation part, evaluate on the test part."""
    read, usual, goal = SETS[name]
    parts, minutes = read(data), minutes or usual
    model = LanguageModel(max_minutes=minutes, epochs=1000)
    begin = process_time()
    with mock.patch.object(training, "monotonic", process_time):  # minutes of the processor
        model.fit([parts.train], validation_data=[parts.valid], verbose=2)
    seconds = process_time() - begin
    if models is not None:
        model.save(models / f"{name}-{minutes:g}")
    scores = model.evaluate([parts.test])
    table = Table(title=f"{name}: {goal}", title_justify="left")
    for heading in ("test part", *METRICS):
        table.add_column(heading, justify="right" if heading in METRICS else "left")
    for label, prefix in ((f"longspan, {minutes:g} minutes", ""), ("Kneser-Ney n-gram", "ngram_")):
        table.add_row(label, *(f"{scores[prefix + metric]:.4f}" for metric in METRICS))
    console.print(table)
    facts = {
        "processor_seconds_of_fit": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "token_level": model.codec_.token_level,
        "weights": sum(weight.numel() for weight in model.network_.parameters()),
        "epochs": len(model.history_.epoch),
        "stopped": model.history_.stopped,
        "validation": model.codec_.validation.get("nats_per_token"),
        **scores,
    }
    console.print(json.dumps(facts), soft_wrap=True)
