"""Knows the optimizers by the place that Keras has for them."""

from longspan.training.optimizers import SGD, Adam, AdamW, RMSprop

from . import schedules

__all__ = ["SGD", "Adam", "AdamW", "RMSprop", "schedules"]
