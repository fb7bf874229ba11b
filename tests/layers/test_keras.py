"""Every layer gives Keras' numbers from Keras' weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

import longspan.layers as ours

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's

pytestmark = pytest.mark.filterwarnings("ignore")  # of Keras itself

B, T, I = 3, 7, 4
TOLERANCE = 1e-5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(B, T, I)).astype(np.float32)
FRAMES = RNG.normal(size=(2, 4, 6, 5, 3)).astype(np.float32)
CODES = np.array([[3, 1, 0, 0], [2, 0, 4, 1], [0, 0, 0, 5]])
# Left, right and scattered padding, and a row with none.
MASK = np.array([[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0], [1, 0, 1, 1, 0, 1, 0]], bool)

RECURRENT = {
    "LSTM": [
        {},
        {"use_bias": False},
        {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
        {"activation": "softsign"},
        {"activation": None, "recurrent_activation": "tanh"},
    ],
    "GRU": [
        {},
        {"use_bias": False},
        {"reset_after": False},
        {"reset_after": False, "use_bias": False},
        {"activation": "elu", "recurrent_activation": "hard_sigmoid"},
        {"activation": "relu", "reset_after": False},
    ],
    "SimpleRNN": [{}, {"use_bias": False}, {"activation": "relu"}, {"activation": "swish"}],
}
SEQUENCES = [
    {},
    {"return_sequences": True},
    {"return_state": True},
    {"return_sequences": True, "return_state": True},
    {"go_backwards": True},
    {"return_sequences": True, "go_backwards": True, "return_state": True},
    {"return_sequences": True, "zero_output_for_mask": True},
]
CASES = [(name, {**own, **more}) for name, each in RECURRENT.items() for own in each for more in SEQUENCES]


def named(case: Any) -> str:
    return case if isinstance(case, str) else ",".join(f"{k}={v}" for k, v in case.items()) or "plain"


def arrays(answer: Any) -> list[np.ndarray]:
    """An answer of either side as NumPy arrays."""
    many = answer if isinstance(answer, (tuple, list)) else [answer]
    flat = [one for part in many for one in (part if isinstance(part, (tuple, list)) else [part])]
    return [
        one.detach().numpy() if isinstance(one, torch.Tensor) else keras.ops.convert_to_numpy(one)
        for one in flat
    ]


def equal(mine: Any, theirs: Any, tolerance: float = TOLERANCE) -> None:
    left, right = arrays(mine), arrays(theirs)
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=tolerance, rtol=tolerance)


def same_weights(mine: Any, theirs: Any) -> None:
    """Draw weights once for both, away from what either starts with."""
    weights = [RNG.normal(scale=0.4, size=w.shape).astype(np.float32) for w in theirs.get_weights()]
    names = [w.name for w in theirs.weights]
    weights = [np.abs(w) + 0.5 if "variance" in n else w for w, n in zip(weights, names, strict=True)]
    theirs.set_weights(weights)
    mine.set_weights(weights)
    for a, b in zip(mine.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)


def pair(make: Callable[[Any], Any], x: Any = X) -> tuple[Any, Any]:
    """The same layer on both sides, built for x, with the same weights."""
    mine, theirs = make(ours), make(keras.layers)
    theirs(x)
    mine(x)
    same_weights(mine, theirs)
    return mine.eval(), theirs


@pytest.mark.parametrize(("name", "options"), CASES, ids=named)
def test_recurrent(name: str, options: dict[str, Any]) -> None:
    mine, theirs = pair(lambda m: getattr(m, name)(5, **options))
    equal(mine(X), theirs(X))
    mask = torch.as_tensor(MASK)
    equal(mine(X, mask=mask), theirs(X, mask=keras.ops.convert_to_tensor(MASK)))


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_initial_state(name: str) -> None:
    mine, theirs = pair(lambda m: getattr(m, name)(5, return_sequences=True, return_state=True))
    states = [RNG.normal(size=(B, 5)).astype(np.float32) for _ in range(2 if name == "LSTM" else 1)]
    # Before the first step that counts Keras gives 0 on TensorFlow and PyTorch, on JAX the first state.
    for mask in (None, MASK) if keras.backend.backend() != "jax" else (None,):
        equal(
            mine(X, None if mask is None else torch.as_tensor(mask), [torch.as_tensor(s) for s in states]),
            theirs(
                X,
                mask=None if mask is None else keras.ops.convert_to_tensor(mask),
                initial_state=[keras.ops.convert_to_tensor(s) for s in states],
            ),
        )


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("both", [False, True])
def test_stateful(name: str, both: bool) -> None:
    def make(m: Any) -> Any:
        layer = getattr(m, name)(5, stateful=True, return_sequences=True)
        return m.Bidirectional(layer) if both else layer

    mine, theirs = pair(make)
    for layer in (mine, theirs):
        layer.reset_states() if layer is mine or not both else None
    if both:
        theirs.forward_layer.reset_state()
        theirs.backward_layer.reset_state()
    for part in (X[:, :3], X[:, 3:]):
        equal(mine(part), theirs(part))
    mine.reset_states()
    first = mine(X[:, :3])
    mine.reset_states()
    equal(mine(X[:, :3]), first)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("state", [False, True])
def test_bidirectional(name: str, merge: str | None, sequences: bool, state: bool) -> None:
    def make(m: Any) -> Any:
        inner = getattr(m, name)(5, return_sequences=sequences, return_state=state)
        return m.Bidirectional(inner, merge_mode=merge)

    mine, theirs = pair(make)
    equal(mine(X), theirs(X))
    equal(mine(X, torch.as_tensor(MASK)), theirs(X, mask=keras.ops.convert_to_tensor(MASK)))


def test_bidirectional_of_two() -> None:
    def make(m: Any) -> Any:
        back = m.LSTM(5, activation="relu", return_sequences=True, go_backwards=True)
        return m.Bidirectional(m.LSTM(5, return_sequences=True), backward_layer=back)

    mine, theirs = pair(make)
    equal(mine(X, torch.as_tensor(MASK)), theirs(X, mask=keras.ops.convert_to_tensor(MASK)))
    mine, theirs = pair(lambda m: m.Bidirectional(m.GRU(5, reset_after=False, return_sequences=True)))
    equal(mine(X, torch.as_tensor(MASK)), theirs(X, mask=keras.ops.convert_to_tensor(MASK)))


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_dropout_of_inputs_and_states(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same masks on both sides; the masks themselves are random."""
    mine, theirs = pair(
        lambda m: getattr(m, name)(5, dropout=0.5, recurrent_dropout=0.5, return_sequences=True)
    )
    drops = {I: (RNG.random((B, I)) < 0.5) * 2.0, 5: (RNG.random((B, 5)) < 0.5) * 2.0}

    def scaled(shape: tuple[int, ...], rate: float, like: Any) -> torch.Tensor:
        return torch.as_tensor(drops[shape[-1]]).to(like.dtype).reshape(shape)

    monkeypatch.setattr("longspan.nn.dropout.dropout_mask", scaled)
    mask_of = theirs.cell._create_dropout_mask
    count = len(mask_of(X[:, 0], 0.5)) if isinstance(mask_of(X[:, 0], 0.5), list) else 0

    def created(step: Any, rate: float) -> Any:
        drop = keras.ops.convert_to_tensor(drops[step.shape[-1]].astype(np.float32))
        return [drop] * count if count else drop

    monkeypatch.setattr(theirs.cell, "_create_dropout_mask", created)
    equal(mine.train()(X), theirs(X, training=True))


@pytest.mark.parametrize("sequences", [False, True])
def test_rnn_of_cells(sequences: bool) -> None:
    for name in ("LSTMCell", "GRUCell", "SimpleRNNCell"):
        mine, theirs = pair(lambda m, name=name: m.RNN(getattr(m, name)(5), return_sequences=sequences))
        equal(mine(X, torch.as_tensor(MASK)), theirs(X, mask=keras.ops.convert_to_tensor(MASK)))
    mine, theirs = pair(
        lambda m: m.RNN([m.LSTMCell(5), m.GRUCell(6)], return_sequences=sequences, go_backwards=True)
    )
    equal(mine(X, torch.as_tensor(MASK)), theirs(X, mask=keras.ops.convert_to_tensor(MASK)))


PLAIN: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "Dense": (lambda m: m.Dense(5, activation="softmax"), X),
    "Dense gelu": (lambda m: m.Dense(5, activation="gelu"), X),
    "Conv1D": (lambda m: m.Conv1D(6, 3, activation="relu"), X),
    "Conv1D causal": (lambda m: m.Conv1D(6, 3, padding="causal", dilation_rate=2), X),
    "Conv1D same": (lambda m: m.Conv1D(6, 4, padding="same", strides=2), X),
    "Conv1D groups": (lambda m: m.Conv1D(6, 3, groups=2, use_bias=False), X),
    "Conv2D": (lambda m: m.Conv2D(6, (3, 2)), FRAMES[:, 0]),
    "Conv2D same": (lambda m: m.Conv2D(6, 3, padding="same", strides=(2, 1)), FRAMES[:, 0]),
    "MaxPooling1D": (lambda m: m.MaxPooling1D(3, strides=2), X),
    "MaxPooling1D same": (lambda m: m.MaxPooling1D(2, padding="same"), X),
    "AveragePooling1D same": (lambda m: m.AveragePooling1D(3, strides=2, padding="same"), X),
    "MaxPooling2D": (lambda m: m.MaxPooling2D((2, 2)), FRAMES[:, 0]),
    "AveragePooling2D": (lambda m: m.AveragePooling2D((3, 2), padding="same"), FRAMES[:, 0]),
    "GlobalMaxPooling1D": (lambda m: m.GlobalMaxPooling1D(), X),
    "GlobalAveragePooling1D": (lambda m: m.GlobalAveragePooling1D(keepdims=True), X),
    "GlobalMaxPooling2D": (lambda m: m.GlobalMaxPooling2D(), FRAMES[:, 0]),
    "GlobalAveragePooling2D": (lambda m: m.GlobalAveragePooling2D(), FRAMES[:, 0]),
    "LayerNormalization": (lambda m: m.LayerNormalization(), X),
    "LayerNormalization no scale": (lambda m: m.LayerNormalization(scale=False, axis=[1, 2]), X),
    "BatchNormalization": (lambda m: m.BatchNormalization(), X),
    "Embedding": (lambda m: m.Embedding(6, 3), CODES),
    "Masking": (lambda m: m.Masking(0.5), np.where(X > 0.3, np.float32(0.5), X)),
    "Flatten": (lambda m: m.Flatten(), X),
    "Reshape": (lambda m: m.Reshape((2, -1)), X),
    "Permute": (lambda m: m.Permute((2, 1)), X),
    "RepeatVector": (lambda m: m.RepeatVector(3), X[:, 0]),
    "TimeDistributed": (lambda m: m.TimeDistributed(m.Dense(3, activation="relu")), X),
    "TimeDistributed Conv2D": (lambda m: m.TimeDistributed(m.Conv2D(4, 3)), FRAMES),
    "Activation": (lambda m: m.Activation("mish"), X),
    "LeakyReLU": (lambda m: m.LeakyReLU(), X),
    "ReLU": (lambda m: m.ReLU(max_value=0.5, negative_slope=0.1), X),
    "ConvLSTM2D": (lambda m: m.ConvLSTM2D(4, (3, 3)), FRAMES),
    "ConvLSTM2D same": (
        lambda m: m.ConvLSTM2D(
            4, (3, 2), padding="same", strides=2, return_sequences=True, return_state=True
        ),
        FRAMES,
    ),
    "ConvLSTM2D relu": (
        lambda m: m.ConvLSTM2D(4, 3, activation="relu", go_backwards=True, use_bias=False),
        FRAMES,
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain(name: str) -> None:
    make, x = PLAIN[name]
    mine, theirs = pair(make, x)
    equal(mine(x), theirs(x))
    assert mine.compute_output_shape((None, *x.shape[1:]))[0] is None or theirs.compute_output_shape(x.shape)
    assert [None if s is None else s for s in _flat(mine.compute_output_shape(x.shape))] == _flat(
        theirs.compute_output_shape(x.shape)
    )


def _flat(shape: Any) -> list[Any]:
    return [tuple(one) for one in shape] if isinstance(shape[0], (tuple, list)) else list(shape)


@pytest.mark.parametrize(
    "name", ["relu6", "selu", "elu", "softplus", "hard_silu", "exponential", "leaky_relu", "gelu"]
)
def test_activations(name: str) -> None:
    mine, theirs = ours.Activation(name), keras.layers.Activation(name)
    equal(mine(3 * X), theirs(3 * X))


@pytest.mark.parametrize(
    "name", ["relu6", "selu", "elu", "softplus", "hard_silu", "leaky_relu", "swish", "mish", "softsign"]
)
def test_activations_in_a_cell(name: str) -> None:
    mine, theirs = pair(lambda m: m.SimpleRNN(5, activation=name))
    equal(mine(X), theirs(X))


@pytest.mark.parametrize("masked", [False, True])
def test_batch_normalization_in_training(masked: bool) -> None:
    mine, theirs = pair(lambda m: m.BatchNormalization(momentum=0.9))
    mask = MASK if masked else None
    for _ in range(3):
        equal(
            mine.train()(X, None if mask is None else torch.as_tensor(mask)),
            theirs(X, training=True, mask=None if mask is None else keras.ops.convert_to_tensor(mask)),
        )
    equal(mine.eval()(X), theirs(X))
    for a, b in zip(mine.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=TOLERANCE)


@pytest.mark.parametrize("options", [{}, {"use_scale": True}, {"score_mode": "concat"}], ids=named)
@pytest.mark.parametrize("kind", ["Attention", "AdditiveAttention"])
def test_attention(kind: str, options: dict[str, Any]) -> None:
    if kind == "AdditiveAttention" and "score_mode" in options:
        options = {"use_scale": False}
    mine, theirs = getattr(ours, kind)(**options), getattr(keras.layers, kind)(**options)
    q, v, k = (RNG.normal(size=(B, n, I)).astype(np.float32) for n in (3, T, T))
    theirs([q, v, k])
    mine([q, v, k])
    same_weights(mine, theirs)
    seen = np.ones((B, 3), bool)
    seen[0, 2] = False
    for causal in (False, True):
        equal(
            mine(
                [q, v, k],
                [torch.as_tensor(seen), torch.as_tensor(MASK)],
                return_attention_scores=True,
                use_causal_mask=causal,
            ),
            theirs(
                [q, v, k],
                mask=[keras.ops.convert_to_tensor(seen), keras.ops.convert_to_tensor(MASK)],
                return_attention_scores=True,
                use_causal_mask=causal,
            ),
        )


def test_masked_conv_lstm() -> None:
    mine, theirs = pair(lambda m: m.ConvLSTM2D(4, 3, return_sequences=True), FRAMES)
    mask = np.array([[1, 1, 0, 0], [0, 1, 0, 1]], bool)
    equal(mine(FRAMES, torch.as_tensor(mask)), theirs(FRAMES, mask=keras.ops.convert_to_tensor(mask)))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("glorot_uniform", (30, 50)),
        ("glorot_normal", (3, 30, 50)),
        ("he_uniform", (30, 50)),
        ("he_normal", (3, 3, 8, 30)),
        ("lecun_uniform", (30, 50)),
        ("lecun_normal", (30, 50)),
        ("orthogonal", (30, 50)),
        ("orthogonal", (50, 30)),
        ("uniform", (40, 40)),
        ("normal", (40, 40)),
        ("truncated_normal", (40, 40)),
        ("identity", (4, 4)),
    ],
)
def test_initializers(name: str, shape: tuple[int, ...]) -> None:
    """Another generator, so the spread and the tail of the distribution are compared, cut off or not."""
    from longspan import initializers

    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    mine = torch.cat([initializers.get(name)(shape).flatten() for _ in range(32)]).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make = keras.initializers.get(name)
        theirs = np.concatenate([keras.ops.convert_to_numpy(make(shape)).ravel() for _ in range(32)])
    assert mine.std() == pytest.approx(theirs.std(), rel=0.05)
    tails = [float(np.quantile(np.abs(values), 0.99)) for values in (mine, theirs)]
    assert tails[0] == pytest.approx(tails[1], rel=0.15)


def test_where_weights_start() -> None:
    for name, options in (
        ("LSTM", {}),
        ("LSTM", {"unit_forget_bias": False}),
        ("GRU", {}),
        ("SimpleRNN", {}),
    ):
        mine, theirs = getattr(ours, name)(5, **options), getattr(keras.layers, name)(5, **options)
        mine(X)
        theirs(X)
        for a, b in zip(mine.get_weights(), theirs.get_weights(), strict=True):
            assert a.shape == b.shape
        np.testing.assert_array_equal(mine.get_weights()[-1], theirs.get_weights()[-1])
