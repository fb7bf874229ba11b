"""Tests that constraints have Keras' numbers, act after every step, and are saved with the layers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from longspan import constraints, export, layers, models, optimizers
from longspan.layers.config import from_config, to_config

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's

pytestmark = pytest.mark.filterwarnings("ignore")  # of Keras itself

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 6, 3)).astype(np.float32)
Y = RNG.normal(size=(24, 1)).astype(np.float32)

MAKES: list[Callable[[Any], Any]] = [
    lambda m: m.MaxNorm(),
    lambda m: m.MaxNorm(0.5, axis=1),
    lambda m: m.NonNeg(),
    lambda m: m.UnitNorm(axis=[0, 1]),
    lambda m: m.MinMaxNorm(0.4, 0.9, rate=0.3, axis=1),
    lambda m: m.get("min_max_norm"),
]


@pytest.mark.parametrize("make", MAKES)
def test_numbers_are_those_of_keras(make: Callable[[Any], Any]) -> None:
    weights = RNG.normal(size=(5, 4)).astype(np.float32) * 3.0
    expected = keras.ops.convert_to_numpy(make(keras.constraints)(weights))
    np.testing.assert_allclose(make(constraints)(torch.from_numpy(weights)), expected, rtol=1e-6)


def stack(m: Any, c: Any) -> list[Any]:
    return [
        m.Input((6, 3)),
        m.Conv1D(4, 2, kernel_constraint=c.UnitNorm(axis=[0, 1]), bias_constraint="non_neg"),
        m.LSTM(5, kernel_constraint="max_norm", recurrent_constraint=c.MaxNorm(0.3, axis=1)),
        m.BatchNormalization(gamma_constraint=c.MinMaxNorm(0.2, 0.5)),
        m.Dense(1, kernel_constraint=c.MaxNorm(0.1), activity_regularizer="l2"),
    ]  # fmt: skip


def test_training_equals_keras() -> None:
    mine = models.Sequential(stack(layers, constraints))
    theirs = keras.Sequential(stack(keras.layers, keras.constraints))
    mine.set_weights(theirs.get_weights())
    mine.compile(optimizers.SGD(0.1), "mse")
    theirs.compile(keras.optimizers.SGD(0.1), "mse")
    options = {"epochs": 2, "batch_size": 8, "shuffle": False, "verbose": 0}
    history, expected = mine.fit(X, Y, **options), theirs.fit(X, Y, **options)
    np.testing.assert_allclose(history.history["loss"], expected.history["loss"], rtol=1e-4)
    for a, b in zip(mine.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert mine.evaluate(X, Y) == pytest.approx(theirs.evaluate(X, Y, verbose=0), rel=1e-4)


def test_every_projection_of_attention_is_constrained() -> None:
    layer = layers.MultiHeadAttention(2, 3, kernel_constraint="non_neg")
    layer(torch.from_numpy(X), torch.from_numpy(X))
    constrained = [weight.name for weight in layer.keras_weights() if weight.constraint is not None]
    assert constrained == [f"{part}_kernel" for part in ("query", "key", "value", "attention_output")]


def test_a_frozen_weight_is_left_alone() -> None:
    model = models.Sequential(
        [layers.Input((3,)), layers.Dense(2, kernel_constraint="unit_norm"), layers.Dense(1)]
    )
    model.layers[0].trainable = False
    model.compile("sgd", "mse")
    before = model.get_weights()[0]
    model.fit(X[:, 0], Y, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], before)


def test_a_function_of_your_own_and_one_of_an_own_layer() -> None:
    class Scale(layers.Layer):
        def build(self, input_shape: Any) -> None:
            self.factor = self.add_weight((input_shape[-1],), "ones", constraint=lambda w: w.clamp(0.9, 1.1))

        def call(self, inputs: Any) -> Any:
            return inputs * self.factor

    model = models.Sequential([Scale(), layers.Dense(1, kernel_constraint=lambda w: w.round())])
    model.compile(optimizers.SGD(5.0), "mse")
    model.fit(X[:, 0], Y, verbose=0)
    factor, kernel, _ = model.get_weights()
    assert (factor >= 0.9).all() and (factor <= 1.1).all() and (factor != 1.0).any()
    np.testing.assert_array_equal(kernel, kernel.round())


def test_files_keep_constraints(tmp_path: Path) -> None:
    layer = layers.LSTM(4, kernel_constraint=constraints.MaxNorm(0.5), activity_regularizer="l1")
    again = from_config(to_config(layer))
    assert again.get_config()["kernel_constraint"] == constraints.MaxNorm(0.5)
    model = models.Sequential(stack(layers, constraints))
    export.to_keras(model, tmp_path / "model.keras")
    theirs = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert theirs.layers[-1].kernel_constraint.max_value == 0.1
    theirs.save(tmp_path / "theirs.keras")
    loaded = models.load_model(tmp_path / "theirs.keras")
    loaded.compile(optimizers.SGD(1.0), "mse")
    loaded.fit(X, Y, verbose=0)
    assert np.linalg.norm(loaded.get_weights()[-2]) == pytest.approx(0.1, rel=1e-4)


def test_losses_of_own_layers_count_once_a_call() -> None:
    class Penalty(layers.Layer):
        def call(self, inputs: Any) -> Any:
            self.add_loss([0.5 * inputs.square().mean(), torch.tensor(1.0)])
            return inputs

    model = models.Sequential([Penalty(), layers.Dense(1, kernel_regularizer="l2")])
    model.compile(optimizers.SGD(0.0), "mse")
    x, loss = X[:, 0], 0.0
    for _ in range(2):
        loss = model.fit(x, Y, batch_size=24, verbose=0).history["loss"][0]
    kernel = model.get_weights()[0]
    plain = float(np.mean((model.predict(x) - Y) ** 2))
    assert loss == pytest.approx(
        plain + 0.5 * float((x**2).mean()) + 1.0 + 0.01 * float((kernel**2).sum()), rel=1e-5
    )
    assert len(model.losses) == 3 and "added_losses" not in repr(model)
    assert copy.deepcopy(model).predict(x).shape == (24, 1) and len(copy.deepcopy(model).losses) == 1
    model.clear_losses()
    assert len(model.losses) == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: layers.Dense(3, recurrent_constraint="non_neg"), "its weights .bias_constraint, kernel"),
        (lambda: layers.Flatten(kernel_constraint="non_neg"), r"it has none\), received 'kernel_constraint'"),
        (lambda: layers.Dense(3, kernel_constraint="maxnorm"), "the nearest is 'max_norm'"),
        (lambda: constraints.get(cast(Any, 3.0)), "constraint: expected a name, a function or None"),
    ],
)  # fmt: skip
def test_what_is_no_constraint_is_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        make()


def test_a_running_optimizer_of_torch_is_refused_beside_constraints() -> None:
    model = models.Sequential([layers.Input((3,)), layers.Dense(1, kernel_constraint="non_neg")])
    with pytest.raises(TypeError, match="optimizer: expected one that applies constraints"):
        model.compile(torch.optim.SGD(model.parameters(), 0.1), "mse")
