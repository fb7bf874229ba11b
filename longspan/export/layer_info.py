"""Declares what the exports ask of a model and of a layer: Keras' config of them, and their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from torch import Tensor

# {"class_name": …, "config": …}, JSON values in Keras' words.
Described = Mapping[str, Any]


class WeightLike(Protocol):
    """One weight as Keras has it."""

    name: str
    shape: tuple[int, ...]


class LayerLike(Protocol):
    """A layer of longspan.layers."""

    name: str

    def keras_weights(self) -> Sequence[WeightLike]: ...
    def get_weights(self) -> list[np.ndarray]: ...
    def state_dict(self) -> dict[str, Tensor]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any: ...


class ModelLike(Protocol):
    """A built Sequential."""

    name: str
    built: bool

    @property
    def layers(self) -> Sequence[Any]: ...
    @property
    def input_shape(self) -> Any: ...
    def get_config(self) -> dict[str, Any]: ...
    def get_weights(self) -> list[np.ndarray]: ...
    def takes_token_ids(self) -> bool: ...


def described_layers(model: ModelLike) -> list[Described]:
    """Class name and config of every layer but the Input, in order."""
    return [layer for layer in model.get_config()["layers"] if layer["class_name"] != "InputLayer"]
