"""Loads a model from files or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from longspan import artifact, errors, export
from longspan.layers.config import from_config
from longspan.layers.quantization import quantize_layers

from . import saving
from .keras_config import compile_from_keras


def load_model(
    path: saving.PathLike,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Any:
    """Load a model from a file that Model.save or Keras (.keras, or .h5 of a whole model) wrote.

    Args:
        path: the file.
        custom_objects: name -> the cell, layer, model class or function that the file means by it; of a
            Lambda's function the name is the layer's.
        compile: also compile the model as it was when saved, with the optimizer's state. From a Keras file,
            take the loss, the optimizer and the metrics that this library has, without the optimizer's
            state; a notice says what is missing.
        safe_mode: accepted without effect: code in a file, such as that of a Lambda, is never run.

    Returns:
        The Sequential or Model; of a class of your own, which is in custom_objects, an object of it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated or damaged, or holds what this library does not have.
    """
    if saving.is_keras(path):
        return _from_keras(path, custom_objects, compile)
    saved = artifact.load(path)
    if "model" not in saved.config or "shape" not in saved.config:
        received = f"a file of {saved.config.get('kind')}"
        way_out = "build the model and call load_weights, or longspan.load for a task"
        raise errors.value_error(f"file {path}", "a saved model", received, way_out)
    with artifact.whole_model(path, keep_messages=True):
        described = {"class_name": saved.config["kind"], "config": saved.config["model"]}
        model = from_config(described, custom_objects)
        if saved.config["shape"] is not None:
            model.build(saved.config["shape"])
            if saved.config.get("int8"):
                quantize_layers(model)
            saving.set_weights(model, saved.tensors)
        if compile and "compiled" in saved.config:
            saving.compile_from(model, saved)
        return model


def _from_keras(path: saving.PathLike, custom_objects: Mapping[str, Any] | None, compile: bool) -> Any:
    keras_file = export.read_keras(path)
    if keras_file.config is None:
        way_out = "build the model and call load_weights"
        raise errors.value_error(f"file {path}", "a whole model of Keras", "weights alone", way_out)
    model = from_config({"class_name": keras_file.kind, "config": keras_file.config}, custom_objects)
    if not model.built:
        model.build(keras_file.shape)
    model.set_weights(keras_file.ordered(export.described_layers(model)))
    if compile and keras_file.compiled is not None:
        compile_from_keras(model, keras_file.compiled)
    return model


def model_from_json(json_string: str, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The model, its weights drawn afresh, that `to_json`, here or in Keras, described.

    >>> from longspan.layers import LSTM
    >>> from longspan.models import Sequential
    >>> model_from_json(Sequential([LSTM(4, input_shape=(5, 3))]).to_json()).output_shape
    (None, 4)

    Raises:
        ValueError: it is no JSON of a model.
    """
    try:
        described = json.loads(json_string)
        kind, config = described["class_name"], described["config"]
    except (ValueError, KeyError, TypeError) as error:
        way_out = "pass what to_json() gives"
        raise errors.value_error("json_string", "JSON of a model", str(error), way_out) from error
    return from_config({"class_name": kind, "config": config}, custom_objects)
