"""Knows that weights go to torch.nn and back, and that ONNX graphs give the same numbers in onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from longspan import export, layers, models

RNG = np.random.default_rng(0)
B, T, D = 5, 7, 3
X = RNG.normal(size=(B, T, D)).astype(np.float32)
PADDED = X.copy()
PADDED[0, 4:] = 0.0
PADDED[1, :2] = 0.0
PADDED[2, [1, 3, 4]] = 0.0
PADDED[3] = 0.0
CODES = RNG.integers(0, 9, size=(B, T))
VIDEO = RNG.normal(size=(2, 4, 6, 5, 2)).astype(np.float32)
FRAMES = RNG.normal(size=(3, 8, 6, 2)).astype(np.float32)


def build(*row: Any, x: np.ndarray, free: bool = True) -> models.Sequential:
    """A model for rows like x, its time open, with weights away from where they start."""
    shape = (None, *x.shape[2:]) if free and x.ndim > 1 else x.shape[1:]
    model = models.Sequential([layers.Input(shape), *row])
    model.build((None, *shape))
    rng = np.random.default_rng(1)
    model.set_weights([w + rng.normal(scale=0.2, size=w.shape) ** 2 for w in model.get_weights()])
    return model


MODELS: dict[str, tuple[Callable[[Any], list[Any]], np.ndarray]] = {
    "lstm": (lambda m: [m.LSTM(5), m.Dense(2, activation="softmax")], X),
    "lstm without bias": (lambda m: [m.LSTM(5, use_bias=False, return_sequences=True)], X),
    "lstm relu": (lambda m: [m.LSTM(5, activation="relu", recurrent_activation="hard_sigmoid")], X),
    "gru": (lambda m: [m.GRU(5, return_sequences=True), m.GRU(4, go_backwards=True)], X),
    "gru before": (lambda m: [m.GRU(5, reset_after=False)], X),
    "rnn": (lambda m: [m.SimpleRNN(5, activation="elu", return_sequences=True, go_backwards=True)], X),
    "cells": (lambda m: [m.RNN([m.LSTMCell(4), m.GRUCell(5, use_bias=False)], return_sequences=True)], X),
    "two ways": (lambda m: [m.Bidirectional(m.LSTM(5, return_sequences=True)), m.Dense(2)], X),
    "two ways, last": (lambda m: [m.Bidirectional(m.GRU(5), merge_mode="mul")], X),
    "masked": (lambda m: [m.Masking(), m.LSTM(5, return_sequences=True), m.GRU(4)], PADDED),
    "masked backwards": (lambda m: [m.Masking(), m.LSTM(5, go_backwards=True)], PADDED),
    "masked backwards, all": (
        lambda m: [m.Masking(), m.GRU(5, return_sequences=True, go_backwards=True)],
        PADDED,
    ),
    "masked zeros": (
        lambda m: [m.Masking(), m.SimpleRNN(5, return_sequences=True, zero_output_for_mask=True)],
        PADDED,
    ),
    "masked two ways": (
        lambda m: [m.Masking(), m.Bidirectional(m.LSTM(5, return_sequences=True), merge_mode="ave")],
        PADDED,
    ),
    "text": (lambda m: [m.Embedding(9, 4, mask_zero=True), m.Bidirectional(m.LSTM(5)), m.Dense(1)], CODES),
    "pooled text": (lambda m: [m.Embedding(9, 4, mask_zero=True), m.GlobalAveragePooling1D()], CODES[1:]),
    "convolution": (
        lambda m: [
            m.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="swish"),
            m.BatchNormalization(),
            m.MaxPooling1D(2, padding="same"),
            m.LayerNormalization(),
            m.LSTM(4),
        ],
        X,
    ),
    "convolution same": (
        lambda m: [
            m.Conv1D(6, 4, padding="same", strides=2),
            m.AveragePooling1D(3, strides=1, padding="same"),
        ],
        X,
    ),
    "dilated same": (lambda m: [m.Conv1D(6, 3, padding="same", dilation_rate=2), m.GlobalMaxPooling1D()], X),
    "shapes": (
        lambda m: [
            m.Reshape((D, T)),
            m.Permute((2, 1)),
            m.Flatten(),
            m.RepeatVector(3),
            m.LSTM(4),
            m.Dropout(0.5),
        ],
        X,
    ),
    "pictures": (
        lambda m: [m.Conv2D(4, (3, 2), activation="relu"), m.MaxPooling2D(), m.Flatten(), m.Dense(3)],
        FRAMES,
    ),
    "frames": (
        lambda m: [
            m.ConvLSTM2D(4, (3, 2), padding="same", strides=2, return_sequences=True),
            m.ConvLSTM2D(3, 2, activation="relu", use_bias=False, go_backwards=True),
        ],
        VIDEO,
    ),
    "frames, all": (
        lambda m: [
            m.ConvLSTM2D(4, 3, padding="same", dilation_rate=2, go_backwards=True, return_sequences=True)
        ],
        VIDEO,
    ),
    "each step": (
        lambda m: [
            m.TimeDistributed(m.Dense(4, activation="gelu")),
            m.TimeDistributed(m.LayerNormalization()),
            m.LSTM(3),
        ],
        X,
    ),
    "attention": (
        lambda m: [m.Masking(), m.Attention(use_scale=True), m.ReLU(max_value=1.0), m.GRU(3)],
        PADDED[:3],
    ),
}
FIXED = ("shapes", "pictures")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore:.*does not pass masks on")
def test_onnx(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")
    make, x = MODELS[name]
    model = build(*make(layers), x=x, free=name not in FIXED)
    file = tmp_path / "model.onnx"
    export.to_onnx(model, file)
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    parts = [x] if name in FIXED else [x, x[:1], np.concatenate([x, x[:, 1:]], 1)]
    for part in parts:
        expected = model.predict(part)
        (found,) = session.run(None, {"input": part})
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_onnx_state(tmp_path: Path) -> None:
    """A stream served piece by piece gives what the whole sequence gives."""
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")
    model = build(
        layers.LSTM(5, return_sequences=True, name="below"), layers.GRU(4, name="above"), layers.Dense(2), x=X
    )
    file = tmp_path / "model.onnx"
    export.to_onnx(model, file, states=True)
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    assert names == ["input", "below.h", "below.c", "above.h"]
    state = [np.zeros((B, width), np.float32) for width in (5, 5, 4)]
    for part in (X[:, :3], X[:, 3:]):
        out, *state = session.run(None, dict(zip(names, [part, *state], strict=True)))
    np.testing.assert_allclose(out, model.predict(X), atol=1e-5)


def test_onnx_says_what_it_lacks() -> None:
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    with pytest.raises(ValueError, match="peephole"):
        export.to_onnx(build(layers.RNN("peephole", units=4), x=X))
    with pytest.raises(ValueError, match="'mish'"):
        export.to_onnx(build(layers.LSTM(4, activation="mish"), x=X))
    with pytest.raises(ValueError, match="one that is built"):
        export.to_onnx(models.Sequential([layers.LSTM(4)]))


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_torch_recurrent(kind: str, both: bool) -> None:
    theirs = getattr(torch.nn, kind)(D, 4, batch_first=True, bidirectional=both)
    ours = getattr(layers, {"RNN": "SimpleRNN"}.get(kind, kind))(4, return_sequences=True)
    ours = layers.Bidirectional(ours) if both else ours
    x = torch.as_tensor(X)
    ours(x)
    export.from_torch(ours, theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs(x)[0], atol=1e-6, rtol=1e-5)
    back = getattr(torch.nn, kind)(D, 4, batch_first=True, bidirectional=both)
    back.load_state_dict(export.to_torch(ours))
    torch.testing.assert_close(back(x)[0], theirs(x)[0], atol=1e-6, rtol=1e-5)


def test_torch_stack() -> None:
    theirs = torch.nn.LSTM(D, 4, num_layers=2, batch_first=True)
    model = build(layers.LSTM(4, return_sequences=True), layers.LSTM(4, return_sequences=True), x=X)
    export.from_torch(model.layers, theirs.state_dict())
    torch.testing.assert_close(model(X), theirs(torch.as_tensor(X))[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("ours", "theirs", "x"),
    [
        (layers.Dense(4), torch.nn.Linear(D, 4), X[:, 0]),
        (layers.Embedding(9, 4), torch.nn.Embedding(9, 4), CODES),
        (layers.LayerNormalization(epsilon=1e-5), torch.nn.LayerNorm(D), X),
        (layers.BatchNormalization(epsilon=1e-5), torch.nn.BatchNorm1d(D), X[:, 0]),
    ],
    ids=lambda one: type(one).__name__,
)
def test_torch_plain(ours: layers.Layer, theirs: torch.nn.Module, x: np.ndarray) -> None:
    ours(x)
    export.from_torch(ours, theirs.state_dict())
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(torch.as_tensor(x)))


def test_torch_says_what_does_not_fit() -> None:
    layer = layers.LSTM(4)
    layer(X)
    with pytest.raises(
        ValueError, match=r"weight_ih_l0 for .*: expected shape \(16, 3\), received \(16, 2\)"
    ):
        export.from_torch(layer, torch.nn.LSTM(2, 4).state_dict())
    with pytest.raises(ValueError, match="weights of 1 layers"):
        export.from_torch(layer, torch.nn.LSTM(D, 4, 2).state_dict())
    with pytest.raises(ValueError, match="difference in"):
        export.from_torch(layer, torch.nn.Linear(3, 4).state_dict())


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install 'longspan\[keras\]'"):
        export.to_keras(build(layers.Dense(1), x=X[:, 0], free=False), tmp_path / "model.keras")
