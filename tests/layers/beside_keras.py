"""Compares a layer with Keras' of the same name and weights: numbers, shapes, configs and copies."""

from __future__ import annotations

import copy
import pickle
from importlib import import_module
from typing import Any

import numpy as np
import torch

from longspan import layers
from longspan.layers.config import from_config, to_config

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's

RNG = np.random.default_rng(0)
STEPS = RNG.normal(size=(2, 6, 4)).astype(np.float32)
PIXELS = RNG.normal(size=(2, 6, 5, 4)).astype(np.float32)
VOXELS = RNG.normal(size=(2, 6, 5, 4, 4)).astype(np.float32)

Case = tuple[str, dict[str, Any], np.ndarray]  # a layer's name, its options, its input


def case_id(value: Any) -> str:
    """The part of a test's name for a layer's name, its options or its input."""
    return str(value.ndim) if isinstance(value, np.ndarray) else str(value)


def check_equals_keras(name: str, options: dict[str, Any], x: np.ndarray) -> None:
    """The layer and its copies give Keras' numbers at inference, and the shape that they announce."""
    mine, theirs = getattr(layers, name)(**options).eval(), getattr(keras.layers, name)(**options)
    inference = {"training": False} if "Dropout" in name or "Noise" in name else {}
    theirs(x, **inference)
    mine(x)
    weights = [RNG.normal(size=w.shape).astype(np.float32) for w in theirs.get_weights()]
    theirs.set_weights(weights)
    mine.set_weights(weights)
    expected = keras.ops.convert_to_numpy(theirs(x, **inference))
    output = mine(x)
    np.testing.assert_allclose(output.detach(), expected, rtol=1e-5, atol=1e-5)
    assert mine.compute_output_shape((None, *x.shape[1:])) == (None, *expected.shape[1:])
    again = from_config(to_config(mine)).eval()
    again.build((None, *x.shape[1:]))
    again.set_weights(mine.get_weights())
    for other in (again, copy.deepcopy(mine), pickle.loads(pickle.dumps(mine))):
        assert torch.equal(other(x), output)
