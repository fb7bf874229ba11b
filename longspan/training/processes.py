"""Starts the processes that share a training, or joins those that torchrun has started."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from longspan import errors

from .process_groups import ForkedGroup, LaunchedGroup, ProcessGroup, ProcessLost, lost

AnswerT = TypeVar("AnswerT")

_PATIENCE = timedelta(days=1)  # longest wait for another process, such as for a validation in the first
_GRACE = 5.0  # seconds in which a process whose connection is closed ends


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
    processes: int, weights: Sequence[Tensor], work: Callable[[ProcessGroup], AnswerT]
) -> AnswerT:
    """Run `work(group)` in several processes; returns what it returned in this one.

    Under torchrun the processes are those that it started, and this is one of them. Else this is the first,
    and the others are forked from it, with one thread each; they end with `work`.

    Args:
        processes: their number, at least 2.
        weights: tensors whose gradients the processes add up.

    Raises:
        ValueError: the processes cannot be started here.
        ProcessLost: one has ended without an error of its own.
        Exception: the error that another process raised, of the same type if it is a built-in one.
    """
    device = weights[0].device
    if started_by_launcher() is not None:
        if not distributed.is_initialized():
            distributed.init_process_group("gloo" if device.type == "cpu" else None, timeout=_PATIENCE)
        return work(LaunchedGroup())
    _check_forkable(device)
    memory = ForkedGroup.memory(weights, processes)
    with _one_thread(), _forked(processes, memory, work) as (others, links):
        try:
            answer = work(ForkedGroup(0, processes, links, memory))
            for process in others:
                process.join()
        except ProcessLost as error:
            raise _cause(error, others) from error
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


@contextmanager
def _forked(
    processes: int, memory: mmap.mmap, work: Callable[[ProcessGroup], Any]
) -> Iterator[tuple[list[BaseProcess], list[Connection]]]:
    """The processes beside this one and connections to them; they have ended after the block."""
    context = multiprocessing.get_context("fork")
    pairs = [context.Pipe() for _ in range(1, processes)]
    others: list[BaseProcess] = []
    try:
        with warnings.catch_warnings():
            # Python warns of forks beside threads. What runs in the fork uses no thread of the parent.
            warnings.simplefilter("ignore", DeprecationWarning)
            for rank in range(1, processes):
                process = context.Process(target=_other, args=(rank, pairs, memory, work), daemon=True)
                process.start()
                others.append(process)
        for _, theirs in pairs:
            theirs.close()
        yield others, [ours for ours, _ in pairs]
    finally:
        for process, (ours, _) in zip(others, pairs, strict=False):
            process.kill()
            process.join()
            ours.close()


def _other(
    rank: int,
    pairs: Sequence[tuple[Connection, Connection]],
    memory: mmap.mmap,
    work: Callable[[ProcessGroup], Any],
) -> None:
    """What a forked process does: its part of the work; an error goes to the first process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others
    torch.set_num_threads(1)  # the pool of the parent's threads does not live in a fork
    for other, (ours, theirs) in enumerate(pairs, 1):
        ours.close()  # else the end of a process would not be seen
        if other != rank:
            theirs.close()
    group = ForkedGroup(rank, len(pairs) + 1, [pairs[rank - 1][1]], memory)
    try:
        work(group)
    except ProcessLost:
        os._exit(1)
    except Exception as error:
        group.fail(error)
        os._exit(1)


def _cause(unseen: ProcessLost, others: Sequence[BaseProcess]) -> ProcessLost:
    """Which process has ended, and by which signal."""
    for process in others:
        process.join(_GRACE / len(others))
    for rank, process in enumerate(others, 1):
        if process.exitcode is not None and process.exitcode < 0:
            name = signal.Signals(-process.exitcode).name
            way_out = "see whether the machine has memory enough, or ask for fewer"
            return lost(len(others) + 1, f"process {rank} ended by {name}", way_out)
    return unseen
