"""Knows the recurrent layers' names: those of torch.nn, with the same arguments and numbers, and ours."""

from .cell_layers import GRUCell, LSTMCell, RecurrentCell, RNNCell
from .output import LinearCrossEntropyLoss, SampledSoftmaxLoss, linear_cross_entropy
from .recurrent import GRU, LSTM, RNN, Recurrent

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "LinearCrossEntropyLoss",
    "RNNCell",
    "Recurrent",
    "RecurrentCell",
    "SampledSoftmaxLoss",
    "linear_cross_entropy",
]
