"""Callbacks with Keras' names: what is done at the beginnings and ends of training, epochs and batches."""

from .averages import SwapEMAWeights
from .base import Callback, CallbackList, LambdaCallback, TrainerState
from .checkpoints import BackupAndRestore, ModelCheckpoint
from .history import History
from .learning_rate import LearningRateScheduler, ReduceLROnPlateau
from .loggers import CSVLogger, RemoteMonitor, TensorBoard
from .stopping import EarlyStopping, TerminateOnNaN

# With several processes each runs these; only the first runs the others, which write files or screens.
RUN_IN_EVERY_PROCESS = (EarlyStopping, ReduceLROnPlateau, LearningRateScheduler, SwapEMAWeights)

__all__ = [
    "RUN_IN_EVERY_PROCESS",
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "RemoteMonitor",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
    "TrainerState",
]
