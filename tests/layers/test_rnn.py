"""Cells run one step, and by RNN whole sequences, cells of one's own too, with Keras' numbers."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

from longspan import layers, models
from longspan.layers.config import from_config, to_config

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's

pytestmark = pytest.mark.filterwarnings("ignore")  # of Keras itself

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 6, 4)).astype("float32")
MASK = np.array([[1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 1]], bool)


def leaky(space: Any, units: int = 5) -> Any:
    """A cell of one's own with two states."""

    class Leaky(space.layers.Layer):
        def __init__(self, units: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.units, self.state_size, self.output_size = units, [units, units], units

        def build(self, input_shape: Any) -> None:
            self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")
            self.recurrent = self.add_weight(shape=(self.units, self.units), name="recurrent")

        def call(self, inputs: Any, states: Any) -> Any:
            h, slow = states
            h = space.ops.tanh(space.ops.matmul(inputs, self.kernel) + space.ops.matmul(h, self.recurrent))
            slow = 0.9 * slow + 0.1 * h
            return h + slow, [h, slow]

        def get_config(self) -> Any:
            return {**super().get_config(), "units": self.units}

    return Leaky(units)


class _Ours:
    layers = layers
    ops = import_module("longspan.ops")


@pytest.mark.parametrize("name", ["LSTMCell", "GRUCell", "SimpleRNNCell"])
def test_one_step_equals_keras(name: str) -> None:
    mine, theirs = getattr(layers, name)(5), getattr(keras.layers, name)(5)
    states = [RNG.normal(size=(3, 5)).astype("float32") for _ in range(2 if name == "LSTMCell" else 1)]
    results = []
    for cell in (mine, theirs):
        cell(X[:, 0], [torch.tensor(state) for state in states])
    mine.set_weights(theirs.get_weights())
    for cell in (mine, theirs):
        results.append(cell(X[:, 0], [torch.tensor(state) for state in states]))
    for a, b in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(results[0][0], results[1][0])
    assert mine.state_size == theirs.state_size and isinstance(results[0][1], list)


def test_the_cell_of_an_rnn_holds_its_weights() -> None:
    cell = layers.LSTMCell(5)
    layer = layers.RNN(cell, return_sequences=True)
    out = layer(X)
    h, states = cell(X[:, 0], cell.get_initial_state(3))
    torch.testing.assert_close(out[:, 0], h)
    h, _ = cell(X[:, 1], states)
    torch.testing.assert_close(out[:, 1], h)
    assert [w.shape for w in cell.get_weights()] == [w.shape for w in layer.get_weights()]
    assert layer.cell is cell and layer.state_size == [5, 5]


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize(
    "options",
    [{}, {"return_sequences": True}, {"return_sequences": True, "return_state": True}, {"go_backwards": True},
     {"return_sequences": True, "zero_output_for_mask": True}],
)  # fmt: skip
def test_a_cell_of_ones_own_equals_keras(options: dict[str, Any], mask: np.ndarray | None) -> None:
    mine, theirs = layers.RNN(leaky(_Ours), **options), keras.layers.RNN(leaky(keras), **options)
    theirs(X)
    mine(X)
    mine.set_weights(theirs.get_weights())
    shown = None if mask is None else torch.tensor(mask)
    results = mine(X, mask=shown), theirs(X, mask=shown)
    pairs = zip(*[r if isinstance(r, (tuple, list)) else [r] for r in results], strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b)
    shapes = mine.compute_output_shape((None, 6, 4))
    assert shapes == theirs.compute_output_shape((None, 6, 4)) or list(shapes) == list(
        theirs.compute_output_shape((None, 6, 4))
    )


def test_a_stack_with_a_cell_of_ones_own_learns_and_is_copied() -> None:
    model = models.Sequential(
        [layers.Input((6, 4)), layers.RNN([layers.GRUCell(3), leaky(_Ours)]), layers.Dense(1)]
    )
    model.compile("adam", "mse")
    history = model.fit(X, X[:, 0, :1], epochs=30, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    layer: Any = model.layers[0]
    kind = type(layer.parts[1].cell)
    again = from_config(to_config(layer), {"Leaky": kind})
    again.build((None, 6, 4))
    again.set_weights(layer.get_weights())
    torch.testing.assert_close(again(X), layer(X))
    assert "a loop over the steps runs Leaky" in layer.explain(X)


def test_refusals() -> None:
    with pytest.raises(TypeError, match="cell: expected a cell, received"):
        layers.RNN(layers.Dense(3))


def test_a_cell_with_weights_shares_them_with_every_rnn() -> None:
    cell = layers.LSTMCell(3)
    first = layers.RNN(cell)
    first(X)
    second = layers.RNN(cell, return_sequences=True)
    torch.testing.assert_close(second(X)[:, -1], first(X))
    weights: Any = [layer.parts[0].core for layer in (first, second)]
    weights[1].weight_ih_l0.data.zero_()
    assert not weights[0].weight_ih_l0.any()


def test_states_of_another_batch_size_are_refused() -> None:
    class Last(layers.Layer):
        state_size = 3

        def call(self, inputs: Any, states: Any) -> Any:
            return inputs, [inputs]

    layer = layers.RNN(Last(), stateful=True)
    layer(torch.zeros(4, 2, 3))
    with pytest.raises(ValueError, match="expected 4 rows, the batch size of its states"):
        layer(torch.zeros(1, 2, 3))
