"""Knows the optimizers by the place that Keras has for them."""

from longspan.training import schedules
from longspan.training.optimizers import SGD, Adam, AdamW, RMSprop

__all__ = ["SGD", "Adam", "AdamW", "RMSprop", "schedules"]
