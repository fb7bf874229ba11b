"""Initializers of values, of kernels with named dimensions, and what they refuse."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

from longspan import initializers, layers

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's


def test_values_are_an_initializer_of_their_shape() -> None:
    for values in (torch.arange(4.0).reshape(2, 2), np.arange(4.0).reshape(2, 2)):
        initializer = initializers.get(values)
        assert initializer((2, 2)).tolist() == [[0.0, 1.0], [2.0, 3.0]]
        with pytest.raises(ValueError, match=r"shape: expected \(2, 2\)"):
            initializer((3, 2))


def test_refused() -> None:
    with pytest.raises(ValueError, match="scale: expected a number above 0"):
        initializers.VarianceScaling(scale=-1.0)
    with pytest.raises(TypeError, match="initializer: expected a name"):
        initializers.get(3)  # pyright: ignore


def test_projections_of_attention_start_with_the_variance_of_keras() -> None:
    spread = {}
    for space in (keras.layers, layers):
        layer: Any = space.MultiHeadAttention(8, 64, kernel_initializer="lecun_normal")
        layer.build((None, 10, 256), (None, 10, 256))
        for name in ("query_dense", "output_dense"):
            kernel = getattr(layer, name).kernel
            values = (kernel if space is layers else kernel.value).detach()
            spread.setdefault(name, []).append(float(np.std(np.asarray(values))))
    for mine, theirs in spread.values():
        assert mine == pytest.approx(theirs, rel=0.03)
