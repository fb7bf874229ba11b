"""Measures reading a CSV of times and numbers as a panel, beside polars alone, in fresh processes.

Polars stands there three times: reading text and numbers, finding the dates itself, and told their format.

python -m benchmarks.reading
python -m benchmarks.reading --rows 100000 --repeats 1
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
from rich.console import Console

from longspan.tasks.forecast.panel import Columns, Panel
from longspan.tasks.forecast.reading import read_panel

from .measure import Column, Table, environment
from .processes import child, status_bytes

POLARS, DATED, SORTED = "read_csv", "try_parse_dates", "format, sorted"  # of polars
OURS, BOTH = "longspan", "longspan, both columns"
COLUMNS = (
    Column("name", "reader"),
    Column("seconds", "ms", "ms"),
    Column("memory", "peak MiB", "MiB"),
    Column("times", "of read_csv", "times"),
    Column("memories", "its memory", "times"),
    Column("same_work", "of sorted", "times"),
)


def write(path: Path, rows: int) -> None:
    """A table of minutes and two columns of numbers."""
    values = np.random.default_rng(0).standard_normal((2, rows)).round(3)
    times = np.datetime64("2000-01-01", "us") + np.arange(rows) * np.timedelta64(60, "s")
    columns = {"time": pl.Series(times).dt.strftime("%Y-%m-%d %H:%M:%S"), "v": values[0], "w": values[1]}
    pl.DataFrame(columns).write_csv(path)


def panel(path: str) -> Panel:
    """The panel of one target."""
    return read_panel(path, Columns(target=("v",)))


def whole_panel(path: str) -> Panel:
    """The panel of both columns of numbers; `panel` leaves out the one that is not named."""
    return read_panel(path, Columns(target=("v", "w")))


def dated_and_sorted(path: str) -> pl.DataFrame:
    """What polars alone does for the same columns, told the format of the dates."""
    dates = pl.col("time").str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", cache=False)
    return pl.scan_csv(path).with_columns(dates).collect(engine="streaming").sort("time")


READERS: dict[str, Callable[[str], object]] = {
    POLARS: pl.read_csv,
    DATED: lambda path: pl.read_csv(path, try_parse_dates=True),
    SORTED: dated_and_sorted,
    OURS: panel,
    BOTH: whole_panel,
}


def is_equal(path: str) -> bool:
    """Whether the panel has the times and values that polars reads."""
    ours, theirs = whole_panel(path), dated_and_sorted(path)
    times = ours.frequency.column(ours.frequency.times(ours.first[0] + np.arange(len(ours.values))), "time")
    values = np.array_equal(ours.values, theirs.select("v", "w").to_numpy())
    values = values and np.array_equal(panel(path).values, ours.values[:, :1])
    return values and bool((times == theirs["time"]).all())


def own_cost(name: str, path: str) -> tuple[float, float]:
    """Seconds of reading in this process, and bytes at its peak beyond those before it."""
    before, start = status_bytes("VmRSS"), perf_counter()
    READERS[name](path)
    seconds = perf_counter() - start
    return seconds, status_bytes("VmHWM") - before


def cost(name: str, path: Path) -> tuple[float, float]:
    """`own_cost` of a fresh process."""
    seconds, memory = child("-m", "benchmarks.reading", "--cost", name, str(path)).split()
    return float(seconds), float(memory)


def table(path: Path, rows: int, repeats: int) -> Table:
    """Medians of fresh processes, the readers taking turns."""
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in READERS}
    for _ in range(repeats):
        for name in READERS:
            samples[name].append(cost(name, path))
    medians = {
        name: [statistics.median(part) for part in zip(*taken, strict=True)]
        for name, taken in samples.items()
    }
    result = Table(f"Reading {rows:,} rows, {path.stat().st_size / 2**20:.0f} MiB", COLUMNS)
    for name, (seconds, memory) in medians.items():
        row: dict[str, str | float] = {"name": name, "seconds": seconds, "memory": memory}
        row["times"], row["memories"] = seconds / medians[POLARS][0], memory / medians[POLARS][1]
        row["same_work"] = seconds / medians[SORTED][0]
        result.rows.append(row)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, then measure; 1 where the values differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cost", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    if given.cost:
        print(*own_cost(*given.cost))
        return 0
    console = Console(soft_wrap=True)
    console.print(", ".join(f"{name}: {value}" for name, value in environment().items()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        write(path, min(given.rows, 100_000))
        if not is_equal(str(path)):
            console.print("Parity failed, so nothing is measured: times or values differ.")
            return 1
        console.print("Parity: the times and values of both readers are the same.")
        write(path, given.rows)
        console.print(table(path, given.rows, given.repeats).picture())
    return 0


if __name__ == "__main__":
    sys.exit(main())
