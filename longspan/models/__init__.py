"""Models with Keras' names: Sequential, Model, and loading them from files and JSON."""

from longspan.layers import Input

from .cloning import clone_model
from .loading import load_model, model_from_json
from .model import Model
from .sequential import Sequential

__all__ = ["Input", "Model", "Sequential", "clone_model", "load_model", "model_from_json"]
