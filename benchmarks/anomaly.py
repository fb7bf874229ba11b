"""Measures anomaly detection with the library's defaults, beside rivals and published results."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from longspan import errors
from longspan.tasks.anomaly.alarms import alarm_intervals
from longspan.tasks.anomaly.detector import AnomalyDetector
from longspan.tasks.anomaly.injection import injected_auc

from . import anomaly_rivals, anomaly_sets, nab, telemanom

NEW = 100  # a score counts as a new alarm if it is above all of so many readings before
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
    detector = AnomalyDetector(target=("channel 0",), seed=seed, device="cpu").fit(channel.train, verbose=0)
    return alarm_intervals(detector.predict(channel.test)["alarm"].to_list(), 2)


class Verdict(NamedTuple):
    """Scores (T,) and alarms (T,) bool of a test part with the flags (T,) of its rows."""

    scores: np.ndarray
    alarms: np.ndarray
    flags: np.ndarray


def ours(data: anomaly_sets.AnomalySet, seed: int) -> tuple[Verdict, str]:
    """The detector's verdict with its defaults, and the kind of data that it found."""
    detector = AnomalyDetector(id=data.id, time=data.time, seed=seed, device="cpu")
    detector.fit(data.train, verbose=0)
    answers = detector.predict(data.test)
    flags = data.flags
    if data.id is not None:  # answers come by entity
        names = data.test[data.id].unique(maintain_order=True)
        flags = np.concatenate([flags[(data.test[data.id] == name).to_numpy()] for name in names])
    verdict = Verdict(answers["score"].to_numpy(), answers["alarm"].to_numpy(), flags)
    return verdict, detector.codec_.kind.name


def run_sets(title: str, groups: Sequence[Sequence[anomaly_sets.AnomalySet]]) -> Table:
    """One line for each detector: mean AUC, and F1 and false alarms over all rows; a group for each seed."""
    table = Table("detector", "kind found", "AUC", "F1", "precision", "recall", "false alarms", title=title)
    for seed, group in enumerate(groups):
        verdicts, kinds = zip(*(ours(data, seed) for data in group), strict=True)
        _set_line(table, f"longspan, seed {seed}", ", ".join(sorted(set(kinds))), verdicts)
        print(f"{title}, seed {seed} done", file=sys.stderr, flush=True)
    for name, rival in anomaly_rivals.RIVALS.items():
        sets = [data for group in groups for data in group]
        verdicts = [Verdict(*anomaly_rivals.judge(rival, data), data.flags) for data in sets]
        _set_line(table, name, "", verdicts)
    return table


def _set_line(table: Table, name: str, kinds: str, verdicts: Sequence[Verdict]) -> None:
    auc = statistics.mean(injected_auc(one.scores[~one.flags], one.scores[one.flags]) for one in verdicts)
    alarms = np.concatenate([one.alarms for one in verdicts])
    flags = np.concatenate([one.flags for one in verdicts])
    right, false = int((alarms & flags).sum()), int((alarms & ~flags).sum())
    precision, recall = right / max(right + false, 1), right / max(int(flags.sum()), 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-12)
    shares = (f1, precision, recall, false / max(int((~flags).sum()), 1))
    table.add_row(name, kinds, f"{auc:.3f}", *(f"{share:.3f}" for share in shares))


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
    parser.add_argument("--only", choices=("speed", "generated", "skab", "nsl-kdd", "nab", "smap"))
    parser.add_argument("--forecaster", help="options of a Forecaster that NAB's readings are foretold by")
    asked = parser.parse_args(words)
    if asked.only not in ("speed", "generated") and (
        asked.data is None or not Path(asked.data, "anomaly").is_dir()
    ):
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
    warnings.simplefilter("ignore", errors.LongspanWarning)  # the kind of data is in the tables
    if asked.only in (None, "generated"):
        for name, make in anomaly_sets.GENERATED.items():
            console.print(run_sets(name, [[make(seed)] for seed in seeds]))
    if asked.only in (None, "skab"):
        files = anomaly_sets.skab(Path(asked.data, "anomaly", "skab_valve1"))
        console.print(run_sets("SKAB, valve 1", [files for _ in seeds]))
    if asked.only in (None, "nsl-kdd"):
        folder = Path(asked.data, "anomaly", "nsl_kdd_train")
        groups = [[anomaly_sets.nsl_kdd(folder, seed)] for seed in seeds]
        console.print(run_sets("NSL-KDD, training file", groups))
    if asked.only in (None, "nab"):
        console.print(run_nab(Path(asked.data, "anomaly", "nab"), seeds, asked.forecaster))
    if asked.only in (None, "smap"):
        console.print(run_smap(Path(asked.data, "anomaly", "smap"), seeds))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
