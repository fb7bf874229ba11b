"""Quantized copies of models: near the floats, smaller in the file, the same when loaded, not trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import longspan as ls
from longspan import export, layers, nn
from longspan.errors import LongspanWarning
from longspan.models import Model, Sequential, load_model
from longspan.nn.quantization import is_int8
from tests.tasks.toys import TOYS

X = np.random.default_rng(0).normal(size=(6, 7, 5)).astype(np.float32)


def sequential(*row: Any, compiled: bool = False) -> Sequential:
    model = Sequential([layers.Input((None, 5)), *row])
    if compiled:
        model.compile("adam", "mse", metrics=["mae"])
    return model


def two_branches() -> Model:
    x = layers.Input((None, 5))
    both = layers.Concatenate()([layers.LSTM(8)(x), layers.GRU(8)(x)])
    return Model(x, layers.Dense(2)(both))


def keras_models() -> dict[str, Any]:
    return {
        "lstm": sequential(layers.LSTM(16, return_sequences=True), layers.LSTM(16), layers.Dense(2)),
        "gru": sequential(layers.GRU(16), layers.Dense(2)),
        "without bias": sequential(layers.SimpleRNN(16, use_bias=False), layers.Dense(2)),
        "bidirectional": sequential(layers.Bidirectional(layers.LSTM(16)), layers.Dense(2)),
        "cells": sequential(layers.RNN([layers.LSTMCell(8), layers.GRUCell(8)]), layers.Dense(2)),
        "model": two_branches(),
    }


def test_a_module_is_copied_and_stays_as_it_is() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(5, 5), nn.LSTM(5, 16))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    small = ls.quantize(network)
    assert small[1].weight_hh_l0.dtype is torch.int8
    assert small[0].weight.dtype is torch.float32
    assert not small.training and not any(p.requires_grad for p in small.parameters())
    assert network.training and all(p.requires_grad for p in network.parameters())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    x = torch.from_numpy(X)
    assert torch.allclose(small(x)[0], network(x)[0], atol=0.02)
    assert not torch.equal(small(x)[0], network(x)[0])


@pytest.mark.parametrize("name", list(keras_models()))
def test_a_model_keeps_its_answers_in_copy_and_file(name: str, tmp_path: Path) -> None:
    model = keras_models()[name]
    small = ls.quantize(model)
    expected = model.predict(X, verbose=0)
    answers = small.predict(X, verbose=0)
    assert np.abs(answers - expected).max() < 0.05 * np.abs(expected).max()
    assert not np.array_equal(answers, expected)
    assert [w.dtype for w in model.get_weights()] == [np.float32] * len(model.get_weights())
    small.save(tmp_path / "small")
    loaded = load_model(tmp_path / "small")
    assert np.array_equal(loaded.predict(X, verbose=0), answers)
    assert any(w.dtype == np.int8 for w in loaded.get_weights())
    small.save_weights(tmp_path / "weights")
    other = ls.quantize(keras_models()[name])
    other.load_weights(tmp_path / "weights")
    assert np.array_equal(other.predict(X, verbose=0), answers)


def test_layers_of_other_kinds_that_stay_in_float_are_named() -> None:
    x = np.zeros((2, 3, 4, 4, 1), np.float32)
    model = sequential(
        layers.LSTM(4, return_sequences=True), layers.GRU(4, reset_after=False), layers.Dense(1)
    )
    with pytest.warns(LongspanWarning, match=r"quantize: .*1.* stays in float"):
        ls.quantize(model)
    clips = Sequential([layers.ConvLSTM2D(2, 3), layers.Flatten(), layers.RepeatVector(2), layers.LSTM(3)])
    clips.build(x.shape)
    with pytest.warns(LongspanWarning, match="stays in float"):
        ls.quantize(clips)


def test_a_file_is_as_small_as_its_int8_weights(tmp_path: Path) -> None:
    model = sequential(layers.LSTM(128), layers.Dense(1), compiled=True)
    model.fit(X, X[:, 0, :1], verbose=0)
    ls.quantize(model).save(tmp_path / "small")
    Sequential.save(sequential(layers.LSTM(128), layers.Dense(1)), tmp_path / "float")
    small, wide = ((tmp_path / name).stat().st_size for name in ("small", "float"))
    assert small < 0.3 * wide


def test_a_compiled_model_is_evaluated_and_not_fitted(tmp_path: Path) -> None:
    y = X[:, :2, 0]
    model = sequential(layers.LSTM(16), layers.Dense(2), compiled=True)
    model.fit(X, y, epochs=2, verbose=0)
    small = ls.quantize(model)
    assert small.evaluate(X, y, verbose=0) == pytest.approx(model.evaluate(X, y, verbose=0), rel=0.05)
    sentence = "model: expected float weights to train, received int8 weights;"
    for train in (small.fit, small.train_on_batch):
        with pytest.raises(ValueError, match=sentence):
            train(X, y)
    small.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.evaluate(X, y, verbose=0) == small.evaluate(X, y, verbose=0)
    with pytest.raises(ValueError, match=sentence):
        loaded.fit(X, y)
    assert model.fit(X, y, verbose=0).history["loss"]  # the original goes on


def test_explain_of_a_model_names_the_int8_kernel() -> None:
    small = ls.quantize(sequential(layers.LSTM(8)))
    assert "int8 kernels" in small.layers[0].explain(X)


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")  # of words that were not in training
@pytest.mark.parametrize("name", ["forecast", "classify", "language"])
def test_a_task_keeps_its_answers_in_copy_and_file(name: str, tmp_path: Path) -> None:
    toy = TOYS[name]()
    task = ls.tasks.task(name)(**toy.options).fit(toy.source, toy.y, verbose=0)
    before = toy.numbers(task.predict(toy.asked))
    small = ls.quantize(task)
    assert type(small) is type(task)
    score = small.evaluate(toy.test, toy.test_y)[toy.metric]
    assert score < toy.naive if toy.better == "less" else score > toy.naive
    assert np.array_equal(toy.numbers(task.predict(toy.asked)), before)
    small.save(tmp_path / "small")
    task.save(tmp_path / "float")
    loaded: Any = ls.load(tmp_path / "small")
    assert np.array_equal(toy.numbers(loaded.predict(toy.asked)), toy.numbers(small.predict(toy.asked)))
    assert (tmp_path / "small").stat().st_size < (tmp_path / "float").stat().st_size
    with pytest.raises(ValueError, match="float weights to train, received int8 weights"):
        loaded.fit(toy.source, toy.y, verbose=0)
    if name == "language":
        with pytest.raises(ValueError, match="float weights to train"):
            loaded.pretrained_encoder()


@pytest.mark.parametrize("name", ["lstm", "gru", "without bias", "bidirectional", "cells"])
def test_onnx_has_int8_weights_and_the_same_answers(name: str) -> None:
    model = keras_models()[name]
    small = ls.quantize(model)
    content = export.to_onnx(small)
    graph = onnx.load_from_string(content).graph
    nodes = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    matrices = [t for t in graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert len(nodes) == len(matrices) >= 2
    assert all(node.attribute[0].name == "axis" and node.attribute[0].i == 0 for node in nodes)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (answers,) = session.run(None, {"input": X})
    expected = small.predict(X, verbose=0)
    # the graph keeps activations in float32: it differs by what rounding them to int8 changes
    assert np.abs(answers - expected).max() < 0.02 * np.abs(expected).max()
    assert len(content) < len(export.to_onnx(model)) or len(matrices) < 2


def test_onnx_equals_the_weights_in_floats() -> None:
    small: Any = ls.quantize(sequential(layers.LSTM(16, return_sequences=True)))
    session = onnxruntime.InferenceSession(export.to_onnx(small), providers=["CPUExecutionProvider"])
    theirs = torch.nn.LSTM(5, 16, batch_first=True)
    names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    theirs.load_state_dict(dict(zip(names, small.layers[0].core.all_weights[0], strict=True)))
    answers: Any = session.run(None, {"input": X})[0]
    assert np.allclose(answers, theirs(torch.from_numpy(X))[0].detach().numpy(), atol=1e-5)


def test_a_file_of_keras_is_refused(tmp_path: Path) -> None:
    small = ls.quantize(sequential(layers.LSTM(8)))
    with pytest.raises(ValueError, match="model: expected float weights, received int8 weights;"):
        export.to_keras(small, tmp_path / "model.keras")


def test_layers_that_stay_in_float_are_named() -> None:
    network = torch.nn.ModuleList([nn.LSTM(5, 8), nn.LSTM(5, 8, proj_size=3), nn.GRU(5, 8, layer_norm=True)])
    with pytest.warns(LongspanWarning, match="quantize: 1, 2 stay in float"):
        small = ls.quantize(network)
    assert [is_int8(layer) for layer in small] == [True, False, False]


def test_what_cannot_be_quantized_is_refused() -> None:
    with pytest.raises(TypeError, match="model: expected a module of PyTorch"):
        ls.quantize(5)
    with pytest.raises(
        ValueError, match="model: expected a recurrent layer without layer_norm and proj_size"
    ):
        ls.quantize(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="model: expected float weights, received int8 weights; use it"):
        ls.quantize(ls.quantize(nn.LSTM(2, 2)))
    with pytest.raises(ValueError, match="model: expected a built one"):
        ls.quantize(Sequential([layers.LSTM(3)]))
    with pytest.raises(ValueError, match="Forecaster: expected a fitted one"):
        ls.quantize(ls.Forecaster(horizon=2))
    layer: Any = nn.LSTM(2, 2)
    layer.weight_hh_l0.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match="finite weights, received NaN or infinity in weight_hh_l0"):
        ls.quantize(layer)
    layer = torch.nn.utils.parametrizations.weight_norm(nn.LSTM(2, 2), "weight_hh_l0")
    with pytest.raises(ValueError, match="plain weights, received a parametrized weight_hh_l0"):
        ls.quantize(layer)
