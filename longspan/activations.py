"""Knows the activations as functions, by the place that Keras has for them."""

from __future__ import annotations

from longspan.layers.activations import ACTIVATIONS, get

relu, relu6, leaky_relu = (ACTIVATIONS[name] for name in ("relu", "relu6", "leaky_relu"))
elu, selu, gelu, silu, swish = (ACTIVATIONS[name] for name in ("elu", "selu", "gelu", "silu", "swish"))
sigmoid, hard_sigmoid, hard_silu = (ACTIVATIONS[name] for name in ("sigmoid", "hard_sigmoid", "hard_silu"))
tanh, softsign, softplus, mish = (ACTIVATIONS[name] for name in ("tanh", "softsign", "softplus", "mish"))
linear, exponential = ACTIVATIONS["linear"], ACTIVATIONS["exponential"]
softmax, log_softmax = ACTIVATIONS["softmax"], ACTIVATIONS["log_softmax"]

__all__ = ["ACTIVATIONS", "get"]
