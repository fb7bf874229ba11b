"""Keras' metrics, with its numbers: means of functions, counts by threshold, scores, and `get` by name.

The definitions are those of Keras 3 (keras/src/metrics); sums are kept in float64.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, overload

from torch import Tensor

from longspan import errors
from longspan.registry import Registry, by_name

from .base import Metric
from .counts import FalseNegatives, FalsePositives, Precision, Recall, TrueNegatives, TruePositives
from .curves import (
    AUC,
    PrecisionAtRecall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
)
from .functional import (
    accuracy,
    binary_accuracy,
    categorical_accuracy,
    concordance_correlation,
    pearson_correlation,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from .means import (
    Accuracy,
    AutoAccuracy,
    BinaryAccuracy,
    BinaryCrossentropy,
    CategoricalAccuracy,
    CategoricalCrossentropy,
    CategoricalHinge,
    ConcordanceCorrelation,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    Mean,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanMetricWrapper,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    PearsonCorrelation,
    Poisson,
    RootMeanSquaredError,
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropy,
    SparseTopKCategoricalAccuracy,
    SquaredHinge,
    Sum,
    TopKCategoricalAccuracy,
)
from .overlap import BinaryIoU, IoU, MeanIoU, OneHotIoU, OneHotMeanIoU
from .scores import F1Score, FBetaScore, R2Score

CLASSES: dict[str, Callable[..., Metric]] = by_name(
    Mean,
    Sum,
    AutoAccuracy,
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    TopKCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    MeanSquaredError,
    RootMeanSquaredError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredLogarithmicError,
    CosineSimilarity,
    LogCoshError,
    Hinge,
    SquaredHinge,
    CategoricalHinge,
    KLDivergence,
    Poisson,
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    TruePositives,
    FalsePositives,
    TrueNegatives,
    FalseNegatives,
    Precision,
    Recall,
    AUC,
    FBetaScore,
    F1Score,
    R2Score,
    PrecisionAtRecall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    BinaryIoU,
    IoU,
    MeanIoU,
    OneHotIoU,
    OneHotMeanIoU,
    PearsonCorrelation,
    ConcordanceCorrelation,
)
_SHORT = {
    "acc": "AutoAccuracy",
    "accuracy": "AutoAccuracy",
    "mse": "MeanSquaredError",
    "rmse": "RootMeanSquaredError",
    "mae": "MeanAbsoluteError",
    "mape": "MeanAbsolutePercentageError",
    "msle": "MeanSquaredLogarithmicError",
    "bce": "BinaryCrossentropy",
    "log_cosh": "LogCoshError",
}
# every name of a metric: its class's, its default one in logs, and the short one in either case
_ALIASES = {
    **{inspect.signature(kind).parameters["name"].default: name for name, kind in CLASSES.items()},
    **_SHORT,
    **{short.upper(): name for short, name in _SHORT.items() if len(short) <= 4},
}
_REGISTRY: Registry[Metric] = Registry("metric", "mae", "longspan.metrics.NAMES", CLASSES, _ALIASES)
NAMES = {alias: name for alias, name in _REGISTRY.names.items() if alias != "AutoAccuracy"}

__all__ = [
    "AUC",
    "CLASSES",
    "NAMES",
    "Accuracy",
    "AutoAccuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "BinaryIoU",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "ConcordanceCorrelation",
    "CosineSimilarity",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "IoU",
    "KLDivergence",
    "LogCoshError",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanIoU",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "OneHotIoU",
    "OneHotMeanIoU",
    "PearsonCorrelation",
    "Poisson",
    "Precision",
    "PrecisionAtRecall",
    "R2Score",
    "Recall",
    "RecallAtPrecision",
    "RootMeanSquaredError",
    "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity",
    "SquaredHinge",
    "Sum",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "accuracy",
    "binary_accuracy",
    "categorical_accuracy",
    "concordance_correlation",
    "deserialize",
    "get",
    "pearson_correlation",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]


@overload
def get(identifier: None) -> None: ...


@overload
def get(identifier: str | Metric | Callable[[Tensor, Tensor], Tensor] | Mapping[str, Any]) -> Metric: ...


def get(
    identifier: str | Metric | Callable[[Tensor, Tensor], Tensor] | Mapping[str, Any] | None,
) -> Metric | None:
    """The metric of a name (which is its key in logs), an object, a function, or a saved config.

    None is None.

    Raises:
        ValueError, TypeError: there is no such metric; the sentence has the nearest name.

    >>> get("mae").name, get("accuracy").direction
    ('mae', 'up')
    """
    if identifier is None or isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, (str, Mapping)):
        metric = _REGISTRY.get(identifier)
        if isinstance(metric, Metric):
            metric.name = identifier if isinstance(identifier, str) else metric.name
            return metric
        identifier = metric
    if callable(identifier):
        return MeanMetricWrapper(identifier)
    raise errors.type_error("metric", "a name, a metric or a function", identifier, 'pass one such as "mae"')


deserialize = get


def serialize(metric: Metric) -> dict[str, Any]:
    """The class's name and options, from which `get` makes an equal metric.

    Raises:
        ValueError: it is one of your own, which cannot be saved.
    """
    return _REGISTRY.config(metric, metric.get_config())
