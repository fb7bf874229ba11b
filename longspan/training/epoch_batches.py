"""Iterates over the batches of one epoch after another; after resuming, over those that an epoch has left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import nn

from longspan import errors
from longspan.data.batches import Batch, Batches, BPTTChunks, as_batch

from . import checkpoint
from .distributed import DistributedEngine, SharesBatches
from .engines import FabricEngine, SingleProcess
from .evaluation import keep_in_place, to_device

Engine = SingleProcess | FabricEngine | DistributedEngine


class EpochBatches:
    """The batches of every epoch, in an order that a resumed training repeats.

    Args:
        source: iterated every epoch: `Batches`, `BPTTChunks`, a DataLoader, a list.
        epochs: how often it is iterated.

    Attributes:
        length: batches of an epoch, None if the source does not have a length.

    Raises:
        TypeError: the source cannot be iterated so often.
    """

    def __init__(self, source: Any, epochs: int) -> None:
        self.source, self.length = _checked(source, epochs), length_of(source)
        # Random states at the start of the epoch: they decide the order of its batches.
        self._epoch_start: dict[str, Any] = {}

    def __call__(self, network: nn.Module, engine: Engine, *, step: int, resumable: bool) -> Iterator[Batch]:
        """This process's part of every batch of an epoch, on the network's device.

        Args:
            step: batches that were trained on before training was resumed; these are left out.
            resumable: whether to keep the random states that resuming needs.
        """
        distributed = engine if isinstance(engine, DistributedEngine) else None
        begin: Callable[[], Iterator[Any]] = partial(iter, self.source)
        makes_batches = isinstance(self.source, (Batches, BPTTChunks))
        if distributed is not None and isinstance(self.source, SharesBatches):
            begin = partial(self.source.parts, distributed.rank, distributed.world)
            makes_batches = True
        with nullcontext() if distributed is None else distributed.drawing_batches():
            batches = self._from(begin, step, resumable)
        if not makes_batches:
            batches = map(as_batch, batches)
        if distributed is not None:
            batches = distributed.shards(batches, is_whole=step == 0)
        move = to_device(network)
        return batches if move is keep_in_place else map(move, batches)

    def _from(self, begin: Callable[[], Iterator[Any]], step: int, resumable: bool) -> Iterator[Any]:
        if step:
            return self._remaining(begin, step)
        if resumable:
            self._epoch_start = {"rng": checkpoint.rng_state(), "batches": self.order()}
        return begin()

    def _remaining(self, begin: Callable[[], Iterator[Any]], step: int) -> Iterator[Any]:
        current = checkpoint.rng_state()
        checkpoint.set_rng_state(self._epoch_start["rng"])
        self.set_order(self._epoch_start["batches"])
        batches = begin()
        skipped = sum(1 for _ in islice(batches, step))
        if skipped < step:
            expected = f"the data of the checkpoint, at least {step} batches an epoch"
            raise errors.value_error("batches", expected, skipped, "pass the same data, or start afresh")
        checkpoint.set_rng_state(current)
        return batches

    def synchronise(self, engine: DistributedEngine) -> None:
        """Take the first process's order of batches."""
        if isinstance(self.source, Batches):
            self.source.restore(engine.gather(self.source.state())[0])

    def order(self) -> torch.Tensor | None:
        """The state of the shuffling of `Batches`; None for a source that has none."""
        return self.source.state() if isinstance(self.source, Batches) else None

    def set_order(self, order: torch.Tensor | None) -> None:
        """Take what `order` returned."""
        if isinstance(self.source, Batches) and order is not None:
            self.source.restore(order)

    def state(self) -> dict[str, Any]:
        """What decides the order of the batches of this epoch and the next ones."""
        return {"epoch_start": self._epoch_start, "batches": self.order()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what `state` returned."""
        self._epoch_start = state["epoch_start"]
        self.set_order(state["batches"])


def _checked(source: Any, epochs: int) -> Any:
    """The source; an error unless it can be iterated every epoch."""
    if not isinstance(source, Iterable):
        way_out = "pass longspan.data.Batches or a DataLoader"
        raise errors.type_error("batches", "batches to go through every epoch", source, way_out)
    if isinstance(source, Iterator) and epochs > 1:
        way_out = "pass a list, longspan.data.Batches or a DataLoader"
        raise errors.type_error("batches", "batches that can be iterated every epoch", source, way_out)
    return source


def length_of(source: Any) -> int | None:
    """The number of batches, None if the source does not have a length."""
    try:
        return len(source)
    except TypeError:
        return None
