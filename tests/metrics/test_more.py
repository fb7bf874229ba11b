"""Metrics inside metrics, thresholds, and names that a user's own metrics share with the library's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from longspan import layers, metrics, saving
from longspan.metrics import Metric
from longspan.models import Model
from longspan.registry import register_keras_serializable
from longspan.saving import custom_object_scope
from longspan.variables import Variable


class Both(Metric):
    """Counts batches, and keeps other metrics and variables in attributes."""

    def __init__(self, name: str = "both") -> None:
        super().__init__(name=name)
        self.count = self.add_variable(name="count")
        self.parts: Any = {"inner": [metrics.MeanSquaredError()]}
        self.last = Variable(0.0, trainable=False)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.count.assign_add(1.0)
        self.last.assign(y_pred.sum())
        self.parts["inner"][0].update_state(y_true, y_pred)

    def result(self) -> Any:
        return self.parts["inner"][0].result() + self.count


def test_metrics_and_variables_in_attributes_belong_to_a_metric() -> None:
    metric = Both()
    metric.update_state([[0.0]], [[2.0]])
    assert [value.tolist() for value in metric.variables] == [1.0, 4.0, 1.0, 2.0]
    again = Both()
    again.restore(metric.state())
    assert float(again.result()) == 5.0 and float(again.last) == 2.0
    metric.reset_state()
    assert [value.tolist() for value in metric.variables] == [0.0] * 4
    names: Any = metrics.Precision().variables
    assert [value.name for value in names] == ["true_positives", "false_positives"]


def test_points_of_a_curve_are_told_and_saved() -> None:
    metric = metrics.AUC(num_thresholds=None, thresholds=[0.5, 0.3])
    assert metric.thresholds == [0.0, 0.3, 0.5, 1.0] and metric.num_thresholds == 4
    again = metrics.AUC.from_config(metric.get_config())
    assert again.thresholds == metric.thresholds and again.get_config() == metric.get_config()
    assert len(metrics.AUC(num_thresholds=3).thresholds) == 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: metrics.AUC(num_thresholds=None), "num_thresholds: "),
        (lambda: metrics.FBetaScore(threshold=0.0), r"threshold: expected a number in \(0, 1\]"),
        (lambda: metrics.FBetaScore(threshold=1.5), r"threshold: expected a number in \(0, 1\]"),
        (lambda: metrics.Recall(class_id=1)([0, 1], [0.2, 0.3]), "y_pred: .*class_id"),
    ],
)
def test_refused(make: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        make()


def test_weights_of_single_values() -> None:
    metric = metrics.RootMeanSquaredError()
    assert float(metric([2, 4, 6, 8], [1, 3, 2, 3], sample_weight=[0, 1, 0, 1])) == pytest.approx(13**0.5)


def test_a_name_of_the_library_stays_its_own_beside_a_registered_function_of_that_name() -> None:
    with custom_object_scope({}):

        @register_keras_serializable(package="test")
        def mse(y_true: Any, y_pred: Any) -> Any:
            return abs(y_true - y_pred)

        metric = metrics.get("mse")
        assert type(metric) is metrics.MeanSquaredError and metric.name == "mse" and mse(0, np.ones(1)) == 1
        again = saving.deserialize_keras_object(saving.serialize_keras_object(metric))
        assert again.name == "mse"
    assert metrics.get(None) is None


def test_symbolic_tensors_are_compared() -> None:
    x = layers.Input((1,))
    model = Model(x, [x > 0.5, x >= 0.5, x < 0.5, x <= 0.5])
    found = [value.flatten().tolist() for value in model(torch.tensor([[0.2], [0.5]]))]
    assert found == [[False, False], [False, True], [True, False], [True, True]]
