"""Functions of Keras' backend in scripts of tf.keras: values, arguments, and what is refused."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

import longspan as ls
from longspan import backend as K
from longspan import layers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 4)).astype(np.float32)
Y = RNG.normal(size=(2, 4, 5)).astype(np.float32)


@pytest.mark.parametrize("place", ["keras.backend", "keras._tf_keras.keras.backend"])
def test_every_name_is_here_or_absent_with_a_way_out(place: str) -> None:
    names = [name for name in dir(import_module(place)) if not name.startswith("_")]
    assert len(names) > 10
    missing = [name for name in names if name not in K.INSTEAD and name not in vars(K)]
    assert missing == []


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (lambda: K.mean(X, axis=-1, keepdims=True), X.mean(-1, keepdims=True)),
        (lambda: K.sqrt([-1.0, 4.0]), [0.0, 2.0]),
        (lambda: K.pow(X, 2), X**2),
        (lambda: K.clip(X, -0.5, 0.5), X.clip(-0.5, 0.5)),
        (lambda: K.argmax(X), X.argmax(-1)),
        (lambda: K.argmin(X), X.argmin(-1)),
        (lambda: K.cumsum(X), X.cumsum(0)),
        (lambda: K.cumprod(X, axis=1), X.cumprod(1)),
        (lambda: K.dot(X, Y[0]), X @ Y[0]),
        (lambda: K.batch_dot(X, Y), X @ Y),
        (lambda: K.batch_dot(X, X, axes=2), X @ X.swapaxes(1, 2)),
        (lambda: K.batch_dot(X, X, axes=(1, 1)), X.swapaxes(1, 2) @ X),
        (lambda: K.batch_dot(X, Y[:, :, 0], axes=(2, 1)), np.einsum("bij,bj->bi", X, Y[:, :, 0])),
        (lambda: K.batch_dot(X[:, 0], Y[:, :, 0]), (X[:, 0] * Y[:, :, 0]).sum(-1, keepdims=True)),
        (lambda: K.concatenate([X, X]), np.concatenate([X, X], -1)),
        (lambda: K.expand_dims(X), X[..., None]),
        (lambda: K.flatten(X), X.ravel()),
        (lambda: K.batch_flatten(X), X.reshape(2, 12)),
        (lambda: K.permute_dimensions(X, (0, 2, 1)), X.swapaxes(1, 2)),
        (lambda: K.repeat(X[:, 0], 3), np.repeat(X[:, :1], 3, 1)),
        (lambda: K.repeat_elements(X, 2, axis=1), np.repeat(X, 2, 1)),
        (lambda: K.reverse(X, 1), X[:, ::-1]),
        (lambda: K.gather(X, [1, 0]), X[::-1]),
        (lambda: K.temporal_padding(X, (1, 2)), np.pad(X, ((0, 0), (1, 2), (0, 0)))),
        (lambda: K.l2_normalize(X, axis=-1), X / np.linalg.norm(X, axis=-1, keepdims=True)),
        (lambda: K.relu(X, alpha=0.1, max_value=1.0), np.where(X > 0, X, 0.1 * X).clip(max=1.0)),
        (lambda: K.bias_add(X, X[0, 0]), X + X[0, 0]),
        (lambda: K.switch(X > 0, X, K.zeros_like(X)), X.clip(min=0)),
        (lambda: K.switch(X[:, 0, 0] > 0, lambda: X, lambda: -X), np.where(X[:, :1, :1] > 0, X, -X)),
        (lambda: K.switch(True, X, -X), X),
        (lambda: K.constant(2.0, shape=(2, 2)), np.full((2, 2), 2.0)),
        (lambda: K.eye(3), np.eye(3)),
        (lambda: K.arange(3), [0, 1, 2]),
        (lambda: K.map_fn(lambda row: row * 2, X, dtype="float64"), X * 2),
        (lambda: K.in_top_k([[0.1, 0.9]], [1], 1), [True]),
        (lambda: K.batch_normalization(X, X[0, 0], X[0, 0] ** 2, 1.0 + X[0, 1], X[0, 2]),
         (X - X[0, 0]) / np.sqrt(X[0, 0] ** 2 + 1e-3) * X[0, 2] + 1.0 + X[0, 1]),
    ],
)  # fmt: skip
def test_values(result: Any, expected: Any) -> None:
    np.testing.assert_allclose(result(), expected, rtol=1e-5, atol=1e-5)


def test_variables() -> None:
    weight = K.variable([1.0, 2.0])
    K.set_value(weight, np.array([3.0, 4.0]))
    np.testing.assert_array_equal(K.get_value(weight), [3.0, 4.0])
    K.update_add(weight, 1.0)
    K.update_sub(weight, [1.0, 2.0])
    K.moving_average_update(weight, [0.0, 0.0], 0.5)
    assert K.batch_get_value([weight])[0].tolist() == [1.5, 1.5]
    K.batch_set_value([(weight, [0.0, 1.0])])
    assert K.eval(weight).tolist() == [0.0, 1.0]
    layer = layers.Dense(2)
    layer(torch.ones(1, 3))
    K.set_value(layer.weights[1], [1.0, 2.0])
    assert layer.get_weights()[1].tolist() == [1.0, 2.0]


def test_the_learning_rate_is_read_and_set() -> None:
    model = ls.Sequential([layers.Input(shape=(3,)), layers.Dense(1)])
    model.compile(optimizer="adam", loss="mse")
    assert K.get_value(model.optimizer.lr) == pytest.approx(0.001)
    K.set_value(model.optimizer.lr, 0.5)
    assert float(model.optimizer.learning_rate) == 0.5
    model.optimizer.learning_rate.assign(0.25)
    assert model.optimizer.learning_rate.numpy() == 0.25
    model.optimizer.lr = 0.125
    assert model.optimizer.learning_rate == 0.125
    with pytest.raises(TypeError, match=r"x: expected a tensor, .*, received float; set it as an attribute"):
        K.set_value(0.5, 1.0)


def test_a_loss_written_with_the_backend() -> None:
    def loss(y_true: Any, y_pred: Any) -> Any:
        return -K.mean(y_true * K.log(K.clip(y_pred, K.epsilon(), 1.0 - K.epsilon())), axis=-1)

    model = ls.Sequential([layers.Input(shape=(3,)), layers.Dense(2, activation="softmax")])
    model.compile(optimizer="adam", loss=loss)
    x, y = X[:, :, :1].repeat(4, 0)[..., 0], np.eye(2)[[0, 1] * 4]
    losses = model.fit(x, y, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_symbolic_tensors() -> None:
    inputs = layers.Input(shape=(3, 4))
    assert K.is_keras_tensor(inputs) and not K.is_keras_tensor(torch.ones(1))
    assert K.int_shape(inputs) == K.shape(inputs) == (None, 3, 4)
    pooled = layers.Lambda(lambda x: K.mean(x, axis=1))(inputs)
    model = ls.Model(inputs, [pooled, K.batch_flatten(inputs), K.switch(K.greater(inputs, 0), inputs, 0.0)])
    first, second, third = model.predict(X, verbose=0)
    np.testing.assert_allclose(first, X.mean(1), rtol=1e-5)
    np.testing.assert_array_equal(second, X.reshape(2, 12))
    np.testing.assert_array_equal(third, X.clip(min=0))


def test_dtypes_and_settings() -> None:
    assert (K.floatx(), K.image_data_format(), K.backend()) == ("float32", "channels_last", "torch")
    assert K.result_type("int32", "float16") == "float16"
    assert K.standardize_dtype(None) == K.standardize_dtype(np.float32) == "float32"
    assert K.is_float_dtype("bfloat16") and K.is_int_dtype("uint8") and not K.is_int_dtype("bool")
    assert K.cast_to_floatx([1, 2]).dtype == np.float32
    assert K.count_params(X) == 24
    try:
        K.set_floatx("float64")
        assert K.variable(1).dtype == K.zeros((2,)).dtype == torch.float64
    finally:
        K.set_floatx("float32")
    for call, expected in (
        (lambda: K.set_floatx("float16"), r"for half precision call fit\(precision='bf16-mixed'\)"),
        (lambda: K.set_image_data_format("first"), "data_format: expected one of 'channels_last'"),
        (lambda: K.bias_add(X, X, "channels_first"), "move the channels to the last dimension"),
        (lambda: K.variable(1.0, constraint=abs), "constraint: expected None"),  # pyright: ignore
    ):
        with pytest.raises(ValueError, match=expected):
            call()


def test_floatx_is_the_dtype_of_models() -> None:
    class Scale(layers.Layer):
        def build(self, input_shape: Any) -> None:
            self.factor = self.add_weight(shape=(input_shape[-1],), initializer="ones")

        def call(self, inputs: Any) -> Any:
            return inputs * self.factor

    third = np.full((2, 3, 1), 1 / 3)
    try:
        K.set_floatx("float64")
        inputs = layers.Input(shape=(3, 1))
        model = ls.Model(inputs, layers.Dense(1, kernel_initializer="ones")(Scale()(inputs)))
        model.compile(optimizer="sgd", loss="mse")
        assert (model.predict(third, verbose=0) == third).all() and (
            model(third).detach().numpy() == third
        ).all()
        assert model.evaluate(third, third, verbose=0) == 0.0
        model.fit(third, third + 1.0, verbose=0)
        assert model.get_weights()[0].dtype == np.float64
    finally:
        K.set_floatx("float32")


def test_random_numbers() -> None:
    assert torch.equal(K.random_normal((3, 2), seed=1), K.random_normal((3, 2), seed=1))
    assert 4.0 < K.random_normal((9999,), mean=5.0, stddev=2.0).mean() < 6.0
    drawn = K.random_uniform((9999,), minval=-1.0, maxval=3.0)
    assert -1.0 <= drawn.min() < -0.9 and 2.9 < drawn.max() <= 3.0
    assert 0.2 < K.random_bernoulli((9999,), p=0.25).mean() < 0.3
    kept = K.dropout(torch.ones(100, 100), 0.5, noise_shape=(100, 1))
    assert set(kept.unique().tolist()) == {0.0, 2.0} and (kept == kept[:, :1]).all()


@pytest.mark.parametrize(
    ("name", "way_out"),
    [("gradients", r"torch\.autograd\.grad"), ("learning_phase", "training argument"), ("meen", "'mean'")],
)
def test_refused(name: str, way_out: str) -> None:
    with pytest.raises(AttributeError, match=way_out):
        getattr(K, name)
