"""Scripts of the kinds that people publish run under Keras' name and under longspan's, with the same losses.

Each script is a function of the namespace, `keras` or `longspan`; both begin with the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import pytest

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's
ours: Any = import_module("longspan")

pytestmark = pytest.mark.filterwarnings("ignore")  # of Keras itself

RNG = np.random.default_rng(0)
SERIES = np.sin(np.arange(120) / 5.0).astype("float32") + RNG.normal(scale=0.1, size=120).astype("float32")
WINDOWS = np.stack([SERIES[i : i + 10] for i in range(40)])[..., None]
NEXT = SERIES[10:50, None]
WORDS = RNG.integers(1, 12, (24, 7))
WORDS[::2, 5:] = 0  # padding
LABELS = RNG.integers(0, 2, 24).astype("float32")


@dataclass
class Script:
    """A compiled model and what it is fitted to."""

    model: Any
    x: Any
    y: Any = None
    options: dict[str, Any] = field(default_factory=dict)


def one_hot(codes: np.ndarray, size: int) -> np.ndarray:
    return np.eye(size, dtype="float32")[codes]


def addition_of_characters(K: Any) -> Script:
    """Sums read and written character by character."""
    model = K.Sequential(
        [
            K.layers.Input((5, 12)),
            K.layers.LSTM(8),
            K.layers.RepeatVector(3),
            K.layers.LSTM(8, return_sequences=True),
            K.layers.Dense(12, activation="softmax"),
        ]
    )
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return Script(model, one_hot(RNG_A, 12), one_hot(RNG_B, 12))


RNG_A, RNG_B = RNG.integers(0, 12, (32, 5)), RNG.integers(0, 12, (32, 3))


def translation(K: Any) -> Script:
    """An encoder whose states begin the decoder."""
    encoder_inputs = K.Input((None, 6))
    _, h, c = K.layers.LSTM(8, return_state=True)(encoder_inputs)
    decoder_inputs = K.Input((None, 5))
    outputs, _, _ = K.layers.LSTM(8, return_sequences=True, return_state=True)(
        decoder_inputs, initial_state=[h, c]
    )
    outputs = K.layers.Dense(5, activation="softmax")(outputs)
    model = K.Model([encoder_inputs, decoder_inputs], outputs)
    model.compile(optimizer="rmsprop", loss="categorical_crossentropy", metrics=["accuracy"])
    return Script(model, [one_hot(RNG_A % 6, 6), one_hot(RNG_B % 5, 5)], one_hot(RNG_B[:, ::-1] % 5, 5))


def translation_with_attention(K: Any) -> Script:
    """Embedded words, masks, a bidirectional encoder and dot-product attention."""
    source, target = K.Input((None,), dtype="int64"), K.Input((None,), dtype="int64")
    embedded = K.layers.Embedding(12, 6, mask_zero=True)(source)
    encoded = K.layers.Bidirectional(K.layers.GRU(4, return_sequences=True))(embedded)
    decoded = K.layers.GRU(8, return_sequences=True)(K.layers.Embedding(12, 6)(target))
    context = K.layers.Attention()([decoded, encoded])
    joined = K.layers.Concatenate()([decoded, context])
    model = K.Model([source, target], K.layers.Dense(12, activation="softmax")(joined))
    model.compile("adam", "sparse_categorical_crossentropy")
    return Script(model, [WORDS, RNG_B[:24]], RNG_B[:24, ::-1].copy())


def next_frame(K: Any) -> Script:
    """ConvLSTM layers between batch normalizations, and a last Conv3D."""
    inputs = K.layers.Input((4, 6, 6, 1))
    x = K.layers.ConvLSTM2D(3, (3, 3), padding="same", return_sequences=True, activation="relu")(inputs)
    x = K.layers.BatchNormalization()(x)
    x = K.layers.ConvLSTM2D(3, (1, 1), padding="same", return_sequences=True, activation="relu")(x)
    x = K.layers.Conv3D(1, (3, 3, 3), activation="sigmoid", padding="same")(x)
    model = K.models.Model(inputs, x)
    model.compile(loss=K.losses.BinaryCrossentropy(), optimizer=K.optimizers.Adam())
    return Script(model, MOVIES[:, :-1], MOVIES[:, 1:], {"batch_size": 4})


MOVIES = (RNG.random((8, 5, 6, 6, 1)) > 0.5).astype("float32")


def autoencoder(K: Any) -> Script:
    """Windows written down in one vector and read again."""
    model = K.Sequential()
    model.add(K.layers.LSTM(8, activation="relu", input_shape=(10, 1)))
    model.add(K.layers.RepeatVector(10))
    model.add(K.layers.LSTM(8, activation="relu", return_sequences=True))
    model.add(K.layers.TimeDistributed(K.layers.Dense(1)))
    model.compile(optimizer="adam", loss="mae")
    return Script(model, WINDOWS, WINDOWS)


def stateful_airline(K: Any) -> Script:
    """One series in batches that go on, its state reset after every epoch.

    The recurrent layer is frozen, since Keras on PyTorch cannot train a stateful one.
    """

    class Reset(K.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            for layer in self.model.layers:
                if "reset_states" in dir(layer):
                    layer.reset_states()
                elif "reset_state" in dir(layer):
                    layer.reset_state()

    model = K.Sequential(
        [
            K.layers.Input(batch_shape=(4, 10, 1)),
            K.layers.LSTM(6, stateful=True, trainable=False),
            K.layers.Dense(1),
        ]
    )
    model.compile(loss="mean_squared_error", optimizer="adam")
    return Script(model, WINDOWS, NEXT, {"batch_size": 4, "callbacks": [Reset()]})


def activity_recognition(K: Any) -> Script:
    """Convolutions over parts of a signal, a recurrent layer over the parts."""
    part = K.Sequential(
        [K.layers.Conv1D(6, 3, activation="relu"), K.layers.MaxPooling1D(2), K.layers.Flatten()]
    )
    model = K.Sequential(
        [K.layers.Input((4, 8, 3)), K.layers.TimeDistributed(part), K.layers.LSTM(8), K.layers.Dense(5)]
    )
    loss = K.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["sparse_categorical_accuracy"])
    return Script(model, SIGNAL, RNG_A[:20, 0] % 5)


SIGNAL = RNG.normal(size=(20, 4, 8, 3)).astype("float32")


def captioning(K: Any) -> Script:
    """Features of a picture added to the state of the words so far."""
    picture = K.Input((10,), name="picture")
    words = K.Input((7,), name="words")
    seen = K.layers.Dense(8, activation="relu")(picture)
    read = K.layers.LSTM(8)(K.layers.Embedding(12, 6, mask_zero=True)(words))
    x = K.layers.Dense(8, activation="relu")(K.layers.add([seen, read]))
    model = K.Model(inputs=[picture, words], outputs=K.layers.Dense(12, activation="softmax")(x))
    model.compile(loss="categorical_crossentropy", optimizer="adam")
    pictures = np.linspace(0, 1, 240, dtype="float32").reshape(24, 10)
    return Script(model, {"picture": pictures, "words": WORDS}, one_hot(WORDS[:, 0], 12))


def text_generation(K: Any) -> Script:
    """The next character, with a callback that writes a line after every epoch."""
    written: list[str] = []

    def write(epoch: int, logs: Any) -> None:
        chances = model.predict(one_hot(RNG_A[:1] % 9, 9), verbose=0)[0]
        written.append(str(int(np.argmax(chances))))

    model = K.Sequential(
        [K.Input(shape=(5, 9)), K.layers.LSTM(8), K.layers.Dense(9), K.layers.Activation("softmax")]
    )
    model.compile(loss="categorical_crossentropy", optimizer=K.optimizers.RMSprop(learning_rate=0.01))
    callbacks = [
        K.callbacks.LambdaCallback(on_epoch_end=write),
        K.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.2, patience=1, min_lr=0.001),
    ]
    return Script(model, one_hot(RNG_A % 9, 9), one_hot(RNG_B[:, 0] % 9, 9), {"callbacks": callbacks})


def film_reviews(K: Any) -> Script:
    """Two bidirectional layers over embedded words."""
    inputs = K.Input(shape=(None,), dtype="int32")
    x = K.layers.Embedding(12, 8)(inputs)
    x = K.layers.Bidirectional(K.layers.LSTM(4, return_sequences=True))(x)
    x = K.layers.Bidirectional(K.layers.LSTM(4))(x)
    model = K.Model(inputs, K.layers.Dense(1, activation="sigmoid")(x))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", K.metrics.AUC()])
    return Script(model, WORDS, LABELS, {"validation_split": 0.25})


def two_outputs(K: Any) -> Script:
    """A number and a class from one series, each with its loss and its weight."""
    inputs = K.Input((10, 1), name="series")
    x = K.layers.GRU(8)(inputs)
    level = K.layers.Dense(1, name="level")(x)
    kind = K.layers.Dense(3, activation="softmax", name="kind")(x)
    model = K.Model(inputs, [level, kind])
    model.compile(
        optimizer="adam",
        loss={"level": "mse", "kind": "sparse_categorical_crossentropy"},
        loss_weights={"level": 1.0, "kind": 0.3},
        metrics={"kind": ["accuracy"]},
    )
    return Script(model, WINDOWS, {"level": NEXT, "kind": np.arange(40) % 3})


def siamese(K: Any) -> Script:
    """One encoder for two texts, and their distance."""
    encoder = K.Sequential([K.layers.Embedding(12, 6, mask_zero=True), K.layers.LSTM(6)], name="encoder")
    left, right = K.Input((7,)), K.Input((7,))
    apart = K.layers.Lambda(lambda pair: K.ops.abs(pair[0] - pair[1]), output_shape=(6,))(
        [encoder(left), encoder(right)]
    )
    model = K.Model([left, right], K.layers.Dense(1, activation="sigmoid")(apart))
    model.compile(loss="binary_crossentropy", optimizer="adam")
    return Script(model, [WORDS, WORDS[::-1].copy()], LABELS)


def several_steps_ahead(K: Any) -> Script:
    """Five steps of a series at once."""
    model = K.Sequential([K.layers.LSTM(8), K.layers.Dense(5), K.layers.Reshape([5, 1])])
    model.build((None, 10, 1))
    model.compile(loss=K.losses.MeanSquaredError(), optimizer=K.optimizers.Adam())
    ahead = np.stack([SERIES[i + 10 : i + 15] for i in range(40)])
    return Script(model, WINDOWS, ahead[..., None])


def temperature(K: Any) -> Script:
    """Stacked GRUs with a schedule of the learning rate and early stopping."""
    inputs = K.Input(shape=(10, 1))
    x = K.layers.GRU(6, return_sequences=True)(inputs)
    x = K.layers.GRU(6)(x)
    x = K.layers.Dropout(0.0)(x)
    model = K.Model(inputs, K.layers.Dense(1)(x))
    schedule = K.optimizers.schedules.ExponentialDecay(0.01, decay_steps=3, decay_rate=0.9)
    model.compile(optimizer=K.optimizers.RMSprop(schedule), loss="mse", metrics=["mae"])
    stop = K.callbacks.EarlyStopping("val_loss", patience=5, restore_best_weights=True)
    return Script(model, WINDOWS, NEXT, {"validation_data": (WINDOWS[:8], NEXT[:8]), "callbacks": [stop]})


def anomalies_by_reconstruction(K: Any) -> Script:
    """Convolutions that shorten a window, and transposed ones that lengthen it again."""
    model = K.Sequential(
        [
            K.layers.Input(shape=(10, 1)),
            K.layers.Conv1D(8, 5, strides=2, padding="same", activation="relu"),
            K.layers.Dropout(rate=0.0),
            K.layers.Conv1DTranspose(8, 5, strides=2, padding="same", activation="relu"),
            K.layers.Conv1DTranspose(1, 5, padding="same"),
        ]
    )
    model.compile(optimizer=K.optimizers.Adam(learning_rate=0.001), loss="mse")
    return Script(model, WINDOWS, WINDOWS)


def dilated_convolutions(K: Any) -> Script:
    """Causal convolutions with growing gaps and gates, added to what they read."""
    inputs = K.Input((10, 1))
    x = K.layers.Conv1D(6, 1)(inputs)
    for gap in (1, 2, 4):
        wave = K.layers.Conv1D(6, 2, padding="causal", dilation_rate=gap, activation="tanh")(x)
        gate = K.layers.Conv1D(6, 2, padding="causal", dilation_rate=gap, activation="sigmoid")(x)
        x = K.layers.Add()([x, K.layers.Multiply()([wave, gate])])
    x = K.layers.GlobalAveragePooling1D()(K.layers.ReLU()(x))
    model = K.Model(inputs, K.layers.Dense(1)(x))
    model.compile("adam", K.losses.Huber())
    return Script(model, WINDOWS, NEXT)


def classes_of_ones_own(K: Any) -> Script:
    """A model of a class with a layer of a class, both written in the script."""

    class Encoder(K.layers.Layer):
        def __init__(self, units: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.lstm, self.norm = K.layers.LSTM(units), K.layers.LayerNormalization()

        def call(self, inputs: Any) -> Any:
            return self.norm(self.lstm(inputs))

    class Forecast(K.Model):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = Encoder(6), K.layers.Dense(1)

        def call(self, inputs: Any, training: bool = False) -> Any:
            return self.head(self.encoder(inputs))

    model = Forecast()
    model.compile("adam", "mse", metrics=[K.metrics.MeanAbsoluteError()])
    model(WINDOWS[:2])
    return Script(model, WINDOWS, NEXT)


def attention_of_ones_own(K: Any) -> Script:
    """A layer that weighs the steps, by weights of its own."""

    class Weighing(K.layers.Layer):
        def build(self, input_shape: Any) -> None:
            shape = (input_shape[-1], 1)
            self.w = self.add_weight(shape=shape, initializer="glorot_uniform", name="w")
            self.b = self.add_weight(shape=(input_shape[1], 1), initializer="zeros", name="b")

        def call(self, x: Any) -> Any:
            scores = K.ops.softmax(K.ops.tanh(K.ops.matmul(x, self.w) + self.b), axis=1)
            return K.ops.sum(x * scores, axis=1)

        def compute_output_shape(self, input_shape: Any) -> Any:
            return input_shape[0], input_shape[-1]

    inputs = K.Input((7,))
    x = K.layers.SpatialDropout1D(0.0)(K.layers.Embedding(12, 6)(inputs))
    x = Weighing()(K.layers.Bidirectional(K.layers.GRU(4, return_sequences=True))(x))
    model = K.Model(inputs, K.layers.Dense(1, activation="sigmoid")(x))
    model.compile("adam", "binary_crossentropy", metrics=[K.metrics.Precision(), K.metrics.Recall()])
    return Script(model, WORDS, LABELS, {"class_weight": {0: 1.0, 1: 3.0}})


def tags_of_words(K: Any) -> Script:
    """A tag for every word, padding masked, with weights of the words."""
    model = K.Sequential(
        [
            K.layers.Input((7,)),
            K.layers.Embedding(12, 6, mask_zero=True),
            K.layers.Bidirectional(K.layers.LSTM(5, return_sequences=True)),
            K.layers.TimeDistributed(K.layers.Dense(4, activation="softmax")),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    weights = np.where(WORDS > 0, 1.5, 0.5).astype("float32")
    return Script(model, WORDS, WORDS % 4, {"sample_weight": weights})


def transformer(K: Any) -> Script:
    """A block of self-attention and dense layers, added to what they read and normalized."""
    inputs = K.Input((10, 1))
    x = K.layers.Dense(8)(inputs)
    attended = K.layers.MultiHeadAttention(num_heads=2, key_dim=4, dropout=0.0)(x, x)
    x = K.layers.LayerNormalization(epsilon=1e-6)(x + attended)
    inner = K.layers.Conv1D(filters=8, kernel_size=1)(K.layers.Conv1D(4, 1, activation="relu")(x))
    x = K.layers.GlobalAveragePooling1D()(K.layers.LayerNormalization(epsilon=1e-6)(x + inner))
    model = K.Model(inputs, K.layers.Dense(2, activation="softmax")(x))
    model.compile(loss="sparse_categorical_crossentropy", optimizer=K.optimizers.Adam(1e-3))
    return Script(model, WINDOWS, np.arange(40) % 2)


def video(K: Any) -> Script:
    """A convolutional network on every frame, a GRU over the frames, and noise left out."""
    model = K.Sequential(
        [
            K.layers.Input((5, 6, 6, 1)),
            K.layers.Rescaling(2.0, offset=-1.0),
            K.layers.TimeDistributed(K.layers.Conv2D(4, 3, activation="elu")),
            K.layers.TimeDistributed(K.layers.GlobalMaxPooling2D()),
            K.layers.GRU(6, kernel_regularizer=K.regularizers.L2(0.01)),
            K.layers.Dense(3, activation="softmax", kernel_constraint="max_norm"),
        ]
    )
    model.compile(K.optimizers.SGD(0.1, momentum=0.9, nesterov=True), "categorical_crossentropy")
    return Script(model, MOVIES, one_hot(np.arange(8) % 3, 3))


SCRIPTS: list[Callable[[Any], Script]] = [
    addition_of_characters, translation, translation_with_attention, next_frame, autoencoder,
    stateful_airline, activity_recognition, captioning, text_generation, film_reviews, two_outputs, siamese,
    several_steps_ahead, temperature, anomalies_by_reconstruction, dilated_convolutions, classes_of_ones_own,
    attention_of_ones_own, tags_of_words, transformer, video,
]  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_a_script_runs_by_either_name(script: Callable[[Any], Script]) -> None:
    theirs, mine = script(keras), script(ours)
    weights = theirs.model.get_weights()
    assert [w.shape for w in mine.model.get_weights()] == [w.shape for w in weights]
    mine.model.set_weights(weights)
    logs = []
    for each in (mine, theirs):
        options = {"epochs": 2, "shuffle": False, "verbose": 0, "batch_size": 8, **each.options}
        logs.append(each.model.fit(each.x, each.y, **options).history)
    losses = [name for name in logs[1] if name.endswith("loss")]
    assert set(losses) <= set(logs[0])
    for name in losses:
        np.testing.assert_allclose(logs[0][name], logs[1][name], rtol=2e-3, atol=2e-4, err_msg=name)
