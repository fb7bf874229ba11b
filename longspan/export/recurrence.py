"""Builds recurrent layers from ONNX's operators: gate orders, activations, and masks turned into lengths.

ONNX's LSTM, GRU and RNN take lengths, but no masks. The valid steps of a masked row are therefore moved to
the row's start, in time order, and their number is the length. Then every step gets the output of the last
valid step up to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from longspan import errors

from .graph import Graph

# For each of ONNX's gates, i o f c or z r h (LSTM-14, GRU-14), its index in Keras' i f c o or z r h.
ORDERS = {"LSTM": (0, 3, 1, 2), "GRU": (0, 1, 2), "SimpleRNN": (0,)}
OPERATORS = {"LSTM": "LSTM", "GRU": "GRU", "SimpleRNN": "RNN"}

# Keras' activation -> ONNX's, its alpha and beta.
ACTIVATIONS: Mapping[str, tuple[str, float, float]] = {
    "tanh": ("Tanh", 0.0, 0.0),
    "sigmoid": ("Sigmoid", 0.0, 0.0),
    "relu": ("Relu", 0.0, 0.0),
    "hard_sigmoid": ("HardSigmoid", 1.0 / 6.0, 0.5),
    "linear": ("Affine", 1.0, 0.0),
    "leaky_relu": ("LeakyRelu", 0.2, 0.0),
    "elu": ("Elu", 1.0, 0.0),
    "softsign": ("Softsign", 0.0, 0.0),
    "softplus": ("Softplus", 0.0, 0.0),
}


@dataclass(frozen=True)
class Direction:
    """One reading direction: the layer's class name, Keras config and weights in Keras' order."""

    kind: str
    config: Mapping[str, Any]
    weights: Sequence[np.ndarray]

    @property
    def units(self) -> int:
        """H."""
        return self.config["units"]


class RecurrentOutput(NamedTuple):
    """value: (B, T, H) or (B, H); states: h and, for an LSTM, c, each (B, H), of one direction."""

    value: str
    states: list[str]


def run(
    graph: Graph,
    x: str,
    mask: str | None,
    directions: Sequence[Direction],
    starts: Sequence[str],
    merge: str | None,
) -> RecurrentOutput:
    """Add a recurrent layer over x (B, T, I), with one direction or two merged."""
    config = directions[0].config
    backward = bool(config.get("go_backwards", False))
    if len(directions) == 2 and backward:
        raise errors.value_error(f"layer {config['name']}", "a forward layer", "go_backwards", "swap the two")
    rows = CompactRows(graph, x, mask)
    name = "bidirectional" if len(directions) == 2 else "reverse" if backward else "forward"
    out, *last = _operate(graph, rows, directions, starts, name)
    if len(directions) == 2:
        return RecurrentOutput(_two_directions(graph, rows, out, last[0], config, merge), [])
    states = [graph.add("Squeeze", value, graph.int_vector(0)) for value in last]
    if not config.get("return_sequences", False):
        return RecurrentOutput(states[0], states)
    by_row = graph.add("Squeeze", graph.add("Transpose", out, perm=[1, 2, 0, 3]), graph.int_vector(0))
    value = rows.scatter(by_row, backward, bool(config.get("zero_output_for_mask", False)))
    return RecurrentOutput(_reversed(graph, value) if backward else value, states)


def _two_directions(
    graph: Graph, rows: CompactRows, out: str, h: str, config: Mapping[str, Any], merge: str | None
) -> str:
    """Merges both directions: of out (T, 2, B, H), or of the last h (2, B, H) without return_sequences."""
    sequences = bool(config.get("return_sequences", False))
    both = graph.add("Transpose", out, perm=[1, 2, 0, 3]) if sequences else h
    split = graph.add("Split", both, axis=0, outputs=2)
    ahead, back = (graph.add("Squeeze", half, graph.int_vector(0)) for half in split)
    if sequences:
        zero = bool(config.get("zero_output_for_mask", False))
        ahead, back = rows.scatter(ahead, False, zero), rows.scatter(back, True, zero)
    return _merged(graph, ahead, back, merge)


def _reversed(graph: Graph, value: str) -> str:
    """(B, T, H) from the last step to the first: the order in which Keras returns what it read backwards."""
    start, end = graph.int_vector(-1), graph.int_vector(-(2**62))
    return graph.add("Slice", value, start, end, graph.int_vector(1), graph.int_vector(-1))


def _merged(graph: Graph, ahead: str, back: str, merge: str | None) -> str:
    if merge == "concat":
        return graph.add("Concat", ahead, back, axis=-1)
    if merge == "mul":
        return graph.add("Mul", ahead, back)
    total = graph.add("Add", ahead, back)
    return graph.add("Mul", total, graph.floats(0.5)) if merge == "ave" else total


def _operate(
    graph: Graph, rows: CompactRows, directions: Sequence[Direction], starts: Sequence[str], direction: str
) -> list[str]:
    """The operator itself: out (T, D, B, H), and each last state (D, B, H)."""
    first = directions[0]
    parts = [_weights(direction) for direction in directions]
    w, r = _matrices(graph, [part[0] for part in parts]), _matrices(graph, [part[1] for part in parts])
    b = graph.floats(np.stack([part[2] for part in parts]))
    options: dict[str, Any] = {"hidden_size": first.units, "direction": direction, **_activations(directions)}
    if first.kind == "GRU":
        options["linear_before_reset"] = int(first.config.get("reset_after", True))
    initial = [graph.add("Unsqueeze", start, graph.int_vector(0)) for start in starts]
    inputs = [rows.by_time, w, r, b, rows.lengths or "", *initial]
    while inputs[-1] == "":
        inputs.pop()
    out, *last = graph.add(
        OPERATORS[first.kind], *inputs, outputs=3 if first.kind == "LSTM" else 2, **options
    )
    return [out, *_carried(graph, rows, initial, last)]


def _carried(graph: Graph, rows: CompactRows, initial: Sequence[str], last: Sequence[str]) -> list[str]:
    """The last states; a row without a valid step keeps its initial ones, for which onnxruntime gives 0."""
    if rows.lengths is None or not initial:
        return list(last)
    empty = graph.add("Equal", graph.add("Cast", rows.lengths, to=7), graph.int_scalar(0))
    empty = graph.add("Unsqueeze", empty, graph.int_vector(0, 2))
    return [graph.add("Where", empty, *pair) for pair in zip(initial, last, strict=True)]


class Matrix(NamedTuple):
    """Rows (G*H, K) in ONNX's gate order; int8 ones have a scale (G*H,) each."""

    values: np.ndarray
    scale: np.ndarray | None


def _matrices(graph: Graph, matrices: Sequence[Matrix]) -> str:
    """The matrices of all directions as one value (D, G*H, K)."""
    values = np.stack([matrix.values for matrix in matrices])
    scales = [matrix.scale for matrix in matrices if matrix.scale is not None]
    if not scales:
        return graph.floats(values)
    rows = graph.int8_rows(values.reshape(-1, values.shape[2]), np.concatenate(scales))
    return graph.add("Reshape", rows, graph.int_vector(*values.shape))


def _weights(direction: Direction) -> tuple[Matrix, Matrix, np.ndarray]:
    """W (G*H, I), R (G*H, H) and both biases (2*G*H,) in ONNX's gate order."""
    order, units = ORDERS[direction.kind], direction.units

    def ordered(rows: np.ndarray) -> np.ndarray:
        return np.concatenate([rows[gate * units : (gate + 1) * units] for gate in order])

    weights = list(direction.weights)
    scales: list[np.ndarray | None] = [None, None]
    if weights[1].dtype == np.int8:  # the scales of each matrix's rows come before it
        scales = [ordered(weights.pop(0)), ordered(weights.pop(1))]
    (kernel, recurrent, *biases), rows = weights, len(order) * units
    bias = biases[0] if biases else np.zeros(rows, np.float32)
    first, second = (bias[0], bias[1]) if bias.ndim == 2 else (bias, np.zeros_like(bias))
    w, r = Matrix(ordered(kernel.T), scales[0]), Matrix(ordered(recurrent.T), scales[1])
    return w, r, np.concatenate([ordered(first), ordered(second)])


def _activations(directions: Sequence[Direction]) -> dict[str, Any]:
    """The attributes that name the activations; none where they are ONNX's defaults."""
    names = [name for direction in directions for name in _names(direction)]
    for name in names:
        if name not in ACTIVATIONS:
            expected = f"one of {', '.join(ACTIVATIONS)}"
            argument = f"activation of {directions[0].config['name']}"
            raise errors.value_error(argument, expected, repr(name), "choose one that ONNX's operators have")
    if set(names) <= {"tanh", "sigmoid"} and all(_names(d) == _DEFAULTS[d.kind] for d in directions):
        return {}
    operators = [ACTIVATIONS[name] for name in names]
    return {
        "activations": [name for name, _, _ in operators],
        "activation_alpha": [alpha for _, alpha, _ in operators],
        "activation_beta": [beta for _, _, beta in operators],
    }


_DEFAULTS = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "SimpleRNN": ["tanh"]}


def _names(direction: Direction) -> list[str]:
    """The activations in ONNX's order: of the gates, of the candidate, and for an LSTM of the output."""
    own = direction.config["activation"] or "linear"
    if direction.kind == "SimpleRNN":
        return [own]
    gates = direction.config["recurrent_activation"] or "linear"
    return [gates, own, own] if direction.kind == "LSTM" else [gates, own]


class CompactRows:
    """A batch (B, T, I) as ONNX's operators take it: time first, the valid steps at the start of each row.

    Attributes:
        by_time: (T, B, I).
        lengths: (B,) int32, None without a mask.
    """

    def __init__(self, graph: Graph, x: str, mask: str | None) -> None:
        self._graph, self._mask = graph, mask
        self.lengths: str | None = None
        if mask is not None:
            self._count = graph.add("Cast", mask, to=7)
            self.lengths = graph.add(
                "Cast", graph.add("ReduceSum", self._count, graph.int_vector(1), keepdims=0), to=6
            )
            x = self._gather(x, self._order())
        self.by_time = graph.add("Transpose", x, perm=[1, 0, 2])

    def _order(self) -> str:
        """(B, T): the time indices of a row's valid steps, in time order, then those of the others."""
        graph = self._graph
        steps = graph.add("Gather", graph.add("Shape", self._count), graph.int_scalar(1), axis=0)
        remaining = graph.add(
            "Sub", steps, graph.add("Range", graph.int_scalar(0), steps, graph.int_scalar(1))
        )
        keys = graph.add("Cast", graph.add("Mul", self._count, remaining), to=1)
        count = graph.add("Unsqueeze", steps, graph.int_vector(0))
        return graph.add("TopK", keys, count, axis=1, largest=1, sorted=1, outputs=2)[1]

    def _gather(self, values: str, indices: str) -> str:
        """values (B, T, W) at the time indices (B, T)."""
        return self._graph.add(
            "GatherND", values, self._graph.add("Unsqueeze", indices, self._graph.int_vector(2)), batch_dims=1
        )

    def scatter(self, out: str, backward: bool, zero: bool) -> str:
        """Moves outputs (B, T, H) of the valid steps back to where these steps were.

        A masked step gets the output of the valid step read before it; 0 where there is none, or with `zero`.
        """
        if self._mask is None:
            return out
        graph = self._graph
        counted = graph.add("CumSum", self._count, graph.int_scalar(1))
        if backward:
            indices = graph.add("Sub", counted, self._count)
            total = graph.add("ReduceSum", self._count, graph.int_vector(1), keepdims=1)
            exists = graph.add("Less", indices, total)
        else:
            indices = graph.add("Sub", counted, graph.int_scalar(1))
            exists = graph.add("Less", graph.int_scalar(-1), indices)
        outputs = self._gather(out, graph.add("Where", exists, indices, graph.int_scalar(0)))
        valid = graph.add("And", exists, self._mask) if zero else exists
        by_unit = graph.add("Unsqueeze", valid, graph.int_vector(2))
        return graph.add("Where", by_unit, outputs, graph.floats(0.0))
