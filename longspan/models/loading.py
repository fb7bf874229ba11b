"""Loads a Sequential from files, JSON, or another model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from longspan import artifact, errors, export

from . import saving
from .keras_config import compile_from_keras
from .sequential import Sequential


def load_model(
    path: saving.PathLike, custom_objects: Mapping[str, Any] | None = None, compile: bool = True
) -> Sequential:
    """Load a model from a file that Sequential.save or Keras (.keras, or .h5 of a whole model) wrote.

    Args:
        path: the file.
        custom_objects: name -> the cell, layer or function that the file means by it.
        compile: also compile the model as it was when saved, with the optimizer's state. From a Keras file,
            take the loss, the optimizer and the metrics that this library has, without the optimizer's
            state; a notice says what is missing.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated or damaged, or holds what this library does not have.
    """
    if saving.is_keras(path):
        keras_file = export.read_keras(path)
        if keras_file.config is None:
            way_out = "build the model and call load_weights"
            raise errors.value_error(f"file {path}", "a whole model of Keras", "weights alone", way_out)
        model = Sequential.from_config(keras_file.config, custom_objects)
        model.build(keras_file.shape)
        model.set_weights(keras_file.ordered(export.described_layers(model)))
        if compile and keras_file.compiled is not None:
            compile_from_keras(model, keras_file.compiled)
        return model
    saved = artifact.load(path)
    if saved.config.get("kind") != "Sequential":
        received = f"a file of {saved.config.get('kind')}"
        way_out = "build the model and call load_weights, or longspan.load for a task"
        raise errors.value_error(f"file {path}", "a saved Sequential", received, way_out)
    with artifact.whole_model(path, keep_messages=True):
        model = Sequential.from_config(saved.config["model"], custom_objects)
        if saved.config["shape"] is not None:
            model.build(saved.config["shape"])
            saving.set_weights(model, saved.tensors)
        if compile and "compiled" in saved.config:
            saving.compile_from(model, saved)
        return model


def model_from_json(json_string: str, custom_objects: Mapping[str, Any] | None = None) -> Sequential:
    """The model, its weights drawn afresh, that `to_json`, here or in Keras, described.

    >>> from longspan.layers import LSTM
    >>> model_from_json(Sequential([LSTM(4, input_shape=(5, 3))]).to_json()).output_shape
    (None, 4)

    Raises:
        ValueError: it is no JSON of a Sequential.
    """
    try:
        described = json.loads(json_string)
        kind, config = described["class_name"], described["config"]
    except (ValueError, KeyError, TypeError) as error:
        way_out = "pass what to_json() gives"
        raise errors.value_error("json_string", "JSON of a Sequential", str(error), way_out) from error
    if kind != "Sequential":
        raise errors.value_error("json_string", "a Sequential", f"a {kind} model", "build it as a Sequential")
    return Sequential.from_config(config, custom_objects)


def clone_model(model: Sequential) -> Sequential:
    """A model of the same layers with weights drawn afresh, built where `model` is told its sizes."""
    return Sequential.from_config(model.get_config())
