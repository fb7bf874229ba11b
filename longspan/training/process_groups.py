"""Passes numbers, tensors and objects among the processes that share a training."""

from __future__ import annotations

import abc
import builtins
import json
import mmap
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor, distributed

from longspan import errors

_SMALL = 4096  # bytes of a tensor up to which every process adds up all of it by itself
_DONE, _FAILED = b".", b"!"  # how messages among forked processes begin


class ProcessLost(ConnectionError):
    """Another process of the training has ended."""


def lost(world: int, received: str, way_out: str) -> ProcessLost:
    """The error for a process that has ended; world: the number of all."""
    return ProcessLost(errors.message("processes", f"{world} to the end of training", received, way_out))


def _lost_unseen(world: int) -> ProcessLost:
    return lost(world, "fewer, since one has ended", "its own message says why")


class SumBuffer(abc.ABC):
    """A tensor that is added up over all processes again and again. Abstract.

    Attributes:
        values: what this process adds, and after `add_up` the sum, which no other process writes to.
    """

    values: Tensor

    @abc.abstractmethod
    def add_up(self) -> None:
        """Set `values` to the sum of all processes'."""


class ProcessGroup(abc.ABC):
    """The processes that share a training. Abstract.

    Attributes:
        rank: the number of this process, 0 for the first; world: the number of all.

    Every method is called by all processes, in the same order. It raises `ProcessLost` where one has ended.
    """

    rank: int
    world: int

    @abc.abstractmethod
    def add_up(self, values: Tensor) -> Tensor:
        """The sum of a small tensor over all processes."""

    @abc.abstractmethod
    def gather(self, value: Any) -> list[Any]:
        """The value of every process, by rank."""

    @abc.abstractmethod
    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Set tensors to those of the first process."""

    @abc.abstractmethod
    def buffer(self, size: int, like: Tensor) -> SumBuffer:
        """A buffer of so many zeros, of the dtype and the device of a tensor."""


# ---- processes that a launcher has started


class LaunchedGroup(ProcessGroup):
    """The processes that torchrun has started, by torch.distributed."""

    def __init__(self) -> None:
        self.rank, self.world = distributed.get_rank(), distributed.get_world_size()

    def add_up(self, values: Tensor) -> Tensor:
        with _reporting_losses(self.world):
            distributed.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.world
        with _reporting_losses(self.world):
            distributed.all_gather_object(values, value)
        return values

    @torch.no_grad()
    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        with _reporting_losses(self.world):
            for tensor in tensors:
                dense = tensor.detach().contiguous()
                distributed.broadcast(dense, 0)
                if dense.data_ptr() != tensor.data_ptr():
                    tensor.copy_(dense)

    def buffer(self, size: int, like: Tensor) -> SumBuffer:
        return _ReducedBuffer(self, torch.zeros(size, dtype=like.dtype, device=like.device))


class _ReducedBuffer(SumBuffer):
    """A buffer that torch.distributed adds up in place."""

    def __init__(self, group: LaunchedGroup, values: Tensor) -> None:
        self._group, self.values = group, values

    def add_up(self) -> None:
        self._group.add_up(self.values)


@contextmanager
def _reporting_losses(world: int) -> Iterator[None]:
    """Turn the error of a closed connection into `ProcessLost`."""
    try:
        yield
    except RuntimeError as error:  # torch.distributed has no narrower error for a closed connection
        raise _lost_unseen(world) from error


# ---- forked processes


def shared_bytes(tensors: Sequence[Tensor], world: int) -> int:
    """Bytes of shared memory that buffers of these tensors, and of one more value each, need at most."""
    return (world + 1) * sum((tensor.numel() + 1) * tensor.element_size() + 8 for tensor in tensors)


class ForkedGroup(ProcessGroup):
    """Processes that are forked from the first one: they share memory, and wait for messages of each other.

    Args:
        rank, world: see `ProcessGroup`.
        links: connections to all others in the first process, to the first one in the others.
        memory: shared by all.
    """

    def __init__(self, rank: int, world: int, links: Sequence[Connection], memory: mmap.mmap) -> None:
        self.rank, self.world, self._links = rank, world, links
        self._memory, self._used, self._turn = memory, 0, 0
        # In turns, since a process may still read one when another writes the next.
        self._slots = [self._bytes(world * _SMALL).view(world, _SMALL) for _ in range(2)]

    @staticmethod
    def memory(tensors: Sequence[Tensor], world: int) -> mmap.mmap:
        """Memory to share, with room for buffers of these tensors; it is made before processes are forked."""
        return mmap.mmap(-1, 2 * world * _SMALL + shared_bytes(tensors, world))

    def _bytes(self, size: int) -> Tensor:
        """The next bytes of the shared memory."""
        begin, self._used = self._used, self._used + size
        return torch.frombuffer(self._memory, dtype=torch.uint8, count=size, offset=begin)

    def add_up(self, values: Tensor) -> Tensor:
        size = values.numel() * values.element_size()
        if size > _SMALL:
            return torch.stack(self.gather(values.detach())).sum(0)
        slots = self._slots[self._turn][:, :size].view(values.dtype)
        slots[self.rank] = values.detach().flatten()
        self._turn = 1 - self._turn
        self.wait()
        return slots.sum(0).view(values.shape)

    def gather(self, value: Any) -> list[Any]:
        if self.rank:
            self._send(self._links[0], pickle.dumps(value))
            return pickle.loads(self._receive(self._links[0]))
        values = [value, *(pickle.loads(self._receive(link)) for link in self._links)]
        for link in self._links:
            self._send(link, pickle.dumps(values))
        return values

    @torch.no_grad()
    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            dense = tensor.detach().contiguous()
            if self.rank:
                received = bytearray(self._receive(self._links[0]))
                if received:
                    tensor.copy_(torch.frombuffer(received, dtype=tensor.dtype).view(tensor.shape))
            else:
                for link in self._links:
                    self._send(link, dense.view(-1).view(torch.uint8).numpy().tobytes())

    def buffer(self, size: int, like: Tensor) -> SumBuffer:
        self._used = -(-self._used // 8) * 8
        shared = self._bytes((self.world + 1) * size * like.element_size()).view(like.dtype)
        return _SharedBuffer(self, shared.view(self.world + 1, size))

    def wait(self) -> None:
        """Return when all processes have called this."""
        if self.rank:
            self._send(self._links[0])
            self._receive(self._links[0])
            return
        for link in self._links:
            self._receive(link)
        for link in self._links:
            self._send(link)

    def fail(self, error: Exception) -> None:
        """Tell the first process about an error that ends this one."""
        kind = next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
        self._links[0].send_bytes(_FAILED + json.dumps([kind.__name__, str(error)]).encode())

    def _send(self, link: Connection, content: bytes = b"") -> None:
        try:
            link.send_bytes(_DONE + content)
        except OSError as error:
            raise self._cause() from error

    def _receive(self, link: Connection) -> bytes:
        try:
            content = link.recv_bytes()
        except (OSError, EOFError) as error:
            raise self._cause() from error
        if content[:1] == _FAILED:
            raise _error_of(content)
        return content[1:]

    def _cause(self) -> Exception:
        """The error that another process has told of, if one has."""
        for link in self._links:
            try:
                while link.poll():
                    content = link.recv_bytes()
                    if content[:1] == _FAILED:
                        return _error_of(content)
            except (OSError, EOFError):
                continue
        return _lost_unseen(self.world)


def _error_of(content: bytes) -> Exception:
    name, words = json.loads(content[1:])
    return getattr(builtins, name)(words)


class _SharedBuffer(SumBuffer):
    """A buffer in shared memory: each process adds up a part of it, then all read the whole.

    Args:
        shared: (world + 1, size), what each process adds, and the sum.
    """

    def __init__(self, group: ForkedGroup, shared: Tensor) -> None:
        self._group, self.values, self._total = group, shared[group.rank], shared[-1]
        parts = shared.tensor_split(group.world, 1)[group.rank]
        self._added, self._sum = parts[:-1], parts[-1]

    def add_up(self) -> None:
        self._group.wait()
        torch.sum(self._added, 0, out=self._sum)
        self._group.wait()
        self.values.copy_(self._total)  # gradients are clipped in place, by each process
