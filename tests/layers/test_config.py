"""A layer made again from its config, copied or pickled gives the same numbers."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch

from longspan import initializers, layers, regularizers
from longspan.layers.base import Layer
from longspan.layers.config import from_config, to_config
from tests.layers.helpers import I, T

pytestmark = pytest.mark.usefixtures("in_float64")

ALL: dict[str, tuple[Callable[[], Layer], tuple[int, ...]]] = {
    "LSTM": (lambda: layers.LSTM(3, dropout=0.1, kernel_regularizer=regularizers.L2(0.1)), (T, I)),
    "GRU": (lambda: layers.GRU(3, activation="relu", return_sequences=True), (T, I)),
    "Bidirectional": (lambda: layers.Bidirectional(layers.GRU(3), merge_mode="sum"), (T, I)),
    "RNN": (lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)]), (T, I)),
    "RNN of a name": (lambda: layers.RNN("cifg", units=3), (T, I)),
    "TimeDistributed": (lambda: layers.TimeDistributed(layers.Dense(3, activation="gelu")), (T, I)),
    "Embedding": (lambda: layers.Embedding(9, 3, embeddings_initializer="he_normal"), (T,)),
    "Conv1D": (lambda: layers.Conv1D(3, 2, padding="causal"), (T, I)),
    "Conv2D": (lambda: layers.Conv2D(3, (2, 3), strides=2), (6, 6, 2)),
    "ConvLSTM2D": (lambda: layers.ConvLSTM2D(3, 2, padding="same"), (4, 6, 6, 2)),
    "BatchNormalization": (lambda: layers.BatchNormalization(momentum=0.9), (T, I)),
    "LayerNormalization": (lambda: layers.LayerNormalization(center=False), (T, I)),
    "Attention": (lambda: layers.Attention(use_scale=True), (T, I)),
    "Dense": (lambda: layers.Dense(3, kernel_initializer=initializers.RandomNormal(stddev=0.1)), (I,)),
}


@pytest.mark.parametrize("name", ALL)
def test_made_again_from_config(name: str) -> None:
    make, shape = ALL[name]
    layer = make().eval()
    x = torch.as_tensor(np.random.default_rng(0).integers(0, 9, (2, *shape)) * 1.0)
    expected = layer(x)
    again = from_config(to_config(layer)).eval()
    again.build((None, *shape))
    again.set_weights(layer.get_weights())
    torch.testing.assert_close(again(x), expected)
    assert to_config(again) == to_config(layer)
    assert layer.compute_output_shape((2, *shape)) == tuple(expected.shape)
    torch.testing.assert_close(copy.deepcopy(layer)(x), expected)
    torch.testing.assert_close(pickle.loads(pickle.dumps(layer))(x), expected)
