"""Knows whole models by Keras' names."""

from longspan.layers import Input

from .loading import load_model
from .sequential import Sequential

__all__ = ["Input", "Sequential", "load_model"]
