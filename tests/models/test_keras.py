"""Sequential learns as Keras does, step by step, and models cross over."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longspan import errors, export, layers, models
from longspan.optimizers import keras as our_optimizers

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's

pytestmark = pytest.mark.filterwarnings("ignore")  # of Keras itself

RNG = np.random.default_rng(0)
N, T, D, K = 40, 6, 3, 4
X = RNG.normal(size=(N, T, D)).astype(np.float32)
PADDED = X.copy()
PADDED[: N // 2, 4:] = 0.0
PADDED[N // 2 :, :1] = 0.0
CODES = RNG.integers(0, 9, size=(N, T))
CODES[:, 0] = np.maximum(CODES[:, 0], 1)
Y = RNG.normal(size=(N, 1)).astype(np.float32)
STEPS_Y = RNG.normal(size=(N, T, 2)).astype(np.float32)
LABELS = RNG.integers(0, K, size=N)
ONE_HOT = np.eye(K, dtype=np.float32)[LABELS]
BINARY = (LABELS % 2).astype(np.float32)

# name -> (layers, x, y, loss, metrics)
MODELS: dict[str, tuple[Callable[[Any], list[Any]], Any, Any, str, list[str]]] = {
    "lstm": (lambda m: [m.LSTM(5), m.Dense(1)], X, Y, "mse", ["mae"]),
    "stacked": (
        lambda m: [m.LSTM(5, return_sequences=True), m.GRU(4), m.Dense(1)],
        X,
        Y,
        "huber",
        ["mse"],
    ),
    "rnn relu": (lambda m: [m.SimpleRNN(5, activation="relu"), m.Dense(1)], X, Y, "mae", []),
    "gru before": (lambda m: [m.GRU(5, reset_after=False), m.Dense(1)], X, Y, "mse", []),
    "lstm relu": (lambda m: [m.LSTM(5, activation="relu"), m.Dense(1)], X, Y, "mse", []),
    "classes": (
        lambda m: [m.Bidirectional(m.LSTM(5)), m.Dense(K, activation="softmax")],
        X,
        ONE_HOT,
        "categorical_crossentropy",
        ["accuracy"],
    ),
    "sparse": (
        lambda m: [m.GRU(5), m.Dense(K, activation="softmax")],
        X,
        LABELS,
        "sparse_categorical_crossentropy",
        ["accuracy"],
    ),
    "text": (
        lambda m: [m.Embedding(9, 4, mask_zero=True), m.LSTM(5), m.Dense(1, activation="sigmoid")],
        CODES,
        BINARY,
        "binary_crossentropy",
        ["accuracy", "auc"],
    ),
    "masked sequences": (
        lambda m: [
            m.Masking(),
            m.Bidirectional(m.GRU(4, return_sequences=True), merge_mode="sum"),
            m.LSTM(4, return_sequences=True),
            m.TimeDistributed(m.Dense(2)),
        ],
        PADDED,
        STEPS_Y,
        "mse",
        ["mae"],
    ),
    "norms": (
        lambda m: [
            m.Conv1D(6, 3, padding="causal", activation="relu"),
            m.BatchNormalization(),
            m.MaxPooling1D(2),
            m.LSTM(4, return_sequences=True),
            m.LayerNormalization(),
            m.Flatten(),
            m.Dense(1),
        ],
        X,
        Y,
        "mse",
        [],
    ),
    "penalties": (
        lambda m: [
            m.LSTM(5, kernel_regularizer="l2", recurrent_regularizer="l1"),
            m.Dense(1, bias_regularizer="l2"),
        ],
        X,
        Y,
        "mse",
        [],
    ),
}


def pair(name: str, optimizer: str | None = None) -> tuple[Any, Any, Any, Any]:
    """The same model on both sides with the same weights, compiled alike; x and y."""
    make, x, y, loss, metrics = MODELS[name]
    theirs = keras.Sequential([keras.layers.Input(x.shape[1:]), *make(keras.layers)])
    mine = models.Sequential([layers.Input(x.shape[1:]), *make(layers)])
    mine.set_weights(theirs.get_weights())
    theirs.compile(optimizer=optimizer or keras.optimizers.SGD(0.1), loss=loss, metrics=list(metrics))
    mine.compile(optimizer=optimizer or our_optimizers.SGD(0.1), loss=loss, metrics=list(metrics))
    return mine, theirs, x, y


def close(mine: dict[str, list[float]], theirs: dict[str, list[float]], tolerance: float = 1e-4) -> None:
    assert mine.keys() == theirs.keys()
    for name in mine:
        np.testing.assert_allclose(mine[name], theirs[name], atol=tolerance, rtol=tolerance, err_msg=name)


@pytest.mark.parametrize("name", MODELS)
def test_twenty_steps(name: str) -> None:
    mine, theirs, x, y = pair(name)
    options = {"batch_size": 8, "epochs": 4, "shuffle": False, "verbose": 0, "validation_split": 0.0}
    ours_now, theirs_now = mine.fit(x, y, **options).history, theirs.fit(x, y, **options).history
    if keras.backend.backend() == "jax" and name == "masked sequences":
        # Keras on JAX loses the mask of metrics in fit, though not in evaluate, which is compared below
        ours_now, theirs_now = {"loss": ours_now["loss"]}, {"loss": theirs_now["loss"]}
    close(ours_now, theirs_now)
    for a, b in zip(mine.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    np.testing.assert_allclose(mine.predict(x, verbose=0), theirs.predict(x, verbose=0), atol=1e-4)
    np.testing.assert_allclose(
        mine.evaluate(x, y, verbose=0), theirs.evaluate(x, y, verbose=0), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    "options",
    [
        {"validation_split": 0.25},
        {"sample_weight": RNG.random(N).astype(np.float32)},
        {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5, 3: 3.0}},
        {"validation_data": (X[:7], ONE_HOT[:7]), "initial_epoch": 1},
    ],
    ids=["split", "sample weights", "class weights", "validation data"],
)
def test_ways_to_fit(options: dict[str, Any]) -> None:
    mine, theirs, x, y = pair("classes")
    options = {"batch_size": 16, "epochs": 3, "shuffle": False, "verbose": 0, **options}
    close(mine.fit(x, y, **options).history, theirs.fit(x, y, **options).history)


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "sgd"])
def test_optimizers(name: str) -> None:
    mine, theirs, x, y = pair("lstm", name)
    options = {"batch_size": 8, "epochs": 4, "shuffle": False, "verbose": 0}
    close(mine.fit(x, y, **options).history, theirs.fit(x, y, **options).history)


def test_stateful_layers_carry_on_from_call_to_call() -> None:
    def make(m: Any) -> list[Any]:
        return [m.LSTM(5, stateful=True), m.Dense(1)]

    theirs = keras.Sequential([keras.layers.Input(batch_shape=(8, T, D)), *make(keras.layers)])
    mine = models.Sequential([layers.Input(batch_shape=(8, T, D)), *make(layers)])
    mine.set_weights(theirs.get_weights())
    ours, keras_own = [
        [model.predict(X, batch_size=8, verbose=0) for _ in range(2)] for model in (mine, theirs)
    ]
    np.testing.assert_allclose(ours, keras_own, atol=1e-6)
    assert np.abs(ours[0] - ours[1]).max() > 1e-3  # the second call starts from the first one's states


def test_train_on_batch() -> None:
    mine, theirs, x, y = pair("lstm")
    for _ in range(3):
        left = mine.train_on_batch(x[:8], y[:8])
        right = theirs.train_on_batch(x[:8], y[:8])
        assert left[0] == pytest.approx(float(right[0]), abs=1e-5)
        theirs.reset_metrics()


# Every model as .keras and in all forms the three that hold every kind of weight; the others are slow.
IN_ALL_FORMS = {"stacked", "text", "norms"}
FILES = [
    pytest.param(suffix, name, marks=[] if suffix == ".keras" or name in IN_ALL_FORMS else pytest.mark.slow)
    for suffix in (".keras", ".h5", ".weights.h5")
    for name in MODELS
]


@pytest.mark.parametrize(("suffix", "name"), FILES)
def test_from_keras(name: str, suffix: str, tmp_path: Path) -> None:
    mine, theirs, x, _ = pair(name)
    theirs.set_weights([w + RNG.normal(scale=0.2, size=w.shape) ** 2 for w in theirs.get_weights()])
    file = tmp_path / f"model{suffix}"
    if suffix == ".weights.h5":
        theirs.save_weights(file)
        mine.load_weights(file)
        loaded = mine
    else:
        theirs.save(file)
        loaded = models.load_model(file)
    np.testing.assert_allclose(loaded.predict(x), theirs.predict(x, verbose=0), atol=1e-5)


@pytest.mark.parametrize(("suffix", "name"), FILES)
def test_to_keras(name: str, suffix: str, tmp_path: Path) -> None:
    mine, theirs, x, _ = pair(name)
    mine.set_weights([w + RNG.normal(scale=0.2, size=w.shape) ** 2 for w in mine.get_weights()])
    file = tmp_path / f"model{suffix}"
    export.to_keras(mine, file)
    if suffix == ".weights.h5":
        theirs.load_weights(file)
    else:
        theirs = keras.models.load_model(file)
    np.testing.assert_allclose(mine.predict(x), theirs.predict(x, verbose=0), atol=1e-5)


def test_cells_cross_over(tmp_path: Path) -> None:

    def make(m: Any) -> list[Any]:
        return [
            m.Input((T, D)),
            m.RNN([m.LSTMCell(4), m.GRUCell(5, use_bias=False), m.LSTMCell(3)], return_sequences=True),
            m.TimeDistributed(m.Dense(2)),
            m.RNN(m.SimpleRNNCell(3), go_backwards=True),
        ]

    theirs, mine = keras.Sequential(make(keras.layers)), models.Sequential(make(layers))
    mine.set_weights(theirs.get_weights())
    theirs.save(tmp_path / "theirs.keras")
    export.to_keras(mine, tmp_path / "mine.keras")
    expected = theirs.predict(X, verbose=0)
    np.testing.assert_allclose(models.load_model(tmp_path / "theirs.keras").predict(X), expected, atol=1e-5)
    back = keras.models.load_model(tmp_path / "mine.keras")
    np.testing.assert_allclose(back.predict(X, verbose=0), expected, atol=1e-5)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_compiled_as_in_keras(suffix: str, tmp_path: Path) -> None:
    _, theirs, x, y = pair("lstm")
    mae, rmse = keras.losses.MeanAbsoluteError(), keras.metrics.RootMeanSquaredError(name="off")
    sgd = keras.optimizers.SGD(0.05, momentum=0.5, clipnorm=1.0)
    theirs.compile(sgd, mae, metrics=["mse", rmse])
    theirs.save(tmp_path / f"model{suffix}")
    mine = models.load_model(tmp_path / f"model{suffix}")
    options = {"batch_size": 8, "epochs": 3, "shuffle": False, "verbose": 0}
    close(mine.fit(x, y, **options).history, theirs.fit(x, y, **options).history)
    theirs.compile("nadam", "mse")
    theirs.save(tmp_path / f"model{suffix}")
    mine = models.load_model(tmp_path / f"model{suffix}")
    losses = theirs.fit(x, y, **options).history["loss"]
    close(mine.fit(x, y, **options).history, {"loss": losses})
    theirs.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), "mse")
    theirs.save(tmp_path / f"model{suffix}")
    with pytest.warns(
        errors.LongspanWarning,
        match="without the arguments of compile in Keras: optimizer: expected the name of",
    ):
        assert models.load_model(tmp_path / f"model{suffix}").loss is None
