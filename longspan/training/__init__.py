"""Knows the public names of training."""

from longspan.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)

from .checkpoint import Resume
from .loop import evaluate, train
from .objective import Measured

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "Measured",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "Resume",
    "TensorBoard",
    "TerminateOnNaN",
    "evaluate",
    "train",
]
