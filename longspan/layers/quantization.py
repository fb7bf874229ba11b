"""Quantizes the recurrent layers of a module in place, and gives Keras' layers the weights of it."""

from __future__ import annotations

from torch import nn

from longspan.nn.quantization import is_int8, to_int8

from .recurrent import RNNBase
from .weights import KerasLayout, Weight


def quantize_layers(model: nn.Module) -> list[str]:
    """Round the weights of the recurrent layers of `model` to int8, in place; see `longspan.quantize`.

    The weights of a Keras-shaped layer become kernel_scale (G*H,) and kernel, recurrent_kernel_scale and
    recurrent_kernel, and the others; kernels are int8. None of the model's weights is trained any more.

    Returns:
        The names of the recurrent layers that were quantized, none where no layer can be.
    """
    names = to_int8(model)
    for layer in model.modules():
        if isinstance(layer, RNNBase):
            layer.own_weights = [part for weight in layer.own_weights for part in _with_scale(weight)]
    model.requires_grad_(False)
    return names


def _with_scale(weight: Weight) -> list[Weight]:
    """A weight of an int8 layer, after the scales of its rows where it is a matrix."""
    ((module, name),) = weight.sources[:1]
    weight.trainable = not is_int8(module)
    if f"{name}_scale" not in module._parameters:
        return [weight]
    layout, wide = KerasLayout(weight.layout.gates), weight.shape[-1]
    source: list[tuple[nn.Module, str]] = [(module, f"{name}_scale")]
    scale = Weight(f"{weight.name}_scale", (wide,), "ones", source, layout, trainable=False)
    return [scale, weight]
