"""Scaling is inverted exactly, learns from the rows of fit only, and leaves NaN alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from longspan.data import Scaler
from longspan.data.scaling import moments

DRAW = np.random.default_rng(0).normal(size=(50, 3)) * [1.0, 20.0, 0.1] + [5.0, 0.0, -2.0]


@pytest.mark.parametrize("kind", ["standard", "minmax", "robust"])
@pytest.mark.parametrize("shape", [(50, 3), (10, 5, 3)])
def test_there_and_back(kind: str, shape: tuple[int, ...]):
    x = DRAW.reshape(shape)
    scaler = Scaler(kind)
    there = scaler.fit_transform(x)
    np.testing.assert_allclose(scaler.inverse_transform(there), x, rtol=1e-12)
    flat = there.reshape(-1, 3)
    if kind == "standard":
        np.testing.assert_allclose([flat.mean(0), flat.std(0)], [[0] * 3, [1] * 3], atol=1e-12)
    elif kind == "minmax":
        np.testing.assert_allclose([flat.min(0), flat.max(0)], [[0] * 3, [1] * 3], atol=1e-12)
    else:
        low, middle, high = np.quantile(flat, [0.25, 0.5, 0.75], axis=0)
        np.testing.assert_allclose([middle, high - low], [[0] * 3, [1] * 3], atol=1e-12)


def test_what_scikit_learn_gives():
    other = pytest.importorskip("sklearn.preprocessing", reason="needs scikit-learn")
    pairs = {
        "standard": other.StandardScaler(),
        "minmax": other.MinMaxScaler((-1, 1)),
        "robust": other.RobustScaler(),
    }
    holes = DRAW.copy()
    holes[::7, 1] = np.nan
    for kind, theirs in pairs.items():
        ours = Scaler(kind, span=(-1, 1)).fit(holes)
        np.testing.assert_allclose(ours.transform(DRAW), theirs.fit(holes).transform(DRAW), rtol=1e-10)


def test_nothing_is_learnt_after_fit():
    scaler = Scaler("minmax").fit([[0.0], [10.0]])
    assert scaler.transform([[20.0]]).item() == 2.0 and scaler.transform([[5.0]]).item() == 0.5


def test_nan_stays_nan_and_is_not_learnt():
    x = np.array([[1.0, np.nan], [3.0, 4.0], [np.nan, 8.0]])
    found = Scaler().fit_transform(x)
    assert np.array_equal(np.isnan(found), np.isnan(x)) and found[0, 0] == -1.0 and found[2, 1] == 1.0


@pytest.mark.parametrize("kind", ["standard", "minmax", "robust"])
def test_a_column_that_never_changes(kind: str):
    scaler = Scaler(kind).fit(np.full((4, 1), 7.0))
    assert scaler.transform([[7.0]]).item() == 0.0
    assert scaler.inverse_transform([[0.0]]).item() == 7.0


def test_kinds_come_back_as_they_came():
    scaler = Scaler().fit(DRAW)
    tensor = scaler.transform(torch.tensor(DRAW, dtype=torch.float32))
    assert isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float32
    assert scaler.transform(DRAW.astype("float32")).dtype == np.float32
    assert Scaler().fit([1, 2, 3]).transform(np.array([2])).dtype == np.float64
    np.testing.assert_allclose(tensor.numpy(), scaler.transform(DRAW), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_stay_frames(library: str):
    frames = pytest.importorskip(library, reason=f"needs {library}")
    frame = frames.DataFrame({"a": [1.0, 2.0, 3.0], "b": [10, 20, 60]})
    if library == "pandas":
        frame.index = [5, 6, 7]
    scaler = Scaler().fit(frame)
    found = scaler.transform(frame)
    assert type(found) is type(frame) and list(found.columns) == ["a", "b"]
    np.testing.assert_allclose(np.asarray(found), scaler.transform(np.asarray(frame, dtype=float)))
    if library == "pandas":
        assert list(found.index) == [5, 6, 7]
    column = Scaler().fit_transform(frame["b"])
    assert type(column) is type(frame["b"]) and abs(np.asarray(column).mean()) < 1e-12


def test_one_column_of_several_goes_back():
    scaler = Scaler().fit(DRAW)
    there = scaler.transform(DRAW)
    np.testing.assert_allclose(scaler.inverse_transform(there[:, 1], columns=1), DRAW[:, 1], atol=1e-12)
    np.testing.assert_allclose(scaler.inverse_transform(there[:, [2, 0]], columns=[2, 0]), DRAW[:, [2, 0]])


def test_saved_and_made_again():
    scaler = Scaler("robust").fit(DRAW)
    again = Scaler.from_state(json.loads(json.dumps(scaler.state())))
    np.testing.assert_array_equal(again.transform(DRAW), scaler.transform(DRAW))
    assert Scaler.from_state(Scaler().state()).center_ is None


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "kind": (lambda: Scaler("standart"), "kind: expected one of 'standard', 'minmax', 'robust'"),
    "span": (lambda: Scaler("minmax", (1, 0)), "span: expected two numbers in order, received (1, 0)"),
    "before fit": (
        lambda: Scaler().transform(DRAW),
        "scaler: expected a fitted one, received one before fit; call fit on the training part.",
    ),
    "columns": (
        lambda: Scaler().fit(DRAW).transform(DRAW[:, :2]),
        "x: expected 3 columns as in fit, received shape (50, 2); say which by columns=.",
    ),
    "empty": (lambda: Scaler().fit(np.zeros((0, 2))), "x: expected at least one row, received no data"),
    "only nan": (
        lambda: Scaler().fit([[1.0, np.nan], [2.0, np.nan]]),
        "x: expected a number in every column, received NaN only in column 1; leave it out.",
    ),
    "infinite": (lambda: Scaler().fit([[np.inf]]), "x: expected finite numbers or NaN, received infinity"),
    "words": (lambda: Scaler().fit([["a"]]), "x: expected numbers (N,), (N, C) or (N, T, C), received <U1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_sentence(case: str):
    wrong, words = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        wrong()


def test_moments_of_columns_with_gaps_in_parts():
    values = np.random.default_rng(1).normal(3.0, size=(90_000, 3))
    values[::7, 0], values[:, 1], values[:, 2] = np.nan, 7.0, np.nan
    mean, spread = moments(values)
    assert mean.tolist() == pytest.approx([np.nanmean(values[:, 0]), 7.0, 0.0], rel=1e-12)
    assert spread.tolist() == pytest.approx([np.nanstd(values[:, 0]), 1.0, 1.0], rel=1e-12)
    low = np.full(3, 2.0)
    logs = np.log(np.maximum(values[:, 0], 2.0))
    np.testing.assert_allclose(moments(values, "log", low)[0][0], np.nanmean(logs), rtol=1e-12)
