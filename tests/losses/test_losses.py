"""Losses equal Keras': by its equations restated in NumPy, and by Keras itself where it is installed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import Tensor

from longspan import losses

E = 1e-7


def clip(p: np.ndarray) -> np.ndarray:
    return np.clip(p, E, 1 - E)


def chances(p: np.ndarray) -> np.ndarray:
    return clip(p / p.sum(-1, keepdims=True))


def softmax(v: np.ndarray) -> np.ndarray:
    e = np.exp(v - v.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(v: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-v))


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def binary(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    return -(y * np.log(clip(p)) + (1 - y) * np.log(1 - clip(p)))


def huber(e: np.ndarray, d: float) -> np.ndarray:
    return np.where(np.abs(e) <= d, e**2 / 2, d * np.abs(e) - d * d / 2)


# the loss, what its truths and answers are, and its equation (values a sample) restated
CASES: dict[str, tuple[losses.Loss, str, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "mse": (losses.get("mse"), "real", lambda y, p: ((y - p) ** 2).mean(-1)),
    "mae": (losses.get("MAE"), "real", lambda y, p: np.abs(y - p).mean(-1)),
    "mape": (losses.get("mape"), "real", lambda y, p: 100 * np.abs((y - p) / np.abs(y)).mean(-1)),
    "msle": (
        losses.get("msle"),
        "positive",
        lambda y, p: ((np.log(y + 1) - np.log(p + 1)) ** 2).mean(-1),
    ),
    "cosine": (losses.get("cosine_similarity"), "real", lambda y, p: -(unit(y) * unit(p)).sum(-1)),
    "huber": (losses.Huber(delta=0.7), "real", lambda y, p: huber(p - y, 0.7).mean(-1)),
    "log_cosh": (losses.get("log_cosh"), "real", lambda y, p: np.log(np.cosh(p - y)).mean(-1)),
    "hinge": (losses.get("hinge"), "binary", lambda y, p: np.maximum(1 - (2 * y - 1) * p, 0).mean(-1)),
    "squared_hinge": (
        losses.get("squared_hinge"),
        "binary",
        lambda y, p: (np.maximum(1 - (2 * y - 1) * p, 0) ** 2).mean(-1),
    ),
    "categorical_hinge": (
        losses.get("categorical_hinge"),
        "one-hot",
        lambda y, p: np.maximum(((1 - y) * p).max(-1) - (y * p).sum(-1) + 1, 0),
    ),
    "kld": (
        losses.get("kld"),
        "one-hot",
        lambda y, p: (np.clip(y, E, 1) * np.log(np.clip(y, E, 1) / np.clip(p, E, 1))).sum(-1),
    ),
    "poisson": (losses.get("poisson"), "positive", lambda y, p: (p - y * np.log(p + E)).mean(-1)),
    "bce": (losses.get("binary_crossentropy"), "binary", lambda y, p: binary(y, p).mean(-1)),
    "bce of logits, smoothed": (
        losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2),
        "binary logits",
        lambda y, v: binary(0.8 * y + 0.1, sigmoid(v)).mean(-1),
    ),
    "focal bce": (
        losses.BinaryFocalCrossentropy(apply_class_balancing=True),
        "binary",
        lambda y, p: (
            (y * 0.25 + (1 - y) * 0.75) * (1 - (y * p + (1 - y) * (1 - p))) ** 2 * binary(y, p)
        ).mean(-1),
    ),
    "cce": (
        losses.get("categorical_crossentropy"),
        "one-hot",
        lambda y, p: -(y * np.log(chances(p))).sum(-1),
    ),
    "cce of logits, smoothed": (
        losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        "one-hot logits",
        lambda y, v: -((0.9 * y + 0.1 / 4) * np.log(softmax(v))).sum(-1),
    ),
    "focal cce": (
        losses.get("CategoricalFocalCrossentropy"),
        "one-hot",
        lambda y, p: -(0.25 * (1 - chances(p)) ** 2 * y * np.log(chances(p))).sum(-1),
    ),
    "sparse": (
        losses.get("sparse_categorical_crossentropy"),
        "classes",
        lambda y, p: -np.log(np.take_along_axis(chances(p), y[..., None], -1))[..., 0],
    ),
    "sparse of logits": (
        losses.SparseCategoricalCrossentropy(from_logits=True),
        "classes logits",
        lambda y, v: -np.log(np.take_along_axis(softmax(v), y[..., None], -1))[..., 0],
    ),
}


def data(kind: str, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Truths and answers (…, 4) of a kind; float64, so that the restated equations decide at 1e-6."""
    draw = np.random.default_rng(len(kind))
    answers = draw.normal(size=(*shape, 4))
    labels = draw.integers(0, 4, shape)
    truths = {
        "real": draw.normal(size=(*shape, 4)) + 3,
        "positive": draw.random((*shape, 4)) + 0.1,
        "binary": draw.integers(0, 2, (*shape, 4)).astype(float),
        "one-hot": np.eye(4)[labels],
        "classes": labels,
    }[kind.split()[0]]
    if "logits" in kind or kind == "real":
        return truths, answers
    if kind in ("one-hot", "classes"):
        return truths, softmax(answers)
    return truths, sigmoid(answers)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("weighting", ["plain", "rows", "steps", "mask", "mask and rows"])
def test_numbers(name: str, weighting: str):
    loss, kind, equation = CASES[name]
    truths, answers = data(kind, 3, 5)
    values = equation(truths, answers)
    assert values.shape == (3, 5)
    rows, steps = np.array([0.5, 2.0, 1.0]), np.arange(15.0).reshape(3, 5)
    mask = np.arange(5) < np.array([[5], [2], [0]])
    wanted = {
        "plain": values.mean(),
        "rows": (values * rows[:, None]).mean(),
        "steps": (values * steps).mean(),
        "mask": values[mask].mean(),
        "mask and rows": (values * rows[:, None])[mask].sum() / mask.sum(),
    }[weighting]
    weight = {"rows": rows, "steps": steps, "mask and rows": rows}.get(weighting)
    found = loss(
        torch.tensor(truths),
        torch.tensor(answers),
        None if weight is None else torch.tensor(weight),
        torch.tensor(mask) if "mask" in weighting else None,
    )
    assert found.shape == ()
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_numbers_of_keras_itself(name: str, reduction: str, weighted: bool):
    loss, kind, _ = CASES[name]
    config = {**loss.get_config(), "reduction": reduction}
    theirs = getattr(keras.losses, type(loss).__name__)(**config)
    ours = losses.get({"class_name": type(loss).__name__, "config": config})
    truths, answers = (v.astype("float32") if v.dtype == float else v for v in data(kind, 3, 5))
    weight = np.array([0.5, 2.0, 1.0], "float32") if weighted else None
    wanted = np.asarray(theirs(truths, answers, sample_weight=None if weight is None else weight[:, None]))
    found = ours(torch.tensor(truths), torch.tensor(answers), torch.tensor(weight) if weighted else None)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "bce of logits, smoothed"])
def test_the_quick_mean_is_the_mean(name: str):
    loss, kind, equation = CASES[name]
    truths, answers = data(kind, 6)
    given = torch.tensor(answers, requires_grad=True)
    quick, slow = loss(torch.tensor(truths), given), loss.call(torch.tensor(truths), given).mean()
    torch.testing.assert_close(quick, slow)
    assert abs(quick.item() - equation(truths, answers).mean()) < 1e-6
    torch.testing.assert_close(*(torch.autograd.grad(v, given)[0] for v in (quick, slow)))


def test_ignored_classes_do_not_count():
    loss = losses.SparseCategoricalCrossentropy(ignore_class=-1)
    chance = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])
    found = loss(torch.tensor([0, -1, 1]), chance)
    assert found.item() == pytest.approx(-(np.log(0.5) + np.log(0.8)) / 2, rel=1e-5)


def test_a_column_of_truths_and_none_are_the_same():
    answers, truths = torch.randn(5, 1), torch.randn(5)
    assert torch.equal(losses.get("mse")(truths, answers), losses.get("mse")(truths.unsqueeze(1), answers))
    labels, chance = torch.tensor([1, 0]), torch.tensor([[0.2, 0.8], [0.6, 0.4]])
    scce = losses.get("sparse_categorical_crossentropy")
    assert torch.equal(scce(labels, chance), scce(labels.float().unsqueeze(1), chance))


def test_saturated_chances_stay_finite():
    extremes = torch.tensor([[0.0, 1.0]], requires_grad=True)
    for name in ("bce", "cce", "kld", "poisson"):
        value = losses.get(name)(torch.tensor([[1.0, 0.0]]), extremes)
        value.backward()
        assert value.isfinite() and extremes.grad is not None and extremes.grad.isfinite().all()


def test_a_function_is_a_loss():
    def cubic(y_true: Tensor, y_pred: Tensor) -> Tensor:
        return (y_true - y_pred).abs().pow(3).mean(-1)

    loss = losses.get(cubic)
    assert loss.name == "cubic"
    assert loss(torch.zeros(2, 3), 2 * torch.ones(2, 3), torch.tensor([1.0, 0.0])).item() == 4.0
    with pytest.raises(ValueError, match=r"loss: expected a loss of this library, .* received cubic"):
        losses.serialize(loss)


@pytest.mark.parametrize("name", losses.CLASSES)
def test_saved_and_made_again(name: str):
    loss = losses.get(name)
    again = losses.get(losses.serialize(loss))
    assert type(again) is type(loss) and again.get_config() == loss.get_config()


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "unknown": (
        lambda: losses.get("mean_square_error"),
        "loss: expected the name of a loss, such as 'mse', received 'mean_square_error'; "
        "the nearest is 'mean_squared_error'.",
    ),
    "no loss": (
        lambda: losses.get(3),  # pyright: ignore[reportArgumentType]
        'loss: expected a name, a loss or a function, received int; pass one such as "mse".',
    ),
    "reduction": (
        lambda: losses.Huber(reduction="means"),
        "reduction: expected one of 'sum_over_batch_size'",
    ),
    "shape": (
        lambda: losses.get("mse")(torch.zeros(4, 3), torch.zeros(4, 5)),
        "y: expected shape (4, 5) like the network's output, received shape (4, 3); "
        "give the last layer as many units as y has values a row.",
    ),
    "class numbers for one-hot": (
        lambda: losses.get("categorical_crossentropy")(torch.zeros(4), torch.ones(4, 5)),
        "y: expected one-hot rows of shape (4, 5) like the network's output, received shape (4,); "
        "for class numbers use sparse_categorical_crossentropy.",
    ),
    "one-hot for class numbers": (
        lambda: losses.get("sparse_categorical_crossentropy")(torch.zeros(4, 5), torch.ones(4, 5)),
        "y: expected class numbers of shape (4,), received shape (4, 5); "
        "for one-hot rows use categorical_crossentropy.",
    ),
    "label too large": (
        lambda: losses.get("sparse_categorical_crossentropy")(torch.tensor([0, 5]), torch.ones(2, 3)),
        "y: expected class numbers from 0 to 2, received 5; "
        "give the last layer one unit a class, and count classes from 0.",
    ),
    "label below 0": (
        lambda: losses.get("sparse_categorical_crossentropy")(torch.tensor([[-100, 1]]), torch.ones(1, 2, 3)),
        "y: expected class numbers from 0 to 2, received -100",
    ),
    "mask": (
        lambda: losses.get("mse")(
            torch.zeros(2, 3, 1), torch.zeros(2, 3, 1), mask=torch.zeros(2, 3, dtype=torch.bool)
        ),
        "mask: expected a step that counts in every batch, received a batch that it hides all of; "
        "leave empty rows out.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_sentence(case: str):
    wrong, words = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        wrong()
