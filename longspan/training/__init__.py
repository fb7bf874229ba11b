"""Training of networks: the loop, callbacks, checkpoints, losses and metrics of batches."""

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
from .distributed import SharesBatches
from .loop import evaluate, train
from .many import TrainingRuns, train_many
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
    "SharesBatches",
    "TensorBoard",
    "TerminateOnNaN",
    "TrainingRuns",
    "evaluate",
    "train",
    "train_many",
]
