"""Windows equal a plain loop; padding; no split looks ahead unless it is told to."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from longspan.data import Batches, pad, train_test_split, windows


@pytest.mark.parametrize(("length", "horizon", "stride"), [(3, 1, 1), (4, 2, 3), (1, 1, 2), (7, 3, 1)])
@pytest.mark.parametrize("columns", [None, 2])
def test_windows_are_those_of_a_loop(length: int, horizon: int, stride: int, columns: int | None):
    series = np.random.default_rng(0).normal(size=(10,) if columns is None else (10, columns))
    x, y = windows(series, length, horizon, stride)
    starts = range(0, 10 - length - horizon + 1, stride)
    wanted_x = np.stack([series[s : s + length] for s in starts])
    wanted_y = np.stack([series[s + length : s + length + horizon] for s in starts])
    np.testing.assert_array_equal(x, wanted_x.astype("float32"))
    np.testing.assert_array_equal(y, wanted_y.astype("float32"))


def test_windows_are_views():
    series = torch.arange(1000.0)
    x, y = windows(series, 100, 10)
    assert x.shape == (891, 100) and x.untyped_storage().data_ptr() == series.untyped_storage().data_ptr()
    array = np.arange(1000, dtype=np.float32)
    x, y = windows(array, 100)
    assert np.shares_memory(x, array) and np.shares_memory(y, array)
    batch = next(iter(Batches(x, y, batch_size=891)))
    assert batch.x.untyped_storage().nbytes() <= array.nbytes


def test_targets_are_columns():
    series = np.arange(12).reshape(6, 2)
    _, one = windows(series, 3, target=1)
    assert one.shape == (3, 1, 1) and one.ravel().tolist() == [7, 9, 11]
    _, both = windows(torch.tensor(series), 3, 2, target=[1, 0])
    assert both[0].tolist() == [[7, 6], [9, 8]]


def test_padding():
    rows = [[1, 2, 3], [4], []]
    assert pad(rows).values.tolist() == [[1, 2, 3], [4, 0, 0], [0, 0, 0]]
    assert pad(rows).lengths is not None and pad(rows).lengths.tolist() == [3, 1, 0]  # pyright: ignore[reportOptionalMemberAccess]
    assert pad(rows, side="left", value=9).values.tolist() == [[1, 2, 3], [9, 9, 4], [9, 9, 9]]
    assert pad(rows, 2).values.tolist() == [[1, 2], [4, 0], [0, 0]]
    assert pad(rows, 2, cut="left").values.tolist() == [[2, 3], [4, 0], [0, 0]]
    assert pad([np.ones((2, 3)), np.ones((1, 3))], 4).values.shape == (2, 4, 3)


def test_split_in_time_order_by_default():
    x, y = np.arange(20).reshape(10, 2), torch.arange(10)
    a, b, c, d = train_test_split(x, y, test_size=0.3)
    assert a.shape == (7, 2) and b[0, 0] == 14 and c.tolist() == list(range(7)) and d.tolist() == [7, 8, 9]
    assert np.shares_memory(a, x)
    a, b = train_test_split(list(range(10)), test_size=2, gap=3)
    assert (a, b) == ([0, 1, 2, 3, 4], [8, 9])


def test_random_by_name():
    a, b, c, d = train_test_split(np.arange(10), list("abcdefghij"), order="random", seed=0)
    assert sorted([*a, *b]) == list(range(10)) and list(b) != [8, 9]
    assert [*c, *d] == ["abcdefghij"[i] for i in [*a, *b]]
    assert torch.equal(*(train_test_split(torch.arange(9), order="random", seed=5)[1] for _ in range(2)))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_stay_frames(library: str):
    frames = pytest.importorskip(library, reason=f"needs {library}")
    frame = frames.DataFrame({"a": range(8), "b": list("abcdefgh")})
    train, test = train_test_split(frame)
    assert type(train) is type(test) is type(frame) and list(test["b"]) == ["g", "h"]
    train, test, _, last = train_test_split(frame, frame["a"], order="random", seed=1)
    assert list(test["a"]) == list(last) and sorted([*train["a"], *test["a"]]) == list(range(8))


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "short": (
        lambda: windows([1, 2, 3], 3),
        "series: expected at least length + horizon = 4 steps, received 3 steps; "
        "shorten length or horizon, or take a longer series.",
    ),
    "no length": (lambda: windows([1, 2, 3], 0), "length: expected a whole number of at least 1, received 0"),
    "nan": (lambda: windows([1.0, float("nan"), 3.0], 1), "series: expected finite numbers, received 1 NaN"),
    "batch": (
        lambda: windows(np.zeros((2, 3, 4)), 1),
        "series: expected shape (T,) or (T, C), received (2, 3, 4)",
    ),
    "target": (
        lambda: windows(np.zeros((9, 2)), 1, target=2),
        "target: expected columns from 0 to 1, received 2",
    ),
    "target of one": (lambda: windows(np.zeros(9), 1, target=0), "target: expected None for a series (T,)"),
    "side": (lambda: pad([[1]], side="pre"), "side: expected one of 'right', 'left', received 'pre'"),
    "no rows": (lambda: pad([]), "rows: expected at least one row, received no data"),
    "text": (lambda: pad("abc"), "rows: expected a list of rows, received str"),
    "order": (
        lambda: train_test_split([1, 2], order="shuffle"),
        "order: expected one of 'time', 'random', received 'shuffle'",
    ),
    "rows": (
        lambda: train_test_split([1, 2], [1]),
        "data: expected the same number of rows in all, received [2, 1]; give one of each a row.",
    ),
    "nothing left": (
        lambda: train_test_split([1, 2, 3], test_size=3),
        "test_size: expected a share that leaves both parts a row, "
        "received 0 to train and 3 to test of 3 rows",
    ),
    "share": (lambda: train_test_split([1, 2], test_size=1.5), "test_size: expected a number in [0, 1)"),
    "no data": (lambda: train_test_split(), "data: expected at least one array, received none"),
    "a set": (
        lambda: train_test_split({1, 2, 3, 4}),
        "data: expected an array, a tensor, a list, or a pandas or polars",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_sentence(case: str):
    wrong, words = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        wrong()
