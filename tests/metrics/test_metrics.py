"""Metrics equal Keras': by hand, and by Keras itself where it is installed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import Tensor

from longspan import metrics


def fed(
    metric: metrics.Metric, batches: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray | None]]
) -> np.ndarray:
    for truths, answers, weight in batches:
        metric.update_state(
            torch.tensor(truths), torch.tensor(answers), None if weight is None else torch.tensor(weight)
        )
    return metric.result().numpy()


KINDS: dict[str, str] = {
    "Accuracy": "classes equal",
    "BinaryAccuracy": "binary",
    "CategoricalAccuracy": "one-hot",
    "SparseCategoricalAccuracy": "classes",
    "TopKCategoricalAccuracy": "one-hot",
    "SparseTopKCategoricalAccuracy": "classes",
    "MeanSquaredError": "real",
    "RootMeanSquaredError": "real",
    "MeanAbsoluteError": "real",
    "MeanAbsolutePercentageError": "real",
    "MeanSquaredLogarithmicError": "positive",
    "CosineSimilarity": "real",
    "LogCoshError": "real",
    "Hinge": "binary",
    "SquaredHinge": "binary",
    "CategoricalHinge": "one-hot",
    "KLDivergence": "one-hot",
    "Poisson": "positive",
    "BinaryCrossentropy": "binary",
    "CategoricalCrossentropy": "one-hot",
    "SparseCategoricalCrossentropy": "classes",
    "TruePositives": "binary",
    "FalsePositives": "binary",
    "TrueNegatives": "binary",
    "FalseNegatives": "binary",
    "Precision": "binary",
    "Recall": "binary",
    "AUC": "binary",
    "FBetaScore": "one-hot",
    "F1Score": "one-hot",
    "R2Score": "real",
    "PearsonCorrelation": "real",
    "ConcordanceCorrelation": "real",
    "SensitivityAtSpecificity": "binary",
    "SpecificityAtSensitivity": "binary",
    "PrecisionAtRecall": "binary",
    "RecallAtPrecision": "binary",
    "BinaryIoU": "classes equal",
    "IoU": "classes equal",
    "MeanIoU": "classes equal",
    "OneHotIoU": "one-hot",
    "OneHotMeanIoU": "one-hot",
}
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "TopKCategoricalAccuracy": [{"k": 2}],
    "SparseTopKCategoricalAccuracy": [{"k": 3}],
    "BinaryAccuracy": [{}, {"threshold": 0.3}],
    "Precision": [{}, {"thresholds": [0.7, 0.2]}, {"top_k": 2}, {"class_id": 1}],
    "Recall": [{}, {"thresholds": [0.7, 0.2]}, {"top_k": 2}, {"class_id": 1}],
    "TruePositives": [{}, {"thresholds": 0.1}],
    "AUC": [
        {},
        {"curve": "PR"},
        {"num_thresholds": 11, "summation_method": "minoring"},
        {"curve": "PR", "summation_method": "majoring"},
        {"thresholds": [0.1, 0.35, 0.8]},
        {"curve": "PRGAIN"},
        {"multi_label": True},
        {"multi_label": True, "label_weights": [1.0, 2.0, 0.5, 0.0], "curve": "PR"},
        {"label_weights": [1.0, 2.0, 0.5, 0.0]},
    ],
    "SensitivityAtSpecificity": [{"specificity": 0.4}, {"specificity": 0.4, "class_id": 1}],
    "SpecificityAtSensitivity": [{"sensitivity": 0.6, "num_thresholds": 1}],
    "PrecisionAtRecall": [{"recall": 0.5}],
    "RecallAtPrecision": [{"precision": 0.4, "num_thresholds": 20}],
    "BinaryIoU": [{"target_class_ids": [1], "threshold": 2, "dtype": "float32"}],
    "IoU": [{"num_classes": 4, "target_class_ids": [0, 2], "dtype": "float32"}],
    "MeanIoU": [{"num_classes": 4, "ignore_class": 1, "dtype": "float32"}],
    "OneHotIoU": [{"num_classes": 4, "target_class_ids": [3], "dtype": "float32"}],
    "OneHotMeanIoU": [{"num_classes": 4, "dtype": "float32"}],
    "F1Score": [{}, {"average": "macro"}, {"average": "micro", "threshold": 0.4}, {"average": "weighted"}],
    "FBetaScore": [{"beta": 2.0, "average": "macro"}],
    "R2Score": [
        {},
        {"class_aggregation": None},
        {"class_aggregation": "variance_weighted_average"},
        {"num_regressors": 2},
    ],
}
CASES = [(name, options) for name in KINDS for options in OPTIONS.get(name, [{}])]


def data(kind: str, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(7)
    answers = draw.normal(size=(*shape, 4)).astype("float32")
    labels = draw.integers(0, 4, shape)
    chance = np.exp(answers) / np.exp(answers).sum(-1, keepdims=True)
    if kind == "classes equal":
        return labels, draw.integers(0, 4, shape)
    return {
        "real": (draw.normal(size=(*shape, 4)).astype("float32") + 3, answers),
        "positive": (draw.random((*shape, 4)).astype("float32") + 0.1, chance),
        "binary": (draw.integers(0, 2, (*shape, 4)).astype("float32"), 1 / (1 + np.exp(-answers))),
        "one-hot": (np.eye(4, dtype="float32")[labels], chance),
        "classes": (labels, chance),
    }[kind]


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_numbers_of_keras_itself(name: str, options: dict[str, Any], weighted: bool):
    theirs, ours = getattr(keras.metrics, name)(**options), metrics.CLASSES[name](**options)
    for rows in (8, 3):
        truths, answers = data(KINDS[name], rows)
        weight = np.linspace(0.5, 2, rows, dtype="float32") if weighted else None
        theirs.update_state(truths, answers, sample_weight=weight)
        fed(ours, [(truths, answers, weight)])
    np.testing.assert_allclose(ours.result().numpy(), np.asarray(theirs.result()), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_batches_add_up(name: str, options: dict[str, Any]):
    truths, answers = data(KINDS[name], 11)
    weight = np.linspace(0.5, 2, 11, dtype="float32")
    whole = fed(metrics.CLASSES[name](**options), [(truths, answers, weight)])
    parts = metrics.CLASSES[name](**options)
    fed(parts, [(truths[:1], answers[:1], weight[:1])])
    parts.reset_state()
    cut = [(truths[a:b], answers[a:b], weight[a:b]) for a, b in ((0, 4), (4, 10), (10, 11))]
    np.testing.assert_allclose(fed(parts, cut), whole, rtol=1e-6)
    assert parts.direction in ("up", "down")
    again = metrics.get(metrics.serialize(parts))
    assert type(again) is type(parts) and again.get_config() == parts.get_config()


def test_means_of_rows_and_of_steps():
    values = torch.arange(6.0).view(2, 3)
    assert metrics.Mean()(values).item() == 2.5
    assert metrics.Mean()(values, torch.tensor([1.0, 3.0])).item() == (1 + 3 * 4) / 4
    mask = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert metrics.Mean()(values, mask).item() == 0.5
    assert metrics.Mean().result().item() == 0.0
    assert metrics.Sum()(values, torch.tensor([1.0, 0.0])).item() == 3.0


def test_accuracy_goes_by_the_shapes():
    binary, sparse, onehot = (metrics.get("accuracy") for _ in range(3))
    assert binary(torch.tensor([1.0, 0.0]), torch.tensor([[0.9], [0.8]])).item() == 0.5
    chance = torch.tensor([[0.1, 0.9], [0.7, 0.3], [0.6, 0.4]])
    assert sparse(torch.tensor([1, 1, 0]), chance).item() == pytest.approx(2 / 3)
    assert onehot(torch.eye(2)[[1, 0, 1]], chance).item() == pytest.approx(2 / 3)
    assert metrics.get("acc").name == "acc"


def test_auc_of_a_ranking_is_the_share_of_pairs_in_order():
    draw = np.random.default_rng(0)
    truths, answers = draw.integers(0, 2, 400).astype(float), draw.random(400)
    answers[truths == 1] = answers[truths == 1] ** 0.5
    pairs = (answers[truths == 1][:, None] > answers[truths == 0]).mean()
    assert fed(metrics.AUC(num_thresholds=2000), [(truths, answers, None)]) == pytest.approx(pairs, abs=2e-3)


def test_a_function_is_a_metric():
    def worst(y_true: Tensor, y_pred: Tensor) -> Tensor:
        return (y_true - y_pred).abs().amax(-1)

    metric = metrics.get(worst)
    assert metric.name == "worst" and metric.direction is None
    assert metric(torch.zeros(1, 2), torch.tensor([[1.0, 3.0]])).item() == 3.0
    with pytest.raises(ValueError, match="metric: expected a metric of this library"):
        metrics.serialize(metric)


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "unknown": (
        lambda: metrics.get("acuracy"),
        "metric: expected the name of a metric, such as 'mae', received 'acuracy'; "
        "the nearest is 'accuracy'.",
    ),
    "far from any": (
        lambda: metrics.get("zzz"),
        "received 'zzz'; longspan.metrics.NAMES has them all.",
    ),
    "no metric": (
        lambda: metrics.get(3),  # pyright: ignore
        'metric: expected a name, a metric or a function, received int; pass one such as "mae".',
    ),
    "curve": (
        lambda: metrics.AUC(curve="RCO"),
        "curve: expected one of 'ROC', 'PR', 'PRGAIN', received 'RCO'",
    ),
    "threshold": (
        lambda: metrics.Precision(thresholds=2.0),
        "thresholds: expected numbers in [0, 1], received 2.0; 0.5 is usual.",
    ),
    "shapes": (
        lambda: metrics.Precision()(torch.zeros(3), torch.zeros(3, 2)),
        "y: expected shape (3, 2) like the network's output, received shape (3,)",
    ),
    "f1 of class numbers": (
        lambda: metrics.F1Score()(torch.zeros(3), torch.zeros(3, 2)),
        "f1_score: expected y and outputs of shape (B, V), received y (3,) and outputs (3, 2); "
        "one-hot encode y.",
    ),
    "beta": (lambda: metrics.FBetaScore(beta=0.0), "beta: expected a float above 0, received 0.0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_sentence(case: str):
    wrong, words = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        wrong()
