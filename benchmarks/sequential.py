"""Times the tutorials in fresh processes: longspan, Keras on its backends, a loop written by hand.

    python -m benchmarks.sequential
    python -m benchmarks.sequential --quick --keras-python ../keras/bin/python --json sequential.json

Every rival first fits as a script would, from process start; then it takes two epochs of plain gradient
descent from weights that all share. No time is printed where these losses differ. Fit times hold everything
inside `fit`, tracing included, but not what stands before it: imports, building, making the optimizer. Beside
the clock stands the processor's time of all threads, which others on the machine do not stretch.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

import longspan as ls

from .measure import Column, Table, environment
from .rivals import RIVALS, WORKLOADS, Workload

HERE = Path(__file__).resolve().parent
LIMIT = 1e-3  # relative, of losses after one and after two epochs
KERAS = tuple(rival for rival in RIVALS if rival.startswith("keras"))
COLUMNS = (
    Column("workload", "workload"),
    Column("rival", ""),
    Column("fit", "fit ms", "ms"),
    Column("fit_ratio", "", "times"),
    Column("start", "start to fitted ms", "ms"),
    Column("start_ratio", "", "times"),
)
CLOCKS = {"clock": "by the clock", "processor": "in seconds of the processor"}
GOALS = {"keras": 5.0, "torch": 1.5, "start": 2.0}  # times as fast as the best Keras, the loop; the first fit
AGAINST = {
    "keras (fastest)": (KERAS, "fit"),
    "torch (by hand)": (("torch",), "fit"),
    "start (fastest)": (KERAS, "start"),
}


class Times(NamedTuple):
    """Seconds inside fit, and from process start to the fitted model."""

    fit: float
    start: float


class Outcome(NamedTuple):
    """One run: its times on the clock and in seconds of the processor, the losses of parity."""

    clock: Times
    processor: Times
    losses: tuple[float, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, check, print; 1 if losses differ or a goal is missed with --goals."""
    given = _parser().parse_args(arguments)
    console, facts = Console(), environment()
    console.print(", ".join(f"{name}: {value}" for name, value in facts.items()), soft_wrap=True)
    found: dict[str, dict[str, list[Outcome]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in given.workloads:
            found[name] = _raced(name, Path(folder), given, console)
            if wrong := _parity(found[name]):
                console.print(f"Parity failed on {name}, so nothing is published: {wrong}", markup=False)
                return 1
    report: dict[str, Any] = {"environment": facts}
    for clock in CLOCKS:
        table, ratios = _table(found, clock), _ratios(found, clock)
        console.print(table.picture())
        for goal, value in ratios.items():
            console.print(f"{goal}: {value:.2f} times (goal {_goal(goal)})", markup=False)
        report[clock] = {"rows": table.rows, "ratios": ratios}
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n")
    missed = [goal for goal, value in report[given.clock]["ratios"].items() if value < _goal(goal)]
    return 1 if given.goals and missed else 0


def _goal(name: str) -> float:
    return GOALS[name.partition(" ")[0]]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sequential", description="Sequential beside Keras."
    )
    parser.add_argument(
        "--workloads", type=_among(tuple(WORKLOADS)), default=tuple(WORKLOADS), metavar="a,b,…"
    )
    parser.add_argument("--rivals", type=_among(RIVALS), default=RIVALS, metavar="longspan,…")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each; the median is printed")
    parser.add_argument("--quick", action="store_true", help="one round, a tenth of the epochs")
    parser.add_argument("--threads", type=int, default=1, help="for every rival")
    parser.add_argument(
        "--clock",
        choices=tuple(CLOCKS),
        default="clock",
        help="which times --goals looks at; others on the machine do not stretch the processor's",
    )
    parser.add_argument(
        "--keras-python", default=sys.executable, help="a Python that has Keras and its backends"
    )
    parser.add_argument("--goals", action="store_true", help="exit with 1 where a goal is missed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers")
    return parser


def _among(known: Sequence[str]) -> Any:
    def parse(words: str) -> tuple[str, ...]:
        chosen = tuple(words.split(","))
        if odd := [word for word in chosen if word not in known]:
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(known)}, received {odd[0]!r}")
        return chosen

    return parse


def _raced(name: str, folder: Path, given: argparse.Namespace, console: Console) -> dict[str, list[Outcome]]:
    """Every rival on one workload, in turning order; one that cannot run is left out, and why is said."""
    workload, path = WORKLOADS[name], folder / f"{name}.npz"
    np.savez(path, **data_of(name, workload))  # pyright: ignore[reportArgumentType]  arrays, not options
    epochs = max(1, workload.epochs // 10) if given.quick else workload.epochs
    found: dict[str, list[Outcome]] = {rival: [] for rival in given.rivals}
    order = list(given.rivals)
    for _ in range(1 if given.quick else given.rounds):
        for rival in [one for one in order if one in found]:
            python = given.keras_python if rival in KERAS else sys.executable
            outcome = run(python, rival, name, path, epochs, given.threads)
            if isinstance(outcome, str):
                if rival == "longspan":
                    raise SystemExit(f"longspan failed on {name}: {outcome}")
                console.print(f"{rival} is left out of {name}: {outcome}", markup=False)
                del found[rival]
            else:
                found[rival].append(outcome)
        order.reverse()
    return found


def run(python: str, rival: str, name: str, path: Path, epochs: int, threads: int) -> Outcome | str:
    """One fresh process; why it failed, in one line, if it did."""
    command = [python, "-m", "benchmarks.rivals", rival, name, str(path), str(epochs)]
    began, fitted, said = perf_counter(), 0.0, {}
    with subprocess.Popen(
        command, env=_environment(threads), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        for event in _events(child):
            said[event["event"]] = event
            fitted = fitted or perf_counter() - began
        errors = child.stderr.read() if child.stderr else ""
    if child.returncode:
        return (errors.strip().splitlines() or ["no word"])[-1]
    own = said["fitted"]
    processor = Times(own["processor"], own["since_start"])
    return Outcome(Times(own["clock"], fitted), processor, tuple(said["parity"]["losses"]))


def _events(child: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    for line in child.stdout or ():
        if line.startswith("{"):
            yield json.loads(line)


def _environment(threads: int) -> dict[str, str]:
    """So many threads for all, however each library calls them, and this longspan for its child."""
    count = str(threads)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    flags = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"} if threads == 1 else {}
    path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, **dict.fromkeys(names, count), **flags, "PYTHONPATH": path}


def data_of(name: str, workload: Workload) -> dict[str, np.ndarray]:
    """x, y, rows held out, and weights to share; generated, in the sizes of the tutorials."""
    rng = np.random.default_rng(0)
    if name == "a":
        numbers = np.arange(1, 11, dtype=np.float32)
        x, y = np.array([numbers[i : i + 3] for i in range(7)])[..., None], numbers[3:]
    elif name == "b":
        x = rng.random((442, 1, 10), np.float32)
        y = x.mean((1, 2)) + rng.normal(0, 0.1, 442).astype(np.float32)
    elif name == "c":
        series = np.sin(np.arange(133) / 3.0) + rng.normal(0, 0.1, 133)
        x = np.array([series[i : i + 10] for i in range(123)], np.float32)[..., None]
        y = series[10:].astype(np.float32)
    elif name == "d":
        labels = rng.integers(0, 10, 1437)
        x = (rng.random((10, 8, 8), np.float32)[labels] + rng.normal(0, 0.3, (1437, 8, 8))).astype(np.float32)
        y = np.eye(10, dtype=np.float32)[labels]
    else:
        x, y = _texts(rng)
    held = max(1, len(x) // 5)
    return {"x": x, "y": y, "vx": x[:held], "vy": y[:held], **_start(workload, x)}


def _texts(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """2,000 texts of 5 to 100 words, padded behind; two words in ten tell the class."""
    y = rng.integers(0, 2, 2000)
    x = np.zeros((2000, 100), np.int64)
    for row, label in zip(x, y, strict=True):
        count = int(np.clip(rng.lognormal(3.2, 0.6), 5, 100))
        words = np.minimum(rng.zipf(1.3, count) + 2, 4999)
        telling = rng.random(count) < 0.2
        row[:count] = np.where(telling, 1 + label, words)
    return x, y.astype(np.float32)


def _start(workload: Workload, x: np.ndarray) -> dict[str, np.ndarray]:
    model = ls.models.Sequential([ls.Input(x.shape[1:]), *workload.row(ls.layers, 0.0)])
    model.build()
    return {f"w{i}": weight for i, weight in enumerate(model.get_weights())}


def _parity(found: dict[str, list[Outcome]]) -> str | None:
    """Whose losses differ from longspan's, or None."""
    if not found.get("longspan"):
        return None
    ours = np.array(found["longspan"][0].losses)
    for rival, runs in found.items():
        error = float(np.abs(np.array(runs[0].losses) / ours - 1.0).max())
        if not error <= LIMIT:
            return f"{rival} has losses {runs[0].losses}, longspan {tuple(ours)}"
    return None


def _median(runs: Sequence[Outcome], clock: str, field: str) -> float:
    return statistics.median(getattr(getattr(run, clock), field) for run in runs)


def _table(found: dict[str, dict[str, list[Outcome]]], clock: str) -> Table:
    """A row for each workload and rival, then the geometric mean of each rival."""
    title = f"In fresh processes, {CLOCKS[clock]}; times as long as longspan"
    table, ratios = Table(title, COLUMNS), {}
    for name, runs in found.items():
        for rival, own in runs.items():
            row: dict[str, float | str] = {"workload": f"{name}: {WORKLOADS[name].title}", "rival": rival}
            for field in ("fit", "start"):
                row[field] = seconds = _median(own, clock, field)
                if "longspan" in runs and rival != "longspan":
                    row[f"{field}_ratio"] = seconds / _median(runs["longspan"], clock, field)
                    ratios.setdefault((rival, f"{field}_ratio"), []).append(row[f"{field}_ratio"])
            table.rows.append(row)
    for rival in dict.fromkeys(rival for rival, _ in ratios):
        means = {
            key: statistics.geometric_mean(values) for (one, key), values in ratios.items() if one == rival
        }
        table.rows.append({"workload": "geometric mean", "rival": rival, **means})
    return table


def _ratios(found: dict[str, dict[str, list[Outcome]]], clock: str) -> dict[str, float]:
    """Geometric means over the workloads, against the fastest Keras of each and the loop."""
    kept: dict[str, list[float]] = {}
    for runs in found.values():
        for goal, (rivals, field) in AGAINST.items():
            theirs = [_median(own, clock, field) for rival, own in runs.items() if rival in rivals]
            if theirs and "longspan" in runs:
                kept.setdefault(goal, []).append(min(theirs) / _median(runs["longspan"], clock, field))
    return {goal: statistics.geometric_mean(values) for goal, values in kept.items()}


if __name__ == "__main__":
    sys.exit(main())
