"""Optimizers and learning-rate schedules with Keras' names and equations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, overload

from longspan import errors
from longspan.registry import Registry, by_name

from . import schedules
from .adaptive import Adadelta, Adafactor, Adagrad, Adamax, Ftrl, Lamb, Lion, Nadam
from .base import KerasOptimizer, OptimizerConfig, clipper
from .keras import SGD, Adam, AdamW, RMSprop
from .multi import MultiOptimizer, MultiStepper, OptimizerMap
from .muon import Muon
from .schedule_free import ScheduleFreeAdamW

Optimizer = OptimizerConfig  # the name in Keras

CLASSES: dict[str, Callable[..., OptimizerConfig]] = by_name(
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Ftrl,
    Lamb,
    Lion,
    MultiOptimizer,
    Muon,
    Nadam,
    RMSprop,
    SGD,
    ScheduleFreeAdamW,
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
    "MultiOptimizer",
    "MultiStepper",
    "Muon",
    "Nadam",
    "Optimizer",
    "OptimizerConfig",
    "OptimizerMap",
    "RMSprop",
    "ScheduleFreeAdamW",
    "clipper",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]


@overload
def get(identifier: None) -> None: ...


@overload
def get(identifier: str | OptimizerConfig | Mapping[str, Any]) -> OptimizerConfig: ...


def get(identifier: str | OptimizerConfig | Mapping[str, Any] | None) -> OptimizerConfig | None:
    """The optimizer of a name, an object, or a saved config; None for None.

    Raises:
        ValueError, TypeError: there is no such optimizer; the sentence has the nearest name.

    >>> get("adam").get_config()["learning_rate"]
    0.001
    """
    if identifier is None or isinstance(identifier, OptimizerConfig):
        return identifier
    if isinstance(identifier, str):
        return _REGISTRY.get(identifier)
    if isinstance(identifier, Mapping):
        options = dict(identifier.get("config", {}))
        if isinstance(options.get("learning_rate"), Mapping):
            options["learning_rate"] = schedules.get(options["learning_rate"])
        if isinstance(options.get("optimizer_map"), Mapping):
            options["optimizer_map"] = _map(options["optimizer_map"]["config"])
        return _REGISTRY.get({"class_name": identifier.get("class_name"), "config": options})
    expected = "a name, or an optimizer of longspan"
    raise errors.type_error("optimizer", expected, identifier, 'pass one such as "adam"')


deserialize = get


def _map(config: Mapping[str, Any]) -> OptimizerMap:
    """The optimizers by name that `serialize` described."""
    inner = {key: get(optimizer) for key, optimizer in config["optimizer_map"].items()}
    return OptimizerMap(get(config["default_optimizer"]), inner)


def serialize(optimizer: OptimizerConfig) -> dict[str, Any]:
    """The class's name and options, from which `get` makes an equal optimizer.

    Raises:
        ValueError: its learning rate is a function of your own, which cannot be saved.
    """
    options = optimizer.get_config()
    if isinstance(optimizer, MultiOptimizer):
        chosen = optimizer.optimizer_map
        if not isinstance(chosen, OptimizerMap):
            expected, way_out = (
                "an OptimizerMap, since functions are not saved",
                "pass it again after loading",
            )
            raise errors.value_error("optimizer_map", expected, "a function", way_out)
        inner = {key: serialize(chosen[key]) for key in chosen}
        config = {"default_optimizer": serialize(chosen.default_optimizer), "optimizer_map": inner}
        options["optimizer_map"] = {"class_name": "OptimizerMap", "config": config}
    elif callable(optimizer.learning_rate):
        options["learning_rate"] = schedules.serialize(optimizer.learning_rate)
    return _REGISTRY.config(optimizer, options)
