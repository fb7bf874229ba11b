"""Models whose inputs, outputs and losses are nested in lists, tuples and dicts, and optional inputs."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from longspan import errors, losses
from longspan.layers import Dense, Input, Layer
from longspan.models import Model, load_model

X = np.random.default_rng(0).normal(size=(8, 3))
Y1, Y2 = X[:, :1] * 2, X.sum(1, keepdims=True)
Pair = namedtuple("Pair", ["first", "second"])


def outputs(x: Any) -> tuple[Any, Any]:
    return Dense(1, name="y1", kernel_initializer="ones")(x), Dense(1, name="y2", kernel_initializer="ones")(
        x
    )


def distance(y_true: Any, y_pred: Any) -> torch.Tensor:
    """The sum of the distances of a pair."""
    assert len(y_true) == len(y_pred) == 2 and type(y_true) is type(y_pred)
    return sum(losses.mean_absolute_error(a, b) for a, b in zip(y_true, y_pred, strict=True))  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("kind", [list, tuple, Pair._make])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_loss_of_two_outputs_beside_their_own(kind: Any, weighted: bool) -> None:
    x = Input((3,))
    model = Model(x, kind(outputs(x)))
    own = ["mse", "mae"]
    loss: Any = [distance, kind(own)]
    loss = tuple(loss) if kind is list else loss
    weights = type(loss)([2.0, kind([0.5, 3.0])]) if weighted else None
    model.compile("sgd", loss, loss_weights=weights)
    logs = model.evaluate(X, kind([Y1, Y2]), verbose=0, return_dict=True)
    assert set(logs) == {"loss", "y1_loss", "y2_loss", "y1_y2_loss"}
    pair, first, second = (2.0, 0.5, 3.0) if weighted else (1.0, 1.0, 1.0)
    total = pair * logs["y1_y2_loss"] + first * logs["y1_loss"] + second * logs["y2_loss"]
    assert logs["loss"] == pytest.approx(total, rel=1e-6)
    found = X.sum(1, keepdims=True)
    assert logs["y1_y2_loss"] == pytest.approx(
        np.abs(found - Y1).mean() + np.abs(found - Y2).mean(), rel=1e-5
    )
    assert type(model.predict(X, verbose=0)) is type(kind([1, 2]))
    assert model.fit(X, kind([Y1, Y2]), verbose=0).history["loss"][0] > 0


def test_several_losses_of_one_output() -> None:
    x = Input((3,))
    model = Model(x, list(outputs(x)))
    model.compile("sgd", ["mse", ["mae", "mse"]])
    logs = model.evaluate(X, [Y1, Y2], verbose=0, return_dict=True)
    assert set(logs) == {"loss", "y1_loss", "y2_loss"}
    found: Any = X.sum(1, keepdims=True) - Y2
    assert logs["y2_loss"] == pytest.approx(np.abs(found).mean() + (found**2).mean(), abs=1e-6)
    assert logs["loss"] == pytest.approx(logs["y1_loss"] + logs["y2_loss"], rel=1e-6)
    single = Model(x, outputs(x)[0])
    single.compile("sgd", ["mse", "mae"])
    found = X.sum(1, keepdims=True) - Y1
    assert single.evaluate(X, Y1, verbose=0, return_dict=True)["loss"] == pytest.approx(
        np.abs(found).mean() + (found**2).mean(), rel=1e-5
    )
    model.compile("sgd", {"y2": ["mse"]})
    assert set(model.fit(X, [Y1, Y2], verbose=0).history) == {"loss"}


def nested() -> Model:
    x, extra = Input((3,), name="x"), Input((2,), name="extra")
    y1, y2 = outputs(x)
    return Model({"x": x, "more": [extra]}, {"pair": (y1, y2), "last": {"deep": Dense(1, name="y3")(extra)}})


def test_nested_inputs_and_outputs(tmp_path: Path) -> None:
    model = nested()
    assert model.input_names == ["x", "more/extra"]
    assert model.output_names == ["pair/y1", "pair/y2", "last/deep"]
    model.compile(
        "sgd", {"pair": [distance, ("mse", None)], "last": {"deep": "mse"}}, metrics={"pair/y1": "mae"}
    )
    data = {"more": [X[:, :2]], "x": X}
    truths = {"last": {"deep": Y1}, "pair": [Y1, Y2]}
    history = model.fit(data, truths, verbose=0, validation_split=0.25).history
    names = {"loss", "pair_loss", "pair/y1_loss", "last/deep_loss", "pair/y1_mae"}
    assert set(history) == names | {f"val_{name}" for name in names}
    found = model.predict(data, verbose=0)
    assert found["pair"][0].shape == found["last"]["deep"].shape == (8, 1)
    with pytest.raises(ValueError, match="x: expected a dict with the keys x, more/extra, received a list"):
        model.predict([X, X[:, :2]], verbose=0)
    with pytest.warns(
        errors.LongspanWarning, match="saved without the arguments of compile: loss: expected one"
    ):
        model.save(tmp_path / "nested.ls")
    loaded = load_model(tmp_path / "nested.ls").predict(data, verbose=0)
    np.testing.assert_array_equal(loaded["last"]["deep"], found["last"]["deep"])
    with pytest.raises(
        ValueError, match=r"x: expected an array for each of x, more/extra, received no more/extra"
    ):
        model.predict({"x": X}, verbose=0)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ({"pair": ("mse",), "last": None}, "one for each output .*received 1 values"),
        ({"pair": ["mse", "mse"], "last": {"deep": "mse", "flat": "mse"}}, "received one at last/flat; nest"),
        ([distance, "mse"], "received 'mse'; give a function"),
    ],
)
def test_losses_that_do_not_fit_are_refused(loss: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        nested().compile("sgd", loss)


class Sum(Layer):
    def call(self, x: Any, y: Any = None) -> Any:
        return x if y is None else x + y


def test_an_input_that_may_be_left_out(tmp_path: Path) -> None:
    x, more = Input((3,), name="x"), Input((3,), name="more", optional=True)
    model = Model({"x": x, "more": more}, Dense(1)(Sum()(x, more)))
    model.compile("sgd", "mse")
    alone, both = {"x": X, "more": None}, {"x": X, "more": np.zeros_like(X)}
    np.testing.assert_array_equal(model.predict(alone, verbose=0), model.predict(both, verbose=0))
    assert model.evaluate(alone, Y1, verbose=0) == model.evaluate(both, Y1, verbose=0)
    model.fit(alone, Y1, batch_size=4, verbose=0)
    model.fit(iter([(alone, Y1)]), verbose=0)
    model.save(tmp_path / "m.ls")
    loaded = load_model(tmp_path / "m.ls", custom_objects={"Sum": Sum})
    np.testing.assert_array_equal(loaded.predict(alone, verbose=0), model.predict(alone, verbose=0))
    with pytest.raises(ValueError, match="input x: expected an array, since it is not optional"):
        model.predict({"x": None, "more": X}, verbose=0)
    with pytest.raises(ValueError, match="input x: expected an array"):
        model({"x": None, "more": torch.zeros(2, 3)})


def test_metrics_of_a_saved_model_are_not_rounded(tmp_path: Path) -> None:
    x = Input((3,))
    model = Model(x, outputs(x)[0])
    model.compile("sgd", "mse", metrics=["mse"])
    model.save(tmp_path / "m.ls")
    assert load_model(tmp_path / "m.ls").evaluate(X, Y1, verbose=0) == model.evaluate(X, Y1, verbose=0)
