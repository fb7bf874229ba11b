"""Classifies texts and series: one class a record, several, or one a step."""

from .classifier import Classifier

__all__ = ["Classifier"]
