"""Knows whole models by Keras' names."""

from longspan.layers import Input

from .loading import clone_model, load_model, model_from_json
from .sequential import Sequential

__all__ = ["Input", "Sequential", "clone_model", "load_model", "model_from_json"]
