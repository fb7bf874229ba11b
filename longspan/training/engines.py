"""Takes training steps in one process, in full precision or in another one by lightning-fabric."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from longspan import errors
from longspan.data.batches import Batch, rows_of
from longspan.optimizers import KerasOptimizer, clipper
from longspan.optional import require

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
        self.parameters = parameters_of(network, optimizer)
        self._clip = clipper(clip_norm, clip_value)
        self._takes_whole_steps = network if isinstance(network, TakesWholeSteps) else None
        self._update: Callable[[], Any] = optimizer.step
        if isinstance(optimizer, KerasOptimizer) and not hooked:
            self._update = optimizer.fused_step

    def step(self, value: Tensor, output: Any, batch: Batch) -> None:
        """Backward, clip, update, and clear the gradients."""
        if self.backward(value):
            self.finish()

    def backward(self, value: Tensor) -> bool:
        """Compute the gradients; False where nothing learns."""
        if not value.requires_grad:
            _check_frozen(self.parameters)
            return False
        value.backward()
        return True

    def whole_step(self, loss: Any) -> WholeStep | None:
        """What takes steps in one call at present; None where nothing does."""
        return None if self._takes_whole_steps is None else self._takes_whole_steps.whole_step(loss)

    def update(self, whole: WholeStep) -> None:
        """Clip the gradients of a step that was taken in one call, and update."""
        for parameter, gradient in whole.gradients:
            parameter.grad = gradient
        self.finish()

    def finish(self) -> None:
        """Clip, update, and clear the gradients."""
        if self._clip is not None:
            with torch.no_grad():
                self._clip([p.grad for p in self.parameters if p.grad is not None])
        self._update()
        for parameter in self.parameters:
            parameter.grad = None

    def rows(self, batch: Batch) -> int:
        """The number of rows that count."""
        return batch.x.shape[0] if type(batch.x) is Tensor else rows_of(batch)

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
    """Steps through a Fabric, in another precision than that of the parameters."""

    rank, world, is_padding = 0, 1, False

    def __init__(
        self,
        fabric: Any,
        network: nn.Module,
        optimizer: Optimizer,
        clip_norm: float | None,
        clip_value: float | None,
    ) -> None:
        self.parameters = parameters_of(network, optimizer)
        self.fabric = fabric
        self._module, self._optimizer = fabric.setup(_Unpacked(network), optimizer, move_to_device=False)
        self._clip_norm, self._clip_value = clip_norm, clip_value
        clipper(clip_norm, clip_value)  # raises an error for limits that are not above 0

    def forward(self, batch: Batch, state: Any) -> tuple[Any, Any]:
        """The network's output."""
        return self._module(*(getattr(batch, field.name) for field in fields(batch)), state)

    def whole_step(self, loss: Any) -> None:
        """None: every step goes through the Fabric."""

    def step(self, value: Tensor, output: Any, batch: Batch) -> None:
        """Backward, clip, update, and clear the gradients."""
        self.backward(value)
        self.finish()

    def backward(self, value: Tensor) -> bool:
        """Compute the gradients."""
        self.fabric.backward(value)
        return True

    def finish(self) -> None:
        """Clip, update, and clear the gradients."""
        if self._clip_norm is not None:
            self.fabric.clip_gradients(self._module, self._optimizer, max_norm=self._clip_norm)
        if self._clip_value is not None:
            self.fabric.clip_gradients(self._module, self._optimizer, clip_val=self._clip_value)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def rows(self, batch: Batch) -> int:
        """The number of rows."""
        return rows_of(batch)

    def gather(self, value: Any) -> list[Any]:
        """The value."""
        return [value]

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


def fabric_of(network: nn.Module, precision: str) -> Any:
    """A Fabric of a precision, on the network's device."""
    library = require("lightning_fabric", _EXTRA, "precision")
    errors.check_choice("precision", precision, PRECISIONS)
    device = next(network.parameters()).device
    devices = 1 if device.index is None else [device.index]
    with _quiet():
        fabric = library.Fabric(accelerator=device.type, devices=devices, precision=precision)
        fabric.launch()
    return fabric


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
