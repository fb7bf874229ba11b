"""Preprocessing with Keras' names: sequences and texts."""

from longspan.utils import timeseries_dataset_from_array

from . import sequence, text

__all__ = ["sequence", "text", "timeseries_dataset_from_array"]
