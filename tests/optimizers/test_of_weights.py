"""Optimizers that tell weights apart by their names, and what optimizers do in a loop of one's own."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from longspan import callbacks, layers, models, optimizers
from longspan.optimizers import SGD, Adam, MultiOptimizer, Muon, OptimizerMap, ScheduleFreeAdamW, schedules
from longspan.variables import Variable, name_scope


def two_layers(optimizer: Any) -> models.Sequential:
    """A model of ones: the layers first and second."""
    model = models.Sequential(
        [layers.Dense(2, kernel_initializer="ones", use_bias=False, name="first", input_shape=(1,)),
         layers.Dense(1, kernel_initializer="ones", use_bias=False, name="second")]
    )  # fmt: skip
    model.compile(optimizer, "mse")
    return model


def fitted(model: models.Sequential, epochs: int = 1) -> list[np.ndarray]:
    """The weights after so many steps towards 0."""
    model.fit(np.ones((1, 1)), np.zeros((1, 1)), epochs=epochs, verbose=0)
    return model.get_weights()


def test_weights_have_optimizers_by_their_names() -> None:
    choice = OptimizerMap(SGD(0.0), {"first/.*": SGD(1e-3), "second/kernel": SGD(1e-2)})
    optimizer = MultiOptimizer(choice)
    first, second = fitted(two_layers(optimizer))
    np.testing.assert_allclose(first, 1.0 - 1e-3 * 4.0, rtol=1e-6)
    np.testing.assert_allclose(second, 1.0 - 1e-2 * 4.0, rtol=1e-6)
    assert optimizer.iterations == 1 and [part.iterations for part in optimizer.optimizers] == [1, 1, 0]
    with pytest.raises(AttributeError, match="learning_rate: "):
        _ = optimizer.learning_rate


def test_several_optimizers_are_saved_with_their_states(tmp_path: Path) -> None:
    model = two_layers(MultiOptimizer(OptimizerMap(Adam(0.1), {"first/.*": SGD(0.1, momentum=0.9)})))
    fitted(model, epochs=3)
    model.save(tmp_path / "model")
    again = models.load_model(tmp_path / "model")
    twin = copy.deepcopy(model)
    expected = fitted(model, epochs=2)
    for other in (again, twin):
        for ours, theirs in zip(fitted(other, epochs=2), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert type(again.optimizer_config.optimizer_map["first/kernel"]) is SGD
    values = [value.clone() for value in model.optimizer.variables]
    model.optimizer.set_weights(values)
    assert [value.tolist() for value in model.optimizer.variables] == [value.tolist() for value in values]


def test_a_function_chooses_optimizers() -> None:
    by_name = {"first": SGD(0.5), "second": SGD(0.1)}
    optimizer = MultiOptimizer(lambda weight: by_name[weight.path.split("/")[0]])
    with name_scope("first"):
        one = Variable([1.0], name="kernel")
    with name_scope("second"):
        other = Variable([1.0], name="kernel")
    assert (one.path, other.path) == ("first/kernel", "second/kernel")
    optimizer.apply([[1.0], [1.0]], [one, other])
    assert one.tolist() == [0.5] and other.tolist() == pytest.approx([0.9])
    with pytest.raises(ValueError, match="functions are not saved"):
        optimizers.serialize(optimizer)


def test_the_keys_of_a_map() -> None:
    choice = OptimizerMap(SGD(), {"a/.*": Adam(), ".*/kernel": Adam()})
    assert choice["a/bias"].name == "adam" and choice["b"].name == "SGD" and len(choice) == 2
    del choice[".*/kernel"]
    choice[".*/k"] = Adam()
    with pytest.raises(ValueError, match=r"one pattern for a/k, received a/\.\*, \.\*/k"):
        _ = choice["a/k"]
    for key, optimizer in (("a/.*", SGD()), (3, SGD()), ("b", "sgd"), ("b", MultiOptimizer(choice))):
        with pytest.raises((ValueError, TypeError)):
            choice[key] = optimizer  # pyright: ignore
    with pytest.raises(TypeError, match="default_optimizer"):
        OptimizerMap("sgd")  # pyright: ignore
    with pytest.raises(TypeError, match="optimizer_map"):
        MultiOptimizer(SGD())  # pyright: ignore


def test_muon_leaves_embeddings_vectors_and_named_layers_to_adam(tmp_path: Path) -> None:
    model = models.Sequential(
        [
            layers.Embedding(4, 3, input_length=2),
            layers.Flatten(),
            layers.Dense(3),
            layers.Dense(2, name="last"),
        ]
    )
    model.compile(Muon(0.1, exclude_layers=["last"]), "mse")
    model.fit(np.array([[0, 1], [2, 3]]), np.ones((2, 2)), verbose=0)
    states = {id(param): set(state) for param, state in model.optimizer.state.items()}
    kinds = [
        {"velocity" in states[id(tensor)] for tensor in weight.tensors()} for weight in model.keras_weights()
    ]
    assert kinds == [{True}, {False}, {True}, {True}, {True}]
    model.save(tmp_path / "model")
    assert models.load_model(tmp_path / "model").optimizer_config.exclude_layers == ["last"]


def test_a_matrix_becomes_about_orthogonal() -> None:
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    for matrix in (x, x.mT):
        values = torch.linalg.svdvals(Muon().zeropower_via_newtonschulz5(matrix, 5))
        assert ((values > 0.6) & (values < 1.3)).all()
    assert Muon(rms_rate=0.2).lr_adjust(torch.ones(4, 2)).flatten().tolist() == pytest.approx([0.4] * 8)


def test_schedule_free_steps_are_those_of_the_paper() -> None:
    start, grads = np.array([1.0, -2.0]), np.random.default_rng(0).normal(size=(5, 2))
    weight, config = Variable(start, dtype="float64"), ScheduleFreeAdamW(0.1, warmup_steps=3, epsilon=1e-4)
    z, x, v = start.copy(), start.copy(), np.zeros(2)
    for t, grad in enumerate(grads, 1):
        config.apply([torch.tensor(grad)], [weight])
        v = 0.999 * v + 0.001 * grad**2
        z = z - 0.1 * min(t / 3, 1.0) * grad / (np.sqrt(v / (1.0 - 0.999**t)) + 1e-4)
        x = (1.0 - 1.0 / t) * x + z / t
        np.testing.assert_allclose(weight.numpy(), 0.1 * z + 0.9 * x, rtol=1e-12)


def test_weights_of_an_optimizer_are_set() -> None:
    x, grad = Variable([[1.0, 2.0]]), [[1.0, 3.0]]
    for first, second in ((Adam(0.5), Adam()), (optimizers.RMSprop(), optimizers.RMSprop(momentum=0.0))):
        first.apply([grad], [x])
        with pytest.raises(ValueError, match="set_weights: expected an optimizer with variables"):
            second.set_weights(first.variables)
        twin = Variable(x.numpy())
        second.build([twin])
        second.set_weights(first.variables)
        assert twin.tolist() == x.tolist() and second.iterations == 1
        for _ in range(2):
            first.apply([grad], [x])
            second.apply([grad], [twin])
        assert twin.tolist() == x.tolist()
        with pytest.raises(ValueError, match="weights: expected"):
            second.set_weights(first.variables[:-1])


def test_the_loss_is_scaled_and_the_gradients_are_scaled_back() -> None:
    weight, optimizer = Variable([1.0]), SGD(0.5, loss_scale_factor=4.0)
    assert optimizer.scale_loss(2.0) == 8.0 and SGD().scale_loss(2.0) == 2.0
    optimizer.apply([[4.0]], [weight])
    assert weight.tolist() == [0.5]
    assert optimizers.get(optimizers.serialize(optimizer)).loss_scale_factor == 4.0
    plain, scaled = fitted(two_layers(SGD(0.1))), fitted(two_layers(SGD(0.1, loss_scale_factor=4.0)))
    assert all(np.array_equal(a, b) for a, b in zip(plain, scaled, strict=True))


def test_the_learning_rate_of_a_built_optimizer_is_set_and_a_schedule_takes_its_place() -> None:
    weight, optimizer = Variable([1.0]), SGD(0.5)
    assert len(optimizer.variables) == 2
    optimizer.apply([[1.0]], [weight])
    optimizer.learning_rate = 0.25
    optimizer.apply([[1.0]], [weight])
    assert weight.tolist() == [0.25]
    optimizer.learning_rate = schedules.PiecewiseConstantDecay([100], [0.125, 0.0])
    assert len(optimizer.variables) == 1
    optimizer.apply([[1.0]], [weight])
    assert weight.tolist() == [0.125]


def test_one_update_of_one_variable() -> None:
    weight, optimizer = Variable([1.0, 2.0]), SGD(1.0, weight_decay=0.5)
    with pytest.raises(ValueError, match=r"variable: .*build"):
        optimizer.update_step([1.0, 1.0], weight, 0.5)
    optimizer.build([weight])
    optimizer.update_step([1.0, 1.0], weight, 0.5)
    assert weight.tolist() == [0.5, 1.5] and optimizer.iterations == 0
    muon = Muon()
    muon.build([weight])
    muon.update_step([1.0, 2.0], weight, 0.5)
    assert weight.tolist() == pytest.approx([0.0, 1.0], abs=1e-5)


def test_none_is_no_optimizer_and_adamw_decays() -> None:
    assert optimizers.get(None) is None
    with pytest.raises(TypeError, match="weight_decay: expected a number"):
        optimizers.AdamW(weight_decay=None)  # pyright: ignore


def test_names_leave_the_weights_of_a_model_out_of_weight_decay() -> None:
    optimizer = SGD(1.0, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["second"])
    first, second = fitted(two_layers(optimizer))
    np.testing.assert_allclose(first, 0.5 - 4.0)
    np.testing.assert_allclose(second, 1.0 - 4.0)
    assert math.isclose(second[0, 0], -3.0)


def test_functions_of_numpy_take_variables() -> None:
    weight = Variable([3.0, 1.0])
    before = weight.numpy()
    weight.assign([5.0, 4.0])
    assert np.min(weight) == 4.0 and np.concatenate([weight, [1.0]]).tolist() == [5.0, 4.0, 1.0]
    assert before.tolist() == [3.0, 1.0]  # a copy


def test_callbacks_change_the_rate_of_every_optimizer() -> None:
    parts = [SGD(0.1), SGD(0.01)]
    model = two_layers(MultiOptimizer(OptimizerMap(parts[0], {"second/.*": parts[1]})))
    halved = callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5)
    history = model.fit(np.ones((1, 1)), np.zeros((1, 1)), callbacks=[halved], verbose=0).history
    assert [float(part.learning_rate) for part in model.optimizer.optimizers] == [0.005, 0.05]
    assert history["learning_rate"] == [0.005]
    reduced = callbacks.ReduceLROnPlateau("loss", factor=0.1, patience=1, min_delta=1e9)
    model.fit(np.ones((1, 1)), np.zeros((1, 1)), epochs=2, callbacks=[reduced], verbose=0)
    assert [float(part.learning_rate) for part in model.optimizer.optimizers] == [0.0005, 0.005]


def test_callbacks_change_the_rate_of_an_optimizer_without_variables() -> None:
    parts = [SGD(0.1), SGD(0.01)]
    model = models.Sequential([layers.Dense(1)])
    model.compile(MultiOptimizer(OptimizerMap(parts[0], {"other/.*": parts[1]})), "mse")
    halved = callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5)
    halved.set_model(model)
    halved.on_epoch_begin(0)
    assert [part.learning_rate for part in parts] == [0.05, 0.005]
