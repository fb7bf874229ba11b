"""Calls a layer on tensors: builds it, finds its mask and mode, and attaches the mask of its output."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from .structure import flatten, mask_of, to_tensors, with_mask


class _Running(threading.local):
    """The calls that run in a thread now.

    Attributes:
        depth: how many calls of layers are inside each other; those that never add to the loss do not count.
        on_trial: whether a shape is looked for by a call on zeros, which adds nothing to the loss.
    """

    depth = 0
    on_trial = False


running = _Running()


@contextmanager
def inside_call() -> Iterator[None]:
    """A call in whose `with` block the calls of layers are inner ones."""
    running.depth += 1
    try:
        yield
    finally:
        running.depth -= 1


@dataclass(frozen=True)
class CallArguments:
    """What a layer's `call` takes beside its inputs.

    Args:
        names: of all arguments, in order.
        mask_is_second: whether the mask is the second argument, as in the layers of this library.
        mask, training: whether there are arguments of these names.
        named_masks: the names of the masks of single arguments, such as query_mask beside query.
    """

    names: tuple[str, ...]
    mask_is_second: bool
    mask: bool
    training: bool
    named_masks: tuple[str, ...]

    @classmethod
    def of(cls, call: Callable[..., Any]) -> CallArguments:
        """The arguments of a `call` method."""
        names = list(inspect.signature(call).parameters)[1:]
        named = tuple(n for n in names if n.endswith("_mask") and n.removesuffix("_mask") in names)
        return cls(tuple(names), names[1:2] == ["mask"], "mask" in names, "training" in names, named)

    def attached_masks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The masks attached to arguments that have a mask of their own name, which kwargs does not have."""
        inputs = {**dict(zip(self.names, args, strict=False)), **kwargs}
        wanted = [name for name in self.named_masks if inputs.get(name) is None]
        masks = {name: mask_of(inputs.get(name.removesuffix("_mask"))) for name in wanted}
        return {name: mask for name, mask in masks.items() if mask is not None}

    def passed(self, mask: Any, training: bool) -> dict[str, Any]:
        """The keyword arguments of `call` for this mask and mode; not a mask that is the second argument."""
        passed: dict[str, Any] = {"mask": mask} if self.mask and not self.mask_is_second else {}
        return {**passed, "training": training} if self.training else passed


class Callee(Protocol):
    """A layer, as calling it needs it; see `Layer`."""

    built: bool
    training: bool
    supports_masking: bool
    is_own: ClassVar[bool]
    call_arguments: ClassVar[CallArguments]
    activity_regularizer: Callable[[Tensor], Tensor] | None

    def add_loss(self, loss: Any) -> None: ...
    def build_from(self, *args: Any, **kwargs: Any) -> None: ...
    def call(self, *args: Any, **kwargs: Any) -> Any: ...
    def compute_mask(self, x: Any, mask: Any = None) -> Any: ...
    def train(self, mode: bool = True) -> Any: ...


def run_layer(layer: Callee, x: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The output of a layer for its inputs and the further arguments of its call."""
    if type(x) is not Tensor:
        x = to_tensors(x)
    if not layer.built:
        layer.build_from(x, *args, **kwargs)
    if not kwargs:
        return _masked(layer, x, args, kwargs)
    kwargs = to_tensors(kwargs)
    training = kwargs.pop("training", None)
    if training is None or bool(training) == layer.training:
        return _masked(layer, x, args, kwargs)
    layer.train(bool(training))
    try:
        return _masked(layer, x, args, kwargs)
    finally:
        layer.train(not training)


def _masked(layer: Callee, x: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The output under the mask of the call, or the one attached to x, with its own mask attached."""
    takes = layer.call_arguments
    if takes.mask_is_second and args:
        mask, *args_left = to_tensors(args)
        args = tuple(args_left)
    else:
        mask = kwargs.pop("mask", None)
    of_x = mask_of(x) if mask is None else mask
    if mask is None and not _has_tensors(args, kwargs):
        mask = of_x
    passed = takes.passed(mask, layer.training)
    if takes.named_masks and layer.is_own:
        passed |= takes.attached_masks((x, *args), kwargs)
    if takes.mask_is_second:
        output = layer.call(x, mask, *args, **passed, **kwargs)
    else:
        output = layer.call(x, *args, **passed, **kwargs)
    if layer.activity_regularizer is not None:
        parts = [part for part in flatten(output) if isinstance(part, Tensor)]
        layer.add_loss([layer.activity_regularizer(part) / max(len(part), 1) for part in parts])
    if layer.is_own and not layer.supports_masking:
        return output
    new_mask = layer.compute_mask(x, of_x)
    return output if new_mask is None and of_x is None else with_mask(output, new_mask)


def _has_tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call has tensors beside its inputs."""
    return bool(args or kwargs) and any(isinstance(part, Tensor) for part in flatten([args, kwargs]))
