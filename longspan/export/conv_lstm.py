"""Builds ConvLSTM2D in ONNX, which has no operator for it, as a Scan over time whose body is one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .activations import activation
from .graph import Graph


def run(graph: Graph, x: str, config: Mapping[str, Any], weights: Sequence[np.ndarray]) -> str:
    """Add the layer over frames x (B, T, Y, X, C) with weights in Keras' order.

    Returns:
        (B, Y', X', F), or (B, T, Y', X', F) with return_sequences.
    """
    frames = _input_gates(graph, graph.add("Transpose", x, perm=[1, 0, 4, 2, 3]), config, weights)
    first = graph.add("Gather", frames, graph.int_scalar(0), axis=0)
    start = graph.add("Mul", graph.add("Split", first, axis=1, outputs=4)[0], graph.floats(0.0))
    recurrent = graph.floats(weights[1].transpose(3, 2, 0, 1))

    def step(h: str, c: str, from_input: str) -> list[str]:
        before = graph.add("Conv", h, recurrent, auto_pad="SAME_UPPER")
        i, f, n, o = graph.add("Split", graph.add("Add", from_input, before), axis=1, outputs=4)
        i, f, o = (activation(graph, gate, config["recurrent_activation"]) for gate in (i, f, o))
        old_c = graph.add("Mul", f, c)
        new_c = graph.add("Add", old_c, graph.add("Mul", i, activation(graph, n, config["activation"])))
        new_h = graph.add("Mul", o, activation(graph, new_c, config["activation"]))
        return [new_h, new_c, graph.add("Identity", new_h)]

    backwards = bool(config.get("go_backwards", False))
    last, _, every = graph.scan(step, [start, start], frames, backwards=backwards)
    if config.get("return_sequences", False):
        return graph.add("Transpose", every, perm=[1, 0, 3, 4, 2])
    return graph.add("Transpose", last, perm=[0, 2, 3, 1])


def _input_gates(graph: Graph, frames: str, config: Mapping[str, Any], weights: Sequence[np.ndarray]) -> str:
    """The input's part of the gates at every step, (T, B, 4*F, Y', X')."""
    shape = graph.add("Shape", frames)
    lead = graph.add("Slice", shape, graph.int_vector(0), graph.int_vector(2), graph.int_vector(0))
    rest = graph.add("Slice", shape, graph.int_vector(2), graph.int_vector(5), graph.int_vector(0))
    flat = graph.add("Reshape", frames, graph.add("Concat", graph.int_vector(-1), rest, axis=0))
    inputs = [graph.floats(weights[0].transpose(3, 2, 0, 1)), *map(graph.floats, weights[2:])]
    dilations, strides = _pair(config["dilation_rate"]), _pair(config["strides"])
    options: dict[str, Any] = {"strides": strides, "dilations": dilations}
    if config["padding"] == "same":
        sizes = zip(_pair(config["kernel_size"]), dilations, strict=True)
        totals = [(size - 1) * dilation for size, dilation in sizes]
        # onnxruntime's auto_pad ignores dilations
        explicit = {"pads": [n // 2 for n in totals] + [n - n // 2 for n in totals]}
        options |= explicit if max(dilations) > 1 else {"auto_pad": "SAME_UPPER"}
    gates = graph.add("Conv", flat, *inputs, **options)
    after = graph.add(
        "Slice", graph.add("Shape", gates), graph.int_vector(1), graph.int_vector(4), graph.int_vector(0)
    )
    return graph.add("Reshape", gates, graph.add("Concat", lead, after, axis=0))


def _pair(sizes: Any) -> list[int]:
    return [sizes] * 2 if isinstance(sizes, int) else list(sizes)
