"""Recurrent layers compute Keras' equations, written out here once more in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from longspan import layers
from tests.layers.helpers import MASK, B, H, I, T, X, built, check_refusal

pytestmark = pytest.mark.usefixtures("in_float64")

RNG = np.random.default_rng(1)


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


def test_explain_names_the_backend() -> None:
    x = torch.zeros(2, T, I)
    assert "cpu runs it" in layers.LSTM(H).explain(x)
    assert "second product in every step" in layers.GRU(H, reset_after=False).explain(x)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: layers.LSTM(0), "units: expected a whole number of at least 1, received 0"),
        (lambda: layers.LSTM(3)(torch.zeros(2, 4)), r"input of lstm.*: expected shape \(B, T, I\)"),
        (lambda: built(layers.LSTM(3))(torch.zeros(2, T, 7)), r"received \(2, 6, 7\)"),
    ],
)
def test_wrong_units_and_inputs_are_refused(call: Callable[[], Any], expected: str) -> None:
    check_refusal(call, expected)
