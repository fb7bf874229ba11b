"""Injects synthetic anomalies into normal readings, to choose scorers where no anomalies are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .reading import Series

SEGMENT = 300  # readings of a segment into which one anomaly is injected
QUIET_START = 60  # readings of a segment before its anomaly
SEGMENTS = 3  # segments for each kind of anomaly
RECORDS = 600  # records that each kind of anomaly is injected into
SHIFT = 1.5  # standard deviations of a level shift
SPIKE = 5.0  # standard deviations of a spike
DRIFT = 3.0  # standard deviations that a slow drift reaches at the end of its segment


class Changed(NamedTuple):
    """Readings with an anomaly: the name of its kind, the series, and (T,) bool, True where it is."""

    name: str
    series: Series
    anomalous: np.ndarray


def changed_series(records: Sequence[Series], numeric: Sequence[int]) -> list[Changed]:
    """Segments at the end of normal series with a spike, a shift, noise, a freeze, a swap or a drift in each.

    Args:
        numeric: positions of the watched columns of numbers.
    """
    draw = np.random.default_rng(0)
    usable = [series for series in records if len(series) > QUIET_START + 20]
    changed: list[Changed] = []
    for _ in range(SEGMENTS if usable else 0):
        series = usable[int(draw.integers(len(usable)))]
        length = min(SEGMENT, len(series))
        start = (
            len(series) - length - int(draw.integers(0, max(1, min(length // 2, len(series) - length + 1))))
        )
        segment = series.cut(start, start + length)
        spread = np.nanstd(series.numbers, 0) + 1e-12
        begin = int(draw.integers(QUIET_START, max(QUIET_START + 1, length - 20)))
        for name in ("spike", "shift", "noise", "freeze", "swap", "drift"):
            columns = draw.permutation(numeric)[: int(draw.integers(1, max(2, len(numeric) // 3 + 1)))]
            numbers, end = segment.numbers.copy(), length if name != "spike" else begin + 1
            rows = slice(begin, end)
            change = _changes(draw, name, numbers[:, columns], series.numbers[:, columns], rows)
            numbers[rows, columns] = change(spread[columns])
            anomalous = np.zeros(length, dtype=bool)
            anomalous[rows] = True
            changed.append(Changed(name, replace(segment, numbers=numbers, flags=None), anomalous))
    return changed


def _changes(
    draw: np.random.Generator, name: str, values: np.ndarray, whole: np.ndarray, rows: slice
) -> Callable[[np.ndarray], np.ndarray]:
    """The function of the columns' standard deviations that gives the changed values of the rows."""
    part = values[rows]
    signs = draw.choice([-1.0, 1.0], part.shape[1])
    ramp = np.linspace(0.0, 1.0, len(part))[:, None]
    places = draw.integers(0, len(whole), len(part))
    changes = {
        "spike": lambda spread: part + SPIKE * signs * spread,
        "shift": lambda spread: part + SHIFT * signs * spread,
        "noise": lambda spread: part + SHIFT * spread * draw.normal(size=part.shape),
        "freeze": lambda spread: np.repeat(values[rows.start - 1][None], len(part), 0) + 0.0 * spread,
        "swap": lambda spread: whole[(places[0] + np.arange(len(part))) % len(whole)] + 0.0 * spread,
        "drift": lambda spread: part + DRIFT * ramp * signs * spread,
    }
    return changes[name]


def changed_records(
    records: Sequence[Series], numeric: Sequence[int], textual: Sequence[int]
) -> list[Changed]:
    """Normal records with an extreme number, another category, or half of the columns of other records.

    Half of the columns come from one other record ("mixed"), or each from a record of its own ("shuffled").

    Args:
        numeric, textual: positions of the watched columns of numbers and of categories.
    """
    draw = np.random.default_rng(0)
    pool = _Pool(records, list(numeric), list(textual))
    names = (["extreme"] if pool.numeric else []) + (["category"] if pool.textual else [])
    names += ["mixed"] if len(pool.numeric) + len(pool.textual) > 1 else []
    names += ["shuffled"] if len(pool.numeric) > 1 else []
    changed: list[Changed] = []
    for name in names:
        for series in _drawn(draw, records):
            numbers, words = series.numbers.copy(), series.words.copy()
            for row in range(len(series)):
                pool.change(draw, name, numbers[row], words[row])
            part = replace(series, numbers=numbers, words=words, flags=None)
            changed.append(Changed(name, part, np.ones(len(series), dtype=bool)))
    return changed


class _Pool:
    """All normal records, parts of which are put into others."""

    def __init__(self, records: Sequence[Series], numeric: list[int], textual: list[int]) -> None:
        self.numeric, self.textual = numeric, textual
        self.numbers = np.concatenate([series.numbers for series in records])
        self.words = np.concatenate([series.words for series in records])
        self.spread, self.highest = np.nanstd(self.numbers, 0), np.nanmax(self.numbers, 0)
        self.values = {column: sorted(set(self.words[:, column].tolist())) for column in textual}

    def change(self, draw: np.random.Generator, name: str, numbers: np.ndarray, words: np.ndarray) -> None:
        """Change one record's numbers (N,) and words (K,) in place."""
        if name == "extreme":
            column = int(draw.choice(self.numeric))
            numbers[column] = self.highest[column] + self.spread[column]
        elif name == "category":
            column = int(draw.choice(self.textual))
            words[column] = [*self.values[column], "(never seen)"][
                draw.integers(len(self.values[column]) + 1)
            ]
        elif name == "mixed":
            other = int(draw.integers(len(self.numbers)))
            columns = draw.permutation(self.numeric)[: max(1, len(self.numeric) // 2)] if self.numeric else []
            for column in columns:
                numbers[column] = self.numbers[other, column]
            for column in draw.permutation(self.textual)[: len(self.textual) // 2] if self.textual else []:
                words[column] = self.words[other, column]
        else:
            columns = draw.permutation(self.numeric)[: max(1, len(self.numeric) // 2)]
            numbers[columns] = self.numbers[draw.integers(len(self.numbers), size=len(columns)), columns]


def _drawn(draw: np.random.Generator, records: Sequence[Series]) -> list[Series]:
    """Up to RECORDS records, in series by entity."""
    ends = np.cumsum([len(series) for series in records])
    chosen = np.sort(draw.permutation(int(ends[-1]))[:RECORDS])
    drawn = []
    for series, end in zip(records, ends.tolist(), strict=True):
        rows = chosen[(chosen >= end - len(series)) & (chosen < end)] - (end - len(series))
        if len(rows):
            drawn.append(series.rows(rows))
    return drawn


def injected_auc(normal: np.ndarray, anomalous: np.ndarray) -> float:
    """Probability that an anomalous score (M,) is above a normal one (N,), the area under the ROC curve.

    >>> injected_auc(np.array([1.0, 2.0]), np.array([3.0, 1.5]))
    0.75
    """
    ordered = np.sort(normal)
    below = np.searchsorted(ordered, anomalous, "left") + np.searchsorted(ordered, anomalous, "right")
    return float(below.mean() / (2 * max(len(ordered), 1)))


def point_f1_threshold(scores: np.ndarray, anomalous: np.ndarray, lowest: float) -> float:
    """The threshold with the best F1 over single readings, the middle between two scores.

    Args:
        scores: (T,); anomalous: (T,) bool; lowest: what is returned at least.
    """
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(anomalous[order])
    f1 = 2.0 * right / (np.arange(1, len(order) + 1) + max(int(anomalous.sum()), 1))
    best = int(f1.argmax())
    following = scores[order[best + 1]] if best + 1 < len(order) else scores[order[best]]
    return max(lowest, float((scores[order[best]] + following) / 2))
