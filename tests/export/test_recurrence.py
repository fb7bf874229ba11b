"""Recurrent layers in ONNX equal a loop over the steps that the mask leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from longspan.export.graph import Graph
from longspan.export.recurrence import Direction, run

B, T, I, H = 4, 6, 3, 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(B, T, I)).astype(np.float32)
GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
# A hole inside, padding before, padding after, no step at all.
MASK = np.array([[1, 0, 1, 1, 0, 1], [0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0] * T], dtype=bool)
MERGES: dict[str, Any] = {
    "concat": lambda a, b: np.concatenate([a, b], -1),
    "sum": np.add,
    "mul": np.multiply,
    "ave": lambda a, b: (a + b) / 2,
}


def direction(kind: str, **config: Any) -> Direction:
    """With random weights in Keras' layout."""
    rng, n = np.random.default_rng(len(kind)), GATES[kind] * H
    shapes = ((I, n), (H, n), (2, n) if kind == "GRU" else (n,))
    weights = [rng.normal(size=shape, scale=0.5).astype(np.float32) for shape in shapes]
    defaults = {"name": "layer", "units": H, "activation": "tanh", "recurrent_activation": "sigmoid"}
    return Direction(kind, {**defaults, **config}, weights)


def sigmoid(v: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-v))


def step(layer: Direction, x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
    """Keras' equations of one step on one row."""
    kernel, recurrent, bias = layer.weights
    if layer.kind == "GRU":
        from_x, from_h = np.split(x @ kernel + bias[0], 3), np.split(state[0] @ recurrent + bias[1], 3)
        z, r = sigmoid(from_x[0] + from_h[0]), sigmoid(from_x[1] + from_h[1])
        return [z * state[0] + (1 - z) * np.tanh(from_x[2] + r * from_h[2])]
    total = x @ kernel + state[0] @ recurrent + bias
    if layer.kind == "SimpleRNN":
        return [np.tanh(total)]
    i, f, g, o = np.split(total, 4)
    c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def loop(
    layer: Direction, mask: np.ndarray, state: np.ndarray, backward: bool
) -> tuple[np.ndarray, list[Any]]:
    """Outputs (B, T, H) at the steps' own places and the last states, carried unchanged over masked steps."""
    outs, last = np.zeros((B, T, H), np.float32), []
    for b in range(B):
        now, out = [s[b] for s in state], np.zeros(H)
        for t in reversed(range(T)) if backward else range(T):
            if mask[b, t]:
                now = step(layer, X[b, t], now)
                out = now[0]
            outs[b, t] = out
        last.append(now)
    return outs, [np.stack(values) for values in zip(*last, strict=True)]


def exported(
    *directions: Direction,
    mask: np.ndarray | None = None,
    state: np.ndarray | None = None,
    merge: str | None = None,
) -> list[Any]:
    """What onnxruntime gives: the output, then the states."""
    graph, inputs = Graph(), dict[str, np.ndarray](x=X)
    x = graph.input("x", ("batch", "time", I))
    masked = None
    if mask is not None:
        masked = graph.add("Cast", graph.input("mask", ("batch", "time"), integers=True), to=9)
        inputs["mask"] = mask.astype(np.int64)
    starts = []
    for i, values in enumerate(() if state is None else state):
        starts.append(graph.input(f"start_{i}", ("batch", H)))
        inputs[f"start_{i}"] = values
    output = run(graph, x, masked, directions, starts, merge)
    sequences = directions[0].config.get("return_sequences", False)
    graph.output("y", output.value, ("batch", "time", "width") if sequences else ("batch", "width"))
    for i, value in enumerate(output.states):
        graph.output(f"last_{i}", value, ("batch", H))
    content = graph.model("test").SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


def close(a: Any, b: Any) -> None:
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_sequences_and_last_states(kind: str, backward: bool, masked: bool) -> None:
    layer = direction(kind, return_sequences=True, go_backwards=backward)
    mask = MASK if masked else np.ones((B, T), bool)
    zeros = np.zeros((2 if kind == "LSTM" else 1, B, H), np.float32)
    outs, last = loop(layer, mask, zeros, backward)
    y, *states = exported(layer, mask=mask if masked else None)
    close(y, outs[:, ::-1] if backward else outs)  # Keras returns the outputs in the order of reading
    for got, want in zip(states, last, strict=True):
        close(got, want)


@pytest.mark.parametrize("kind", GATES)
def test_given_states(kind: str) -> None:
    layer = direction(kind, return_sequences=False)
    state = RNG.normal(size=(2 if kind == "LSTM" else 1, B, H)).astype(np.float32)
    y, *states = exported(layer, mask=MASK, state=state)
    _, last = loop(layer, MASK, state, False)
    close(y, last[0])
    close(y[3], state[0, 3])  # a row without a valid step keeps its state
    for got, want in zip(states, last, strict=True):
        close(got, want)


def test_zeros_at_masked_steps() -> None:
    layer = direction("LSTM", return_sequences=True, zero_output_for_mask=True)
    outs, _ = loop(layer, MASK, np.zeros((2, B, H), np.float32), False)
    close(exported(layer, mask=MASK)[0], outs * MASK[:, :, None])


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("sequences", [False, True])
def test_two_directions(merge: str, sequences: bool) -> None:
    config = {"return_sequences": sequences, "zero_output_for_mask": True}
    ahead, back = direction("GRU", **config), direction("GRU", **config, use_bias=True)
    zeros = np.zeros((1, B, H), np.float32)
    results = [loop(layer, MASK, zeros, b) for layer, b in ((ahead, False), (back, True))]
    halves = [outs * MASK[:, :, None] if sequences else last[0] for outs, last in results]
    close(exported(ahead, back, mask=MASK, merge=merge)[0], MERGES[merge](*halves))


def test_a_forward_layer_that_reads_backwards_is_refused() -> None:
    layers = direction("GRU", go_backwards=True), direction("GRU")
    with pytest.raises(ValueError, match=r"layer layer: expected a forward layer, received .*go_backwards"):
        run(Graph(), "x", None, layers, [], "sum")


def test_gru_that_resets_before_the_product() -> None:
    """reset_after=False against torch operations, with the one bias that such a layer has."""
    layer = direction("GRU", reset_after=False)
    kernel, recurrent, bias = [torch.as_tensor(w, dtype=torch.float64) for w in layer.weights]
    h = torch.zeros(B, H, dtype=torch.float64)
    for x in torch.as_tensor(X, dtype=torch.float64).unbind(1):
        parts = (x @ kernel + bias[0]).chunk(3, -1)
        z = (parts[0] + h @ recurrent[:, :H]).sigmoid()
        r = (parts[1] + h @ recurrent[:, H : 2 * H]).sigmoid()
        h = z * h + (1 - z) * (parts[2] + (r * h) @ recurrent[:, 2 * H :]).tanh()
    one_bias = Direction("GRU", layer.config, [*layer.weights[:2], layer.weights[2][0]])
    close(exported(one_bias)[0], h)


@pytest.mark.parametrize("name", ["relu", "hard_sigmoid", "linear", "elu", "softsign", "softplus"])
def test_other_activations(name: str) -> None:
    from longspan import activations

    layer = direction("SimpleRNN", activation=name)
    kernel, recurrent, bias = map(torch.as_tensor, layer.weights)
    h, activation = torch.zeros(B, H), activations.get(name)
    for x in torch.as_tensor(X).unbind(1):
        h = activation(x @ kernel + h @ recurrent + bias)
    np.testing.assert_allclose(exported(layer)[0], h, rtol=1e-4, atol=1e-4)


def test_an_activation_that_onnx_lacks() -> None:
    with pytest.raises(ValueError, match=r"activation of layer: expected one of tanh, .*received 'mish'"):
        run(Graph(), "x", None, [direction("LSTM", activation="mish")], [], None)
