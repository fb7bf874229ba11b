"""Activations have Keras' names, signatures and numbers, and are saved and loaded by their names."""

from __future__ import annotations

import inspect
import pickle
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import longspan as ls
from longspan import activations, layers
from longspan.layers.config import from_config, to_config

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's
X = np.random.default_rng(0).normal(size=(3, 4, 6)).astype(np.float32) * 3
NAMES = [name for name in dir(keras.activations) if not name.startswith("_")]
FUNCTIONS = sorted({*NAMES} - {"get", "serialize", "deserialize", "threshold"})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_equals_keras(name: str) -> None:
    mine, theirs = getattr(activations, name), getattr(keras.activations, name)
    np.testing.assert_allclose(mine(torch.as_tensor(X)), theirs(torch.as_tensor(X)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(mine(X), theirs(torch.as_tensor(X)), rtol=1e-5, atol=1e-5)
    assert [*inspect.signature(mine).parameters] == [*inspect.signature(theirs).parameters]
    defaults = [parameter.default for parameter in inspect.signature(mine).parameters.values()]
    assert defaults == [parameter.default for parameter in inspect.signature(theirs).parameters.values()]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("relu", {"negative_slope": 0.1}),
        ("relu", {"max_value": 1.0}),
        ("relu", {"threshold": 0.5}),
        ("relu", {"negative_slope": 0.2, "max_value": 2.0, "threshold": 1.0}),
        ("softmax", {"axis": 1}),
        ("log_softmax", {"axis": 0}),
        ("leaky_relu", {"negative_slope": 0.3}),
        ("elu", {"alpha": 0.5}),
        ("celu", {"alpha": 0.5}),
        ("gelu", {"approximate": True}),
        ("glu", {"axis": 1}),
        ("hard_shrink", {"threshold": 1.0}),
        ("soft_shrink", {"threshold": 1.0}),
        ("sparsemax", {"axis": 1}),
        ("squareplus", {"b": 1.0}),
        ("threshold", {"threshold": 0.5, "default_value": -1.0}),
    ],
)
def test_options_equal_keras(name: str, options: dict[str, Any]) -> None:
    expected = getattr(keras.activations, name)(torch.as_tensor(X), **options)
    np.testing.assert_allclose(getattr(activations, name)(X, **options), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_name_and_its_function_are_the_same_in_a_layer(name: str, tmp_path: Path) -> None:
    function = getattr(activations, name)
    layer = layers.Dense(4, activation=function)
    output = layer(torch.as_tensor(X))
    named = from_config(to_config(layer))
    named.build(X.shape)
    named.set_weights(layer.get_weights())
    assert torch.equal(named(torch.as_tensor(X)), output)
    assert activations.deserialize(activations.serialize(function)) is function
    assert torch.equal(pickle.loads(pickle.dumps(layer))(torch.as_tensor(X)), output)
    assert activations.get(keras.activations.serialize(getattr(keras.activations, name))) is function


def test_functions_of_ones_own_and_unknown_names() -> None:
    def double(x: Any) -> Any:
        return x * 2

    assert activations.get(double) is double
    assert activations.deserialize(activations.serialize(double), {"double": double}) is double
    assert activations.get({"class_name": "function", "config": "relu"}) is activations.relu
    with pytest.raises(ValueError, match="the nearest is 'softmax'"):
        activations.get("softmaks")


def test_on_a_symbolic_tensor() -> None:
    inputs = layers.Input(shape=(4, 6))
    model = ls.Model(inputs, activations.relu(inputs, max_value=1.0))
    np.testing.assert_array_equal(model.predict(X, verbose=0), X.clip(0.0, 1.0))
