"""Quantizes the recurrent layers of a network in place: weights as int8 numbers with a scale for each row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import nn

from longspan.kernels.job import no_training

from .base import RNNBase
from .cell_layers import RNNCellBase

_RECURRENT = (RNNBase, RNNCellBase)


class HasModules(Protocol):
    """What is read of a network: its modules, itself among them."""

    def modules(self) -> Iterator[nn.Module]: ...


def to_int8(network: nn.Module) -> list[str]:
    """Round W and R of every recurrent layer of `network` to int8, in place; see `longspan.quantize`.

    Layers with a projection or layer norm stay in float, and so do layers of other kinds.

    Returns:
        The names of the layers that were rounded, "" for the network itself.
    """
    layers = [(name, part) for name, part in network.named_modules() if isinstance(part, _RECURRENT)]
    return [name for name, layer in layers if _round(layer)]


def _round(layer: RNNBase | RNNCellBase) -> bool:
    """Round one layer, unless it is int8 already; False where it stays in float."""
    if isinstance(layer, RNNBase) and (layer.proj_size or layer.layer_norm):
        return False
    if not layer._weights.int8:
        layer._weights.to_int8(layer)
        if layer._stream is not None:
            layer._stream = layer._stream.with_fields([list(row) for row in layer._weights.rows])
        if isinstance(layer, RNNBase):
            layer._layer_stream = None  # made of the other one when it is asked for
    return True


def is_int8(network: HasModules) -> bool:
    """Whether a recurrent layer of `network` has int8 weights."""
    return any(part._weights.int8 for part in network.modules() if isinstance(part, _RECURRENT))


def float_layers(network: nn.Module) -> list[str]:
    """The names of the recurrent layers of `network` whose weights are floats."""
    layers = [(name, part) for name, part in network.named_modules() if isinstance(part, _RECURRENT)]
    return [name or type(layer).__name__ for name, layer in layers if not layer._weights.int8]


def check_trainable(network: HasModules) -> None:
    """Raise a ValueError for a network with int8 weights, which cannot be trained."""
    if is_int8(network):
        raise no_training()
