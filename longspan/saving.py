"""Loads models from files, and describes objects of every kind by configs, where Keras has the functions."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
from torch import Tensor

from longspan import activations, errors
from longspan.layers import Layer
from longspan.layers.config import from_config, to_config
from longspan.models import load_model
from longspan.registry import (
    CustomObjectScope,
    custom_object_scope,
    custom_objects_with,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)

__all__ = [
    "CustomObjectScope",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "load_model",
    "register_keras_serializable",
    "save_model",
    "serialize_keras_object",
]

# The modules whose objects have configs, by Keras' names.
_HOMES = ("losses", "metrics", "optimizers", "initializers", "regularizers", "constraints", "callbacks")


def save_model(model: Any, filepath: Any, overwrite: bool = True) -> None:
    """The same as `model.save(filepath)`.

    Args:
        overwrite: replace a file that is there; False raises a ValueError then.
    """
    model.save(filepath, overwrite=overwrite)


def serialize_keras_object(obj: Any) -> Any:
    """A description of JSON values from which `deserialize_keras_object` makes an equal object.

    Args:
        obj: a layer, loss, metric, optimizer, initializer, regularizer, constraint or function, or a
            structure of these and of numbers, texts and arrays.

    >>> from longspan.initializers import Constant
    >>> serialize_keras_object(Constant(2.0))["config"]
    {'value': 2.0}
    """
    if obj is None or isinstance(obj, (bool, int, float, str)):
        return obj
    if isinstance(obj, Mapping):
        return {key: serialize_keras_object(value) for key, value in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [serialize_keras_object(value) for value in obj]
    if isinstance(obj, (np.ndarray, Tensor)):
        values = obj.detach().cpu().numpy() if isinstance(obj, Tensor) else obj
        return {"class_name": "__numpy__", "config": {"value": values.tolist(), "dtype": str(values.dtype)}}
    if isinstance(obj, Layer) and not type(obj).__module__.startswith("longspan.models"):
        return {"module": _module(type(obj)), **to_config(obj), "registered_name": _registered(type(obj))}
    if inspect.isfunction(obj) or inspect.isbuiltin(obj):
        name = activations.name_of(obj) or get_registered_name(obj)
        return {"module": obj.__module__, "class_name": "function", "config": name, "registered_name": name}
    configured: Any = obj
    return {
        "module": _module(type(obj)),
        "class_name": type(obj).__name__,
        "config": serialize_keras_object(configured.get_config()),
        "registered_name": _registered(type(obj)),
    }


def _registered(kind: type) -> str | None:
    name = get_registered_name(kind)
    return None if name == kind.__name__ and kind.__module__.startswith("longspan.") else name


def _module(kind: type) -> str:
    return (
        ".".join(kind.__module__.split(".")[:2])
        if kind.__module__.startswith("longspan.")
        else kind.__module__
    )


def deserialize_keras_object(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The object that `serialize_keras_object`, here or in Keras, described.

    Args:
        config: the description.
        custom_objects: name -> class or function of your own, beside the registered ones.

    Raises:
        ValueError: a class or function is unknown; the sentence names it.
    """
    custom = custom_objects_with(custom_objects)
    if isinstance(config, (list, tuple)):
        return [deserialize_keras_object(value, custom) for value in config]
    if isinstance(config, str) and config in custom:
        return custom[config]
    if not isinstance(config, Mapping):
        return config
    if "class_name" not in config or "config" not in config:
        return {
            key: value if key == "name" else deserialize_keras_object(value, custom)
            for key, value in config.items()
        }
    name, inner = config["class_name"], config["config"]
    if name == "__numpy__":
        return np.array(inner["value"], inner["dtype"])
    if name == "function":
        return custom[inner] if inner in custom else activations.deserialize(inner)
    kind: Any = custom.get(config.get("registered_name") or name) or _class_of(
        str(config.get("module")), name
    )
    if kind is None:
        return from_config(config, custom)
    if inspect.isclass(kind) and issubclass(kind, Layer):
        return from_config(config, {**custom, name: kind} if kind.is_own else custom)
    from_inner: Any = getattr(kind, "from_config")  # noqa: B009
    return from_inner(deserialize_keras_object(inner, custom))


def _class_of(module: str, name: str) -> Any:
    """The class of a description that names its module; None for a layer's, or one of an unknown module."""
    is_ours = module.split(".")[0] in ("longspan", "keras", "tensorflow")
    home = next((part for part in module.split(".") if part in _HOMES), None) if is_ours else None
    if home is None:
        own = getattr(sys.modules.get(module), name, None)  # of a user's module that is imported already
        return own if inspect.isclass(own) and callable(getattr(own, "from_config", None)) else None
    names = vars(import_module(f"longspan.{home}"))
    if home == "optimizers" and name not in names:
        names = vars(import_module("longspan.optimizers.schedules"))
    return names[errors.check_choice("class_name", name, [key for key in names if not key.startswith("_")])]
