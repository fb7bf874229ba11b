"""Applies activations with Keras' names: to tensors, and elementwise inside a cell's equations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from longspan import cells, errors, ops

# A name of ACTIVATIONS, a function of a tensor, or None for the identity.
ActivationLike = str | Callable[[Tensor], Tensor] | None

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017

celu, elu, glu, leaky_relu = ops.celu, ops.elu, ops.glu, ops.leaky_relu
hard_shrink, hard_sigmoid, hard_silu, hard_tanh = (
    ops.hard_shrink,
    ops.hard_sigmoid,
    ops.hard_silu,
    ops.hard_tanh,
)
log_sigmoid, log_softmax, relu6, selu = ops.log_sigmoid, ops.log_softmax, ops.relu6, ops.selu
sigmoid, silu, soft_shrink, softmax = ops.sigmoid, ops.silu, ops.soft_shrink, ops.softmax
softplus, softsign, sparse_plus, sparse_sigmoid = (
    ops.softplus,
    ops.softsign,
    ops.sparse_plus,
    ops.sparse_sigmoid,
)
sparsemax, squareplus, tanh, tanh_shrink = ops.sparsemax, ops.squareplus, ops.tanh, ops.tanh_shrink
exponential, hard_swish, swish, threshold = ops.exp, ops.hard_silu, ops.silu, ops.threshold


def linear(x: Any) -> Any:
    """x itself."""
    return x


def relu(
    x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Tensor:
    """x where it is positive, 0 elsewhere; with options a slope below the threshold, and a largest value.

    Args:
        x: tensor, array or number.
        negative_slope: below the threshold the result is negative_slope * (x - threshold).
        max_value: the largest result; None: any.
        threshold: from where on the result is x.

    >>> relu(torch.tensor([-1.0, 0.5, 2.0]), negative_slope=0.1, max_value=1.0)
    tensor([-0.1000,  0.5000,  1.0000])
    """
    if negative_slope == 0.0 and max_value is None and threshold == 0.0:
        return ops.relu(x)
    below = ops.multiply(ops.subtract(x, threshold), negative_slope) if negative_slope else 0.0
    above = ops.where(ops.greater(x, threshold), x, below)
    return above if max_value is None else ops.minimum(above, max_value)


def gelu(x: Any, approximate: bool = False) -> Tensor:
    """x times the normal distribution function of x (Hendrycks, Gimpel 2016); `approximate`: by tanh."""
    return ops.gelu(x, approximate)


def mish(x: Any) -> Tensor:
    """x * tanh(softplus(x)) (Misra 2019)."""
    return F.mish(x) if isinstance(x, Tensor) else ops.multiply(x, ops.tanh(ops.softplus(x)))


# Keras' name -> the function of a tensor of any shape.
ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "linear": linear,
    "relu": relu,
    "relu6": relu6,
    "leaky_relu": leaky_relu,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "softplus": softplus,
    "softsign": softsign,
    "elu": elu,
    "selu": selu,
    "gelu": gelu,
    "silu": silu,
    "swish": silu,
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": hard_silu,
    "hard_swish": hard_silu,
    "exponential": exponential,
    "mish": mish,
    "celu": celu,
    "glu": glu,
    "hard_shrink": hard_shrink,
    "hard_tanh": hard_tanh,
    "log_sigmoid": log_sigmoid,
    "soft_shrink": soft_shrink,
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": sparse_sigmoid,
    "sparsemax": sparsemax,
    "squareplus": squareplus,
    "tanh_shrink": tanh_shrink,
    "threshold": threshold,
}

# Other functions with the same numbers -> their names in ACTIVATIONS.
_SAME: tuple[tuple[Callable[..., Any], str], ...] = (
    *((function, name) for name, function in reversed(ACTIVATIONS.items())),
    (ops.relu, "relu"),
    (ops.swish, "silu"),
    (ops.hard_swish, "hard_silu"),
    (torch.relu, "relu"),
    (F.relu, "relu"),
    (F.relu6, "relu6"),
    (torch.tanh, "tanh"),
    (F.tanh, "tanh"),
    (torch.sigmoid, "sigmoid"),
    (F.sigmoid, "sigmoid"),
    (F.hardsigmoid, "hard_sigmoid"),
    (F.logsigmoid, "log_sigmoid"),
    (F.elu, "elu"),
    (F.celu, "celu"),
    (F.selu, "selu"),
    (F.gelu, "gelu"),
    (F.silu, "silu"),
    (F.hardswish, "hard_silu"),
    (F.mish, "mish"),
    (F.softplus, "softplus"),
    (F.softsign, "softsign"),
    (F.softshrink, "soft_shrink"),
    (F.hardshrink, "hard_shrink"),
    (F.hardtanh, "hard_tanh"),
    (F.tanhshrink, "tanh_shrink"),
    (torch.exp, "exponential"),
)
_NAMES = {id(function): name for function, name in _SAME}


def _hard_sigmoid(v: Any) -> Any:
    return cells.minimum(cells.maximum(v / 6.0 + 0.5, 0.0), 1.0)


def _elu(v: Any) -> Any:
    return v.relu() + cells.minimum(v, 0.0).exp() - 1.0


# Keras' name -> the same function written in the few operations that a cell's equations may use.
STEPS: dict[str, Callable[[Any], Any]] = {
    "linear": linear,
    "relu": lambda v: v.relu(),
    "relu6": lambda v: cells.minimum(v.relu(), 6.0),
    "leaky_relu": lambda v: cells.maximum(v, 0.2 * v),
    "sigmoid": lambda v: v.sigmoid(),
    "tanh": lambda v: v.tanh(),
    "softplus": cells.softplus,
    "softsign": lambda v: v / (1.0 + v.abs()),
    "elu": _elu,
    "selu": lambda v: _SELU_SCALE * (v.relu() + _SELU_ALPHA * cells.minimum(v, 0.0).exp() - _SELU_ALPHA),
    "silu": lambda v: v * v.sigmoid(),
    "swish": lambda v: v * v.sigmoid(),
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": lambda v: v * _hard_sigmoid(v),
    "hard_swish": lambda v: v * _hard_sigmoid(v),
    "exponential": lambda v: v.exp(),
    "mish": lambda v: v * cells.softplus(v).tanh(),
    "celu": _elu,
    "hard_tanh": lambda v: cells.minimum(cells.maximum(v, -1.0), 1.0),
    "log_sigmoid": lambda v: -cells.softplus(-v),
    "soft_shrink": lambda v: v - cells.minimum(cells.maximum(v, -0.5), 0.5),
    "sparse_sigmoid": lambda v: cells.minimum(cells.maximum(0.5 * v + 0.5, 0.0), 1.0),
    "tanh_shrink": lambda v: v - v.tanh(),
}


def get(activation: ActivationLike | Mapping[str, Any]) -> Callable[..., Any]:
    """The activation of a name; a function is itself; None is the identity.

    Raises:
        ValueError: the name is unknown; the sentence has the nearest one.

    >>> get("relu")(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    if activation is None:
        return linear
    if callable(activation):
        return activation
    return deserialize(activation)


def deserialize(config: str | Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The activation that `serialize`, here or in Keras, described.

    Args:
        config: a name, or Keras' {"class_name": "function", "config": name}.
        custom_objects: name -> function, for functions of your own.
    """
    name = config["config"] if isinstance(config, Mapping) else config
    choices = {**ACTIVATIONS, **(custom_objects or {})}
    return choices[errors.check_choice("activation", name, choices)]


def serialize(activation: Callable[..., Any]) -> str:
    """The name of an activation, or of a function of your own, which `deserialize` needs as a custom object.

    >>> serialize(softmax)
    'softmax'
    """
    return name_of(activation) or activation.__name__


def name_of(function: Any) -> str | None:
    """The name in ACTIVATIONS of a function there, or of torch's with the same numbers; None for any other.

    >>> name_of(torch.tanh)
    'tanh'
    """
    return _NAMES.get(id(function))


def step_name(argument: str, activation: ActivationLike) -> str:
    """The name in STEPS of an activation inside a cell: of a name, or of a function in ACTIVATIONS.

    Raises:
        ValueError, TypeError: it is neither of the two, or it is not elementwise.

    >>> step_name("activation", relu)
    'relu'
    """
    if activation is None:
        return "linear"
    name = name_of(activation) or activation
    if not isinstance(name, str):
        way_out = "name one, or write the cell with @longspan.cell"
        raise errors.type_error(argument, "the name of an activation", activation, way_out)
    return errors.check_choice(argument, name, STEPS)
