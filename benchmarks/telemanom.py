"""Reads the SMAP telemetry and scores detected sequences.

The protocol is that of Hundman et al., "Detecting Spacecraft Anomalies Using LSTMs and Nonparametric Dynamic
Thresholding" (arXiv 1802.04431), and of the code and labels at https://github.com/khundman/telemanom: the
first of 25 columns is watched, an alarm finds the first labelled sequence that it overlaps, and is false if
there is none. A line of labels is judged by itself; one channel has two.
"""

from __future__ import annotations

import ast
import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Hits(NamedTuple):
    """Labelled sequences found and missed, alarms that are false."""

    found: int
    missed: int
    false: int

    @property
    def precision(self) -> float:
        """Of what was raised, the share that was right."""
        return self.found / max(self.found + self.false, 1)

    @property
    def recall(self) -> float:
        """Of the labelled sequences, the share that was found."""
        return self.found / max(self.found + self.missed, 1)


class Channel(NamedTuple):
    """One channel: train (T, 25) and test (T', 25) float64; lines of labels, first and last rows."""

    name: str
    train: np.ndarray
    test: np.ndarray
    lines: list[list[tuple[int, int]]]

    def judge(self, alarms: Sequence[tuple[int, int]]) -> Hits:
        """Alarms against all lines."""
        return total([judge(alarms, line) for line in self.lines])


def channels(folder: Path) -> list[Channel]:
    """The 54 channels of SMAP with their 55 lines of labels, 69 sequences."""
    labels: dict[str, list[list[tuple[int, int]]]] = {}
    with (folder / "labeled_anomalies.csv").open() as file:
        for row in csv.DictReader(file):
            if row["spacecraft"] == "SMAP":
                pairs = [(int(a), int(b)) for a, b in ast.literal_eval(row["anomaly_sequences"])]
                labels.setdefault(row["chan_id"], []).append(pairs)
    with zipfile.ZipFile(folder / "smap.zip") as archive:
        return [
            Channel(name, _array(archive, f"train/{name}"), _array(archive, f"test/{name}"), labels[name])
            for name in sorted(labels)
        ]


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    return np.load(io.BytesIO(archive.read(f"{name}.npy"))).astype(np.float64)


def judge(alarms: Sequence[tuple[int, int]], anomalies: Sequence[tuple[int, int]]) -> Hits:
    """Alarms against labelled sequences, each as first and last row.

    >>> judge([(3, 9), (40, 50)], [(5, 20), (90, 99)])
    Hits(found=1, missed=1, false=1)
    """
    touched = [
        [place for place, (start, end) in enumerate(anomalies) if a <= end and start <= b] for a, b in alarms
    ]
    found = len({places[0] for places in touched if places})
    return Hits(found, len(anomalies) - found, touched.count([]))


def total(hits: Sequence[Hits]) -> Hits:
    """All of them together."""
    return Hits(*(sum(column) for column in zip(*hits, strict=True)))
