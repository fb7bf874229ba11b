"""Runs the kernels of another processor in its emulator, in the place of this machine's: a plugin for pytest.

LONGSPAN_NAN_MEMORY=1 python -m pytest -p tests.kernels.emulated tests/kernels/test_parity.py (make neon)
needs the compiler of EMULATED_CXX (aarch64-linux-gnu-g++) and EMULATOR (qemu-aarch64 and its libraries); on
Debian: apt-get install g++-aarch64-linux-gnu qemu-user.
"""

from __future__ import annotations

import os
import shlex
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

from longspan import _core
from longspan.cells import CELLS
from longspan.kernels import cpu, cpu_driver, emit_cpp, native_cells

ROOT = Path(__file__).parents[2]
COMPILER = os.environ.get("EMULATED_CXX", "aarch64-linux-gnu-g++")
EMULATOR = os.environ.get("EMULATOR", "qemu-aarch64 -L /usr/aarch64-linux-gnu")
FORWARD, BACKWARD, SAVED = range(3)
calls = 0


class Plan(NamedTuple):
    """Which steps each row takes, not yet worked out."""

    given: cpu_driver.Inputs
    layout: cpu_driver.RowLayout


@lru_cache(maxsize=1)
def program() -> subprocess.Popen[bytes]:
    """The emulator with the kernels inside, built afresh."""
    folder = Path(tempfile.mkdtemp(prefix="longspan-emulated-"))
    emit_cpp.main([str(folder / "cells.inc")])
    sources = [ROOT / "csrc/recur.cpp", ROOT / "csrc/threads.cpp", ROOT / "tests/kernels/emulated.cpp"]
    places = [f"-I{folder}", f"-I{ROOT / 'csrc'}"]
    made = str(folder / "kernels")
    subprocess.run(
        [
            COMPILER,
            "-std=gnu++17",
            *shlex.split(_core.flags("baseline")),
            '-DLS_FLAGS=""',
            *places,
            *map(str, sources),
            "-lpthread",
            "-ldl",
            "-o",
            made,
        ],
        check=True,
    )
    return subprocess.Popen([*shlex.split(EMULATOR), made], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Where calls go in and where they come out."""
    running = program()
    assert running.stdin is not None and running.stdout is not None
    return running.stdin, running.stdout


def wholes(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}q", *numbers)


def counted(data: bytes | None) -> bytes:
    return wholes(-1) if data is None else wholes(len(data)) + data


def raw(tensor: Tensor | None) -> bytes | None:
    return None if tensor is None else tensor.detach().contiguous().numpy().tobytes()


class Kernels:
    """What longspan._core.Kernels is, by way of the pipes."""

    def __init__(self, f64: bool, cell: str) -> None:
        self.head = wholes(f64) + counted(cell.encode())

    def forward(self, plans: Any, tensors: Any, *rest: Any) -> None:
        self._run(FORWARD, plans, tensors, *rest)

    def backward(self, plans: Any, tensors: Any, *rest: Any) -> None:
        self._run(BACKWARD, plans, tensors, *rest)

    def saved_per_row(self, *sizes: int) -> int:
        to, back = pipes()
        to.write(wholes(SAVED) + self.head + wholes(*sizes))
        to.flush()
        return struct.unpack("<q", back.read(8))[0]

    def _run(
        self,
        verb: int,
        plans: Sequence[Plan],
        tensors: Sequence[Tensor | None],
        I: int,
        H: int,
        R: int,
        rows: int,
        threads: int,
        rates: Sequence[float],
    ) -> None:
        global calls
        calls += 1
        given, (T, B, time_major) = plans[0]
        to, back = pipes()
        to.write(wholes(verb) + self.head + wholes(I, H, R, rows, threads, len(plans), T, B, time_major))
        for mark in (given.lengths, given.mask, given.reset):
            to.write(counted(raw(mark)))
        to.write(wholes(len(rates)) + struct.pack(f"<{len(rates)}d", *rates) + wholes(len(tensors)))
        for tensor in tensors:
            to.write(counted(raw(tensor)))
        to.flush()
        for tensor in tensors:
            if tensor is None or not tensor.numel():
                continue
            size = tensor.numel() * tensor.element_size()
            found = torch.frombuffer(bytearray(back.read(size)), dtype=tensor.dtype).view(tensor.shape)
            if not torch.equal(found.view(torch.uint8), tensor.detach().contiguous().view(torch.uint8)):
                tensor.data.copy_(found)


def kernels(isa: str, f64: bool, address: int) -> Kernels:
    """In the place of driver._kernels."""
    names = {native_cells.address_of(cell, isa): cell.name for cell in CELLS.values()}
    return Kernels(f64, names[address])


def pytest_configure() -> None:
    """Put the emulator in the place of this machine's kernels, of which one instruction set is enough."""
    cpu.INSTRUCTION_SETS = cpu.INSTRUCTION_SETS[-1:]
    cpu_driver._kernels = lru_cache(kernels)
    cpu_driver.plans_of = lambda given, layout: (Plan(given, layout),) * len(given.weights)


def pytest_sessionfinish(session: Any) -> None:
    """Tell the first process how much a worker of pytest-xdist ran there, and let the emulator end."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["emulated"] = calls
    if not calls:
        return
    to, back = pipes()
    to.close()
    program().wait()
    back.close()


def pytest_testnodedown(node: Any) -> None:
    """Add what a worker of pytest-xdist ran."""
    global calls
    calls += getattr(node, "workeroutput", {}).get("emulated", 0)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how much of it ran there."""
    terminalreporter.write_line(f"{calls} calls ran in {EMULATOR.split()[0]}")
