"""Normalization, bins and categories equal Keras'; texts become numbers of words."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest

from longspan import layers, models
from longspan.layers.config import from_config, to_config

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's

pytestmark = pytest.mark.filterwarnings("ignore")  # of Keras itself

X = np.random.default_rng(0).normal(2.0, 3.0, (20, 5, 3)).astype("float32")


@pytest.mark.parametrize("options", [{}, {"axis": (1, 2)}, {"axis": None}, {"invert": True}])
def test_normalization_equals_keras(options: dict[str, Any]) -> None:
    mine, theirs = layers.Normalization(**options), keras.layers.Normalization(**options)
    mine.adapt(X)
    theirs.adapt(X)
    expected = keras.ops.convert_to_numpy(theirs(X))
    np.testing.assert_allclose(mine(X), expected, rtol=1e-4, atol=1e-4)
    assert [w.shape for w in mine.get_weights()] == [w.shape for w in theirs.get_weights()]
    batches = layers.Normalization(**options)
    batches.adapt([X[:8], X[8:]])
    np.testing.assert_allclose(batches(X), expected, rtol=1e-4, atol=1e-4)


def test_normalization_by_given_numbers_and_in_a_model() -> None:
    given = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 4.0, 4.0])
    theirs = keras.layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 4.0, 4.0])
    np.testing.assert_allclose(given(X), keras.ops.convert_to_numpy(theirs(X)), rtol=1e-5)
    layer = layers.Normalization()
    layer.adapt(X)
    model = models.Sequential([layers.Input((5, 3)), layer, layers.LSTM(2), layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(X, X[:, 0, :1], verbose=0)
    again = models.model_from_json(model.to_json())
    again.set_weights(model.get_weights())
    np.testing.assert_allclose(again.predict(X), model.predict(X), rtol=1e-5)


@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count"])
@pytest.mark.parametrize("codes", [np.array([[0, 1, 1], [3, 2, 0]]), np.array([[2], [0]]), np.array([1, 3])])
def test_categories_equal_keras(mode: str, codes: np.ndarray) -> None:
    mine, theirs = (space.CategoryEncoding(4, output_mode=mode) for space in (layers, keras.layers))
    expected = keras.ops.convert_to_numpy(theirs(codes))
    np.testing.assert_array_equal(mine(codes), expected)
    assert mine.compute_output_shape(codes.shape) == expected.shape


def test_bins_equal_keras() -> None:
    mine, theirs = (space.Discretization([0.0, 1.0, 2.0]) for space in (layers, keras.layers))
    x = np.array([-1.0, 0.0, 0.5, 2.0, 9.0], "float32")
    np.testing.assert_array_equal(mine(x), keras.ops.convert_to_numpy(theirs(x)))
    adapted = layers.Discretization(num_bins=4)
    adapted.adapt(X)
    assert np.bincount(np.asarray(adapted(X)).reshape(-1)).tolist() == pytest.approx([75] * 4, abs=1)


def test_texts_become_numbers_of_words() -> None:
    layer = layers.TextVectorization(max_tokens=4, output_sequence_length=4)
    layer.adapt(["The cat sat.", "the CAT", "a dog"])
    assert layer.get_vocabulary() == ["", "[UNK]", "the", "cat"]
    assert layer(["The dog", "cat the cat the cat"]).tolist() == [[2, 1, 0, 0], [3, 2, 3, 2]]
    again = from_config(to_config(layer))
    assert again(np.array(["the cat"])).tolist() == [[2, 3, 0, 0]]
    counts = layers.TextVectorization(vocabulary=["a", "b"], output_mode="count", split="character")
    assert counts(["abax"]).tolist() == [[1.0, 2.0, 1.0]] and counts.get_vocabulary() == ["[UNK]", "a", "b"]
    padded = layers.TextVectorization(max_tokens=4, output_mode="multi_hot", pad_to_max_tokens=True)
    padded.adapt((["a b", "a"] for _ in iter(int, 1)), steps=2)
    assert padded(["b c"]).tolist() == [[1.0, 0.0, 1.0, 0.0]]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: layers.Normalization(mean=1.0), "expected mean and variance, received mean alone"),
        (lambda: layers.Discretization(), "expected one of bin_boundaries and num_bins"),
        (lambda: layers.Discretization(num_bins=2)(X), "expected limits of bins"),
        (lambda: layers.CategoryEncoding(2)(np.array([2])), "expected categories from 0 to 1"),
        (lambda: layers.TextVectorization(pad_to_max_tokens=True), "max_tokens: expected a number"),
        (
            lambda: layers.TextVectorization(output_mode="count", output_sequence_length=2),
            "output_sequence_length: expected None",
        ),
        (lambda: layers.TextVectorization(ngrams=2), "ngrams: expected None"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_refusals(make: Any, sentence: str) -> None:
    with pytest.raises((ValueError, TypeError), match=sentence):
        make()
