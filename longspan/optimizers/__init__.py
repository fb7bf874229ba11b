"""Optimizers and learning-rate schedules with Keras' names and equations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from longspan import errors
from longspan.registry import Registry, by_name

from . import schedules
from .adaptive import Adadelta, Adafactor, Adagrad, Adamax, Ftrl, Lamb, Lion, Nadam
from .base import KerasOptimizer, OptimizerConfig, clipper
from .keras import SGD, Adam, AdamW, RMSprop

Optimizer = OptimizerConfig  # the name in Keras

CLASSES: dict[str, Callable[..., OptimizerConfig]] = by_name(
    Adadelta, Adafactor, Adagrad, Adam, Adamax, AdamW, Ftrl, Lamb, Lion, Nadam, RMSprop, SGD
)
_REGISTRY: Registry[OptimizerConfig] = Registry(
    "optimizer", "adam", "longspan.optimizers.NAMES", CLASSES, {name.lower(): name for name in CLASSES}
)
NAMES = _REGISTRY.names

__all__ = [
    "CLASSES",
    "NAMES",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "KerasOptimizer",
    "Lamb",
    "Lion",
    "Nadam",
    "Optimizer",
    "OptimizerConfig",
    "RMSprop",
    "clipper",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]


def get(identifier: str | OptimizerConfig | Mapping[str, Any]) -> OptimizerConfig:
    """The optimizer of a name, an object, or a saved config.

    Raises:
        ValueError, TypeError: there is no such optimizer; the sentence has the nearest name.

    >>> get("adam").get_config()["learning_rate"]
    0.001
    """
    if isinstance(identifier, OptimizerConfig):
        return identifier
    if isinstance(identifier, str):
        return _REGISTRY.get(identifier)
    if isinstance(identifier, Mapping):
        options = dict(identifier.get("config", {}))
        if isinstance(options.get("learning_rate"), Mapping):
            options["learning_rate"] = schedules.get(options["learning_rate"])
        return _REGISTRY.get({"class_name": identifier.get("class_name"), "config": options})
    expected = "a name, or an optimizer of longspan"
    raise errors.type_error("optimizer", expected, identifier, 'pass one such as "adam"')


deserialize = get


def serialize(optimizer: OptimizerConfig) -> dict[str, Any]:
    """The class's name and options, from which `get` makes an equal optimizer.

    Raises:
        ValueError: its learning rate is a function of your own, which cannot be saved.
    """
    options = optimizer.get_config()
    if callable(optimizer.learning_rate):
        options["learning_rate"] = schedules.serialize(optimizer.learning_rate)
    return _REGISTRY.config(optimizer, options)
