"""Applies activations with Keras' names: to tensors, and elementwise inside a cell's equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from longspan import cells, errors

# A name of ACTIVATIONS, a function of a tensor, or None for the identity.
ActivationLike = str | Callable[[Tensor], Tensor] | None

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017


def linear(v: Any) -> Any:
    """v itself."""
    return v


def _softmax(v: Tensor) -> Tensor:
    return F.softmax(v, dim=-1)


def _log_softmax(v: Tensor) -> Tensor:
    return F.log_softmax(v, dim=-1)


def _exponential(v: Tensor) -> Tensor:
    return v.exp()


def _leaky_relu(v: Tensor) -> Tensor:
    return F.leaky_relu(v, 0.2)


# Keras' name -> the function of a tensor of any shape.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": linear,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": _leaky_relu,
    "sigmoid": F.sigmoid,
    "tanh": F.tanh,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "swish": F.silu,
    "hard_sigmoid": F.hardsigmoid,
    "hard_silu": F.hardswish,
    "hard_swish": F.hardswish,
    "exponential": _exponential,
    "mish": F.mish,
}


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
}


def get(activation: ActivationLike) -> Callable[[Tensor], Tensor]:
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
    return ACTIVATIONS[errors.check_choice("activation", activation, ACTIVATIONS)]


def step_name(argument: str, activation: ActivationLike) -> str:
    """The name in STEPS of an activation inside a cell: of a name, or of a function in ACTIVATIONS.

    Raises:
        ValueError, TypeError: it is neither of the two, or it is not elementwise.

    >>> step_name("activation", relu)
    'relu'
    """
    if activation is None:
        return "linear"
    names = [name for name, function in ACTIVATIONS.items() if function is activation]
    if names:
        activation = names[0]
    if not isinstance(activation, str):
        way_out = "name one, or write the cell with @longspan.cell"
        raise errors.type_error(argument, "the name of an activation", activation, way_out)
    return errors.check_choice(argument, activation, STEPS)


relu, relu6, leaky_relu = (ACTIVATIONS[name] for name in ("relu", "relu6", "leaky_relu"))
elu, selu, gelu, silu, swish = (ACTIVATIONS[name] for name in ("elu", "selu", "gelu", "silu", "swish"))
sigmoid, hard_sigmoid, hard_silu = (ACTIVATIONS[name] for name in ("sigmoid", "hard_sigmoid", "hard_silu"))
tanh, softsign, softplus, mish = (ACTIVATIONS[name] for name in ("tanh", "softsign", "softplus", "mish"))
exponential = ACTIVATIONS["exponential"]
softmax, log_softmax = ACTIVATIONS["softmax"], ACTIVATIONS["log_softmax"]
