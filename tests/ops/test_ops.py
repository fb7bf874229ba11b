"""ops on symbolic tensors, in own losses and layers, with gradients; control flow; what is refused."""

from __future__ import annotations

import copy
import pickle
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import longspan as ls
from longspan import config, layers, ops

keras: Any = import_module("keras")
X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)

# Functions of one symbolic tensor (None, 5, 3), each with the shape of its result.
SYMBOLIC: list[tuple[Any, tuple[int | None, ...]]] = [
    (lambda x: ops.mean(x, axis=1), (None, 3)),
    (lambda x: ops.sum(ops.square(x), axis=(1, 2), keepdims=True), (None, 1, 1)),
    (lambda x: ops.concatenate([x, ops.tanh(x)], axis=-1), (None, 5, 6)),
    (lambda x: ops.reshape(x, (-1, 15)), (None, 15)),
    (lambda x: ops.reshape(x, (ops.shape(x)[0], -1)), (None, 15)),
    (lambda x: ops.expand_dims(x, axis=1), (None, 1, 5, 3)),
    (lambda x: ops.transpose(x, (0, 2, 1)), (None, 3, 5)),
    (lambda x: ops.where(x > 0 if isinstance(x, Tensor) else ops.greater(x, 0), x, 0.0), (None, 5, 3)),
    (lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1))), (None, 5, 5)),
    (lambda x: ops.softmax(ops.multiply(x, 2.0), axis=1), (None, 5, 3)),
    (lambda x: ops.stack(ops.unstack(x, axis=1)[:2], axis=1), (None, 2, 3)),
    (lambda x: ops.one_hot(ops.argmax(x, axis=-1), 3), (None, 5, 3)),
    (lambda x: ops.top_k(x, 2)[0], (None, 5, 2)),
    (lambda x: ops.cast(ops.maximum(x, 0.0), "float32") + ops.zeros_like(x), (None, 5, 3)),
]


@pytest.mark.parametrize("number", range(len(SYMBOLIC)))
def test_a_function_on_symbolic_tensors_is_a_layer(number: int) -> None:
    function, shape = SYMBOLIC[number]
    inputs = layers.Input(shape=(5, 3))
    outputs = function(inputs)
    assert outputs.shape == shape
    model = ls.Model(inputs, outputs)
    torch.testing.assert_close(model(torch.as_tensor(X)), function(torch.as_tensor(X)))


def test_a_model_of_functions_is_saved_and_loaded(tmp_path: Any) -> None:
    inputs = layers.Input(shape=(5, 3))
    hidden = ops.relu(layers.Dense(4)(inputs))
    model = ls.Model(inputs, layers.Dense(1)(ops.max(hidden, axis=1, keepdims=False)))
    model.save(tmp_path / "model.keras")
    again = ls.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))


def test_every_function_is_pickled_by_its_place() -> None:
    for name, function in ops.FUNCTIONS.items():
        assert pickle.loads(pickle.dumps(function)) is getattr(ops, name) is function


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_file_of_keras_with_its_operations(tmp_path: Any) -> None:
    inputs = keras.Input((5, 3))
    x = keras.ops.gelu(keras.layers.Dense(3)(inputs), approximate=False)
    x = keras.ops.mean(keras.ops.square(x), axis=1)
    x = keras.ops.concatenate([x, keras.ops.max(inputs, axis=1)], axis=-1)
    x = keras.ops.layer_normalization(keras.ops.expand_dims(x, 1))
    x = keras.ops.where(keras.ops.greater(x, 0.0), x, 0.1) * 2.0
    x = keras.ops.transpose(keras.ops.reshape(keras.ops.cast(x, "float32"), (-1, 2, 3)), (0, 2, 1))
    theirs = keras.Model(inputs, keras.ops.softmax(keras.ops.clip(x, -1.0, 1.0), axis=1))
    theirs.compile(optimizer="adam", loss="mse")
    theirs.save(tmp_path / "theirs.keras")
    model = ls.models.load_model(tmp_path / "theirs.keras")
    output = model.predict(X, verbose=0)
    np.testing.assert_allclose(output, theirs.predict(X, verbose=0), rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "mine.keras")
    for copied in (
        ls.models.load_model(tmp_path / "mine.keras"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    ):  # fmt: skip
        np.testing.assert_array_equal(copied.predict(X, verbose=0), output)


def test_own_loss_metric_and_layer() -> None:
    def loss(y_true: Tensor, y_pred: Tensor) -> Tensor:
        return ops.mean(ops.square(y_true - y_pred), axis=-1)

    class Centred(layers.Layer):
        def call(self, inputs: Tensor) -> Tensor:
            return inputs - ops.mean(inputs, axis=1, keepdims=True)

    ls.utils.set_random_seed(0)
    model = ls.Sequential([layers.Input(shape=(5, 3)), Centred(), layers.Flatten(), layers.Dense(1)])
    model.compile(optimizer="adam", loss=loss, metrics=[lambda a, b: ops.max(ops.abs(a - b))])
    losses = model.fit(X, X[:, 0, :1], epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ops.sum(ops.logsumexp(x, axis=(0, 1))),
        lambda x: ops.mean(ops.power(ops.abs(x), 1.5)),
        lambda x: ops.sum(ops.norm(x, axis=-1)),
        lambda x: ops.sum(ops.take(x, [0, 2, -1], axis=1) ** 2),
        lambda x: ops.sum(ops.slice_update(x, [0, 1, 0], ops.zeros((1, 1, 3))) ** 2),
        lambda x: ops.var(ops.pad(x, ((0, 0), (1, 1), (0, 0)), mode="reflect")),
        lambda x: ops.sum(ops.sparse_categorical_crossentropy(np.zeros((4, 5)), x, from_logits=True)),
        lambda x: ops.sum(ops.clip(x, -0.5, 0.5) * ops.segment_sum(x, [0, 1, 1, 0])[0]),
        lambda x: ops.sum(ops.squareplus(ops.einsum("bti,bsi->bts", x, x))),
    ],
)
def test_gradients_flow(function: Any) -> None:
    x = torch.as_tensor(X, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(function, (x,), eps=1e-6, atol=1e-5, fast_mode=True)


def test_numbers_take_the_dtype_of_tensors() -> None:
    assert ops.add(torch.ones(2, dtype=torch.float16), 0.5).dtype == torch.float16
    assert ops.multiply(torch.ones(2, dtype=torch.float64), 0.1)[0].item() == 0.1
    assert ops.add(np.ones(2, np.int32), 0.5).dtype == torch.float32
    assert ops.convert_to_tensor([1, 2]).dtype == torch.int32
    assert ops.convert_to_tensor([2**40]).dtype == torch.int64
    assert ops.convert_to_tensor([[1.0], [2]]).dtype == torch.float32
    assert ops.dtype(ops.cast(X, "bfloat16")) == "bfloat16"
    with pytest.raises(ValueError, match=r"dtype: expected one of .* the nearest is 'float32'"):
        ops.cast(X, "float23")


def test_control_flow() -> None:
    assert float(ops.cond(ops.array(True), lambda: 1.0, lambda: 2.0)) == 1.0
    assert ops.switch(5, [lambda x: x, lambda x: -x], 3) == -3
    assert int(ops.while_loop(lambda i: i < 5, lambda i: i + 2, 0)) == 6
    i, total = ops.while_loop(lambda i, s: i < 9, lambda i, s: (i + 1, s + i), (0, 0.0), maximum_iterations=4)
    assert (int(i), float(total)) == (4, 6.0)
    assert int(ops.fori_loop(1, 4, lambda i, value: value * i, 1)) == 6
    torch.testing.assert_close(ops.map(lambda row: row * 2, X), torch.as_tensor(2 * X))
    torch.testing.assert_close(ops.vectorized_map(lambda row: row.sum(), X), torch.as_tensor(X).sum((1, 2)))
    for options in ({}, {"reverse": True}):
        mine = ops.scan(lambda s, x: (s + x, s * x), torch.zeros(5, 3), X, **options)
        theirs = keras.ops.scan(lambda s, x: (s + x, s * x), torch.zeros(5, 3), torch.as_tensor(X), **options)
        torch.testing.assert_close(mine[0], theirs[0])
        torch.testing.assert_close(mine[1], theirs[1])
    assert ops.scan(lambda s, _: (s + 1, s), 0, length=3)[1].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="length: expected a whole number without xs"):
        ops.scan(lambda s, _: (s, s), 0)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_functions_without_one_right_answer() -> None:
    square = X[0, :3].T @ X[0, :3] + np.eye(3, dtype=np.float32)
    u, s, v = ops.svd(X[0])
    np.testing.assert_allclose(u[:, :3] @ torch.diag(s) @ v, X[0], atol=1e-5)
    values, vectors = ops.eig(square)
    np.testing.assert_allclose(square @ vectors.real.numpy(), (vectors * values).real, atol=1e-4)
    places = ops.argpartition(X[0, :, 0], 2)
    assert X[0, places[2], 0] == np.sort(X[0, :, 0])[2]
    assert ops.empty((2, 3)).shape == ops.empty_like(X[0, :2]).shape == (2, 3)
    value, slope = ops.jvp(torch.square, (X,), (2.0 * np.ones_like(X),))
    np.testing.assert_allclose(value, X**2)
    np.testing.assert_allclose(slope, 4 * X)
    values, first, inverse = ops.unique([3, 1, 3], return_index=True, return_inverse=True)
    assert (values.tolist(), first.tolist(), inverse.tolist()) == ([1, 3], [1, 0], [1, 0, 1])
    assert ops.one_hot([5, -1], 3).sum() == 0
    assert ops.cross([1.0, 0.0], [0.0, 1.0]).item() == 1.0


def test_epsilon_acts() -> None:
    zeros = torch.zeros(1, 2)
    one_hot = torch.tensor([[1.0, 0.0]])
    off = torch.tensor([[0.0, 1.0]])
    assert ops.binary_crossentropy(one_hot, zeros)[0, 0].item() == pytest.approx(16.118, abs=1e-3)
    try:
        config.set_epsilon(1e-3)
        assert ops.binary_crossentropy(one_hot, zeros)[0, 0].item() == pytest.approx(6.9078, abs=1e-3)
        assert ls.losses.binary_crossentropy(one_hot, zeros).item() == pytest.approx(3.4544, abs=1e-3)
        assert ls.losses.categorical_crossentropy(one_hot, off).item() == pytest.approx(6.9078, abs=1e-3)
    finally:
        config.set_epsilon(1e-7)
    with pytest.raises(ValueError, match="value: expected a number above 0"):
        config.set_epsilon(0.0)


def test_other_places_of_the_same_functions() -> None:
    assert ops.numpy.mean is ops.mean
    assert ops.nn.relu is ops.relu and ops.nn.conv is ops.conv
    assert ops.linalg.norm is ops.norm


def test_refused() -> None:
    with pytest.raises(AttributeError, match=r"Keras' rearrange, which is not there; use ops\.reshape"):
        _ = ops.rearrange
    with pytest.raises(AttributeError, match="the nearest is 'mean'"):
        _ = ops.meen
    with pytest.raises(ValueError, match="axis: expected a dimension of a tensor of 3, received 3"):
        ops.sum(X, axis=3)
    with pytest.raises(ValueError, match=r"use array_split\."):
        ops.split(X, 3, axis=1)
    with pytest.raises(ValueError, match="sparse: expected False"):
        ops.one_hot([1], 2, sparse=True)
