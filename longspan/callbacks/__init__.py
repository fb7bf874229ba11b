"""Callbacks with Keras' names: what is done at the beginnings and ends of training, epochs and batches."""

from .averages import SwapEMAWeights
from .base import Callback, CallbackList, LambdaCallback, TrainerState
from .checkpoints import BackupAndRestore, ModelCheckpoint
from .history import History
from .learning_rate import LearningRateScheduler, ReduceLROnPlateau
from .loggers import CSVLogger, RemoteMonitor, TensorBoard
from .stopping import EarlyStopping, TerminateOnNaN

__all__ = [
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
