"""Builds the activations from ONNX's operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from longspan import errors

from .graph import Graph


def activation(graph: Graph, value: str, name: Any) -> str:
    """Adds the activation of this name on a value."""
    if name in (None, "linear"):
        return value
    if name not in _ACTIVATIONS:
        expected = f"one of {', '.join(_ACTIVATIONS)}"
        raise errors.value_error("activation", expected, repr(name), "choose one that ONNX has")
    return _ACTIVATIONS[name](graph, value)


def _times(graph: Graph, value: str, other: str) -> str:
    return graph.add("Mul", value, other)


def _gelu(graph: Graph, value: str) -> str:
    inner = graph.add("Erf", graph.add("Mul", value, graph.floats(0.5**0.5)))
    return graph.add(
        "Mul", graph.add("Mul", value, graph.floats(0.5)), graph.add("Add", inner, graph.floats(1.0))
    )


def _hard_sigmoid(graph: Graph, value: str) -> str:
    return graph.add("HardSigmoid", value, alpha=1.0 / 6.0, beta=0.5)


_ACTIVATIONS: Mapping[str, Callable[[Graph, str], str]] = {
    "relu": lambda g, v: g.add("Relu", v),
    "relu6": lambda g, v: g.add("Clip", v, g.floats(0.0), g.floats(6.0)),
    "leaky_relu": lambda g, v: g.add("LeakyRelu", v, alpha=0.2),
    "sigmoid": lambda g, v: g.add("Sigmoid", v),
    "tanh": lambda g, v: g.add("Tanh", v),
    "softmax": lambda g, v: g.add("Softmax", v, axis=-1),
    "log_softmax": lambda g, v: g.add("LogSoftmax", v, axis=-1),
    "softplus": lambda g, v: g.add("Softplus", v),
    "softsign": lambda g, v: g.add("Softsign", v),
    "elu": lambda g, v: g.add("Elu", v),
    "selu": lambda g, v: g.add("Selu", v),
    "gelu": _gelu,
    "silu": lambda g, v: _times(g, v, g.add("Sigmoid", v)),
    "swish": lambda g, v: _times(g, v, g.add("Sigmoid", v)),
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": lambda g, v: _times(g, v, _hard_sigmoid(g, v)),
    "hard_swish": lambda g, v: _times(g, v, _hard_sigmoid(g, v)),
    "exponential": lambda g, v: g.add("Exp", v),
    "celu": lambda g, v: g.add("Elu", v),
    "hard_shrink": lambda g, v: g.add("Shrink", v, bias=0.0, lambd=0.5),
    "hard_tanh": lambda g, v: g.add("Clip", v, g.floats(-1.0), g.floats(1.0)),
    "log_sigmoid": lambda g, v: g.add("Neg", g.add("Softplus", g.add("Neg", v))),
    "soft_shrink": lambda g, v: g.add("Shrink", v, bias=0.5, lambd=0.5),
    "sparse_sigmoid": lambda g, v: g.add("HardSigmoid", v, alpha=0.5, beta=0.5),
    "tanh_shrink": lambda g, v: g.add("Sub", v, g.add("Tanh", v)),
    "mish": lambda g, v: _times(g, v, g.add("Tanh", g.add("Softplus", v))),
}
