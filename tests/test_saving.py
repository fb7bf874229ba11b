"""Objects described by configs: registered classes, scopes, round trips, and Keras' own descriptions."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest

from longspan import (
    constraints,
    initializers,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    regularizers,
    saving,
)
from longspan.optimizers import schedules

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras

OBJECTS = [
    losses.Huber(delta=2.0),
    losses.MeanSquaredError(dtype="float64"),
    metrics.AUC(num_thresholds=7),
    metrics.MeanAbsoluteError(),
    optimizers.Adam(0.1, clipnorm=1.0),
    optimizers.SGD(schedules.CosineDecayRestarts(0.1, 10)),
    initializers.GlorotUniform(seed=3),
    initializers.Constant(2.0),
    regularizers.L1(0.5),
    regularizers.OrthogonalRegularizer(0.1, mode="columns"),
    constraints.MaxNorm(3.0, axis=1),
    schedules.ExponentialDecay(0.1, 10, 0.5),
    layers.Dense(3, activation="relu", kernel_regularizer=regularizers.L2(0.1)),
]


@pytest.mark.parametrize("item", OBJECTS, ids=lambda item: type(item).__name__)
def test_a_description_makes_an_equal_object(item: Any) -> None:
    described = saving.serialize_keras_object(item)
    again = saving.deserialize_keras_object(described)
    assert type(again) is type(item)
    assert saving.serialize_keras_object(again) == described


@pytest.mark.parametrize(
    "home", ["losses", "metrics", "optimizers", "initializers", "regularizers", "constraints"]
)
def test_descriptions_of_keras_are_read(home: str) -> None:
    for item in OBJECTS:
        kind = type(item)
        if kind.__module__.split(".")[1] == home and hasattr(getattr(keras, home), kind.__name__):
            theirs = getattr(getattr(keras, home), kind.__name__)()
            described = keras.saving.serialize_keras_object(theirs)
            assert type(saving.deserialize_keras_object(described)) is kind


def test_structures_numbers_and_arrays() -> None:
    described = saving.serialize_keras_object({"a": [1, None, np.ones(2)], "b": losses.Hinge()})
    again = saving.deserialize_keras_object(described)
    assert again["a"][:2] == [1, None] and again["a"][2].tolist() == [1.0, 1.0]
    assert isinstance(again["b"], losses.Hinge)


def test_registered_classes_need_no_custom_objects() -> None:
    @saving.register_keras_serializable("tests")
    class Twice(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs * 2

    assert saving.get_registered_name(Twice) == "tests>Twice"
    assert saving.get_registered_object("tests>Twice") is Twice
    model = models.Sequential([layers.Input((3,)), Twice()])
    again = models.model_from_json(model.to_json())
    assert type(again.layers[0]) is Twice
    assert type(saving.deserialize_keras_object(saving.serialize_keras_object(Twice()))) is Twice
    with pytest.raises(ValueError, match="expected a class with get_config"):
        saving.register_keras_serializable()(type("Plain", (), {}))


def test_a_scope_gives_names_to_functions_for_its_time() -> None:
    def quarter(y_true: Any, y_pred: Any) -> Any:
        return (y_true - y_pred).square() / 4

    with saving.custom_object_scope({"quarter": quarter}):
        assert float(losses.get("quarter")([[2.0]], [[0.0]])) == 1.0
        assert "quarter" in saving.get_custom_objects()
    with pytest.raises(ValueError, match="expected the name of a loss"):
        losses.get("quarter")


def test_a_graph_by_way_of_its_description() -> None:
    x = layers.Input((3,))
    model = models.Model(x, [layers.Dense(2)(x)])
    copy = saving.deserialize_keras_object(saving.serialize_keras_object(model))
    assert type(copy) is models.Model and copy.output_shape == (None, 2)
