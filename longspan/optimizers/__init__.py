"""Optimizers and learning-rate schedules under Keras' names and with its equations."""

from . import schedules
from .keras import (
    CLASSES,
    SGD,
    Adam,
    AdamW,
    KerasOptimizer,
    OptimizerConfig,
    RMSprop,
    clipper,
    get,
    serialize,
)

__all__ = [
    "CLASSES",
    "SGD",
    "Adam",
    "AdamW",
    "KerasOptimizer",
    "OptimizerConfig",
    "RMSprop",
    "clipper",
    "get",
    "schedules",
    "serialize",
]
