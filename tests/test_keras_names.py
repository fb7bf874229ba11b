"""A script written for Keras finds its names where Keras has them, and their behaviour."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from longspan import backend, layers, utils
from longspan.preprocessing.sequence import TimeseriesGenerator
from longspan.preprocessing.text import Tokenizer, text_to_word_sequence

SCRIPT = """
import numpy as np
from tensorflow import keras
from tensorflow.keras import backend as K
from tensorflow.keras.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from tensorflow.keras.initializers import GlorotUniform, Orthogonal
from tensorflow.keras.layers import GRU, LSTM, Bidirectional, Dense, Dropout, Input, MaxPool1D
from tensorflow.keras.losses import MeanSquaredError
from tensorflow.keras.metrics import RootMeanSquaredError
from tensorflow.keras.models import Sequential, clone_model, load_model, model_from_json
from tensorflow.keras.optimizers import Adam
from tensorflow.keras.optimizers.schedules import ExponentialDecay
from tensorflow.keras.preprocessing.sequence import TimeseriesGenerator, pad_sequences
from tensorflow.keras.preprocessing.text import Tokenizer
from tensorflow.keras.regularizers import l2
from tensorflow.keras.saving import load_model as load_again
from tensorflow.keras.utils import set_random_seed, timeseries_dataset_from_array, to_categorical

K.clear_session()
set_random_seed(0)
series = np.sin(np.arange(60) / 5).reshape(-1, 1)
model = keras.Sequential(
    [
        keras.Input(shape=(5, 1)),
        Bidirectional(LSTM(4, return_sequences=True, kernel_initializer=GlorotUniform(seed=1))),
        Dropout(0.1),
        keras.layers.GRU(units=3, kernel_regularizer=l2(1e-4)),
        keras.layers.Dense(1, activation="linear"),
    ]
)
model.compile(
    optimizer=Adam(learning_rate=ExponentialDecay(0.01, 100, 0.9)),
    loss=MeanSquaredError(),
    metrics=[RootMeanSquaredError(name="rmse"), "mae"],
)
pairs = TimeseriesGenerator(series, series, length=5, batch_size=8)
stop = EarlyStopping(monitor="val_loss", patience=1, restore_best_weights=True)
history = model.fit(pairs, validation_data=pairs, epochs=2, verbose=0, callbacks=[stop, ReduceLROnPlateau()])
assert set(history.history) >= {"loss", "rmse", "mae", "val_loss", "val_rmse", "val_mae", "learning_rate"}
loss, rmse, mae = model.evaluate(pairs, verbose=0)
assert model.predict(pairs, verbose=0).shape == (55, 1)
model.summary()
copy = model_from_json(model.to_json())
copy.set_weights(model.get_weights())
assert (copy.predict(pairs, verbose=0) == model.predict(pairs, verbose=0)).all()
assert clone_model(model).output_shape == (None, 1)
stack = keras.layers.RNN(keras.layers.StackedRNNCells([keras.layers.LSTMCell(4), keras.layers.GRUCell(3)]))
assert Sequential([keras.layers.InputLayer(input_shape=(5, 1)), stack]).output_shape == (None, 3)
"""


@pytest.mark.parametrize("place", ["tensorflow.keras", "keras"])
def test_a_script_runs(place: str) -> None:
    script = SCRIPT.replace("from tensorflow import keras", f"import {place}" if place == "keras" else "")
    if place == "keras":
        script = script.replace("tensorflow.keras", "keras").replace("keras", "longspan")
    else:
        script = "import longspan as keras\n" + script.replace("tensorflow.keras", "longspan")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "bidirectional (Bidirectional)" in done.stdout


def test_timeseries_generator() -> None:
    data = np.arange(10)
    pairs = TimeseriesGenerator(data, 10 * data, length=4, sampling_rate=2, stride=2, batch_size=2)
    assert len(pairs) == 2
    x, y = pairs[1]
    np.testing.assert_array_equal(x, [[4, 6]])
    np.testing.assert_array_equal(y, [80])
    backwards = TimeseriesGenerator(data, data, length=3, reverse=True)
    np.testing.assert_array_equal(backwards[0][0][0], [2, 1, 0])
    with pytest.raises(ValueError, match="targets: expected 10 like data, received 9"):
        TimeseriesGenerator(data, data[1:], length=3)
    with pytest.raises(ValueError, match="data: expected more than length = 12 steps"):
        TimeseriesGenerator(data, data, length=12)


def test_timeseries_dataset() -> None:
    """Keras' own example: windows of ten steps two apart, every third."""
    data = np.arange(100)
    batches = utils.timeseries_dataset_from_array(
        data, None, sequence_length=10, sampling_rate=2, sequence_stride=3
    )
    first = next(iter(batches))
    assert first.x[:2].tolist() == [list(range(0, 20, 2)), list(range(3, 23, 2))]
    assert first.x[-1].tolist() == list(range(81, 100, 2))
    with pytest.raises(ValueError, match="data: expected at least 19 steps"):
        utils.timeseries_dataset_from_array(data[:18], None, sequence_length=10, sampling_rate=2)


def test_tokenizer() -> None:
    tokenizer = Tokenizer(num_words=3, oov_token="<OOV>")
    tokenizer.fit_on_texts(["a b b", "b c, A"])
    assert tokenizer.word_index == {"<OOV>": 1, "b": 2, "a": 3, "c": 4}
    assert tokenizer.texts_to_sequences(["b a z"]) == [[2, 1, 1]]
    assert tokenizer.sequences_to_texts([[2, 1]]) == ["b <OOV>"]
    counts = Tokenizer(char_level=True)
    counts.fit_on_texts(["aab"])
    np.testing.assert_array_equal(counts.texts_to_matrix(["ab", "aa"], mode="count"), [[0, 1, 1], [0, 2, 0]])
    np.testing.assert_array_equal(counts.texts_to_matrix(["aa"]), [[0, 1, 0]])
    np.testing.assert_array_equal(counts.texts_to_matrix(["ab"], mode="freq"), [[0, 0.5, 0.5]])
    with pytest.raises(ValueError, match="mode: expected one of"):
        counts.texts_to_matrix(["a"], mode="tfidf")
    assert text_to_word_sequence("A-b", lower=False) == ["A", "b"]


@pytest.mark.parametrize("clear", [backend.clear_session, utils.clear_session])
def test_names_start_again(clear: object) -> None:
    assert callable(clear)
    clear()
    assert layers.LSTM(1).name == "lstm"
    assert layers.LSTM(1).name == "lstm_1"


def test_tensors_give_tensors() -> None:
    assert utils.to_categorical(torch.tensor([1, 0]), 2).tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert utils.normalize(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist() == [
        pytest.approx([0.6, 0.8]), [0.0, 0.0],
    ]  # fmt: skip


def test_padding_of_texts() -> None:
    padded = utils.pad_sequences([["a"], ["b", "c"]], dtype="object", value="pad")
    assert padded.tolist() == [["pad", "a"], ["b", "c"]]
    with pytest.raises(ValueError, match="value: expected a number of dtype int32, received 'pad'"):
        utils.pad_sequences([[1]], maxlen=2, value="pad")


@pytest.mark.parametrize(
    "option",
    [{"start_index": -1}, {"end_index": 10}, {"sampling_rate": 0}, {"sequence_stride": 0}, {"format": "tf"}],
)
def test_windows_that_do_not_fit_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(option))}: expected"):
        utils.timeseries_dataset_from_array(np.arange(10), None, 3, **option)


def test_splitting_a_data_set() -> None:
    x, y = np.arange(10.0), {"a": np.arange(10)}
    left, right = utils.split_dataset((x, y), right_size=3)
    assert (len(left), len(right)) == (7, 3) and right[0][0] == 7.0 and right[2][1]["a"] == 9
    parts = [utils.split_dataset(x, 0.5, 0.2, shuffle=True, seed=1) for _ in range(2)]
    drawn = [[float(row) for row in left] for left, _ in parts]
    assert drawn[0] == drawn[1] != sorted(drawn[0]) and [len(part) for part in parts[0]] == [5, 2]
    left, _ = utils.split_dataset(torch.utils.data.TensorDataset(torch.arange(4)), left_size=1, seed=0)
    assert left[0][0] == 0
    for wrong in ((None, None), (8, 3), (1.5, None), (0, None)):
        with pytest.raises(ValueError, match="_size"):
            utils.split_dataset(x, *wrong)
    with pytest.raises(ValueError, match=r"preferred_backend: expected None or .torch."):
        utils.split_dataset(x, 0.5, preferred_backend="tensorflow")


def test_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    bar = utils.Progbar(4, width=8, interval=0.0, stateful_metrics=["rate"], unit_name="row")
    bar.update(1, [("loss", 4.0), ("rate", 1.0)])
    bar.add(1, [("loss", np.array([1.0, 3.0])), ("rate", 0.5)])
    last = capsys.readouterr().out.split("\r")[-1]
    assert "2/4 ━━━━────" in last and "/row" in last and "loss: 3.0000 - rate: 0.5000" in last
    bar.update(4)
    assert capsys.readouterr().out.endswith("\n")
    line = utils.Progbar(None, verbose=2)
    line.update(1, [("loss", 1e-4)])
    assert capsys.readouterr().out == ""
    line.update(2, [("loss", 1e-4)], finalize=True)
    assert re.match(r"2/unknown - 0s \d+.s/step - loss: 1.0000e-04", capsys.readouterr().out)
    slow = utils.Progbar(9, interval=60.0, stateless_metrics=[])
    slow.update(1)
    slow.update(2)
    assert capsys.readouterr().out.count("\r") == 1
    utils.Progbar(1, verbose=0).update(1)
    with pytest.raises(ValueError, match="Progbar: expected one of"):
        utils.Progbar(1, stateful_metrics=[], stateless_metrics=[])


def test_names_of_utils_that_are_not_there_say_what_to_use() -> None:
    with pytest.raises(AttributeError, match="received Keras' get_file, which is not there; use urllib"):
        utils.get_file  # noqa: B018
    with pytest.raises(AttributeError, match="the nearest is 'to_categorical'"):
        utils.to_categoricals  # noqa: B018
