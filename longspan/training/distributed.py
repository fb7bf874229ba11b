"""Shares every batch among processes: each takes rows, and gradients are added up before the update."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from longspan import errors
from longspan.callbacks import TrainerState
from longspan.data.batches import Batch, rows_of, rows_of_process, take_rows

from .batch_norms import over_all_processes
from .engines import FabricEngine, SingleProcess, WholeStep
from .loss_meter import check_loss
from .objective import BatchLoss, LossTerm, terms_of
from .process_groups import ProcessGroup

_TERMS = 4  # terms of a loss at most
_SEEDS = 2**31  # seeds of the processes' random masks lie below it


class EpochEnded(Exception):
    """Another process has no further step in this epoch."""


@runtime_checkable
class TakesRows(Protocol):
    """A network whose batches have tensors that are not by row."""

    def take_rows(self, batch: Batch, rows: Tensor) -> Batch:
        """The batch with some of its rows; rows: (R,) int64."""
        ...


@runtime_checkable
class SharesBatches(Protocol):
    """Batches of which a process can make its own rows alone, as where rows are files to be read."""

    def parts(self, rank: int, world: int) -> Iterator[tuple[Batch, int]]:
        """The rows rank, rank + world, … of every batch (without any the first), and the number of all."""
        ...


class DistributedEngine:
    """Takes each step together with other processes; every process calls everything in the same order.

    A process reads its rows of every batch: rank, rank + world, and so on. Its loss counts by its share of
    what the whole batch's mean is divided by, so gradients, weights and losses are those of one process.
    Batches are drawn alike in all processes. Dropout and negative samples are drawn by each process for
    itself, from a seed of its own.

    The first process decides: its learning rate, its weights at the start of an epoch, whether training goes
    on.

    Args:
        engine: takes the steps of one process.
        group: the processes.
        network, status: what is trained, and its state.

    Attributes:
        is_padding: whether the batch has no row for this process, which then reads one that does not count.
    """

    def __init__(
        self,
        engine: SingleProcess | FabricEngine,
        group: ProcessGroup,
        network: nn.Module,
        status: TrainerState,
    ) -> None:
        self.group, self.rank, self.world = group, group.rank, group.world
        self.forward, self.gather = engine.forward, group.gather
        self._engine, self._network, self._status = engine, network, status
        self._gradients = [GradientBuffer(part, group) for part in _by_dtype(engine.parameters)]
        self._device = next(network.parameters()).device
        self.is_padding, self._rows = False, 0
        self._batches_rng = torch.get_rng_state()

    # ---- random numbers

    def begin(self) -> None:
        """Draw batches alike in all processes, and random masks in each from a seed of its own."""
        self._batches_rng = self.gather(torch.get_rng_state())[0]
        torch.set_rng_state(self._batches_rng)
        torch.manual_seed(int(torch.randint(_SEEDS, ())) + self.rank)

    def end(self) -> None:
        """Give every process the first one's weights, and the generator that draws batches."""
        self._copy_weights()
        torch.set_rng_state(self._batches_rng)

    @contextmanager
    def drawing_batches(self) -> Iterator[None]:
        """Draws from the generator that all processes share, inside the block."""
        masks = torch.get_rng_state()
        torch.set_rng_state(self._batches_rng)
        try:
            yield
        finally:
            self._batches_rng = torch.get_rng_state()
            torch.set_rng_state(masks)

    # ---- batches

    def begin_epoch(self) -> None:
        """Give every process the first one's weights, and which of them learn."""
        parameters = list(self._network.parameters())
        learning = self.gather([parameter.requires_grad for parameter in parameters])[0]
        for parameter, learns in zip(parameters, learning, strict=True):
            parameter.requires_grad_(learns)
        self._copy_weights()

    def _copy_weights(self) -> None:
        self.group.copy_first([*self._network.state_dict().values()])

    def shards(self, batches: Iterable[Batch | tuple[Batch, int]], *, is_whole: bool) -> Iterator[Batch]:
        """This process's rows of every batch.

        Args:
            batches: whole ones, or what `SharesBatches.parts` gives.
            is_whole: whether these are all batches of the epoch.

        Raises:
            ValueError: there are more processes than rows in the largest batch of an epoch.
        """
        iterator, most = iter(batches), 0
        while True:
            with self.drawing_batches():
                item = next(iterator, None)
            if item is None:
                break
            batch, self._rows = item if isinstance(item, tuple) else (self.shard(item), rows_of(item))
            self.is_padding = self._rows <= self.rank
            most = max(most, self._rows)
            yield batch
        if is_whole and 0 < most < self.world:
            expected = f"at most {most}, the rows of a batch"
            way_out = "ask for fewer, or make the batches larger"
            raise errors.value_error("processes", expected, self.world, way_out)

    def shard(self, batch: Batch) -> Batch:
        """Rows rank, rank + world, …; without any, the first row as padding that does not count."""
        rows = rows_of_process(rows_of(batch), self.rank, self.world)
        if isinstance(self._network, TakesRows):
            return self._network.take_rows(batch, rows)
        return take_rows(batch, rows)

    def rows(self, batch: Batch) -> int:
        """The number of rows of the whole batch, over which losses are averaged."""
        return self._rows

    @contextmanager
    def steps_of_epoch(self) -> Iterator[None]:
        """Takes the steps of an epoch inside the block; a process without a further one ends it for all."""
        try:
            with over_all_processes(self._network, self.group, lambda: not self.is_padding):
                yield
            self._exchange([], ended=True)
        except EpochEnded:
            return

    # ---- steps

    def objective(self, loss: BatchLoss) -> BatchLoss:
        """The loss of the whole batch, with the gradients of this process's share of it."""
        loss_terms = terms_of(loss)

        def shared(output: Any, batch: Batch) -> Tensor:
            terms = loss_terms(output, batch)
            for term in terms:
                check_loss(term.mean)
            whole, shares = self._exchange(terms)
            own = [term.mean * share for term, share in zip(terms, shares, strict=True) if share]
            if not own:  # the other processes wait for backward all the same
                own = [zero_of(output)]
            part = own[0] if len(own) == 1 else torch.stack(own).sum()
            return part + (whole - part.detach())  # the value of the whole, the gradients of the part

        return shared

    def _exchange(self, terms: Sequence[LossTerm], *, ended: bool = False) -> tuple[float, list[float]]:
        """The loss of the whole batch, and this process's share in each term.

        Raises:
            EpochEnded: another process has no further step.
        """
        if len(terms) > _TERMS:
            raise errors.value_error("loss", f"at most {_TERMS} terms", len(terms), "add some of them up")
        groups = [group for optimizer in self._status.optimizers for group in optimizer.param_groups]
        counts = [0.0 if self.is_padding else self._count(term) for term in terms]
        totals = [
            term.mean.item() * (count if term.divisor is not None else 1.0) if count else 0.0
            for term, count in zip(terms, counts, strict=True)
        ]
        padding = [0.0] * (_TERMS - len(terms))
        rates = [group["lr"] if self.rank == 0 else 0.0 for group in groups]
        sent = [*totals, *padding, *counts, *padding, float(ended), *rates]
        summed = self.group.add_up(torch.tensor(sent, dtype=torch.float64, device=self._device)).tolist()
        if summed[2 * _TERMS] and not ended:
            raise EpochEnded
        for group, rate in zip(groups, summed[2 * _TERMS + 1 :], strict=True):
            group["lr"] = rate
        return _whole(terms, counts, summed)

    def _count(self, term: LossTerm) -> float:
        return 1.0 / self.world if term.divisor is None else float(term.divisor)

    def step(self, value: Tensor, output: Any, batch: Batch) -> None:
        """Backward, add up gradients, clip, update, and clear the gradients."""
        self._engine.backward(value)
        self._add_up()
        self._engine.finish()

    def whole_step(self, loss: Any) -> SharedWholeStep | None:
        """What takes steps in one call at present; None where nothing does."""
        whole = self._engine.whole_step(loss)
        return (
            None if whole is None or not isinstance(loss, CountedLoss) else SharedWholeStep(whole, loss, self)
        )

    def share_of(self, number: float, count: Tensor) -> tuple[float, float]:
        """The loss of the whole batch, and this process's share; number: its mean, over `count` things."""
        whole, shares = self._exchange([LossTerm(torch.tensor(number, dtype=torch.float64), count)])
        return whole, shares[0]

    def update(self, whole: SharedWholeStep) -> None:
        """Add up the gradients of a step that was taken in one call, clip them, and update."""
        for parameter, gradient in whole.gradients if whole.share else ():
            parameter.grad = gradient
        self._add_up(whole.share)
        self._engine.finish()

    def _add_up(self, factor: float = 1.0) -> None:
        for buffer in self._gradients:
            buffer.add_up(factor)

    # ---- checkpoints

    def state(self) -> Any:
        """The state of mixed precision, and the generator that draws batches."""
        return {"engine": self._engine.state(), "batches": self._batches_rng}

    def restore(self, state: Any) -> None:
        """Take what `state` returned."""
        self._engine.restore(state["engine"])
        self._batches_rng = state["batches"]


def zero_of(output: Any) -> Tensor:
    """0, with gradients of 0 to every tensor in an output."""
    if isinstance(output, Tensor):
        return output.sum() * 0.0
    parts = (
        output.values()
        if isinstance(output, Mapping)
        else output
        if isinstance(output, (tuple, list))
        else ()
    )
    zeros = [zero_of(part) for part in parts if isinstance(part, (Tensor, Mapping, tuple, list))]
    return torch.stack(zeros).sum() if zeros else torch.zeros(())


def _whole(
    terms: Sequence[LossTerm], counts: Sequence[float], summed: Sequence[float]
) -> tuple[float, list[float]]:
    """The sum of the terms of all processes, and this one's share in each."""
    whole, shares = 0.0, list[float]()
    for index, (term, count) in enumerate(zip(terms, counts, strict=True)):
        total, everything = summed[index], summed[_TERMS + index]
        if term.divisor is None:
            whole += total
            shares.append(math.copysign(1.0, count) if count else 0.0)
        else:
            whole += total / everything if everything else 0.0
            shares.append(count / everything if everything else 0.0)
    return whole, shares


@runtime_checkable
class CountedLoss(Protocol):
    """A loss that is one mean, and gives what it was divided by."""

    def count(self, output: Any, batch: Batch) -> Tensor:
        """A number."""
        ...


class SharedWholeStep:
    """A step in one call, whose loss is that of the whole batch.

    Args:
        step: of this process's rows; loss: what it computes; engine: exchanges it.

    Attributes:
        share: by which the gradients of the last step count.
    """

    def __init__(self, step: WholeStep, loss: CountedLoss, engine: DistributedEngine) -> None:
        self._step, self._loss, self._engine, self.share = step, loss, engine, 0.0

    @property
    def gradients(self) -> list[tuple[Tensor, Tensor]]:
        """(weight, gradient) of every weight that learns, of this process's rows."""
        return self._step.gradients

    def run(self, batch: Batch) -> tuple[float, Tensor] | None:
        """The loss of the whole batch and the output; None where it is to be taken in the usual steps."""
        taken = self._step.run(batch)
        if taken is None:
            return None
        number, self.share = self._engine.share_of(taken[0], self._loss.count(taken[1], batch))
        return number, taken[1]


class GradientBuffer:
    """The gradients of parameters of one dtype in one tensor, which one call adds up over all processes.

    Args:
        parameters: those that learn, or may learn later; group: of the processes.
    """

    def __init__(self, parameters: Sequence[Tensor], group: ProcessGroup) -> None:
        self.parameters = list(parameters)
        sizes = [parameter.numel() for parameter in self.parameters]
        self._buffer = group.buffer(sum(sizes) + len(sizes), self.parameters[0])
        self._values, self._present = self._buffer.values.split([sum(sizes), len(sizes)])
        self._views = [
            part.as_strided(parameter.shape, _dense_strides(parameter), part.storage_offset())
            for part, parameter in zip(self._values.split(sizes), self.parameters, strict=True)
        ]

    @torch.no_grad()
    def add_up(self, factor: float) -> None:
        """Set every gradient to the sum over the processes, times a factor of this process's own.

        A gradient that no process has stays None.
        """
        gradients = [parameter.grad for parameter in self.parameters]
        self._present.copy_(torch.tensor([float(gradient is not None) for gradient in gradients]))
        for view, gradient in zip(self._views, gradients, strict=True):
            if gradient is None:
                view.zero_()
            else:
                view.copy_(gradient.to_dense() if gradient.is_sparse else gradient)
        if factor != 1.0:
            self._values.mul_(factor)
        self._buffer.add_up()
        present = self._present.tolist()
        for parameter, view, count in zip(self.parameters, self._views, present, strict=True):
            parameter.grad = view if count else None


def _dense_strides(parameter: Tensor) -> tuple[int, ...]:
    """The strides of a dense copy, since fused updates go through the memory of both side by side."""
    return torch.empty_like(parameter).stride()


def _by_dtype(parameters: Sequence[Tensor]) -> list[list[Tensor]]:
    """The parameters in lists of one dtype and device."""
    lists: dict[Any, list[Tensor]] = {}
    for parameter in parameters:
        lists.setdefault((parameter.dtype, parameter.device), []).append(parameter)
    return list(lists.values())
