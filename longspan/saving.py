"""Loads models from files, where Keras has the function."""

from longspan.models import load_model

__all__ = ["load_model"]
