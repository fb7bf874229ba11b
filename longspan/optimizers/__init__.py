"""Optimizers and learning-rate schedules under Keras' names and with its equations."""

from . import schedules
from .keras import CLASSES, SGD, Adam, AdamW, Recipe, RMSprop, Stepper, clipper, get, serialize

__all__ = [
    "CLASSES",
    "SGD",
    "Adam",
    "AdamW",
    "RMSprop",
    "Recipe",
    "Stepper",
    "clipper",
    "get",
    "schedules",
    "serialize",
]
