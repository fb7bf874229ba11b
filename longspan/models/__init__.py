"""Models with Keras' names: Sequential, and loading it from files and JSON."""

from longspan.layers import Input

from .loading import clone_model, load_model, model_from_json
from .sequential import Sequential

__all__ = ["Input", "Sequential", "clone_model", "load_model", "model_from_json"]
