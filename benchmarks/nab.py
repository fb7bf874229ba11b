"""Scores detections by the Numenta Anomaly Benchmark: reads its corpus and its windows.

The protocol is that of Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms" (arXiv
1510.03336), with the corpus, windows and profiles of version 1.1: https://github.com/numenta/NAB.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

PROBATION, LONGEST = 0.15, 5000  # the share of a file that is not scored, and of how many rows at most


class Profile(NamedTuple):
    """What a hit, a false alarm and a miss weigh."""

    hit: float = 1.0
    false_alarm: float = 0.11
    miss: float = 1.0


PROFILES = {
    "standard": Profile(),
    "reward low FP": Profile(false_alarm=0.22),
    "reward low FN": Profile(miss=2.0),
}


class Stream(NamedTuple):
    """One file: times (T,) text, values (T,) float64, windows (W, 2) first and last row of each anomaly."""

    name: str
    times: Sequence[str]
    values: np.ndarray
    windows: np.ndarray

    @property
    def probation(self) -> int:
        """Rows at the beginning that are not scored and may be learnt from."""
        return probation(len(self.values))


class Outcome(NamedTuple):
    """The normalised score (null detector 0, perfect one 100), its threshold, hits and false alarms."""

    score: float
    threshold: float
    hits: int
    false_alarms: int


def probation(rows: int) -> int:
    """Rows at the beginning of a file of so many that are not scored."""
    return math.floor(PROBATION * min(rows, LONGEST))


def corpus(folder: Path) -> list[Stream]:
    """The 58 files, in the order of their names, out of `nab_data_labels.zip` or from beside it."""
    with zipfile.ZipFile(folder / "nab_data_labels.zip") as archive:
        windows = json.loads(archive.read("labels/combined_windows.json"))
        return [_stream(archive, name, windows[name]) for name in sorted(windows)]


def _stream(archive: zipfile.ZipFile, name: str, windows: Sequence[Sequence[str]]) -> Stream:
    frame = pl.read_csv(io.BytesIO(archive.read(f"data/{name}")), schema_overrides={"value": pl.Float64})
    times = [text[:19] for text in frame["timestamp"]]
    rows = {time: row for row, time in reversed(list(enumerate(times)))}
    places = [[rows[start[:19]], rows[end[:19]]] for start, end in windows]
    return Stream(name, times, frame["value"].to_numpy(), np.array(places, dtype=np.int64).reshape(-1, 2))


def sigmoid(position: np.ndarray) -> np.ndarray:
    """The scoring function: near 1 at -1, a window's left edge; 0 at its right edge; -1 far behind it."""
    return np.where(position > 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, 3.0))) - 1.0)


def _worth(stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """What a detection in each row is worth (T,), before weights, and the row's window (T,), -1 outside."""
    rows = np.arange(len(stream.values))
    owner = np.full(len(rows), -1)
    position = np.full(len(rows), 4.0)  # before the first window: as bad as far behind one
    for place, (first, last) in enumerate(stream.windows):
        width = last - first + 1
        inside = (rows >= first) & (rows <= last)
        owner[inside] = place
        position[inside] = -(last - rows[inside] + 1) / width
        behind = rows > last
        position[behind] = (rows[behind] - last) / max(width - 1, 1)
    worth = sigmoid(position)
    worth[owner >= 0] /= sigmoid(np.array(-1.0))
    return worth, owner


def _changes(stream: Stream, scores: np.ndarray, profile: Profile) -> tuple[np.ndarray, ...]:
    """As the threshold falls: at which score the file's total changes, by how much, hits and false alarms."""
    worth, owner = _worth(stream)
    scored = np.arange(len(scores)) >= stream.probation
    outside = scored & (owner < 0)
    at, by = [scores[outside]], [worth[outside] * profile.false_alarm]
    hits = [np.zeros(outside.sum(), dtype=np.int64)]
    for place in range(len(stream.windows)):
        inside = np.flatnonzero(scored & (owner == place))
        inside = inside[np.argsort(-scores[inside], kind="stable")]
        best = np.maximum.accumulate(worth[inside] * profile.hit)
        at.append(scores[inside])
        by.append(np.diff(best, prepend=-profile.miss))
        hits.append((np.arange(len(inside)) == 0).astype(np.int64))
    alarms = np.zeros(sum(map(len, at)), dtype=np.int64)
    alarms[: len(at[0])] = 1
    return np.concatenate(at), np.concatenate(by), np.concatenate(hits), alarms


def score(
    streams: Sequence[Stream],
    scores: Mapping[str, np.ndarray],
    profile: Profile = PROFILES["standard"],
    threshold: float | None = None,
) -> Outcome:
    """Score a detector on all files with one threshold, the best one where none is given.

    Args:
        streams: the corpus.
        scores: for each file (T,), how anomalous each row is; detected is what reaches the threshold.
    """
    parts = [_changes(stream, scores[stream.name], profile) for stream in streams]
    at, by, hits, alarms = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(-at, kind="stable")
    at, totals = at[order], np.cumsum(by[order])
    ends = np.flatnonzero(np.append(at[1:] != at[:-1], True))  # every row of one score counts
    windows = [first for stream in streams for first in stream.windows]
    null = -profile.miss * sum(_scored_windows(stream) for stream in streams)
    totals = np.append(null, null + totals[ends])  # the first: nothing is detected
    thresholds = np.append(np.inf, at[ends])
    found = np.append(0, np.cumsum(hits[order])[ends]), np.append(0, np.cumsum(alarms[order])[ends])
    best = int(totals.argmax()) if threshold is None else int((thresholds >= threshold).sum()) - 1
    perfect = profile.hit * len(windows)
    normalised = 100.0 * (totals[best] - null) / (perfect - null)
    return Outcome(normalised, float(thresholds[best]), int(found[0][best]), int(found[1][best]))


def _scored_windows(stream: Stream) -> int:
    return int((stream.windows[:, 1] >= stream.probation).sum())
