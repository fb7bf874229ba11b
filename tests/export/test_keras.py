"""Keras' files are read and written whole, and what is no such file is refused in one sentence.

tests/models/test_keras.py exchanges them with Keras itself.
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from longspan import export, layers, models
from longspan.export.keras import KerasFile, folders

T, D = 7, 3
SUFFIXES = (".keras", ".weights.h5", ".h5")


def stack() -> models.Sequential:
    """Two layers of one class, cells, and layers inside a layer: every kind of folder."""
    rows: list[Any] = [
        layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
        layers.Dropout(0.1),
        layers.RNN([layers.LSTMCell(3), layers.GRUCell(5, use_bias=False)], return_sequences=True),
        layers.TimeDistributed(layers.Dense(4)),
        layers.GRU(4),
        layers.Dense(3),
        layers.Dense(2),
    ]
    return models.Sequential([layers.Input((T, D)), *rows])


def written(path: Path, model: models.Sequential | None = None) -> Path:
    export.to_keras(stack() if model is None else model, path)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_weights_are_read_in_the_order_in_which_they_were_written(suffix: str, tmp_path: Path) -> None:
    model = stack()
    file = export.read_keras(written(tmp_path / f"model{suffix}", model))
    read = file.ordered(export.described_layers(model))
    weights = model.get_weights()
    assert len(read) == len(weights) and all(map(np.array_equal, read, weights))


def test_a_file_of_weights_alone_has_no_config(tmp_path: Path) -> None:
    file = export.read_keras(written(tmp_path / "model.weights.h5"))
    assert (file.config, file.shape, file.compiled) == (None, None, None)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_the_input_shape_is_read(suffix: str, tmp_path: Path) -> None:
    file = export.read_keras(written(tmp_path / f"model{suffix}"))
    assert file.shape == (None, T, D)
    assert file.config is not None
    kinds = [layer["class_name"] for layer in file.config["layers"]]
    assert kinds[:3] == ["InputLayer", "Bidirectional", "Dropout"]


def test_folders_are_keras_own() -> None:
    described = export.described_layers(stack())
    assert folders(described) == [
        "layers/bidirectional/forward_layer/cell/",
        "layers/bidirectional/backward_layer/cell/",
        "layers/dropout/",
        "layers/rnn/cell/cells/lstm_cell/",
        "layers/rnn/cell/cells/gru_cell/",
        "layers/time_distributed/layer/",
        "layers/gru/cell/",
        "layers/dense/",
        "layers/dense_1/",
    ]


def test_variables_are_in_the_order_of_their_numbers() -> None:
    arrays = {f"layers/dense/vars/{i}": np.full(1, i) for i in (10, 2, 0)}
    ordered = KerasFile(None, None, arrays).ordered([{"class_name": "Dense", "config": {}}])
    assert [int(array[0]) for array in ordered] == [0, 2, 10]


def test_a_text_model_declares_integers(tmp_path: Path) -> None:
    model = models.Sequential([layers.Input((T,)), layers.Embedding(9, 4), layers.LSTM(3)])
    path = written(tmp_path / "model.keras", model)
    config = json.loads(zipfile.ZipFile(path).read("config.json"))
    assert config["config"]["layers"][0]["config"]["dtype"] == "int32"


class TestRefusals:
    """Each in one sentence, with nothing written or read by halves."""

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"expected a file of Keras, received nothing"):
            export.read_keras(tmp_path / "none.keras")

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("share", [0.0, 0.5])
    def test_truncated(self, suffix: str, share: float, tmp_path: Path) -> None:
        path = written(tmp_path / f"model{suffix}")
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=r"expected a whole file of Keras, received a truncated"):
            export.read_keras(path)

    def test_models_of_a_class_of_ones_own(self, tmp_path: Path) -> None:
        path = tmp_path / "model.h5"
        with h5py.File(path, "w") as opened:
            opened.attrs["layer_names"] = np.array([], dtype="S1")
            opened.attrs["model_config"] = json.dumps({"class_name": "Net", "config": {}})
        with pytest.raises(
            ValueError, match="expected a Sequential or functional model, received a Net model"
        ):
            export.read_keras(path)

    def test_other_suffixes(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"ends in \.keras, \.weights\.h5 or \.h5, received .*\.onnx"):
            export.to_keras(stack(), tmp_path / "model.onnx")
        assert not list(tmp_path.iterdir())

    def test_models_without_weights(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="one that is built, received one without weights"):
            export.to_keras(models.Sequential([layers.LSTM(4)]), tmp_path / "model.keras")

    def test_cells_that_keras_lacks(self, tmp_path: Path) -> None:
        model = models.Sequential([layers.Input((T, D)), layers.RNN("peephole", units=4)])
        with pytest.raises(ValueError, match="expected a cell that Keras has, received the cell 'peephole'"):
            export.to_keras(model, tmp_path / "model.keras")

    def test_without_the_package(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setitem(sys.modules, "h5py", None)
        with pytest.raises(ImportError, match=r"pip install 'longspan\[keras\]'"):
            export.to_keras(stack(), tmp_path / "model.keras")
