"""Knows recurrent layers in ONNX: their operators, gate orders, and how a mask at any place becomes lengths.

ONNX's LSTM, GRU and RNN know rows that end early, but no masks. A masked row is therefore moved together: its
steps that count first, in time order, which makes it a row that ends early; every step then reads the output
of the last step before it that counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from longspan import errors

from .graph import Graph

# Where in Keras' gates, i f c o or z r h, those of ONNX are: i o f c and z r h (operators LSTM-14, GRU-14).
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


class Answer(NamedTuple):
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
) -> Answer:
    """Add a recurrent layer over x (B, T, I), with one direction or two merged."""
    first = directions[0]
    backward = bool(first.config.get("go_backwards", False))
    rows = Rows(graph, x, mask)
    way = "bidirectional" if len(directions) == 2 else "reverse" if backward else "forward"
    if len(directions) == 2 and backward:
        raise errors.value_error(
            f"layer {first.config['name']}", "a forward layer", "go_backwards", "swap the two"
        )
    found = _operate(graph, rows, directions, starts, way)
    ends = (
        [graph.add("Split", value, axis=0, outputs=2) for value in found[1:]]
        if way == "bidirectional"
        else []
    )
    if not first.config.get("return_sequences", False):
        if ends:
            halves = [graph.add("Squeeze", half, graph.whole(0)) for half in ends[0]]
            return Answer(_merged(graph, halves[0], halves[1], merge), [])
        states = [graph.add("Squeeze", value, graph.whole(0)) for value in found[1:]]
        return Answer(states[0], states)
    by_time = graph.add("Transpose", found[0], perm=[1, 2, 0, 3])  # (D, B, T, H)
    zero = bool(first.config.get("zero_output_for_mask", False))
    if len(directions) == 2:
        halves = graph.add("Split", by_time, axis=0, outputs=2)
        ways = zip(halves, (False, True), strict=True)
        outs = [rows.back(graph.add("Squeeze", half, graph.whole(0)), back, zero) for half, back in ways]
        return Answer(_merged(graph, outs[0], outs[1], merge), [])
    out = rows.back(graph.add("Squeeze", by_time, graph.whole(0)), backward, zero)
    if backward:  # Keras gives the outputs in the order in which it read
        out = graph.add("Slice", out, graph.whole(-1), graph.whole(-(2**62)), graph.whole(1), graph.whole(-1))
    return Answer(out, [graph.add("Squeeze", value, graph.whole(0)) for value in found[1:]])


def _merged(graph: Graph, ahead: str, back: str, merge: str | None) -> str:
    if merge == "concat":
        return graph.add("Concat", ahead, back, axis=-1)
    if merge == "mul":
        return graph.add("Mul", ahead, back)
    total = graph.add("Add", ahead, back)
    return graph.add("Mul", total, graph.floats(0.5)) if merge == "ave" else total


def _operate(
    graph: Graph, rows: Rows, directions: Sequence[Direction], starts: Sequence[str], way: str
) -> list[str]:
    """The operator itself: out (T, D, B, H), and each last state (D, B, H)."""
    first = directions[0]
    w, r, b = (graph.floats(np.stack(parts)) for parts in zip(*map(_weights, directions), strict=True))
    options: dict[str, Any] = {"hidden_size": first.units, "direction": way, **_activations(directions)}
    if first.kind == "GRU":
        options["linear_before_reset"] = int(first.config.get("reset_after", True))
    given = [graph.add("Unsqueeze", start, graph.whole(0)) for start in starts]
    inputs = [rows.by_time, w, r, b, rows.lengths or "", *given]
    while inputs[-1] == "":
        inputs.pop()
    return graph.add(OPERATORS[first.kind], *inputs, outputs=3 if first.kind == "LSTM" else 2, **options)


def _weights(direction: Direction) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W (G*H, I), R (G*H, H) and both biases (2*G*H,) in ONNX's gate order."""
    order, units = ORDERS[direction.kind], direction.units

    def ordered(rows: np.ndarray) -> np.ndarray:
        return np.concatenate([rows[gate * units : (gate + 1) * units] for gate in order])

    kernel, recurrent = direction.weights[:2]
    wide = len(order) * units
    bias = direction.weights[2] if len(direction.weights) > 2 else np.zeros(wide, np.float32)
    first, second = (bias[0], bias[1]) if bias.ndim == 2 else (bias, np.zeros_like(bias))
    return ordered(kernel.T), ordered(recurrent.T), np.concatenate([ordered(first), ordered(second)])


def _activations(directions: Sequence[Direction]) -> dict[str, Any]:
    """The attributes that name the activations, left out where they are ONNX's own."""
    names = [name for direction in directions for name in _names(direction)]
    for name in names:
        if name not in ACTIVATIONS:
            expected = f"one of {', '.join(ACTIVATIONS)}"
            argument = f"activation of {directions[0].config['name']}"
            raise errors.value_error(argument, expected, repr(name), "choose one that ONNX's operators have")
    if set(names) <= {"tanh", "sigmoid"} and all(_names(d) == _USUAL[d.kind] for d in directions):
        return {}
    found = [ACTIVATIONS[name] for name in names]
    return {
        "activations": [name for name, _, _ in found],
        "activation_alpha": [alpha for _, alpha, _ in found],
        "activation_beta": [beta for _, _, beta in found],
    }


_USUAL = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "SimpleRNN": ["tanh"]}


def _names(direction: Direction) -> list[str]:
    """In ONNX's order: of the gates, of the candidate, and for an LSTM of the output."""
    own = direction.config["activation"] or "linear"
    if direction.kind == "SimpleRNN":
        return [own]
    gates = direction.config["recurrent_activation"] or "linear"
    return [gates, own, own] if direction.kind == "LSTM" else [gates, own]


class Rows:
    """A batch (B, T, I) as ONNX's operators take it: time first, masked rows moved together.

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
                "Cast", graph.add("ReduceSum", self._count, graph.whole(1), keepdims=0), to=6
            )
            x = self._gathered(x, self._order())
        self.by_time = graph.add("Transpose", x, perm=[1, 0, 2])

    def _order(self) -> str:
        """(B, T): first the places of the steps that count, in time order."""
        graph = self._graph
        steps = graph.add("Gather", graph.add("Shape", self._count), graph.number(1), axis=0)
        left = graph.add("Sub", steps, graph.add("Range", graph.number(0), steps, graph.number(1)))
        keys = graph.add("Cast", graph.add("Mul", self._count, left), to=1)
        count = graph.add("Unsqueeze", steps, graph.whole(0))
        return graph.add("TopK", keys, count, axis=1, largest=1, sorted=1, outputs=2)[1]

    def _gathered(self, values: str, places: str) -> str:
        """values (B, T, W) at places (B, T)."""
        return self._graph.add(
            "GatherND", values, self._graph.add("Unsqueeze", places, self._graph.whole(2)), batch_dims=1
        )

    def back(self, out: str, backward: bool, zero: bool) -> str:
        """Outputs (B, T, H) of the rows moved together, at the steps where they belong.

        A masked step has the output of the step that was read before it, 0 where there was none or with
        `zero`.
        """
        if self._mask is None:
            return out
        graph = self._graph
        so_far = graph.add("CumSum", self._count, graph.number(1))
        if backward:
            places = graph.add("Sub", so_far, self._count)
            total = graph.add("ReduceSum", self._count, graph.whole(1), keepdims=1)
            there = graph.add("Less", places, total)
        else:
            places = graph.add("Sub", so_far, graph.number(1))
            there = graph.add("Less", graph.number(-1), places)
        none = graph.number(0)
        found = self._gathered(out, graph.add("Where", there, places, none))
        shown = graph.add("And", there, self._mask) if zero else there
        return graph.add("Where", graph.add("Unsqueeze", shown, graph.whole(2)), found, graph.floats(0.0))
