"""Converts layers to and from Keras' configuration dicts, of JSON values only."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longspan import activations, constraints, errors, initializers, regularizers
from longspan.cells import CELLS, Cell
from longspan.registry import Configured, custom_objects_with

from . import (
    adaptive_pooling,
    attention,
    categories,
    conv_lstm,
    convolution,
    convolution_transpose,
    core,
    depthwise,
    einsum_dense,
    elementwise,
    functions,
    input_layer,
    merging,
    multi_head_attention,
    normalization,
    pooling,
    preprocessing,
    recurrent,
    resizing,
    reversible_embedding,
    rnn,
    wrappers,
)
from .base import Layer
from .options import keywords, takes_any

_ABSTRACT = (
    categories.CategoryLayer,
    categories.Lookup,
    recurrent.RNNBase,
    conv_lstm.ConvLSTMBase,
    rnn.RecurrentCell,
    rnn.CellLoop,
    convolution.Convolution,
    convolution_transpose.ConvolutionTranspose,
    depthwise.DepthwiseConvolution,
    depthwise.SeparableConvolution,
    adaptive_pooling.AdaptivePooling,
    pooling.Pooling,
    pooling.GlobalPooling,
    resizing.UpSampling,
    resizing.Bordering,
    merging.Merge,
)

# Class name -> the layer.
LAYERS: dict[str, type[Layer]] = {
    name: kind
    for module in (
        input_layer,
        core,
        elementwise,
        adaptive_pooling,
        convolution_transpose,
        depthwise,
        einsum_dense,
        resizing,
        reversible_embedding,
        categories,
        preprocessing,
        recurrent,
        rnn,
        wrappers,
        convolution,
        pooling,
        normalization,
        conv_lstm,
        attention,
        functions,
        merging,
        multi_head_attention,
    )
    for name, kind in vars(module).items()
    if isinstance(kind, type)
    and issubclass(kind, Layer)
    and kind.__module__ == module.__name__
    and kind not in _ABSTRACT
    and not name.startswith("_")
}

# The initializers, the regularizers and the constraints, by class name.
_REGISTRIES = (initializers.REGISTRY, regularizers.REGISTRY, constraints.REGISTRY)

Custom = Mapping[str, Any]

# Class name of a model in a file -> its class, which registers itself with the layers.
_MODELS = {"Functional": "Model", "Model": "Model", "Sequential": "Sequential"}


def to_config(layer: Layer) -> dict[str, Any]:
    """{"class_name": …, "config": …}, JSON values only.

    Raises:
        TypeError: an option is a function of your own, which a file cannot hold.
    """
    config = layer.get_config()
    if isinstance(layer, functions.Lambda):
        config = {key: _named(value) for key, value in config.items()}
    described = {"class_name": layer.class_name(), "config": plain_config(config, layer.name)}
    return {"module": type(layer).__module__, **described} if layer.is_own else described


def _named(value: Any) -> Any:
    """An option of a Lambda for a file: a function by its name, None for a lambda, an array by its values."""
    if isinstance(value, (Tensor, np.ndarray)):
        values = np.asarray(value)
        return {"class_name": "__numpy__", "config": {"value": values.tolist(), "dtype": str(values.dtype)}}
    if not callable(value):
        return value
    name = getattr(value, "__name__", "<lambda>")
    return None if name == "<lambda>" else {"class_name": "function", "config": name}


def plain_config(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The config of the layer or model `name`, JSON values only.

    Raises:
        TypeError: an option is a function of your own, which a file cannot hold.
    """
    return {key: _plain(name, key, value) for key, value in config.items()}


def _plain(name: str, key: str, value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Layer):
        return to_config(value)
    if isinstance(value, Mapping):
        return {k: _plain(name, key, item) for k, item in value.items()}
    if isinstance(value, Cell):
        return {"class_name": "Cell", "config": {"name": value.name}}
    if isinstance(value, Configured):
        config = {k: _plain(name, k, v) for k, v in value.get_config().items()}
        return {"class_name": type(value).__name__, "config": config}
    if isinstance(value, (list, tuple)):
        return [_plain(name, key, item) for item in value]
    if activations.name_of(value) is not None:
        return activations.name_of(value)
    way_out = "give it by name, or save the weights alone with save_weights"
    raise TypeError(errors.message(f"{key} of {name}", "a value that a file can hold", repr(value), way_out))


def from_config(described: Mapping[str, Any], custom: Custom | None = None) -> Any:
    """The layer that `to_config`, or Keras, described.

    Args:
        described: {"class_name": …, "config": …}.
        custom: name -> the layer class, cell or function that the file means by it; of a Lambda the name is
            the layer's.

    Raises:
        ValueError: the class or an option that matters is unknown here; the sentence names it.
    """
    custom = custom_objects_with(custom)
    name = described["class_name"]
    if name in _MODELS and name not in custom:
        return Layer.classes[_MODELS[name]].from_config(described["config"], custom)
    if is_operation(described):
        return functions.keras_operation(name, described["config"])
    kind = custom[name] if name in custom else _own_class(described)
    kind = kind or LAYERS[errors.check_choice("layer", name, LAYERS)]
    if kind is functions.Lambda:
        return _lambda(described["config"], custom)
    if kind.is_own and kind.from_config.__func__ is not Layer.from_config.__func__:  # a user's own way
        return kind.from_config(described["config"])
    options = {key: _value(value, custom) for key, value in described["config"].items()}
    return kind(**_supported(kind, options))


def _own_class(described: Mapping[str, Any]) -> type[Layer] | None:
    """A layer's class of a user's module that is imported already; None without one."""
    kind = getattr(sys.modules.get(str(described.get("module"))), str(described["class_name"]), None)
    return kind if isinstance(kind, type) and issubclass(kind, Layer) and kind.is_own else None


def is_operation(described: Mapping[str, Any]) -> bool:
    """Whether a layer in a file of Keras is one of Keras' operations."""
    return str(described.get("module", "")).startswith("keras.src.ops")


def _lambda(config: Mapping[str, Any], custom: Custom) -> Layer:
    """A Lambda, whose function a file cannot hold: it is in `custom` by the layer's name, or by its own."""
    name: str = config["name"]
    described: Any = config.get("function")
    names = [name, described["config"]] if _is_function(described) else [name]
    function = next((custom[key] for key in names if key in custom), None)
    if function is None:
        way_out = f"pass custom_objects={{{names[-1]!r}: function}}"
        raise errors.value_error(f"function of {name}", "the function of a Lambda", "no function", way_out)
    options = {key: value for key, value in config.items() if key in ("output_shape", "arguments", "mask")}
    read = {key: _of_lambda(f"{key} of {name}", value, custom) for key, value in options.items()}
    return functions.Lambda(function, **read, name=name)


def _is_function(described: Any) -> bool:
    return isinstance(described, Mapping) and described.get("class_name") == "function"


def _of_lambda(option: str, described: Any, custom: Custom) -> Any:
    """An option of a Lambda, from what `_named` wrote into a file."""
    if _is_function(described):
        name = described["config"]
        if name not in custom:
            way_out = f"pass custom_objects={{{name!r}: function}}"
            raise errors.value_error(option, "its function", f"the name {name!r}", way_out)
        return custom[name]
    if isinstance(described, Mapping) and described.get("class_name") == "__numpy__":
        return torch.as_tensor(np.array(described["config"]["value"], described["config"]["dtype"]))
    return _sizes(described)


def _supported(kind: type[Layer], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without those of Keras that change no number; any other unknown option is an error."""
    if takes_any(kind.__init__):
        return {key: _sizes(value) for key, value in options.items() if key != "dtype"}
    parameters = inspect.signature(kind.__init__).parameters.values()
    own = {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD}
    supported = (own | keywords(kind.__init__)) - {
        "self",
        *(() if kind is input_layer.InputLayer else ("dtype",)),
    }
    for key, value in options.items():
        if key not in supported | _UNUSED and value not in (None, False, "auto", [], {}):
            expected = f"no option but {', '.join(sorted(supported))}"
            raise errors.value_error(
                kind.__name__, expected, f"{key}={value!r}", "leave it out of the saved model"
            )
    return {key: _sizes(value) for key, value in options.items() if key in supported}


# Options that Keras saves and that change no number here.
_UNUSED = {"dtype", "trainable", "sparse", "ragged", "optional"}
_UNUSED |= {"time_major", "implementation"}


def _sizes(value: Any) -> Any:
    """A list of whole numbers as the tuple that it was before JSON."""
    return tuple(value) if isinstance(value, list) and all(isinstance(size, int) for size in value) else value


def _value(value: Any, custom: Custom) -> Any:
    if isinstance(value, list):
        return [_value(item, custom) for item in value]
    if isinstance(value, str) and value in custom:
        return custom[value]
    if not isinstance(value, Mapping) or "class_name" not in value:
        return value
    name, options = value["class_name"], value["config"]
    if name in LAYERS or name in _MODELS or name in custom or _own_class(value) is not None:
        return from_config(value, custom)
    if name == "StackedRNNCells":
        return [_value(cell, custom) for cell in options["cells"]]
    if name == "Cell":
        return _cell(options["name"], custom)
    for registry in _REGISTRIES:
        if name in registry.names:
            return registry.get({**value, "config": {k: v for k, v in options.items() if v is not None}})
    return None if "dtype" in name.lower() else _unknown(name)


def _cell(name: str, custom: Custom) -> Cell:
    cell = custom.get(name, CELLS.get(name))
    if not isinstance(cell, Cell):
        way_out = f"pass custom_objects={{{name!r}: your_cell}}"
        raise errors.value_error("cell", "a cell of longspan or one in custom_objects", repr(name), way_out)
    return cell


def _unknown(name: str) -> Any:
    names = sorted({name for registry in _REGISTRIES for name in registry.classes})
    raise errors.value_error(
        "saved option", f"one of {', '.join(names)}", repr(name), errors.did_you_mean(name, names)
    )
