"""Lays the arguments of a forward pass out by time for the kernels, and its results for the caller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from longspan import errors
from longspan.kernels.job import Weights

from . import autocast, inputs
from .state import LayerStates, State, StateLayout

_RANKS = (3, 2)
_LAYOUTS = {False: ("(T, B, I)", "(T, I)"), True: ("(B, T, I)", "(T, I)")}


class Call(NamedTuple):
    """One forward pass, laid out by time.

    x: (T, B, I); states: per layer, per state (D, B, W); weights: per layer, per direction; half: autocast's
    dtype where it is on; batched: whether the caller's input had a batch; batch_first: whether the batch came
    before the time; packed and positions: see inputs.unpack.
    """

    x: Tensor
    states: LayerStates
    weights: Sequence[tuple[Weights, ...]]
    info: inputs.SequenceInfo
    half: torch.dtype | None
    batched: bool
    batch_first: bool
    packed: PackedSequence | None
    positions: Tensor | None


class StackOutputs(NamedTuple):
    """What a stack gives: out (T, B, D*R), states as in Call, gates as RNNBase.forward returns them."""

    out: Tensor
    states: LayerStates
    gates: list[dict[str, Tensor]]

    def to(self, first: torch.dtype, rest: torch.dtype) -> StackOutputs:
        """The outputs in these dtypes: `first` for out, h and the gates, `rest` for the other states."""
        states = [(h.to(first), *(state.to(rest) for state in others)) for h, *others in self.states]
        gates = [{letter: gate.to(first) for letter, gate in layer.items()} for layer in self.gates]
        return StackOutputs(self.out.to(first), states, gates)


def new_call(
    x: Tensor | PackedSequence,
    state: State | None,
    marks: tuple[Any, Any, Any],
    weights: Sequence[tuple[Weights, ...]],
    layout: StateLayout,
    batch_first: bool,
) -> Call:
    """The arguments of RNNBase.forward, checked and laid out by time.

    Args:
        x, state: as RNNBase.forward takes them.
        marks: lengths, mask and reset, as RNNBase.forward takes them.
        weights: per layer, per direction.
        layout: the shapes of the states.
        batch_first: whether x and marks have the batch before the time.

    Raises:
        ValueError, TypeError: an argument does not fit; the sentence names it.
    """
    if isinstance(x, PackedSequence):
        return _packed_call(x, state, marks, weights, layout, batch_first)
    if not isinstance(x, Tensor):
        way_out = "convert it with torch.as_tensor"
        raise errors.type_error("input", "a tensor or a PackedSequence", x, way_out)
    half = autocast.autocast_dtype(x)
    inputs.check_values(x, weights[0][0], _RANKS, _LAYOUTS[batch_first], half)
    batched = x.dim() == 3
    rows = x if batched else x.unsqueeze(1)
    if batched and batch_first:
        rows = x.transpose(0, 1)
    inputs.check_steps(rows)
    lengths, mask, reset = marks
    info = inputs.NO_SEQUENCE_INFO
    if lengths is not None or mask is not None or reset is not None:
        info = inputs.sequence_info(rows, lengths, mask, reset, batched=batched, batch_first=batch_first)
    states = layout.starting(state, rows, half, batched)
    return Call(rows, states, weights, info, half, batched, batch_first, None, None)


def _packed_call(
    packed: PackedSequence,
    state: State | None,
    marks: tuple[Any, Any, Any],
    weights: Sequence[tuple[Weights, ...]],
    layout: StateLayout,
    batch_first: bool,
) -> Call:
    lengths, mask, reset = marks
    if lengths is not None:
        expected = "None, since a PackedSequence has its own"
        raise errors.value_error(
            "lengths", expected, "a value", "leave lengths out, or pass the padded tensor"
        )
    half = autocast.autocast_dtype(packed.data)
    inputs.check_values(packed.data, weights[0][0], (2,), ("(N, I)",), half)
    x, real, positions = inputs.unpack(packed)
    info = inputs.sequence_info(x, None, mask, reset, batched=True, batch_first=batch_first)
    states = layout.starting(state, x, half, batched=True)
    order = packed.sorted_indices
    if order is not None:
        info = inputs.SequenceInfo(
            None, *(flags if flags is None else flags.index_select(1, order) for flags in info[1:])
        )
        states = [tuple(tensor.index_select(1, order) for tensor in layer) for layer in states]
    return Call(x, states, weights, info._replace(lengths=real), half, True, batch_first, packed, positions)


def in_compute_dtype(call: Call) -> Call:
    """The call in the dtype that the kernels compute in; see autocast.compute_dtype."""
    x, states, weights = autocast.to_compute_dtype(call.x, call.states, call.weights, call.half)
    return call._replace(x=x, states=states, weights=weights)


def as_returned(
    call: Call, outputs: StackOutputs, layout: StateLayout
) -> tuple[Tensor | PackedSequence, Any, Any]:
    """Out, state and gates in torch's shapes and the caller's order of rows."""
    out, states, gates = outputs
    if call.packed is not None:
        out = inputs.repack(out, call.packed, call.positions)
        order = call.packed.unsorted_indices
        if order is not None:
            states = [tuple(tensor.index_select(1, order) for tensor in layer) for layer in states]
            gates = [
                {letter: gate.index_select(0, order) for letter, gate in layer.items()} for layer in gates
            ]
    elif not call.batched:
        out = out.squeeze(1)
        gates = [{name: gate.squeeze(0) for name, gate in layer.items()} for layer in gates]
    elif call.batch_first:
        out = out.transpose(0, 1)
    return out, layout.for_caller(states, call.batched), gates
