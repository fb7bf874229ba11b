"""The public names; each is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longspan import activations as activations
    from longspan import backend as backend
    from longspan import callbacks as callbacks
    from longspan import cells as cells
    from longspan import config as config
    from longspan import constraints as constraints
    from longspan import data as data
    from longspan import export as export
    from longspan import initializers as initializers
    from longspan import layers as layers
    from longspan import losses as losses
    from longspan import metrics as metrics
    from longspan import models as models
    from longspan import networks as networks
    from longspan import nn as nn
    from longspan import ops as ops
    from longspan import optimizers as optimizers
    from longspan import preprocessing as preprocessing
    from longspan import regularizers as regularizers
    from longspan import saving as saving
    from longspan import tasks as tasks
    from longspan import training as training
    from longspan import utils as utils
    from longspan.backend import KerasTensor as KerasTensor
    from longspan.cells import cell as cell
    from longspan.comparison import compare as compare
    from longspan.initializers import Initializer as Initializer
    from longspan.kernels import compile_cell as compile_cell
    from longspan.kernels import use_backend as use_backend
    from longspan.layers import Input as Input
    from longspan.layers import Layer as Layer
    from longspan.losses import Loss as Loss
    from longspan.metrics import Metric as Metric
    from longspan.models import Model as Model
    from longspan.models import Sequential as Sequential
    from longspan.nn.explain import explain as explain
    from longspan.optimizers import Optimizer as Optimizer
    from longspan.quantization import quantize as quantize
    from longspan.regularizers import Regularizer as Regularizer
    from longspan.tasks import load as load
    from longspan.tasks.anomaly import AnomalyDetector as AnomalyDetector
    from longspan.tasks.caption import Captioner as Captioner
    from longspan.tasks.classify import Classifier as Classifier
    from longspan.tasks.forecast import Forecaster as Forecaster
    from longspan.tasks.language import LanguageModel as LanguageModel
    from longspan.tasks.recommend import Recommender as Recommender
    from longspan.tasks.speech import SpeechRecognizer as SpeechRecognizer
    from longspan.tasks.summarize import Summarizer as Summarizer
    from longspan.tasks.translate import Translator as Translator
    from longspan.tasks.video import VideoClassifier as VideoClassifier
    from longspan.variables import Variable as Variable


__version__ = "0.1.0"

__all__ = [
    "AnomalyDetector",
    "Captioner",
    "Classifier",
    "Forecaster",
    "Initializer",
    "Input",
    "KerasTensor",
    "LanguageModel",
    "Layer",
    "Loss",
    "Metric",
    "Model",
    "Optimizer",
    "Recommender",
    "Regularizer",
    "Sequential",
    "SpeechRecognizer",
    "Summarizer",
    "Translator",
    "Variable",
    "VideoClassifier",
    "__version__",
    "activations",
    "backend",
    "callbacks",
    "cell",
    "cells",
    "compare",
    "compile_cell",
    "config",
    "constraints",
    "data",
    "explain",
    "export",
    "initializers",
    "layers",
    "load",
    "losses",
    "metrics",
    "models",
    "networks",
    "nn",
    "ops",
    "optimizers",
    "preprocessing",
    "quantize",
    "regularizers",
    "saving",
    "tasks",
    "training",
    "use_backend",
    "utils",
]

# public name -> the module that defines it; every other public name is a module of this package
_HOMES = {
    "Variable": "longspan.variables",
    "Regularizer": "longspan.regularizers",
    "Optimizer": "longspan.optimizers",
    "Metric": "longspan.metrics",
    "Loss": "longspan.losses",
    "Layer": "longspan.layers",
    "KerasTensor": "longspan.backend",
    "Initializer": "longspan.initializers",
    "AnomalyDetector": "longspan.tasks.anomaly",
    "Captioner": "longspan.tasks.caption",
    "Classifier": "longspan.tasks.classify",
    "Forecaster": "longspan.tasks.forecast",
    "Input": "longspan.layers",
    "LanguageModel": "longspan.tasks.language",
    "Model": "longspan.models",
    "Recommender": "longspan.tasks.recommend",
    "Sequential": "longspan.models",
    "SpeechRecognizer": "longspan.tasks.speech",
    "Summarizer": "longspan.tasks.summarize",
    "Translator": "longspan.tasks.translate",
    "VideoClassifier": "longspan.tasks.video",
    "cell": "longspan.cells",
    "compare": "longspan.comparison",
    "compile_cell": "longspan.kernels",
    "explain": "longspan.nn.explain",
    "load": "longspan.tasks",
    "quantize": "longspan.quantization",
    "use_backend": "longspan.kernels",
}

if not TYPE_CHECKING:  # a type checker is to see the names above and no others

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        elif name in __all__:
            value = import_module(f"longspan.{name}")
        else:
            from difflib import get_close_matches

            near = get_close_matches(name, __all__, n=1)
            hint = f"the nearest name is {near[0]!r}" if near else f"it has {', '.join(__all__)}"
            raise AttributeError(f"module 'longspan' has no attribute {name!r}; {hint}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
