"""Recurrent layers with torch.nn's names, arguments and numbers, and layers of any cell.

Every other name of torch.nn is found here too, so that `from longspan import nn` can stand for
`from torch import nn`: `nn.LSTM` and `isinstance(module, nn.LSTM)` then mean this library's layer.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch.nn as _torch_nn

from .cell_layers import GRUCell, LSTMCell, RecurrentCell, RNNCell
from .linear import Linear
from .output import LinearCrossEntropyLoss, SampledSoftmaxLoss, linear_cross_entropy
from .recurrent import GRU, LSTM, RNN, Recurrent

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "Linear",
    "LinearCrossEntropyLoss",
    "RNNCell",
    "Recurrent",
    "RecurrentCell",
    "SampledSoftmaxLoss",
    "linear_cross_entropy",
]


def __getattr__(name: str) -> Any:
    """A name of torch.nn that this library does not have itself."""
    if name.startswith("__"):
        raise AttributeError(name)
    if find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")  # a module of ours, where torch.nn has one of its name too
    try:
        return getattr(_torch_nn, name)
    except AttributeError:
        choice = ", ".join(__all__)
        sentence = (
            f"longspan.nn: expected {choice} or a name of torch.nn, received {name!r}; correct the name."
        )
        raise AttributeError(sentence) from None
