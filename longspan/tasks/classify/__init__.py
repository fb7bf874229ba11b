"""Classes of texts and series: one a record, several, or one a step."""

from .classifier import Classifier

__all__ = ["Classifier"]
