"""The losses of sequences, regions and embeddings equal Keras' in value and gradient."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

from longspan import losses

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's

RNG = np.random.default_rng(0)
CHANCES = RNG.random((4, 3)).astype("float32")
UNIT = RNG.normal(size=(6, 5))
UNIT = (UNIT / np.linalg.norm(UNIT, axis=1, keepdims=True)).astype("float32")
CASES: list[tuple[str, dict[str, Any], np.ndarray, np.ndarray]] = [
    ("CTC", {}, np.array([[1, 2, 0], [3, 3, 1]]), RNG.normal(size=(2, 9, 4)).astype("float32")),
    ("Dice", {}, RNG.integers(0, 2, (4, 3)).astype("float32"), CHANCES),
    ("Dice", {"axis": (1,)}, RNG.integers(0, 2, (4, 3)).astype("float32"), CHANCES),
    ("Tversky", {"alpha": 0.2, "beta": 0.7}, RNG.integers(0, 2, (4, 3)).astype("float32"), CHANCES),
    ("Tversky", {"axis": [1]}, RNG.integers(0, 2, (4, 3)).astype("float32"), CHANCES),
    ("Circle", {"gamma": 4.0}, np.array([0, 1, 0, 1, 2, 2]), UNIT),
    ("Circle", {"margin": 0.2, "gamma": 4.0}, np.array([0, 1, 0, 1, 2, 2]), UNIT),
    ("CategoricalGeneralizedCrossEntropy", {"q": 0.7}, np.array([0, 2, 1, 1]), CHANCES),
]


@pytest.mark.parametrize(("name", "options", "truths", "answers"), CASES)
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
def test_equals_keras(
    name: str, options: dict[str, Any], truths: np.ndarray, answers: np.ndarray, reduction: str
) -> None:
    results = []
    for space in (losses, keras.losses):
        predictions = torch.tensor(answers, requires_grad=True)
        loss = getattr(space, name)(**options, reduction=reduction)(torch.tensor(truths), predictions)
        loss.backward()
        results.append((loss.item(), predictions.grad))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    torch.testing.assert_close(results[0][1], results[1][1])
    assert losses.get(losses.serialize(getattr(losses, name)(**options))).get_config()["name"]


def test_functions_take_arrays_and_lists() -> None:
    assert losses.mean_squared_error([[0, 2]], np.array([[1, 0]])).tolist() == [2.5]
    assert losses.dice(np.ones((2, 2)), np.ones((2, 2))).item() == pytest.approx(0.0, abs=1e-6)


def test_the_mask_attached_to_predictions_counts() -> None:
    predictions = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])
    predictions._keras_mask = torch.tensor([[True, False], [True, True]])  # pyright: ignore[reportAttributeAccessIssue]
    assert losses.MeanSquaredError()(torch.zeros(2, 2, 1), predictions).item() == pytest.approx(26 / 3)


def test_rows_without_a_circle_loss_do_not_count() -> None:
    embeddings, labels = np.eye(3, dtype="float32")[[0, 0, 1, 2]], np.array([0, 0, 1, 2])
    mine = losses.Circle()(torch.tensor(labels), torch.tensor(embeddings))
    theirs = keras.losses.Circle()(torch.tensor(labels), torch.tensor(embeddings))
    assert mine.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_a_dtype_is_computed_in() -> None:
    loss = losses.MeanSquaredError(dtype="float64")
    assert loss(torch.ones(2, 1), torch.zeros(2, 1)).dtype == torch.float64
    assert loss.get_config()["dtype"] == "float64" and "dtype" not in losses.Huber().get_config()


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"ctc: expected y \(B, L\) and outputs \(B, T, V\)"):
        losses.CTC()(torch.ones(2), torch.ones(2, 3, 4))
    with pytest.raises(ValueError, match="q: expected a number between 0 and 1"):
        losses.CategoricalGeneralizedCrossEntropy(q=1.0)


@pytest.mark.parametrize("name", ["Dice", "Tversky", "MeanSquaredError"])
def test_the_loss_has_the_dtype_that_was_given(name: str) -> None:
    loss = getattr(losses, name)(dtype="bfloat16")
    assert loss(torch.ones(2, 3), torch.rand(2, 3)).dtype == torch.bfloat16
