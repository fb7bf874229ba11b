"""Knows preparation by the place that Keras has for it."""

from . import sequence

__all__ = ["sequence"]
