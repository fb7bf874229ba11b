"""Knows preparation by the place that Keras has for it."""

from longspan.utils import timeseries_dataset_from_array

from . import sequence, text

__all__ = ["sequence", "text", "timeseries_dataset_from_array"]
