"""Declares what the exports ask of a model and of a layer: Keras' config of them, and their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from longspan import errors

_WITHOUT_WEIGHTS = ("InputLayer", "Operation")

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
    """A built model."""

    name: str
    built: bool

    @property
    def layers(self) -> Sequence[Any]: ...
    @property
    def input_shape(self) -> Any: ...
    def class_name(self) -> str: ...
    def get_config(self) -> dict[str, Any]: ...
    def get_weights(self) -> list[np.ndarray]: ...
    def takes_token_ids(self) -> bool: ...


def described_layers(model: ModelLike) -> list[Described]:
    """Class name and config of every layer that may have weights, in order."""
    return layers_in(model.get_config())


def layers_in(config: Mapping[str, Any]) -> list[Described]:
    """Of a model's config, class name and config of every layer that may have weights."""
    return [layer for layer in config["layers"] if layer["class_name"] not in _WITHOUT_WEIGHTS]


def weighted_layers(model: Any) -> list[Any]:
    """The layers that `described_layers` describes."""
    return [layer for layer in model.layers if layer.class_name() not in _WITHOUT_WEIGHTS]


def check_sequential(model: ModelLike, argument: str) -> None:
    """An error for a model that is no row of layers."""
    if model.class_name() != "Sequential":
        received, way_out = (
            f"a {model.class_name()} model",
            "export it with torch.onnx.export or torch.export",
        )
        raise errors.value_error(argument, "a Sequential", received, way_out)
