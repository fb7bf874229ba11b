"""Quantizes trained models for inference: recurrent weights as int8, activations rounded at every step."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from torch import nn

from longspan import errors
from longspan.layers.gru_reset_before import GRUResetBefore
from longspan.layers.quantization import quantize_layers
from longspan.models.cloning import compile_alike
from longspan.models.model import Model
from longspan.nn.conv_lstm import ConvLSTM
from longspan.nn.quantization import float_layers, is_int8
from longspan.tasks.estimator import Estimator

ModelT = TypeVar("ModelT")

_MODELS = "a module of PyTorch, a Sequential or Model, or a fitted task"


def quantize(model: ModelT) -> ModelT:
    """A copy of a trained model whose recurrent layers compute with int8 weights, for inference on the CPU.

    W and R of every LSTM, GRU, RNN and layer of another cell become int8 numbers from -127 to 127, with a
    float scale for each row. At every step the input and h are rounded to int8 as well, with one scale for
    each row of the batch; sums are exact. Biases, states and all other layers stay in float. Layers with a
    projection or layer norm, ConvLSTM and GRU(reset_after=False) stay in float too; a notice names them.

    A saved quantized model is smaller, since its int8 weights are saved as such. It cannot be trained.

    Args:
        model: a module of PyTorch with recurrent layers of `longspan.nn`, a built Sequential or Model, or a
            fitted task such as a Forecaster. It stays as it is.

    Returns:
        The copy, of the same class, in evaluation mode.

    Raises:
        TypeError: `model` is none of these.
        ValueError: it has no recurrent layer that can be quantized, is quantized already, is not built or
            fitted, or a weight is not finite.

    Source: symmetric weights with a scale for each row and dynamic activations, as in Jacob et al. 2018,
    "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
    arXiv 1712.05877, section 2.

    >>> from longspan import nn
    >>> layer = nn.LSTM(8, 16)
    >>> small = quantize(layer)
    >>> small
    LSTM(8, 16, int8)
    >>> x = torch.randn(5, 2, 8)
    >>> bool((small(x)[0] - layer(x)[0]).abs().max() < 0.05)
    True
    """
    if isinstance(model, Estimator):
        model._check_fitted()
        copy = deepcopy(model)
        _quantize(copy.network_, type(model).__name__)
        return copy
    if not isinstance(model, nn.Module):
        raise errors.type_error("model", _MODELS, model, "pass the model itself")
    if isinstance(model, Model) and not model.built:
        raise errors.value_error("model", "a built one", "one without weights", "call build or fit first")
    copy = deepcopy(model)
    _quantize(copy, type(model).__name__)
    if isinstance(copy, Model):
        compile_alike(copy, copy)  # an optimizer without the float weights
    return copy


def _quantize(network: nn.Module, name: str) -> None:
    if is_int8(network):
        raise errors.value_error("model", "float weights", "int8 weights", "use it as it is")
    for parameter, values in network.named_parameters():
        if not bool(torch.isfinite(values).all()):
            way_out = "train it again with a smaller learning rate"
            raise errors.value_error("model", "finite weights", f"NaN or infinity in {parameter}", way_out)
    if not quantize_layers(network):
        expected = "a recurrent layer without layer_norm and proj_size, other than ConvLSTM"
        raise errors.value_error("model", expected, f"a {name} without one", "use it in float")
    network.eval()
    others = (ConvLSTM, GRUResetBefore)
    kept = float_layers(network) + [
        name for name, part in network.named_modules() if isinstance(part, others)
    ]
    if kept:
        errors.notice(f"quantize: {', '.join(kept)} {'stay' if len(kept) > 1 else 'stays'} in float.")
