"""Knows how models come out of files by the place that Keras has for it."""

from longspan.models import load_model

__all__ = ["load_model"]
