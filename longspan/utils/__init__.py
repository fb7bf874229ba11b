"""Keras' helpers: one-hot rows, padded lists, data sets, a progress bar, seeds."""

from __future__ import annotations

from typing import Any

from longspan import errors
from longspan.models.plotting import plot_model
from longspan.registry import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)

from .arrays import normalize, pad_sequences, to_categorical
from .datasets import (
    PyDataset,
    Sequence,
    pack_x_y_sample_weight,
    split_dataset,
    timeseries_dataset_from_array,
    unpack_x_y_sample_weight,
)
from .progress_bar import Progbar
from .session import clear_session, set_random_seed

__all__ = [
    "CustomObjectScope",
    "Progbar",
    "PyDataset",
    "Sequence",
    "clear_session",
    "custom_object_scope",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "normalize",
    "pack_x_y_sample_weight",
    "pad_sequences",
    "plot_model",
    "register_keras_serializable",
    "set_random_seed",
    "split_dataset",
    "timeseries_dataset_from_array",
    "to_categorical",
    "unpack_x_y_sample_weight",
]

# A name of Keras that is not here -> what to use instead.
_INSTEAD = {
    "get_file": "urllib.request, since this library downloads nothing",
    "model_to_dot": "plot_model, which writes an SVG without Graphviz",
    "image_dataset_from_directory": "torchvision.datasets.ImageFolder in a DataLoader",
    "text_dataset_from_directory": "polars, and lists of texts",
    "audio_dataset_from_directory": "torchaudio.datasets in a DataLoader",
    "load_img": "PIL.Image.open",
    "img_to_array": "numpy.asarray",
    "array_to_img": "PIL.Image.fromarray",
    "FeatureSpace": "polars before the model",
}


def __getattr__(name: str) -> Any:
    """A sentence for a name of Keras that is not here, or the nearest name that is."""
    if name.startswith("__"):
        raise AttributeError(name)
    received, way_out = repr(name), errors.did_you_mean(name, __all__)
    if name in _INSTEAD:
        received, way_out = f"Keras' {name}, which is not there", f"use {_INSTEAD[name]}"
    raise AttributeError(errors.message("longspan.utils", "one of its functions", received, way_out))
