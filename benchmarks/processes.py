"""Measures in fresh processes: the time of the first import, and the peak memory of a training step."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from .measure import Column, Options, Size, Table
from .parity import Check, compare
from .speed import outputs, pair, sequences

LEAST_STATES = 2**18  # B * T * H: below, what a step needs disappears in the slack of the allocator
IMPORTS = {"torch": "", "longspan, longspan.nn": "import torch"}
IMPORT_COLUMNS = (Column("name", "import"), Column("seconds", "ms", "ms"))
MEMORY_COLUMNS = (
    Column("size", "BxTxIxH"),
    Column("torch", "torch MiB", "MiB"),
    Column("longspan", "longspan MiB", "MiB"),
    Column("ratio", "torch / longspan", "times"),
)


# glibc gives large blocks back at once, instead of guessing from those before: what is weighed is alive.
EXACT = {"MALLOC_MMAP_THRESHOLD_": str(2**17)}


def child(*arguments: str, **environment: str) -> str:
    """What a fresh Python prints, run from the folder above this package."""
    command, here = [sys.executable, *arguments], Path(__file__).resolve().parents[1]
    given = {**os.environ, **environment}
    return subprocess.run(command, cwd=here, check=True, capture_output=True, text=True, env=given).stdout


class Imports:
    """How long `import longspan` and `import longspan.nn` take once torch is there."""

    @staticmethod
    def parity(options: Options) -> Iterator[Check]:
        """An import computes nothing."""
        return iter(())

    @staticmethod
    def tables(options: Options) -> Iterator[Table]:
        """Medians of five fresh processes."""
        table = Table("Import, in a fresh process, after what stands above it", IMPORT_COLUMNS)
        for names, before in IMPORTS.items():
            code = f"{before}\nfrom time import perf_counter\nstart = perf_counter()\nimport {names}\n"
            samples = [float(child("-c", f"{code}print(perf_counter() - start)")) for _ in range(5)]
            table.rows.append({"name": names, "seconds": statistics.median(samples)})
        yield table


class Memory:
    """How much more memory than before a training step needs at its peak."""

    @staticmethod
    def parity(options: Options) -> Iterator[Check]:
        """The steps that will be weighed."""
        for cell in options.cells:
            for size in _weighable(options):
                theirs, ours = pair(cell, size)
                sides = (outputs(ours), ours), (outputs(theirs), theirs)
                yield compare(f"memory {cell} {size}", sequences(size), *sides)

    @staticmethod
    def tables(options: Options) -> Iterator[Table]:
        """Medians of three fresh processes for each side."""
        for cell in options.cells:
            table = Table(
                f"Peak memory of a training step above the layer and its input, {cell}", MEMORY_COLUMNS
            )
            for size in _weighable(options):
                taken = {side: _weigh(side, cell, size) for side in ("torch", "longspan")}
                ratio = taken["torch"] / max(taken["longspan"], 1)
                table.rows.append({"size": str(size), **taken, "ratio": ratio})
            yield table


def _weighable(options: Options) -> list[Size]:
    return [size for size in options.sizes if size.B * size.T * size.H >= LEAST_STATES]


def _weigh(side: str, cell: str, size: Size) -> float:
    found = [float(child("-m", __name__, side, cell, *map(str, size), **EXACT)) for _ in range(3)]
    return statistics.median(found)


def status_bytes(line: str) -> int:
    """A line of Linux's /proc/self/status in bytes; elsewhere the peak so far, which can only grow."""
    status = Path("/proc/self/status")
    if not status.exists():
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    found = (row.split() for row in status.read_text().splitlines())
    return next(int(row[1]) * 1024 for row in found if row[0] == f"{line}:")


def weigh(side: str, cell: str, size: Size) -> int:
    """Bytes at the peak of a training step above those before it; to be run in a process of its own."""
    layer = pair(cell, size)[side == "longspan"]
    x = sequences(size)
    layer(x[:2].clone().requires_grad_())[0].sum().backward()
    layer.zero_grad(set_to_none=True)
    x.requires_grad_()
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")  # the peak starts again from here
    before = status_bytes("VmRSS")
    layer(x)[0].sum().backward()
    return status_bytes("VmHWM") - before


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(weigh(sys.argv[1], sys.argv[2], Size(*map(int, sys.argv[3:]))))
