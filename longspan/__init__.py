"""Knows the public names; each is loaded when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longspan import activations as activations
    from longspan import backend as backend
    from longspan import callbacks as callbacks
    from longspan import cells as cells
    from longspan import data as data
    from longspan import export as export
    from longspan import initializers as initializers
    from longspan import layers as layers
    from longspan import losses as losses
    from longspan import metrics as metrics
    from longspan import models as models
    from longspan import nn as nn
    from longspan import optimizers as optimizers
    from longspan import preprocessing as preprocessing
    from longspan import regularizers as regularizers
    from longspan import saving as saving
    from longspan import tasks as tasks
    from longspan import training as training
    from longspan import utils as utils
    from longspan.cells import cell as cell
    from longspan.comparison import compare as compare
    from longspan.kernels import compile_cell as compile_cell
    from longspan.kernels import use_backend as use_backend
    from longspan.layers import Input as Input
    from longspan.models import Sequential as Sequential
    from longspan.networks import encoder as nets
    from longspan.nn.recurrent import explain as explain
    from longspan.tasks import load as load
    from longspan.tasks.anomaly.detector import AnomalyDetector as AnomalyDetector
    from longspan.tasks.classify.classifier import Classifier as Classifier
    from longspan.tasks.forecast.forecaster import Forecaster as Forecaster


__version__ = "0.1.0"

# public name -> the module that has it; a name that stands for the module itself has no attribute
_HOMES = {
    "activations": ("longspan.activations", ""),
    "backend": ("longspan.backend", ""),
    "callbacks": ("longspan.callbacks", ""),
    "cell": ("longspan.cells", "cell"),
    "cells": ("longspan.cells", ""),
    "compare": ("longspan.comparison", "compare"),
    "compile_cell": ("longspan.kernels", "compile_cell"),
    "data": ("longspan.data", ""),
    "explain": ("longspan.nn.recurrent", "explain"),
    "export": ("longspan.export", ""),
    "AnomalyDetector": ("longspan.tasks.anomaly", "AnomalyDetector"),
    "Classifier": ("longspan.tasks.classify", "Classifier"),
    "Forecaster": ("longspan.tasks.forecast", "Forecaster"),
    "initializers": ("longspan.initializers", ""),
    "Input": ("longspan.layers", "Input"),
    "layers": ("longspan.layers", ""),
    "load": ("longspan.tasks", "load"),
    "losses": ("longspan.losses", ""),
    "metrics": ("longspan.metrics", ""),
    "models": ("longspan.models", ""),
    "nets": ("longspan.networks.encoder", ""),
    "nn": ("longspan.nn", ""),
    "optimizers": ("longspan.optimizers", ""),
    "preprocessing": ("longspan.preprocessing", ""),
    "regularizers": ("longspan.regularizers", ""),
    "Sequential": ("longspan.models", "Sequential"),
    "saving": ("longspan.saving", ""),
    "tasks": ("longspan.tasks", ""),
    "training": ("longspan.training", ""),
    "use_backend": ("longspan.kernels", "use_backend"),
    "utils": ("longspan.utils", ""),
}

__all__ = [
    "AnomalyDetector",
    "Classifier",
    "Forecaster",
    "Input",
    "Sequential",
    "__version__",
    "activations",
    "backend",
    "callbacks",
    "cell",
    "cells",
    "compare",
    "compile_cell",
    "data",
    "explain",
    "export",
    "initializers",
    "layers",
    "load",
    "losses",
    "metrics",
    "models",
    "nets",
    "nn",
    "optimizers",
    "preprocessing",
    "regularizers",
    "saving",
    "tasks",
    "training",
    "use_backend",
    "utils",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'longspan' has no attribute {name!r}; it has {', '.join(_HOMES)}")
    home, attribute = _HOMES[name]
    module = import_module(home)
    value = getattr(module, attribute) if attribute else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
