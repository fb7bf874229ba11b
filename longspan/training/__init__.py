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

from .checkpoint import CheckpointConfig
from .loop import evaluate, train
from .objective import BatchMetric

__all__ = [
    "BatchMetric",
    "CSVLogger",
    "Callback",
    "CheckpointConfig",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
    "evaluate",
    "train",
]
