"""ONNX graphs of whole models give in onnxruntime what the models give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

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
    make, x = MODELS[name]
    model = build(*make(layers), x=x, free=name not in FIXED)
    file = tmp_path / "model.onnx"
    export.to_onnx(model, file)
    session: Any = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    parts = [x] if name in FIXED else [x, x[:1], np.concatenate([x, x[:, 1:]], 1)]
    for part in parts:
        expected = model.predict(part)
        (outputs,) = session.run(None, {"input": part})
        np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_onnx_state(tmp_path: Path) -> None:
    """A stream served piece by piece gives what the whole sequence gives."""
    model = build(
        layers.LSTM(5, return_sequences=True, name="below"), layers.GRU(4, name="above"), layers.Dense(2), x=X
    )
    file = tmp_path / "model.onnx"
    export.to_onnx(model, file, states=True)
    session: Any = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    assert names == ["input", "below.h", "below.c", "above.h"]
    state = [np.zeros((B, width), np.float32) for width in (5, 5, 4)]
    for part in (X[:, :3], X[:, 3:]):
        out, *state = session.run(None, dict(zip(names, [part, *state], strict=True)))
    np.testing.assert_allclose(out, model.predict(X), atol=1e-5)


def test_onnx_says_what_it_lacks() -> None:
    with pytest.raises(ValueError, match="peephole"):
        export.to_onnx(build(layers.RNN("peephole", units=4), x=X))
    with pytest.raises(ValueError, match="'mish'"):
        export.to_onnx(build(layers.LSTM(4, activation="mish"), x=X))
    with pytest.raises(ValueError, match="one that is built"):
        export.to_onnx(models.Sequential([layers.LSTM(4)]))
