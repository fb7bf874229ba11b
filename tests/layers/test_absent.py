"""A layer of Keras that is not there is an error that says what to use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from longspan import layers

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's


def test_every_layer_of_keras_is_there_or_says_what_to_use() -> None:
    for name, kind in vars(keras.layers).items():
        if isinstance(kind, type) and issubclass(kind, keras.layers.Layer) and not hasattr(layers, name):
            with pytest.raises(AttributeError, match=rf"received Keras' {name}, which is not there; use "):
                getattr(layers, name)
    with pytest.raises(AttributeError, match="received 'LSMT'; the nearest is 'LSTM'"):
        layers.LSMT  # noqa: B018  # pyright: ignore
