"""Reads and writes Keras' files (.keras, .weights.h5, .h5): a model's config and its weights."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from longspan import constraints, errors
from longspan.atomic_file import atomic_write
from longspan.layers.config import plain_config
from longspan.layers.functions import KERAS_OPERATIONS
from longspan.optional import require

from .layer_info import Described, ModelLike, described_layers, layers_in, weighted_layers

OVER_TIME = ("LSTM", "GRU", "SimpleRNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
_MODELS = ("Sequential", "Functional", "Model")
_DAMAGE = (OSError, KeyError, ValueError, zipfile.BadZipFile, RuntimeError)


@dataclass(frozen=True)
class KerasFile:
    """What a file of Keras holds.

    Args:
        config: the model's config, None in a file of weights alone.
        shape: (None, …) of the input, None where the file has none.
        weights: a list in Keras' order where the file has an order, else by path inside the file.
        compiled: the arguments of Keras' `compile`, None where the file has none.
        kind: "Sequential", or "Functional" for a model of symbolic tensors.
    """

    config: dict[str, Any] | None
    shape: tuple[int | None, ...] | None
    weights: list[np.ndarray] | dict[str, np.ndarray]
    compiled: dict[str, Any] | None = None
    kind: str = "Sequential"

    def ordered(self, layers: Sequence[Described]) -> list[np.ndarray]:
        """The weights in Keras' order for a model of these layers.

        Raises:
            ValueError: the file has none for one of the layers.
        """
        if isinstance(self.weights, list):
            return self.weights
        return [array for folder in folders(layers) for array in _variables(self.weights, folder)]


def folders(layers: Sequence[Described]) -> list[str]:
    """Where in a Keras 3 file the weights of each layer lie, in the order of `get_weights`.

    >>> folders([{"class_name": "LSTM", "config": {}}, {"class_name": "Dense", "config": {}}])
    ['layers/lstm/cell/', 'layers/dense/']
    """
    names = _container([layer["class_name"] for layer in layers])
    pairs = zip(names, layers, strict=True)
    return [f"layers/{name}/{folder}" for name, layer in pairs for folder in _folders(layer)]


def _container(kinds: Sequence[str]) -> list[str]:
    """Keras' names for things in a list: by class, numbered where there are several."""
    seen: Counter[str] = Counter()
    names = []
    for kind in kinds:
        stem = _snake(kind)
        names.append(f"{stem}_{seen[stem]}" if seen[stem] else stem)
        seen[stem] += 1
    return names


def _snake(name: str) -> str:
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def _folders(layer: Described) -> list[str]:
    """The folders of a layer's variables, inside the layer's own."""
    kind, config = layer["class_name"], layer["config"]
    if kind in OVER_TIME:
        return ["cell/"]
    if kind == "Bidirectional":
        inner = _folders(config["layer"])
        return [f"{direction}_layer/{folder}" for direction in ("forward", "backward") for folder in inner]
    if kind == "TimeDistributed":
        return [f"layer/{folder}" for folder in _folders(config["layer"])]
    if kind == "RNN":
        cells = _cells(config["cell"])
        if cells is None:
            return ["cell/"]
        return [f"cell/cells/{name}/" for name in _container([cell["class_name"] for cell in cells])]
    if kind in _MODELS:
        return folders(layers_in(config))
    if kind == "MultiHeadAttention":
        return [f"{part}_dense/" for part in ("query", "key", "value", "output")]
    return [""]


def _cells(cell: Any) -> Sequence[Described] | None:
    """The cells on top of each other, None for a single one."""
    if isinstance(cell, Mapping) and cell["class_name"] == "StackedRNNCells":
        return cell["config"]["cells"]
    return cell if isinstance(cell, list) else None


def _variables(weights: Mapping[str, np.ndarray], folder: str) -> list[np.ndarray]:
    arrays = {name: array for name, array in weights.items() if name.startswith(f"{folder}vars/")}
    return [arrays[name] for name in sorted(arrays, key=lambda name: int(name.rpartition("/")[2]))]


def read_keras(path: str | os.PathLike[str]) -> KerasFile:
    """A .keras, .weights.h5 or .h5 file that Keras wrote. Needs h5py.

    Raises:
        ImportError: h5py is not installed.
        FileNotFoundError: there is no such file.
        ValueError: it is truncated or damaged, or its model is of a class of the user's.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            errors.message(f"file {path}", "a file of Keras", "nothing", "check the path")
        )
    h5py = require("h5py", "keras", "a file of Keras")
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                config_json = json.loads(archive.read("config.json"))
                weights = io.BytesIO(archive.read("model.weights.h5"))
            kind = _kind(path, config_json)
            with h5py.File(weights, "r") as opened:
                return KerasFile(
                    config_json["config"],
                    _shape(config_json),
                    _arrays(opened),
                    config_json.get("compile_config"),
                    kind,
                )
        with h5py.File(file, "r") as opened:
            return _read_h5(path, opened)
    except _DAMAGE as error:
        if isinstance(error, _OtherModel):
            raise
        received = f"a truncated, damaged or foreign file ({str(error).splitlines()[0].rstrip('.')})"
        way_out = "copy it again, or save it again in Keras"
        raise errors.value_error(f"file {path}", "a whole file of Keras", received, way_out) from error


class _OtherModel(ValueError):
    """The file is whole, but holds another kind of model."""


def _kind(path: Any, config_json: Mapping[str, Any]) -> str:
    """ "Sequential" or "Functional", or an error for a class of the user's."""
    kind = config_json["class_name"]
    if kind not in _MODELS:
        received, way_out = (
            f"a {kind} model",
            "save its weights, and load them into a model of the same layers",
        )
        raise _OtherModel(
            errors.message(f"file {path}", "a Sequential or functional model", received, way_out)
        )
    return "Functional" if kind == "Model" else kind


def _read_h5(path: Any, opened: Any) -> KerasFile:
    """Keras 3's weights, or the older layout that names every layer and weight in order."""
    if "layers" in opened:
        return KerasFile(None, None, _arrays(opened))
    group = opened.get("model_weights", opened)
    weights = [
        np.asarray(group[_text(layer)][_text(name)])
        for layer in group.attrs["layer_names"]
        for name in group[_text(layer)].attrs["weight_names"]
    ]
    if "model_config" not in opened.attrs:
        return KerasFile(None, None, weights)
    config_json = json.loads(_text(opened.attrs["model_config"]))
    kind = _kind(path, config_json)
    config = (
        config_json["config"]
        if isinstance(config_json["config"], dict)
        else {"name": None, "layers": config_json["config"]}
    )
    compiled = (
        json.loads(_text(opened.attrs["training_config"])) if "training_config" in opened.attrs else None
    )
    return KerasFile(config, _shape({"config": config}), weights, compiled, kind)


def _text(word: Any) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)


def _arrays(opened: Any) -> dict[str, np.ndarray]:
    """Every array of an HDF5 file by its path."""
    h5py = require("h5py", "keras", "a file of Keras")
    arrays: dict[str, np.ndarray] = {}

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = np.asarray(item)

    opened.visititems(collect)
    return arrays


def _shape(config_json: Mapping[str, Any]) -> tuple[int | None, ...] | None:
    """The input's shape, from the build config or the first layer."""
    if "input_layers" in config_json["config"]:
        return None
    if "input_shape" in config_json.get("build_config", {}):
        return tuple(config_json["build_config"]["input_shape"])
    first = config_json["config"]["layers"][0]["config"]
    shape = first.get("batch_shape") or first.get("batch_input_shape")
    return tuple(shape) if shape else None


def to_keras(model: ModelLike, path: str | os.PathLike[str]) -> None:
    """Write a built model as a file that Keras loads. Needs h5py.

    Args:
        model: a Sequential or Model(inputs, outputs) whose layers Keras has too.
        path: ending in ".keras" for the whole model (keras.models.load_model), in ".weights.h5" for the
            weights of a Keras model with the same layers (load_weights), or in ".h5" for the whole model in
            the older layout.

    Raises:
        ImportError: h5py is not installed.
        ValueError: the suffix is another, the model is not built, or Keras has no such layer.
    """
    h5py, file = require("h5py", "keras", "a file of Keras"), Path(path)
    if not model.built:
        raise errors.value_error(
            "model", "one that is built", "one without weights", "call build or fit first"
        )
    if not file.name.endswith((".keras", ".h5")):
        way_out = "'model.keras' holds all of it"
        raise errors.value_error("path", "a name that ends in .keras, .weights.h5 or .h5", file.name, way_out)
    for layer in described_layers(model):
        _check_keras_has(layer)
    if any(weight.dtype == np.int8 for weight in model.get_weights()):
        way_out = "write the model that longspan.quantize was given"
        raise errors.value_error("model", "float weights", "int8 weights", way_out)
    packed, older = io.BytesIO(), not file.name.endswith((".keras", ".weights.h5"))
    with h5py.File(packed, "w") as opened:
        (_write_older if older else _write_weights)(opened, model)
    with atomic_write(file) as target:
        if not file.name.endswith(".keras"):
            target.write(packed.getvalue())
            return
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.0.0", "date_saved": ""}))
            archive.writestr("config.json", json.dumps(_keras_config(model)))
            archive.writestr("model.weights.h5", packed.getvalue())


def _write_weights(opened: Any, model: ModelLike) -> None:
    described = described_layers(model)
    for kind, layer in zip(described, weighted_layers(model), strict=True):
        weights = layer.get_weights()
        for folder, count in zip(
            folders_of(described, kind), _counts(kind, len(weights), layer), strict=True
        ):
            group = opened.create_group(f"{folder}vars")
            for number in range(count):
                group.create_dataset(str(number), data=weights.pop(0))


def _counts(described: Described, weights: int, layer: Any) -> list[int]:
    """How many weights each of a layer's folders holds."""
    if described["class_name"] in _MODELS:
        pairs = zip(layers_in(described["config"]), weighted_layers(layer), strict=True)
        return [n for kind, inner in pairs for n in _counts(kind, len(inner.get_weights()), inner)]
    if described["class_name"] == "TimeDistributed":
        return _counts(described["config"]["layer"], weights, layer.layer)
    cells = _cells(described["config"]["cell"]) if described["class_name"] == "RNN" else None
    if cells is None:
        folders = len(_folders(described))
        return [weights // folders] * folders
    return [3 if cell["config"].get("use_bias", True) else 2 for cell in cells]


def _write_older(opened: Any, model: ModelLike) -> None:
    """The layout that names every layer and weight in order, with the model beside it."""
    config_json = _keras_config(model)["config"]
    if "input_layers" in config_json:
        way_out = "name it model.keras, or model.weights.h5 for its weights"
        raise errors.value_error("path", "a .keras file for a model of several branches", ".h5", way_out)
    layers = [
        {"class_name": layer["class_name"], "config": layer["config"]} for layer in config_json["layers"]
    ]
    opened.attrs["model_config"] = json.dumps(
        {"class_name": "Sequential", "config": config_json | {"layers": layers}}
    )
    opened.attrs["backend"], opened.attrs["keras_version"] = "torch", "3.0.0"
    group = opened.create_group("model_weights")
    group.attrs["layer_names"] = [layer.name for layer in model.layers]
    for layer in weighted_layers(model):
        own, names = group.create_group(layer.name), []
        for number, array in enumerate(layer.get_weights()):
            names.append(f"{layer.name}/{number}")
            own.create_dataset(names[-1], data=array)
        own.attrs["weight_names"] = names


def folders_of(layers: Sequence[Described], layer: Described) -> list[str]:
    """The folders of one of the layers."""
    names = _container([layer["class_name"] for layer in layers])
    index = next(i for i, other in enumerate(layers) if other is layer)
    return [f"layers/{names[index]}/{folder}" for folder in _folders(layer)]


def _check_keras_has(layer: Described) -> None:
    cell = layer["config"].get("cell")
    own = isinstance(cell, str) or (isinstance(cell, Mapping) and cell["class_name"] == "Cell")
    if own:
        name = layer["config"]["name"]
        way_out = "export to ONNX instead"
        raise errors.value_error(f"layer {name}", "a cell that Keras has", f"the cell {cell!r}", way_out)


def _keras_config(model: ModelLike) -> dict[str, Any]:
    """The model as Keras' config.json has it."""
    if model.class_name() == "Functional":
        return _wrapped({"class_name": "Functional", "config": plain_config(model.get_config(), model.name)})
    kind = "int32" if model.takes_token_ids() else "float32"
    config = {"batch_shape": list(model.input_shape), "dtype": kind, "name": "input_layer"}
    layers = [
        {"module": "keras.layers", "class_name": "InputLayer", "config": config, "registered_name": None}
    ]
    layers += [_wrapped(layer) for layer in described_layers(model)]
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": model.name, "trainable": True, "layers": layers},
        "registered_name": None,
        "build_config": {"input_shape": list(model.input_shape)},
    }


# Options that only this library's layers have, or that Keras 3 no longer takes.
_OURS = {"input_dim", "input_length", "weights", "input_shape", "batch_input_shape", "batch_shape"}


def _wrapped(described: Described) -> dict[str, Any]:
    """A layer's or model's config with the places of the classes in Keras."""
    kind, config = described["class_name"], dict(described["config"])
    if kind == "InputLayer":
        return _input(config, described)
    if kind == "Operation":
        return _operation(config, described)
    ours = _OURS - ({"input_dim"} if kind == "Embedding" else set())
    if kind == "RNN":
        ours = ours | {"units"}
        cells = _cells(config["cell"])
        if cells is not None:
            config["cell"] = {"class_name": "StackedRNNCells", "config": {"cells": cells}}
    config = {key: _module(value) for key, value in config.items() if key not in ours}
    return _entry(_home(kind), kind, config, described)


def _entry(home: str, kind: str, config: Mapping[str, Any], described: Described) -> dict[str, Any]:
    """The config of an object in Keras' form; a layer in a graph also has a name and calls."""
    entry = {"module": home, "class_name": kind, "config": config, "registered_name": None}
    return entry | {key: _lists(described[key]) for key in ("name", "inbound_nodes") if key in described}


def _input(config: Mapping[str, Any], described: Described) -> dict[str, Any]:
    shape = config.get("batch_shape") or [config.get("batch_size"), *(config.get("shape") or ())]
    options = {"batch_shape": shape, "dtype": config.get("dtype") or "float32", "name": config["name"]}
    return _entry("keras.layers", "InputLayer", options, described)


def _operation(config: Mapping[str, Any], described: Described) -> dict[str, Any]:
    names = {name: kind for kind, name in KERAS_OPERATIONS.items()}
    if config["operation"] not in names:
        way_out = "put it into a Lambda or a layer"
        raise errors.value_error("model", "operators that Keras has", config["operation"], way_out)
    kind = names[config["operation"]]
    return _entry("keras.src.ops.numpy", kind, {"name": config["name"]}, described)


def _lists(value: Any) -> Any:
    """Calls in Keras' form, where tuples are lists."""
    if isinstance(value, Mapping) and value.get("class_name") == "__tuple__":
        return [_lists(part) for part in value["items"]]
    if isinstance(value, Mapping):
        return {key: _lists(part) for key, part in value.items()}
    return [_lists(part) for part in value] if isinstance(value, list) else value


def _module(value: Any) -> Any:
    if isinstance(value, Mapping) and "class_name" in value:
        return _wrapped(value)
    return [_module(item) for item in value] if isinstance(value, list) else value


def _home(kind: str) -> str:
    if kind in _MODELS:
        return "keras.src.models.functional" if kind == "Functional" else "keras"
    if kind in ("L1L2", "L1", "L2"):
        return "keras.regularizers"
    if kind in constraints.REGISTRY.classes:
        return "keras.constraints"
    starts = ("Zeros", "Ones", "Constant", "Random", "Truncated", "VarianceScaling", "Orthogonal", "Identity")
    return "keras.initializers" if kind.startswith(starts) else "keras.layers"
