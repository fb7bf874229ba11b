"""Keras' losses: functions that give one value a sample, classes that give one number, and `get` by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from longspan import errors
from longspan.registry import Registry, by_name, snake_case

from .classes import (
    CTC,
    REDUCTIONS,
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy,
    CategoricalHinge,
    Circle,
    CosineSimilarity,
    Dice,
    FunctionLoss,
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    Loss,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    SparseCategoricalCrossentropy,
    SquaredHinge,
    Tversky,
)
from .functional import (
    LossFunction,
    as_tensor,
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_generalized_cross_entropy,
    categorical_hinge,
    circle,
    cosine_similarity,
    ctc,
    dice,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    match_ranks,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
    tversky,
)

CLASSES = by_name(
    MeanSquaredError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredLogarithmicError,
    CosineSimilarity,
    Huber,
    LogCosh,
    Hinge,
    SquaredHinge,
    CategoricalHinge,
    KLDivergence,
    Poisson,
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    SparseCategoricalCrossentropy,
    CTC,
    Dice,
    Tversky,
    Circle,
    CategoricalGeneralizedCrossEntropy,
)
_SHORT = {
    "mse": "MeanSquaredError",
    "mae": "MeanAbsoluteError",
    "mape": "MeanAbsolutePercentageError",
    "msle": "MeanSquaredLogarithmicError",
    "bce": "BinaryCrossentropy",
    "cce": "CategoricalCrossentropy",
    "kld": "KLDivergence",
    "kl_divergence": "KLDivergence",
    "kullback_leibler_divergence": "KLDivergence",
    "logcosh": "LogCosh",
}
# every name of a loss: its class's, its function's, and the short one in either case
_ALIASES = {
    **{snake_case(name): name for name in CLASSES if name != "KLDivergence"},
    **_SHORT,
    "ctc": "CTC",
    **{short.upper(): name for short, name in _SHORT.items() if len(short) <= 4},
}
_REGISTRY: Registry[Loss] = Registry("loss", "mse", "longspan.losses.NAMES", CLASSES, _ALIASES)
NAMES = _REGISTRY.names

__all__ = [
    "CLASSES",
    "CTC",
    "NAMES",
    "REDUCTIONS",
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "CategoricalHinge",
    "Circle",
    "CosineSimilarity",
    "Dice",
    "FunctionLoss",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "LossFunction",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "Tversky",
    "as_tensor",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "categorical_hinge",
    "circle",
    "cosine_similarity",
    "ctc",
    "deserialize",
    "dice",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "match_ranks",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "serialize",
    "sparse_categorical_crossentropy",
    "squared_hinge",
    "tversky",
]


def get(identifier: str | Loss | LossFunction | Mapping[str, Any]) -> Loss:
    """The loss of a name, an object, a function (y_true, y_pred) -> values, or a saved config.

    Raises:
        ValueError, TypeError: there is no such loss; the sentence has the nearest name.

    >>> get("mse").name, get({"class_name": "Huber", "config": {"delta": 2.0}}).get_config()["delta"]
    ('mean_squared_error', 2.0)
    """
    if isinstance(identifier, (str, Mapping)):
        identifier = _REGISTRY.get(identifier)
    if isinstance(identifier, Loss):
        return identifier
    if callable(identifier):
        return FunctionLoss(identifier)
    raise errors.type_error("loss", "a name, a loss or a function", identifier, 'pass one such as "mse"')


deserialize = get


def serialize(loss: Loss) -> dict[str, Any]:
    """The class's name and options, from which `get` makes an equal loss.

    Raises:
        ValueError: it is a function of your own, which cannot be saved.
    """
    return _REGISTRY.config(loss, loss.get_config())
