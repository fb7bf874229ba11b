"""Measures anomaly detection on NAB and SMAP with the library's defaults, beside published results."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from longspan.tasks.anomaly.alarms import alarm_intervals
from longspan.tasks.anomaly.detector import AnomalyDetector

from . import nab, telemanom

NEW = 100  # a score counts as a new alarm if it is above all of so many readings before
TELEMETRY: dict[str, Any] = {  # one column foretold from all, with telemanom's loss and threshold
    "target": ("channel 0",),
    "threshold": "dynamic",
    "loss": "mse",
    "hidden_size": 64,
    "context_length": 150,
    "epochs": 30,
    "learning_rate": 3e-3,
}
PUBLISHED = [("ARTime", 74.9), ("Numenta HTM", 70.1), ("Skyline", 58.2), ("Random Cut Forest", 51.7)]


def new_alarms(scores: np.ndarray, quiet: int = NEW) -> np.ndarray:
    """Scores (T,) that are above all of the `quiet` readings before, 0 elsewhere: where an alarm would begin.

    >>> new_alarms(np.array([1.0, 2.0, 2.0, 1.0]), quiet=2).tolist()
    [1.0, 2.0, 0.0, 0.0]
    """
    past = np.concatenate([np.full(quiet, -np.inf), scores])
    most = np.lib.stride_tricks.sliding_window_view(past, quiet)[: len(scores)].max(1)
    return np.where(scores > most, scores, 0.0)


def stream_scores(stream: nab.Stream, seed: int, forecaster: str | None = None) -> np.ndarray:
    """Fit on the probation, then one reading at a time; the probation itself is not scored."""
    start = stream.probation
    detector = AnomalyDetector(seed=seed, device="cpu", forecaster=forecaster)
    detector.fit(stream.values[:start, None], verbose=0)
    scores = [detector.update(value)[0] for value in stream.values[start:].tolist()]
    return np.concatenate([np.zeros(start), scores])


def run_nab(folder: Path, seeds: Sequence[int], forecaster: str | None = None) -> Table:
    """The NAB scores, with the null and the perfect detector through the same scorer."""
    streams = nab.corpus(folder)
    table = Table(
        "detector", *nab.PROFILES, "threshold", "hits of 116", "false alarms", title="NAB, normalised score"
    )
    null = {one.name: np.zeros(len(one.values)) for one in streams}
    perfect = {
        one.name: np.isin(np.arange(len(one.values)), one.windows[:, 0]).astype(float) for one in streams
    }
    _line(table, "null", streams, null, threshold=0.5)
    _line(table, "perfect", streams, perfect)
    standard = []
    for seed in seeds:
        scores = {one.name: new_alarms(stream_scores(one, seed, forecaster)) for one in streams}
        standard.append(_line(table, f"longspan, seed {seed}", streams, scores))
        print(f"NAB, seed {seed}: {standard[-1]:.1f}", file=sys.stderr, flush=True)
    table.add_row("longspan, mean", f"{statistics.mean(standard):.1f}", "", "", "", "", "")
    for name, value in PUBLISHED:
        table.add_row(f"{name} (published)", f"{value:.1f}", "", "", "", "", "")
    return table


def _line(
    table: Table,
    name: str,
    streams: Sequence[nab.Stream],
    scores: dict[str, np.ndarray],
    threshold: float | None = None,
) -> float:
    found = {key: nab.score(streams, scores, profile, threshold) for key, profile in nab.PROFILES.items()}
    best = found["standard"]
    shown = [f"{one.score:.1f}" for one in found.values()]
    table.add_row(name, *shown, f"{best.threshold:.3f}", str(best.hits), str(best.false_alarms))
    return best.score


def run_smap(folder: Path, seeds: Sequence[int]) -> Table:
    """Precision and recall of sequences, with the null and the perfect detector through the same scorer."""
    table = Table("detector", "precision", "recall", "found of 69", "false", title="SMAP, sequences")
    channels = telemanom.channels(folder)
    perfect = [one.judge([pair for line in one.lines for pair in line]) for one in channels]
    _smap_line(table, "null", [one.judge([]) for one in channels])
    _smap_line(table, "perfect", perfect)
    runs = []
    for seed in seeds:
        hits = [one.judge(channel_alarms(one, seed)) for one in channels]
        runs.append(telemanom.total(hits))
        _smap_line(table, f"longspan, seed {seed}", hits)
        print(f"SMAP, seed {seed}: {runs[-1]}", file=sys.stderr, flush=True)
    means = [statistics.mean(one.precision for one in runs), statistics.mean(one.recall for one in runs)]
    table.add_row("longspan, mean", *(f"{one:.1%}" for one in means), "", "")
    table.add_row("telemanom (published)", "85.5%", "85.5%", "", "")
    return table


def _smap_line(table: Table, name: str, hits: Sequence[telemanom.Hits]) -> None:
    found = telemanom.total(hits)
    table.add_row(name, f"{found.precision:.1%}", f"{found.recall:.1%}", str(found.found), str(found.false))


def channel_alarms(channel: telemanom.Channel, seed: int) -> list[tuple[int, int]]:
    """Fit on a channel's training part; the alarms of its test part, readings without a gap."""
    detector = AnomalyDetector(**TELEMETRY, seed=seed, device="cpu").fit(channel.train, verbose=0)
    return alarm_intervals(detector.predict(channel.test)["alarm"].to_list(), 2)


def run_speed() -> Table:
    """Readings a second of a one-channel model, one core."""
    values = np.sin(np.arange(20_000) / 7).tolist()
    table = Table("one channel", "readings a second", title="Streaming, 1 thread")
    for name, forecaster, count in (("by default", None, 20_000), ("with a Forecaster", "", 2000)):
        detector = AnomalyDetector(device="cpu", forecaster=forecaster).fit(values[:1000], verbose=0)
        start = perf_counter()
        for value in values[:count]:
            detector.update(value)
        table.add_row(f"AnomalyDetector.update, {name}", f"{count / (perf_counter() - start):,.0f}")
    return table


def main(words: Sequence[str] | None = None) -> int:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.anomaly", description=__doc__)
    parser.add_argument(
        "--data", default=os.environ.get("LONGSPAN_DATA"), help="folder of the data sets (or LONGSPAN_DATA)"
    )
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", choices=("nab", "smap", "speed"))
    parser.add_argument("--forecaster", help="options of a Forecaster that NAB's readings are foretold by")
    asked = parser.parse_args(words)
    if asked.only != "speed" and (asked.data is None or not Path(asked.data, "anomaly").is_dir()):
        print(
            "data: expected a folder with anomaly/nab and anomaly/smap, received "
            f"{asked.data}; set LONGSPAN_DATA or pass --data.",
            file=sys.stderr,
        )
        return 2
    torch.set_num_threads(1)
    seeds, console = [int(seed) for seed in asked.seeds.split(",")], Console()
    if not console.is_terminal:
        console.width = 120
    if asked.only in (None, "speed"):
        console.print(run_speed())
    if asked.only in (None, "nab"):
        console.print(run_nab(Path(asked.data, "anomaly", "nab"), seeds, asked.forecaster))
    if asked.only in (None, "smap"):
        console.print(run_smap(Path(asked.data, "anomaly", "smap"), seeds))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
