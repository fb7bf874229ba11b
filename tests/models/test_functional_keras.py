"""Kinds of published scripts with the functional API give Keras' numbers from the same weights."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longspan import export, layers, models

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's

pytestmark = pytest.mark.filterwarnings("ignore")  # of Keras itself

RNG = np.random.default_rng(0)
N, T, S, D, V, W = 24, 6, 5, 3, 9, 8
SERIES = RNG.normal(size=(N, T, D)).astype(np.float32)
OTHER = RNG.normal(size=(N, T, D)).astype(np.float32)
FEATURES = RNG.normal(size=(N, 4)).astype(np.float32)
SOURCE = RNG.integers(1, V, size=(N, T))
SOURCE[: N // 2, 4:] = 0
TARGET = RNG.integers(1, W, size=(N, S))
TARGET[N // 2 :, 3:] = 0
Y = RNG.normal(size=(N, 1)).astype(np.float32)
STEPS = RNG.normal(size=(N, T, 2)).astype(np.float32)
LABELS = RNG.integers(0, 4, size=N)
BINARY = (LABELS % 2).astype(np.float32)
PIXELS = RNG.normal(size=(N, T, 8, 8, 1)).astype(np.float32)

Script = tuple[Any, Any, Any, dict[str, Any]]  # model, x, y, arguments of compile


def translation(k: Any, m: Any) -> Script:
    source = k.Input((None,), dtype="int32", name="source")
    embedded = m.Embedding(V, 4, mask_zero=True)(source)
    _, h, c = m.LSTM(5, return_state=True)(embedded)
    target = k.Input((None,), dtype="int32", name="target")
    decoder = m.LSTM(5, return_sequences=True, return_state=True)
    out, _, _ = decoder(m.Embedding(W, 4, mask_zero=True)(target), initial_state=[h, c])
    words = m.Dense(W, activation="softmax")(out)
    return (
        k.Model([source, target], words),
        [SOURCE, TARGET],
        TARGET,
        {"loss": SPARSE, "metrics": ["accuracy"]},
    )


SPARSE = "sparse_categorical_crossentropy"


def attention(k: Any, m: Any) -> Script:
    source, target = k.Input((T,), dtype="int32"), k.Input((S,), dtype="int32")
    memory = m.Bidirectional(m.LSTM(4, return_sequences=True))(m.Embedding(V, 4, mask_zero=True)(source))
    queries = m.LSTM(8, return_sequences=True)(m.Embedding(W, 4, mask_zero=True)(target))
    context = m.Attention()([queries, memory])
    additive = m.AdditiveAttention()([queries, memory])
    joined = m.Concatenate(axis=-1)([queries, context, additive])
    out = m.TimeDistributed(m.Dense(W, activation="softmax"))(joined)
    return k.Model([source, target], out), [SOURCE, TARGET], TARGET, {"loss": SPARSE}


def bidirectional_states(k: Any, m: Any) -> Script:
    source = k.Input((T, D))
    encoder = m.Bidirectional(m.LSTM(4, return_sequences=True, return_state=True))
    out, fh, fc, bh, bc = encoder(source)
    h, c = m.Concatenate()([fh, bh]), m.Concatenate()([fc, bc])
    decoded = m.LSTM(8, return_sequences=True)(m.RepeatVector(T)(m.Dense(3)(h)), initial_state=[h, c])
    return (
        k.Model(source, m.TimeDistributed(m.Dense(2))(m.Add()([out, decoded]))),
        SERIES,
        STEPS,
        {"loss": "mse"},
    )


def captioning(k: Any, m: Any) -> Script:
    image, words = k.Input((4,), name="image"), k.Input((S,), name="words")
    seen = m.Dense(6, activation="relu")(m.Dropout(0.0)(image))
    read = m.LSTM(6)(m.Embedding(W, 5, mask_zero=True)(words))
    out = m.Dense(4, activation="softmax")(m.Dense(6, activation="relu")(m.add([seen, read])))
    x = {"image": FEATURES, "words": TARGET}
    return k.Model(inputs=[image, words], outputs=out), x, LABELS, {"loss": SPARSE, "metrics": ["accuracy"]}


def several_outputs(k: Any, m: Any) -> Script:
    series = k.Input((T, D), name="series")
    shared = m.GRU(5)(series)
    level, kind = m.Dense(1, name="level")(shared), m.Dense(4, activation="softmax", name="kind")(shared)
    options = {
        "loss": {"level": "mse", "kind": SPARSE},
        "loss_weights": {"level": 1.0, "kind": 0.5},
        "metrics": {"level": ["mae"], "kind": ["accuracy"]},
    }
    return k.Model(series, [level, kind]), SERIES, {"level": Y, "kind": LABELS}, options


def siamese(k: Any, m: Any) -> Script:
    left, right = k.Input((T, D)), k.Input((T, D))
    encoder = m.LSTM(5)
    one, other = encoder(left), encoder(right)
    near = m.Dot(axes=1, normalize=True)([one, other])
    apart = m.Subtract()([one, other])
    out = m.Dense(1, activation="sigmoid")(m.concatenate([near, apart, m.multiply([one, other])]))
    return k.Model([left, right], out), [SERIES, OTHER], BINARY, {"loss": "binary_crossentropy"}


def residual(k: Any, m: Any) -> Script:
    series = k.Input((T, D))
    x = m.Dense(5)(series)
    for _ in range(2):
        x = m.LayerNormalization()(m.Add()([x, m.LSTM(5, return_sequences=True)(x)]))
    pooled = m.average([m.GlobalAveragePooling1D()(x), m.GlobalMaxPooling1D()(x)])
    return k.Model(series, m.Dense(1)(pooled)), SERIES, Y, {"loss": "huber", "metrics": ["mae"]}


def nested(k: Any, m: Any) -> Script:
    frame = k.Sequential([k.Input((8, 8, 1)), m.Conv2D(3, 3, activation="relu"), m.Flatten(), m.Dense(4)])
    frames = k.Input((T, 8, 8, 1))
    inner_in = k.Input((T, 4))
    inner = k.Model(inner_in, m.GRU(5)(inner_in))
    features = m.TimeDistributed(frame)(frames)
    return k.Model(frames, m.Dense(1)(inner(features))), PIXELS, Y, {"loss": "mse"}


def operators(k: Any, m: Any) -> Script:
    series = k.Input((T, D))
    out = m.LSTM(4, return_sequences=True)(series)
    last = out[:, -1] * 2.0 + 1.0
    return k.Model(series, m.Dense(1)(last - out[:, 0])), SERIES, Y, {"loss": "mse"}


def several_heads(k: Any, m: Any) -> Script:
    words = k.Input((T,))
    x = m.Embedding(V, 6)(words)
    read = m.MultiHeadAttention(num_heads=2, key_dim=3)(x, x)
    x = m.LayerNormalization()(x + read)
    extremes = m.maximum([m.LSTM(4)(x), m.GRU(4)(x)])
    return k.Model(words, m.Dense(4, activation="softmax")(extremes)), SOURCE, LABELS, {"loss": SPARSE}


SCRIPTS: dict[str, Callable[[Any, Any], Script]] = {
    script.__name__: script
    for script in (
        translation,
        attention,
        bidirectional_states,
        captioning,
        several_outputs,
        siamese,
        residual,
        nested,
        operators,
        several_heads,
    )
}


def pair(name: str) -> tuple[Any, Any, Any, Any]:
    """The same model on both sides with the same weights, compiled alike; x and y."""
    theirs, x, y, options = SCRIPTS[name](keras, keras.layers)
    ours, *_ = SCRIPTS[name](models, layers)
    weights = [RNG.normal(scale=0.3, size=array.shape).astype(np.float32) for array in theirs.get_weights()]
    theirs.set_weights(weights)
    ours.set_weights(weights)
    theirs.compile("adam", **options)
    ours.compile("adam", **options)
    return ours, theirs, x, y


def flat(values: Any) -> list[np.ndarray]:
    parts = list(values.values()) if isinstance(values, dict) else values
    return list(parts) if isinstance(parts, (list, tuple)) else [parts]


def assert_close(found: Any, expected: Any, tolerance: float = 2e-5) -> None:
    for a, b in zip(flat(found), flat(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=tolerance)


@pytest.mark.parametrize("name", SCRIPTS)
def test_same_numbers_after_two_epochs(name: str) -> None:
    ours, theirs, x, y = pair(name)
    ours_layers = [layer.class_name() for layer in ours.layers if layer.class_name() != "Operation"]
    assert ours_layers == [type(layer).__name__ for layer in theirs.layers]
    assert_close(ours.predict(x, verbose=0), theirs.predict(x, verbose=0))
    options = {"epochs": 2, "batch_size": 7, "shuffle": False, "verbose": 0}
    found, expected = ours.fit(x, y, **options).history, theirs.fit(x, y, **options).history
    assert set(found) == set(expected)
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], rtol=2e-4, atol=2e-5, err_msg=key)
    assert_close(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), 2e-4)
    found, expected = (model.evaluate(x, y, verbose=0, return_dict=True) for model in (ours, theirs))
    assert {key: pytest.approx(value, rel=3e-4, abs=1e-5) for key, value in expected.items()} == found
    assert_close(ours.get_weights(), theirs.get_weights(), 2e-4)


@pytest.mark.parametrize("name", SCRIPTS)
def test_files_cross_over(name: str, tmp_path: Path) -> None:
    ours, theirs, x, _ = pair(name)
    theirs.save(tmp_path / "theirs.keras")
    loaded = models.load_model(tmp_path / "theirs.keras")
    assert_close(loaded.predict(x, verbose=0), theirs.predict(x, verbose=0))
    export.to_keras(ours, tmp_path / "ours.keras")
    assert_close(
        keras.models.load_model(tmp_path / "ours.keras").predict(x, verbose=0), ours.predict(x, verbose=0)
    )
