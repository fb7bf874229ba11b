"""Runs a layer by PyTorch's own recurrent operators while a tracer or an ONNX exporter records it.

A recorded operator takes sequences of any length. The steps of our own kernels would be recorded one by one,
for the length of the example alone.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.compiler import is_compiling
from torch.nn.utils.rnn import PackedSequence

from longspan import errors
from longspan.cells import Cell
from longspan.kernels.tracing import jit_trace


class Stack(Protocol):
    """What is read of a recurrent layer; see `longspan.nn.LSTM`."""

    cell: Cell
    hidden_size: Any
    hidden_sizes: tuple[int, ...]
    num_layers: int
    proj_size: int
    bias: bool
    batch_first: bool
    bidirectional: bool
    training: bool
    dropout: float
    layer_norm: bool
    recurrent_dropout: float
    weight_dropout: float
    zoneout: tuple[float, ...]

    @property
    def all_weights(self) -> list[list[Any]]: ...


# Name of a cell in longspan.cells.CELLS -> PyTorch's operator for a stack of it.
OPERATORS: dict[str, Any] = {
    "lstm": torch.lstm,
    "gru": torch.gru,
    "rnn": torch.rnn_tanh,
    "rnn_relu": torch.rnn_relu,
}


def recording() -> bool:
    """Whether torch.jit.trace or torch.onnx.export records the call."""
    return torch.onnx.is_in_onnx_export() if is_compiling() else jit_trace() is not None


def run(layer: Stack, input: Tensor | PackedSequence, hx: Any, **extra: object) -> tuple[Any, Any]:
    """What `layer(input, hx)` returns, by PyTorch's operator.

    Args:
        layer: the layer; input, hx: as for calling it.
        extra: the other arguments of the call, which have to be None or False.

    Raises:
        ValueError: torch.nn has no operator for the cell, an option of the layer or an argument of the call.
    """
    _check(layer, {name: value for name, value in extra.items() if value is not None and value is not False})
    operator = OPERATORS[layer.cell.name]
    rate = float(layer.dropout)
    flags = (layer.bias, layer.num_layers, rate, layer.training, layer.bidirectional)
    weights = [tensor for fields in layer.all_weights for tensor in fields]
    if isinstance(input, PackedSequence):
        return _run_packed(layer, input, hx, operator, weights, flags)
    if not isinstance(input, Tensor):
        raise errors.type_error("input", "a tensor", input, "convert it with torch.as_tensor")
    batched = input.dim() == 3
    rows = 0 if layer.batch_first else 1
    x = input if batched else input.unsqueeze(rows)
    if hx is None:
        hx = _zeros(layer, x, x.shape[rows])
    elif not batched:
        hx = tuple(state.unsqueeze(1) for state in hx) if isinstance(hx, (tuple, list)) else hx.unsqueeze(1)
    out, *states = operator(x, hx, weights, *flags, layer.batch_first)
    if not batched:
        out, states = out.squeeze(rows), [state.squeeze(1) for state in states]
    return out, tuple(states) if len(states) > 1 else states[0]


def _run_packed(
    layer: Stack,
    packed: PackedSequence,
    hx: Any,
    operator: Any,
    weights: list[Tensor],
    flags: tuple[Any, ...],
) -> tuple[PackedSequence, Any]:
    data, sizes, order, inverse = packed
    if hx is None:
        hx = _zeros(layer, data, sizes[0])
    elif order is not None:
        hx = _map(hx, order)
    out, *states = operator(data, sizes, hx, weights, *flags)
    state = tuple(states) if len(states) > 1 else states[0]
    return PackedSequence(out, sizes, order, inverse), state if inverse is None else _map(state, inverse)


def _map(state: Any, order: Tensor) -> Any:
    """The state with its rows in another order."""
    if isinstance(state, Tensor):
        return state.index_select(1, order)
    return tuple(tensor.index_select(1, order) for tensor in state)


def _zeros(layer: Stack, x: Tensor, rows: Any) -> Any:
    """The first state of a layer of one hidden size: (L*D, B, R) for h and (L*D, B, H) for c."""
    depth, units = layer.num_layers * (2 if layer.bidirectional else 1), layer.hidden_sizes[0]
    h = x.new_zeros(depth, rows, layer.proj_size or units)
    return (h, x.new_zeros(depth, rows, units)) if len(layer.cell.states) == 2 else h


def _check(layer: Stack, extra: dict[str, object]) -> None:
    noisy = layer.training and (layer.recurrent_dropout or layer.weight_dropout)
    reasons = {
        f"the cell {layer.cell.name}": layer.cell.name not in OPERATORS,
        "a hidden_size for each layer": not isinstance(layer.hidden_size, int),
        "layer_norm": layer.layer_norm,
        "zoneout": any(layer.zoneout),
        "recurrent_dropout or weight_dropout in training": noisy,
        ", ".join(extra): bool(extra),
    }
    received = [reason for reason, holds in reasons.items() if holds]
    if received:
        expected = "a layer and arguments that torch.nn has too"
        way_out = "use torch.export.export, or longspan.export for ONNX"
        raise errors.value_error("torch.jit.trace", expected, " and ".join(received), way_out)
