"""Knows the SMAP telemetry and how its sequences are judged.

The protocol is that of Hundman et al., "Detecting Spacecraft Anomalies Using LSTMs and Nonparametric Dynamic
Thresholding" (arXiv 1802.04431): the first of 25 columns is watched, a labelled sequence is found if an alarm
overlaps it, an alarm that overlaps none is false. Labels: https://github.com/khundman/telemanom.
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


class Channel(NamedTuple):
    """One channel: train (T, 25) and test (T', 25) float64, first and last test row of anomalies."""

    name: str
    train: np.ndarray
    test: np.ndarray
    anomalies: list[tuple[int, int]]


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


def channels(folder: Path) -> list[Channel]:
    """The 54 channels of SMAP with their 69 labelled sequences; one has two lines of labels, both count."""
    labels: dict[str, list[tuple[int, int]]] = {}
    with (folder / "labeled_anomalies.csv").open() as file:
        for row in csv.DictReader(file):
            if row["spacecraft"] == "SMAP":
                pairs = [(int(a), int(b)) for a, b in ast.literal_eval(row["anomaly_sequences"])]
                labels.setdefault(row["chan_id"], []).extend(pairs)
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
    found = sum(any(a <= end and start <= b for a, b in alarms) for start, end in anomalies)
    false = sum(not any(a <= end and start <= b for start, end in anomalies) for a, b in alarms)
    return Hits(found, len(anomalies) - found, false)
