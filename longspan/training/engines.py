"""Takes training steps: in one process, in mixed precision, or in several processes that share every batch.

The last two use lightning-fabric, which is imported only then.
"""

from __future__ import annotations

import builtins
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, RandomSampler

from longspan import errors
from longspan.data.batches import Batch, map_tensors, rows_of
from longspan.optimizers import KerasOptimizer, clipper
from longspan.optional import require

from .objective import MaskedLoss, WeightedLoss

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true")
_EXTRA = "parallel"


class WholeStep(Protocol):
    """Forward, loss and backward of a batch in one call.

    Attributes:
        gradients: (weight, gradient) of every weight that learns, overwritten by `run`.
    """

    gradients: list[tuple[Tensor, Tensor]]

    def run(self, batch: Batch) -> tuple[float, Tensor] | None:
        """The loss and the output; None where the batch has to be taken in the usual steps."""
        ...


@runtime_checkable
class TakesWholeSteps(Protocol):
    """A network that may take a step in one call."""

    def whole_step(self, loss: Any) -> WholeStep | None:
        """That step, as the network and its surroundings are now; None where there is none."""
        ...


class SingleProcess:
    """One process in full precision: no cost beyond the network and the optimizer.

    Args:
        hooked: whether to call `optimizer.step` itself, because a scheduler of torch counts its calls.
    """

    rank, world, is_padding = 0, 1, False

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        clip_norm: float | None,
        clip_value: float | None,
        hooked: bool,
    ) -> None:
        self.forward: Callable[[Batch, Any], tuple[Any, Any]] = network
        self._parameters = parameters_of(network, optimizer)
        self._clip = clipper(clip_norm, clip_value)
        self._takes_whole_steps = network if isinstance(network, TakesWholeSteps) else None
        self._update: Callable[[], Any] = optimizer.step
        if isinstance(optimizer, KerasOptimizer) and not hooked:
            self._update = optimizer.fused_step

    def step(self, value: Tensor, output: Any, batch: Batch) -> None:
        """Backward, clip, update, and clear the gradients."""
        if not value.requires_grad:
            _check_frozen(self._parameters)
            return
        value.backward()
        self._finish()

    def whole_step(self, loss: Any) -> WholeStep | None:
        """What takes steps in one call at present; None where nothing does."""
        return None if self._takes_whole_steps is None else self._takes_whole_steps.whole_step(loss)

    def update(self, whole: WholeStep) -> None:
        """Clip the gradients of a step that was taken in one call, and update."""
        for parameter, gradient in whole.gradients:
            parameter.grad = gradient
        self._finish()

    def _finish(self) -> None:
        """Clip, update, and clear the gradients."""
        if self._clip is not None:
            with torch.no_grad():
                self._clip([p.grad for p in self._parameters if p.grad is not None])
        self._update()
        for parameter in self._parameters:
            parameter.grad = None

    def rows(self, batch: Batch) -> int:
        """The number of rows that count."""
        return batch.x.shape[0] if type(batch.x) is Tensor else rows_of(batch)

    def shard(self, batch: Batch) -> Batch:
        """This process's part of a batch."""
        return batch

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, by rank."""
        return [value]

    def state(self) -> Any:
        """The state of mixed precision, for checkpoints."""
        return {}

    def restore(self, state: Any) -> None:
        """Take what `state` returned."""


def _check_frozen(parameters: Sequence[Tensor]) -> None:
    """An error where a parameter may learn, of a loss without gradients."""
    if any(parameter.requires_grad for parameter in parameters):
        received = "one that does not depend on any parameter that learns"
        way_out = "compute it from the network's output, without detach or no_grad"
        raise errors.value_error("loss", "a number with gradients", received, way_out)


def parameters_of(network: nn.Module, optimizer: Optimizer) -> list[Tensor]:
    """Every parameter whose gradient is cleared after a step; an error if none is trained."""
    held = [p for group in optimizer.param_groups for p in group["params"]]
    trained = [p for p in held if p.requires_grad]
    if held and not trained:
        way_out = "build it from network.parameters() after the network has its sizes"
        raise errors.value_error("optimizer", "at least one parameter that learns", "none", way_out)
    return list(dict.fromkeys([*network.parameters(), *trained]))


class FabricEngine:
    """Steps through a Fabric: mixed precision, and the rows of a batch shared among processes.

    The averaged gradients equal those of one process with the whole batch. A process's loss is the mean over
    its own rows, so the loss is first multiplied by the share of these rows in the denominator of the whole
    mean.
    """

    def __init__(
        self,
        fabric: Any,
        network: nn.Module,
        optimizer: Optimizer,
        clip_norm: float | None,
        clip_value: float | None,
        loss: Any,
    ) -> None:
        parameters_of(network, optimizer)
        self.fabric, self.rank, self.world = fabric, fabric.global_rank, fabric.world_size
        self._module, self._optimizer = fabric.setup(_Unpacked(network), optimizer, move_to_device=False)
        self._clip_norm, self._clip_value, self._loss, self.is_padding = clip_norm, clip_value, loss, False
        clipper(clip_norm, clip_value)  # raises an error for limits that are not above 0

    def forward(self, batch: Batch, state: Any) -> tuple[Any, Any]:
        """The network's output for this process's part."""
        return self._module(*(getattr(batch, field.name) for field in fields(batch)), state)

    def whole_step(self, loss: Any) -> None:
        """None: every step goes through the Fabric."""

    def step(self, value: Tensor, output: Any, batch: Batch) -> None:
        """Backward, clip, update, and clear the gradients."""
        if self.world > 1:
            value = value * self._share(output, batch)
        self.fabric.backward(value)
        if self._clip_norm is not None:
            self.fabric.clip_gradients(self._module, self._optimizer, max_norm=self._clip_norm)
        if self._clip_value is not None:
            self.fabric.clip_gradients(self._module, self._optimizer, clip_val=self._clip_value)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def rows(self, batch: Batch) -> int:
        """The number of rows of this process's part that count."""
        return 0 if self.is_padding else rows_of(batch)

    def _share(self, output: Any, batch: Batch) -> Tensor:
        """The weight of this part's mean in the whole batch's mean, times the number of processes."""
        if isinstance(self._loss, WeightedLoss):
            count = self._loss.count(output, batch).float().to(self.fabric.device)
        else:
            count = torch.tensor(float(rows_of(batch)), device=self.fabric.device)
        count = count * (not self.is_padding)
        whole = self.fabric.all_reduce(count.clone(), reduce_op="sum")
        # a sum, unlike a mean, is not divided by anything
        summed = isinstance(self._loss, MaskedLoss) and self._loss.loss.reduction == "sum"
        return self.world * (torch.sign(count) if summed else count / whole)

    def shard(self, batch: Batch) -> Batch:
        """Rows rank, rank + world, …; without any, the first row as padding that does not count."""
        if self.world == 1:
            return batch
        rows = rows_of(batch)
        indices = torch.arange(self.rank, rows, self.world)
        self.is_padding = len(indices) == 0
        indices = torch.zeros(1, dtype=torch.int64) if self.is_padding else indices
        parts = {
            field.name: _rows(getattr(batch, field.name), indices)
            for field in fields(batch)
            if field.name != "continues"
        }
        return replace(batch, **parts)

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(values, value)
        return values

    def state(self) -> Any:
        """The loss scale of 16-mixed."""
        return self.fabric.strategy.precision.state_dict()

    def restore(self, state: Any) -> None:
        """Take what `state` returned."""
        if state:
            self.fabric.strategy.precision.load_state_dict(state)


class _Unpacked(nn.Module):
    """A network that takes the fields of a batch as arguments, since Fabric looks for tensors there."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *parts: Any) -> tuple[Any, Any]:
        *values, state = parts
        return self.network(Batch(*values), state)


def _rows(value: Any, indices: Tensor) -> Any:
    return map_tensors(lambda tensor: tensor.index_select(0, indices.to(tensor.device)), value)


def fabric_of(network: nn.Module, precision: str | None, processes: int | None, *, fork: bool) -> Any:
    """A Fabric on the network's device; fork: whether it starts the processes itself."""
    library = require("lightning_fabric", _EXTRA, "precision and processes")
    if precision is not None:
        errors.check_choice("precision", precision, PRECISIONS)
    device = next(network.parameters()).device.type
    options: dict[str, Any] = {"accelerator": device, "devices": processes or 1}
    if processes is not None and processes > 1:
        options["strategy"] = "ddp_fork" if fork else "ddp"
    if not fork and processes is not None and processes > 1:
        here = int(os.environ.get("LOCAL_WORLD_SIZE", str(processes)))
        options.update(devices=here, num_nodes=processes // here)
    return library.Fabric(**options, precision=precision or "32-true")


def launched_by_others(processes: int) -> bool:
    """Whether torchrun (or the like) has started this process as one of several."""
    world = os.environ.get("WORLD_SIZE")
    if world is None or "RANK" not in os.environ:
        return False
    if int(world) != processes:
        way_out = f"start as many, torchrun --nproc-per-node {processes}, or ask for as many"
        raise errors.value_error("processes", f"{world}, as started", processes, way_out)
    return True


def check_order(batches: Any) -> None:
    """Refuse a DataLoader that would shuffle differently in every process."""
    shuffled = isinstance(batches, DataLoader) and isinstance(batches.sampler, RandomSampler)
    if shuffled and batches.generator is None:
        expected = "a DataLoader with a generator, so that all processes deal the same batches"
        raise errors.value_error("batches", expected, "none", "pass generator=torch.Generator() to it")


def launch(fabric: Any, work: Callable[[Any], dict[str, Any]], device: str) -> dict[str, Any]:
    """Run `work(fabric)` in forked processes with one thread each; returns what rank 0 returned.

    Raises:
        ValueError: the network is on a device that cannot be forked.
        Exception: the one that a process raised, of the same type if it is a built-in one.
    """
    if device != "cpu":
        way_out = "start the script with torchrun --nproc-per-node N, one process a device"
        raise errors.value_error("processes", "a network on the CPU", f"one on {device}", way_out)
    from .checkpoint import read, write

    with tempfile.TemporaryDirectory() as folder, _quiet():

        def run(forked: Any) -> None:
            torch.set_num_threads(1)  # the pool of the parent's threads does not live in a fork
            try:
                answer = work(forked)
                if forked.global_rank == 0:
                    write(Path(folder, "answer"), answer)
            except Exception as error:
                Path(folder, f"error{forked.global_rank}").write_text(_to_json(error))
                raise

        try:
            fabric.launch(run)
        except Exception as error:
            raise _raised(Path(folder), error) from error
        return read(Path(folder, "answer"))


def _to_json(error: Exception) -> str:
    """An error as JSON: its nearest built-in type and its message."""
    kind = next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
    return json.dumps([kind.__name__, str(error)])


def _raised(folder: Path, error: Exception) -> Exception:
    """The error that a process wrote before it ended, else the launcher's own error."""
    for path in sorted(folder.glob("error*")):
        name, words = json.loads(path.read_text())
        return getattr(builtins, name)(words)
    return error


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the messages that Fabric logs when it starts."""
    log = logging.getLogger("lightning_fabric")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
