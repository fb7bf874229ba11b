"""Demonstrates the classification of texts: reviews of hotels, and which words decided.

No reviews come with Python or with a small package, so these are written by a rule. A review has two or
three statements about parts of a hotel. A statement is praise or a complaint, said directly ("the staff
was friendly"), by a negation ("the bed was anything but comfortable") or as a contrast ("although the
pool was dirty, ..."), which counts half. The rating is the sign of the sum. So good words alone decide
little: the rule that counts them, printed as a rival, fails at negations.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console

from longspan.tasks.classify import Classifier

from .written import show_table, show_written, write_tables

SEEN, UNSEEN = 1500, 400  # reviews to learn from, and to be asked about
OPTIONS: dict[str, Any] = {
    "text": "review",
    "label": "rating",
    "epochs": 8,
    "ensemble_size": 1,
    "learning_rate": 0.01,
    "word_dropout": 0.0,
    "embedding_dropout": 0.1,
}
RATINGS = ("negative", "positive")
_PRAISE = {
    "staff": ("friendly", "helpful", "attentive"),
    "room": ("clean", "quiet", "spacious"),
    "bed": ("comfortable", "soft", "large"),
    "breakfast": ("delicious", "fresh", "generous"),
    "pool": ("clean", "warm", "lovely"),
    "location": ("perfect", "central", "quiet"),
}
_COMPLAINTS = {
    "staff": ("rude", "slow", "careless"),
    "room": ("dirty", "noisy", "cramped"),
    "bed": ("hard", "broken", "narrow"),
    "breakfast": ("stale", "cold", "poor"),
    "pool": ("dirty", "cold", "crowded"),
    "location": ("remote", "noisy", "awful"),
}
_DIRECT = ("the {part} was {word}", "we found the {part} {word}", "the {part} was really {word}")
_NEGATED = (
    "the {part} was not {word} at all",
    "the {part} was anything but {word}",
    "nobody could call the {part} {word}",
)
_CONTRAST = ("although {minor}, {major}", "{minor}, but {major}", "{major}, even if {minor}")
_LEAD = (
    "One classifier reads reviews of hotels that were written by a rule, with negations and contrasts. "
    "Everything below is about reviews that it never saw."
)


def run(folder: Path) -> None:
    """Reviews, training, scores, explanations, report; the files go into the folder."""
    console = Console(highlight=False)
    console.print(f"[bold]1[/] Data: {SEEN + UNSEEN:,} reviews of hotels, written by a rule with negations")
    console.print(f"  and contrasts, such as: {reviews(1)['review'][0]}", soft_wrap=True)
    table = reviews(SEEN + UNSEEN)
    seen, unseen = table.head(SEEN), table.tail(UNSEEN)
    console.print(f"[bold]2[/] Training on {SEEN:,} of them ...")
    began = time.perf_counter()
    model = Classifier(**OPTIONS).fit(seen)
    console.print(f"  done in {time.perf_counter() - began:.0f} s.")
    console.print(f"[bold]3[/] The {UNSEEN} others:")
    frequent = seen["rating"].mode()[0]
    rows = {
        "longspan": model.predict_table(unseen)["answer"],
        "the sign of good minus bad words": pl.Series(map(count_words, unseen["review"])),
        f"always {frequent}": pl.Series([frequent] * len(unseen)),
    }
    shown = [
        [name, f"{100 * np.mean((answers == unseen['rating']).to_numpy()):.1f} %"]
        for name, answers in rows.items()
    ]
    show_table(console, ["answer by", "right"], shown)
    console.print("[bold]4[/] The words that decided, in three of them:")
    for line in _explained(model, unseen.head(3)):
        console.print(f"  {line}", soft_wrap=True)
    console.print("[bold]5[/] Written:")
    show_written(console, _write(model, table, unseen, folder), folder / "report.html")


def reviews(count: int, seed: int = 0) -> pl.DataFrame:
    """review and rating, a row a review, by the rule of this module; equal for equal seeds."""
    draw = random.Random(seed)
    rows = [_review(draw) for _ in range(count)]
    return pl.DataFrame(rows, schema=["review", "rating"], orient="row")


def _review(draw: random.Random) -> tuple[str, str]:
    """A review and its rating; half of the time the last two statements are a contrast."""
    parts = draw.sample(list(_PRAISE), 3)
    minor, major, other = (_statement(draw, part) for part in parts)
    contrast = draw.choice(_CONTRAST).format(minor=minor[0], major=major[0])
    sentences, total = [contrast], major[1] + 0.5 * minor[1]
    if draw.random() < 0.5:
        sentences.insert(draw.randrange(2), other[0])
        total += 0.75 * other[1]
    text = " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)
    return text, RATINGS[int(total > 0)]


def _statement(draw: random.Random, part: str) -> tuple[str, int]:
    """What is said about a part of the hotel, and 1 for praise, -1 for a complaint."""
    good, negated = draw.random() < 0.5, draw.random() < 0.5
    word = draw.choice((_PRAISE if good else _COMPLAINTS)[part])
    text = draw.choice(_NEGATED if negated else _DIRECT).format(part=part, word=word)
    return text, 1 if good != negated else -1


def count_words(review: str) -> str:
    """The rating by counting words of praise and of complaint, whatever stands around them.

    >>> count_words("The bed was anything but comfortable.")
    'positive'
    """
    words = review.lower().replace(",", " ").replace(".", " ").split()
    good, bad = ({word for named in table.values() for word in named} for table in (_PRAISE, _COMPLAINTS))
    return RATINGS[int(sum(word in good for word in words) > sum(word in bad for word in words))]


def _explained(model: Classifier, table: pl.DataFrame) -> list[str]:
    """For each review its answer, and its words from the one that mattered most."""
    lines = []
    for answer, words in zip(model.predict(table), model.explain(table), strict=True):
        strongest = sorted(words, key=lambda pair: -abs(pair[1]))[:4]
        lines.append(f"{answer}: " + ", ".join(f"{word} {weight:+.2f}" for word, weight in strongest))
    return lines


def _write(model: Classifier, table: pl.DataFrame, unseen: pl.DataFrame, folder: Path) -> dict[Path, str]:
    """Every file, and what it is."""
    model.save(folder / "model")
    write_tables(folder, {"reviews.csv": table, "answers.csv": model.predict_table(unseen)})
    model.write_report(folder / "report.html", unseen, title="Reviews of hotels, rated", lead=_LEAD)
    return {
        folder / "reviews.csv": "the data, to try the commands on",
        folder / "model": "the model: longspan predict, evaluate, report",
        folder / "answers.csv": "its ratings of the reviews it never saw",
        folder / "report.html": "the report, with the words that mattered",
    }
