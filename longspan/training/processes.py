"""Starts the processes that share a training, and passes numbers, tensors and objects among them."""

from __future__ import annotations

import builtins
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from longspan import errors

AnswerT = TypeVar("AnswerT")

_PATIENCE = timedelta(days=1)  # longest wait for another process, such as for a validation in the first
_GRACE = 5.0  # seconds in which a process whose connection is closed says why


class ProcessLost(ConnectionError):
    """Another process of the training has ended."""


class ProcessGroup:
    """The processes that share a training, by torch.distributed.

    Attributes:
        rank: the number of this process, 0 for the first; world: the number of all.

    Every method is called by all processes, in the same order. It raises `ProcessLost` where one has ended.
    """

    def __init__(self) -> None:
        self.rank, self.world = distributed.get_rank(), distributed.get_world_size()

    def add_up(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes, in place."""
        with _reporting_losses(self.world):
            distributed.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, by rank."""
        values: list[Any] = [None] * self.world
        with _reporting_losses(self.world):
            distributed.all_gather_object(values, value)
        return values

    @torch.no_grad()
    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Set tensors to those of the first process."""
        with _reporting_losses(self.world):
            for tensor in tensors:
                dense = tensor.detach().contiguous()
                distributed.broadcast(dense, 0)
                if dense.data_ptr() != tensor.data_ptr():
                    tensor.copy_(dense)


@contextmanager
def _reporting_losses(world: int) -> Iterator[None]:
    """Turn the error of a closed connection into `ProcessLost`."""
    try:
        yield
    except RuntimeError as error:  # torch.distributed has no narrower error for a closed connection
        raise _lost(world, "fewer, since one has ended", "its own message says why") from error


def _lost(world: int, received: str, way_out: str) -> ProcessLost:
    return ProcessLost(errors.message("processes", f"{world} to the end of training", received, way_out))


def started_by_launcher() -> int | None:
    """The number of processes that torchrun (or the like) has started; None where nothing of the kind did."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    return int(os.environ["WORLD_SIZE"])


def is_first() -> bool:
    """Whether this process writes files and messages: the first one, or the only one."""
    return started_by_launcher() is None or os.environ["RANK"] == "0"


def check_processes(processes: int) -> int:
    """The number of processes; an error unless it is one that can be had here.

    Raises:
        ValueError, TypeError: it is no number, or another one than torchrun has started.
    """
    count, started = errors.check_int("processes", processes, 1, "give their number"), started_by_launcher()
    if started not in (None, count):
        way_out = f"start as many, torchrun --nproc-per-node {count}, or ask for as many"
        raise errors.value_error("processes", f"{started}, as started", count, way_out)
    return count


def run_in_processes(
    processes: int, device: torch.device, work: Callable[[ProcessGroup], AnswerT]
) -> AnswerT:
    """Run `work(group)` in several processes; returns what it returned in this one.

    Under torchrun the processes are those that it started, and this is one of them. Else this is the first,
    and the others are forked from it, with one thread each; they end with `work`.

    Args:
        processes: their number, at least 2; device: of the tensors that they exchange.

    Raises:
        ValueError: the processes cannot be started here.
        ProcessLost: one has ended without an error of its own.
        Exception: the error that another process raised, of the same type if it is a built-in one.
    """
    if started_by_launcher() is not None:
        if not distributed.is_initialized():
            distributed.init_process_group("gloo" if device.type == "cpu" else None, timeout=_PATIENCE)
        return work(ProcessGroup())
    _check_forkable(device)
    with tempfile.TemporaryDirectory() as folder, _one_thread():
        others = _fork(processes, Path(folder), work)
        try:
            with _joined(Path(folder), 0, processes) as group:
                answer = work(group)
            for process in others:
                process.join()
        except ProcessLost as error:
            raise _cause(error, Path(folder), others) from error
        finally:
            for process in others:
                process.kill()
                process.join()
    return answer


def _check_forkable(device: torch.device) -> None:
    way_out = "start the script with torchrun --nproc-per-node N"
    if device.type != "cpu":
        raise errors.value_error("processes", "a network on the CPU", f"one on {device.type}", way_out)
    if sys.platform != "linux":
        raise errors.value_error("processes", "Linux, where they are forked", sys.platform, way_out)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread, as the other processes do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _fork(processes: int, folder: Path, work: Callable[[ProcessGroup], Any]) -> list[BaseProcess]:
    """The processes beside this one, started."""
    context = multiprocessing.get_context("fork")
    others: list[BaseProcess] = []
    with warnings.catch_warnings():
        # Python warns of forks beside threads. What runs in the fork uses no thread of the parent.
        warnings.simplefilter("ignore", DeprecationWarning)
        for rank in range(1, processes):
            process = context.Process(target=_other, args=(folder, rank, processes, work), daemon=True)
            process.start()
            others.append(process)
    return others


def _other(folder: Path, rank: int, processes: int, work: Callable[[ProcessGroup], Any]) -> None:
    """What a forked process does: its part of the work; an error is written into the folder."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others
    torch.set_num_threads(1)  # the pool of the parent's threads does not live in a fork
    try:
        with _joined(folder, rank, processes) as group:
            work(group)
    except ProcessLost:
        os._exit(1)
    except Exception as error:
        (folder / f"part{rank}").write_text(_to_json(error))
        (folder / f"part{rank}").rename(folder / f"error{rank}")
        os._exit(1)


@contextmanager
def _joined(folder: Path, rank: int, processes: int) -> Iterator[ProcessGroup]:
    """The group of the processes that share a folder, joined within the block."""
    store = (folder / "store").as_uri()
    with _reporting_losses(processes):
        distributed.init_process_group("gloo", store, _PATIENCE, processes, rank)
    try:
        yield ProcessGroup()
    finally:
        distributed.destroy_process_group()


def _to_json(error: Exception) -> str:
    """An error as JSON: its nearest built-in type and its message."""
    kind = next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
    return json.dumps([kind.__name__, str(error)])


def _cause(lost: ProcessLost, folder: Path, others: Sequence[BaseProcess]) -> Exception:
    """Why a process has ended: the error that it wrote, or the signal that ended it."""
    for process in others:
        process.join(_GRACE / len(others))
    for path in sorted(folder.glob("error*")):
        name, words = json.loads(path.read_text())
        return getattr(builtins, name)(words)
    for rank, process in enumerate(others, 1):
        if process.exitcode is not None and process.exitcode < 0:
            name = signal.Signals(-process.exitcode).name
            way_out = "see whether the machine has memory enough, or ask for fewer"
            return _lost(len(others) + 1, f"process {rank} ended by {name}", way_out)
    return lost
