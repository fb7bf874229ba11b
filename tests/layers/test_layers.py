"""Recurrent layers compute Keras' equations, written out here once more; what layers refuse."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import longspan as ls
from longspan import initializers, layers, regularizers
from longspan.layers.base import Layer
from longspan.layers.config import from_config, to_config

RNG = np.random.default_rng(0)
B, T, I, H = 3, 6, 4, 5
X = RNG.normal(size=(B, T, I))
MASK = np.array([[0, 1, 1, 0, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 1, 1]], bool)


@pytest.fixture(autouse=True)
def in_float64() -> Any:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def sigmoid(v: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-v))


def lstm(x: np.ndarray, s: list[np.ndarray], kernel: Any, recurrent: Any, bias: Any) -> list[np.ndarray]:
    h, c = s
    i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, 1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def gru(x: np.ndarray, s: list[np.ndarray], kernel: Any, recurrent: Any, bias: Any) -> list[np.ndarray]:
    (h,) = s
    wide, inner = np.split(x @ kernel + bias[0], 3, 1), np.split(h @ recurrent + bias[1], 3, 1)
    z, r = sigmoid(wide[0] + inner[0]), sigmoid(wide[1] + inner[1])
    return [z * h + (1 - z) * np.tanh(wide[2] + r * inner[2])]


def gru_before(
    x: np.ndarray, s: list[np.ndarray], kernel: Any, recurrent: Any, bias: Any
) -> list[np.ndarray]:
    (h,) = s
    wide, parts = np.split(x @ kernel + bias, 3, 1), np.split(recurrent, 3, 1)
    z, r = sigmoid(wide[0] + h @ parts[0]), sigmoid(wide[1] + h @ parts[1])
    return [z * h + (1 - z) * np.tanh(wide[2] + (r * h) @ parts[2])]


def rnn(x: np.ndarray, s: list[np.ndarray], kernel: Any, recurrent: Any, bias: Any) -> list[np.ndarray]:
    return [np.tanh(x @ kernel + s[0] @ recurrent + bias)]


STEPS: dict[str, tuple[Callable[..., list[np.ndarray]], Callable[..., Any], int]] = {
    "LSTM": (lstm, layers.LSTM, 2),
    "GRU": (gru, layers.GRU, 1),
    "GRU before": (gru_before, lambda units, **o: layers.GRU(units, reset_after=False, **o), 1),
    "SimpleRNN": (rnn, layers.SimpleRNN, 1),
}


def unrolled(
    step: Callable[..., list[np.ndarray]],
    count: int,
    weights: list[np.ndarray],
    x: np.ndarray,
    mask: np.ndarray,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Every output (B, T, H) and the last states; a hidden step repeats the output and keeps the states."""
    states = [np.zeros((B, H)) for _ in range(count)]
    outs = []
    for t in range(x.shape[1]):
        new = step(x[:, t], states, *weights)
        states = [np.where(mask[:, t, None], a, b) for a, b in zip(new, states, strict=True)]
        outs.append(states[0])
    return np.stack(outs, 1), states


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("name", STEPS)
def test_equations(name: str, backwards: bool, masked: bool) -> None:
    step, make, count = STEPS[name]
    layer = make(H, return_sequences=True, return_state=True, go_backwards=backwards)
    layer.build((None, T, I))
    weights = [RNG.normal(scale=0.5, size=w.shape) for w in layer.get_weights()]
    layer.set_weights(weights)
    mask = MASK if masked else np.ones((B, T), bool)
    way = slice(None, None, -1 if backwards else 1)
    expected, states = unrolled(step, count, weights, X[:, way], mask[:, way])
    out, *found = layer(torch.as_tensor(X), torch.as_tensor(mask) if masked else None)
    np.testing.assert_allclose(out.detach(), expected, atol=1e-12)
    for a, b in zip(found, states, strict=True):
        np.testing.assert_allclose(a.detach(), b, atol=1e-12)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("merge", ["concat", "ave", None])
def test_two_ways_are_two_layers(name: str, merge: str | None) -> None:
    """One call of two directions gives what two layers give, one of them reading backwards."""
    _, make, _ = STEPS[name]
    both = layers.Bidirectional(make(H, return_sequences=True), merge_mode=merge)
    x, mask = torch.as_tensor(X), torch.as_tensor(MASK)
    both(x)
    half = len(both.get_weights()) // 2
    ahead, back = make(H, return_sequences=True), make(H, return_sequences=True, go_backwards=True)
    for layer, weights in ((ahead, both.get_weights()[:half]), (back, both.get_weights()[half:])):
        layer.build((None, T, I))
        layer.set_weights(weights)
    hidden = ~mask.unsqueeze(2)
    y, z = (out.masked_fill(hidden, 0.0) for out in (ahead(x, mask), back(x, mask).flip(1)))
    found = both(x, mask)
    expected = {"concat": lambda: torch.cat((y, z), 2), "ave": lambda: (y + z) / 2, None: lambda: (y, z)}[
        merge
    ]()
    torch.testing.assert_close(found, expected)


def test_recurrent_dropout_is_one_mask_a_sequence() -> None:
    """With all of h dropped or kept, a GRU that drops h reads nothing of the past through R."""
    layer = layers.SimpleRNN(H, recurrent_dropout=0.5, use_bias=False, return_sequences=True)
    layer.build((None, T, I))
    kernel, recurrent = layer.get_weights()
    torch.manual_seed(0)
    out = layer.train()(torch.as_tensor(X)).detach().numpy()
    h, drops = np.zeros((B, H)), []
    for t in range(T):
        want = np.arctanh(out[:, t]) - X[:, t] @ kernel
        drops.append(np.linalg.solve(recurrent.T, want.T).T / np.where(h == 0, 1.0, h))
        h = out[:, t]
    for drop in drops[2:]:
        np.testing.assert_allclose(drop, drops[1], atol=1e-6)
    assert set(np.round(drops[1], 6).ravel()) == {0.0, 2.0}
    torch.testing.assert_close(layer.eval()(torch.as_tensor(X)), layer(torch.as_tensor(X)))


def test_stateful_goes_on() -> None:
    whole = layers.LSTM(H, return_sequences=True)
    parts = layers.LSTM(H, return_sequences=True, stateful=True)
    x = torch.as_tensor(X)
    expected = whole(x)
    parts(x[:, :1])
    parts.set_weights(whole.get_weights())
    parts.reset_states()
    found = torch.cat([parts(x[:, :2]), parts(x[:, 2:])], 1)
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match=r"expected 3 rows, received 2; .*reset_states\(\) first"):
        parts(x[:2])


def test_gradients_reach_keras_weights() -> None:
    layer = layers.GRU(H)
    layer(torch.as_tensor(X)).sum().backward()
    assert all(p.grad is not None for p in layer.parameters() if p.requires_grad)
    single = layers.LSTM(H)
    single(torch.as_tensor(X)).sum().backward()
    frozen = [name for name, p in single.named_parameters() if not p.requires_grad]
    assert frozen == ["core.bias_hh_l0"]
    single.trainable = False
    single.trainable = True
    assert [name for name, p in single.named_parameters() if not p.requires_grad] == frozen


def test_own_cells_run() -> None:
    layer = layers.RNN("peephole", units=H, return_sequences=True)
    assert layer(torch.as_tensor(X)).shape == (B, T, H)
    assert [w.shape for w in layer.get_weights()] == [(I, 4 * H), (H, 4 * H), (4 * H,), (3, H)]
    whole = ls.nn.Recurrent("peephole", I, H, batch_first=True)
    whole.load_state_dict(layer.parts[0].core.state_dict())  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close(layer(torch.as_tensor(X)), whole(torch.as_tensor(X))[0])


def test_explain_says_what_runs() -> None:
    x = torch.zeros(2, T, I)
    assert "cpu runs it" in layers.LSTM(H).explain(x)
    assert "lstm__relu__sigmoid" in layers.LSTM(H, activation="relu").explain(x)
    assert "second product in every step" in layers.GRU(H, reset_after=False).explain(x)
    assert "two directions" in layers.Bidirectional(layers.LSTM(H)).explain(x)
    assert layers.RNN([layers.LSTMCell(H), layers.GRUCell(H)]).explain(x).count("runs it") == 2


ALL: dict[str, tuple[Callable[[], Layer], tuple[int, ...]]] = {
    "LSTM": (lambda: layers.LSTM(3, dropout=0.1, kernel_regularizer=regularizers.L2(0.1)), (T, I)),
    "GRU": (lambda: layers.GRU(3, activation="relu", return_sequences=True), (T, I)),
    "Bidirectional": (lambda: layers.Bidirectional(layers.GRU(3), merge_mode="sum"), (T, I)),
    "RNN": (lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)]), (T, I)),
    "RNN of a name": (lambda: layers.RNN("cifg", units=3), (T, I)),
    "TimeDistributed": (lambda: layers.TimeDistributed(layers.Dense(3, activation="gelu")), (T, I)),
    "Embedding": (lambda: layers.Embedding(9, 3, embeddings_initializer="he_normal"), (T,)),
    "Conv1D": (lambda: layers.Conv1D(3, 2, padding="causal"), (T, I)),
    "Conv2D": (lambda: layers.Conv2D(3, (2, 3), strides=2), (6, 6, 2)),
    "ConvLSTM2D": (lambda: layers.ConvLSTM2D(3, 2, padding="same"), (4, 6, 6, 2)),
    "BatchNormalization": (lambda: layers.BatchNormalization(momentum=0.9), (T, I)),
    "LayerNormalization": (lambda: layers.LayerNormalization(center=False), (T, I)),
    "Attention": (lambda: layers.Attention(use_scale=True), (T, I)),
    "Dense": (lambda: layers.Dense(3, kernel_initializer=initializers.RandomNormal(stddev=0.1)), (I,)),
}


@pytest.mark.parametrize("name", ALL)
def test_made_again_from_config(name: str) -> None:
    make, shape = ALL[name]
    layer = make().eval()
    x = torch.as_tensor(RNG.integers(0, 9, (2, *shape)) * 1.0)
    expected = layer(x)
    again = from_config(to_config(layer)).eval()
    again.build((None, *shape))
    again.set_weights(layer.get_weights())
    torch.testing.assert_close(again(x), expected)
    assert to_config(again) == to_config(layer)
    assert layer.compute_output_shape((2, *shape)) == tuple(expected.shape)
    torch.testing.assert_close(copy.deepcopy(layer)(x), expected)
    torch.testing.assert_close(pickle.loads(pickle.dumps(layer))(x), expected)


SENTENCES: dict[str, tuple[Callable[[], Any], str]] = {
    "units": (lambda: layers.LSTM(0), "units: expected a whole number of at least 1, received 0"),
    "option": (lambda: layers.LSTM(3, actvation="relu"), "LSTM: .* received 'actvation'; .*'activation'"),  # pyright: ignore
    "missing": (lambda: layers.Dense(), "Dense: expected its arguments, received .*'units'"),  # pyright: ignore
    "activation": (
        lambda: layers.Dense(3, activation="rellu"),
        "activation: .*'rellu'; the nearest is 'relu'",
    ),
    "activation in a cell": (lambda: layers.GRU(3, activation="softmax"), "activation: .*received 'softmax'"),
    "function in a cell": (
        lambda: layers.GRU(3, activation=torch.tanh),
        "write the cell with @longspan.cell",
    ),
    "initializer": (lambda: layers.Dense(3, kernel_initializer="glorot")(X[:, 0]), "initializer: .*'glorot'"),
    "rank": (lambda: layers.LSTM(3)(torch.zeros(2, 4)), r"input of lstm.*: expected shape \(B, T, I\)"),
    "width": (lambda: built(layers.LSTM(3))(torch.zeros(2, T, 7)), r"received \(2, 6, 7\)"),
    "dense width": (lambda: built(layers.Dense(3))(torch.zeros(2, 7)), r"expected shape \(B, …, 4\)"),
    "weights": (lambda: built(layers.LSTM(3)).set_weights([1.0]), "expected 3 arrays .*received 1"),
    "weight shape": (
        lambda: built(layers.Dense(3)).set_weights([np.zeros((3, 3)), np.zeros(3)]),
        r"weight kernel of dense.*: expected shape \(4, 3\), received \(3, 3\)",
    ),
    "code": (
        lambda: layers.Embedding(5, 2)(torch.tensor([[7]])),
        "expected codes from 0 to 4, received 7 to 7",
    ),
    "merge": (lambda: layers.Bidirectional(layers.LSTM(3), merge_mode="add"), "merge_mode: .*received 'add'"),
    "no layer": (lambda: layers.Bidirectional(3), "layer: expected a recurrent layer"),  # pyright: ignore
    "same way": (
        lambda: layers.Bidirectional(layers.LSTM(3), backward_layer=layers.LSTM(3)),
        "backward_layer: expected the other go_backwards",
    ),
    "cell": (lambda: layers.RNN("lstmm", units=3), "cell: .*the nearest is 'lstm'"),
    "cell units": (lambda: layers.RNN("lstm"), "units: expected a whole number"),
    "padding": (lambda: layers.Conv2D(3, 2, padding="causal"), "padding: .*received 'causal'"),
    "window": (lambda: layers.Conv1D(3, 9)(torch.zeros(1, 4, 2)), "at least one window"),
    "format": (lambda: layers.Conv1D(3, 2, data_format="channels_first"), "data_format"),
    "reshape": (lambda: layers.Reshape((4, 4))(torch.zeros(1, 3)), "expected 16 values a row .*received 3"),
    "step": (
        lambda: layers.TimeDistributed(layers.Dense(2))(torch.zeros(2, 3)),
        r"expected shape \(B, T, …\)",
    ),
    "dropout": (lambda: layers.Dropout(1.5), r"rate: expected a number in \[0, 1\], received 1.5"),
    "attention": (
        lambda: layers.Attention()([X]),
        "expected .query, value. or .query, value, key., received 1",
    ),
    "input": (lambda: layers.Input(), "Input: expected one of shape and batch_shape"),
}


def built(layer: Layer) -> Layer:
    layer.build((None, T, I) if not isinstance(layer, layers.Dense) else (None, I))
    return layer


@pytest.mark.parametrize("name", SENTENCES)
def test_sentences(name: str) -> None:
    call, expected = SENTENCES[name]
    with pytest.raises((ValueError, TypeError), match=expected) as caught:
        call()
    assert re.fullmatch(r"[^:]+: expected .+, received .+; .+\.", str(caught.value))


def test_an_activation_may_be_the_librarys_function() -> None:
    chosen: dict[str, Any] = {
        "activation": ls.activations.relu,
        "recurrent_activation": ls.activations.sigmoid,
    }
    layer = layers.LSTM(H, **chosen)
    assert layer.cell is layers.LSTM(H, activation="relu").cell
    assert from_config(to_config(layer)).cell is layer.cell  # pyright: ignore[reportAttributeAccessIssue]


def test_a_dropped_mask_is_said() -> None:
    layer = layers.Flatten()
    with pytest.warns(UserWarning, match="does not pass masks on"):
        assert layer.compute_mask(torch.as_tensor(X), torch.as_tensor(MASK)) is None
