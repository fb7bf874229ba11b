"""Times rivals fairly on a shared machine; shows and writes tables."""

from __future__ import annotations

import gc
import math
import os
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import torch
from rich.table import Table as Picture

import longspan as ls
from longspan import _core

SAMPLE = 0.005  # seconds that one sample takes at least, by repeating short calls
ROUNDS = 7  # at least, or 3 where they take 20 times as long as was asked for

UNITS: dict[str, Callable[[float], str]] = {
    "ms": lambda seconds: f"{seconds * 1e3:.2f}",
    "us": lambda seconds: f"{seconds * 1e6:.1f}",
    "MiB": lambda size: f"{size / 2**20:.1f}",
    "times": lambda ratio: f"{ratio:.2f}x",
    "share": lambda ratio: f"{ratio:.1%}",
}


# What oneDNN, MKL and ATen call longspan's instruction sets.
TORCH_LIMITS = {
    "avx512": ("AVX512_CORE", "AVX512", "avx512"),
    "avx2": ("AVX2", "AVX2", "avx2"),
    "baseline": ("SSE41", "SSE4_2", "default"),
}


class Size(NamedTuple):
    """The shape of a benchmark: B rows of T steps of I numbers, H hidden units."""

    B: int
    T: int
    I: int
    H: int

    def __str__(self) -> str:
        return "x".join(map(str, self))


@dataclass(frozen=True)
class Options:
    """What is measured: cells by their names in torch.nn, sizes, numbers of threads, seconds a comparison.

    `isa` is the instruction set that both sides are held to; None: the widest each of them finds.
    """

    cells: tuple[str, ...]
    sizes: tuple[Size, ...]
    threads: tuple[int, ...]
    seconds: float
    isa: str | None = None


class Column(NamedTuple):
    """A column of a table: its key in the rows, its heading, its unit (see UNITS; "" for words)."""

    key: str
    heading: str
    unit: str = ""


@dataclass
class Table:
    """Rows of numbers in seconds, bytes or ratios; shown in the columns' units, written as they are."""

    title: str
    columns: Sequence[Column]
    rows: list[dict[str, float | str]] = field(default_factory=list)

    def add_means(self) -> None:
        """Close with the geometric means of the ratios."""
        ratios = [column.key for column in self.columns if column.unit == "times"]
        values = {key: [float(row[key]) for row in self.rows if key in row] for key in ratios}
        means = {key: statistics.geometric_mean(found) for key, found in values.items() if found}
        self.rows.append({self.columns[0].key: "geometric mean", **means})

    def picture(self) -> Picture:
        """For the terminal."""
        picture = Picture(title=self.title, title_justify="left")
        for column in self.columns:
            picture.add_column(column.heading, justify="right" if column.unit else "left")
        for row in self.rows:
            picture.add_row(*(_shown(row.get(column.key, ""), column.unit) for column in self.columns))
        return picture

    def markdown(self) -> str:
        """For a file, with a blank line at its end."""
        rows = [[c.heading for c in self.columns], ["--:" if c.unit else "---" for c in self.columns]]
        rows += [[_shown(row.get(c.key, ""), c.unit) for c in self.columns] for row in self.rows]
        return "\n".join([f"## {self.title}", "", *(f"| {' | '.join(row)} |" for row in rows), ""])


def _shown(value: float | str, unit: str) -> str:
    return value if isinstance(value, str) else UNITS[unit](value)


class Timing:
    """Seconds of each call of each rival, a sample a round."""

    def __init__(self, samples: Mapping[str, Sequence[float]]) -> None:
        self.samples = samples

    def median(self, name: str) -> float:
        """The middle of the rival's samples, in seconds."""
        return statistics.median(self.samples[name])

    def best(self, name: str) -> float:
        """The quickest of the rival's samples, in seconds: what the machine can do when it is left alone."""
        return min(self.samples[name])

    def ratio(self, slow: str, fast: str) -> float:
        """How many times longer `slow` takes: the middle of the ratios of neighbours in time."""
        pairs = zip(self.samples[slow], self.samples[fast], strict=True)
        return statistics.median(a / b for a, b in pairs)


def interleaved(calls: Mapping[str, Callable[[], object]], seconds: float) -> Timing:
    """Time every call once a round, for about `seconds` in turning order."""
    repeats = {name: _repeats(call) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    order, start = list(calls), perf_counter()
    gc.collect()
    gc.disable()
    try:
        while not _enough(len(samples[order[0]]), (perf_counter() - start) / seconds):
            for name in order:
                samples[name].append(_sample(calls[name], repeats[name]))
            order.reverse()
    finally:
        gc.enable()
    return Timing(samples)


def _enough(rounds: int, spent: float) -> bool:
    """Whether to stop after so many rounds, which took `spent` times what was asked for."""
    return spent >= 1 and (rounds >= ROUNDS or (rounds >= 3 and spent >= 20))


def _sample(call: Callable[[], object], repeats: int) -> float:
    start = perf_counter()
    for _ in range(repeats):
        call()
    return (perf_counter() - start) / repeats


def _repeats(call: Callable[[], object]) -> int:
    call()  # the first call allocates, compiles and fills caches
    return max(1, math.ceil(SAMPLE / _sample(call, 1)))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Both sides on `count` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak(count: int, isa: str | None = None) -> float:
    """Multiply-add operations a second, two a multiply-add, that `count` threads were seen to reach."""
    return max(_core.peak_gflops(count, isa or "") for _ in range(3)) * 1e9


def limits(isa: str) -> dict[str, str]:
    """Environment variables that hold longspan and PyTorch (oneDNN, MKL, ATen) in a new process to `isa`."""
    onednn, mkl, aten = TORCH_LIMITS[isa]
    own = {"LONGSPAN_ISA": isa}
    return {**own, "ONEDNN_MAX_CPU_ISA": onednn, "MKL_ENABLE_INSTRUCTIONS": mkl, "ATEN_CPU_CAPABILITY": aten}


def environment(isa: str | None = None) -> dict[str, str | int]:
    """What the numbers depend on besides the code."""
    return {
        "cpu": _cpu(),
        "cores": len(_cores()),
        "instruction set": isa or _core.instruction_sets()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "longspan": ls.__version__,
    }


def _cores() -> set[int]:
    return os.sched_getaffinity(0) if platform.system() == "Linux" else set(range(os.cpu_count() or 1))


def _cpu() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
