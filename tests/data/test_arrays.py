"""Everything that holds numbers becomes the same tensors, and the rest is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from longspan.data import as_tensors

TABLE = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


def pandas_frame() -> Any:
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    return pandas.DataFrame(TABLE, columns=["a", "b"])


def polars_frame() -> Any:
    return pytest.importorskip("polars", reason="needs polars").DataFrame(
        TABLE, orient="row", schema=["a", "b"]
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: TABLE,
        lambda: np.array(TABLE),
        lambda: np.array(TABLE, dtype=">f4"),
        lambda: np.array(TABLE)[::-1][::-1],
        lambda: np.asfortranarray(TABLE),
        lambda: torch.tensor(TABLE),
        lambda: [torch.tensor(row) for row in TABLE],
        lambda: [np.array(row) for row in TABLE],
        lambda: [(1, 2.0), (3, 4), (5, 6)],
        pandas_frame,
        polars_frame,
    ],
)
def test_all_kinds_are_one(make: Callable[[], Any]):
    found = as_tensors(make())
    assert found.lengths is None and found.values.dtype == torch.float32
    assert torch.equal(found.values, torch.tensor(TABLE))


@pytest.mark.parametrize(
    ("x", "dtype"),
    [
        ([1, 2], torch.int64),
        (np.array([1, 2], dtype=np.int32), torch.int64),
        (np.array([1, 2], dtype=np.uint8), torch.uint8),
        ([True, False], torch.bool),
        (torch.ones(2, dtype=torch.float64), torch.float64),
        (np.ones(2, dtype=np.float16), torch.float32),
    ],
)
def test_dtypes(x: Any, dtype: torch.dtype):
    assert as_tensors(x).values.dtype == dtype


def test_series_of_frames():
    for frame in (pandas_frame(), polars_frame()):
        assert torch.equal(as_tensors(frame["b"]).values, torch.tensor([2.0, 4.0, 6.0]))


def test_memory_is_shared_where_it_can_be():
    array = np.zeros((4, 3), dtype=np.float32)
    tensor = as_tensors(array[::2]).values
    array[2] = 7
    assert tensor[1].tolist() == [7, 7, 7]
    array.flags.writeable = False
    copied = as_tensors(array).values
    copied[0] = 1
    assert array[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "make", [list, lambda rows: np.array(rows, dtype=object), lambda rows: [*map(np.array, rows)]]
)
def test_ragged_lists_are_padded(make: Callable[[list[Any]], Any]):
    found = as_tensors(make([[1, 2, 3], [4], [5, 6]]))
    assert found.values.tolist() == [[1, 2, 3], [4, 0, 0], [5, 6, 0]]
    assert found.lengths is not None and found.lengths.tolist() == [3, 1, 2]


def test_ragged_steps_of_several_numbers_and_none():
    found = as_tensors([np.ones((2, 3)), np.zeros((0, 3)), torch.ones(1, 3)])
    assert found.values.shape == (3, 2, 3) and found.lengths is not None
    assert found.lengths.tolist() == [2, 0, 1] and found.values.sum() == 9
    mixed = as_tensors([[1, 2], [0.5]])
    assert mixed.values.dtype == torch.float32


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "empty": (
        lambda: as_tensors([]),
        "x: expected at least one value, received no data; check what was read",
    ),
    "empty array": (
        lambda: as_tensors(np.zeros((0, 3)), "y"),
        "y: expected at least one value, received no data",
    ),
    "number": (lambda: as_tensors(3.0), "x: expected at least one row, received a single number"),
    "text": (lambda: as_tensors("abc"), "received str; turn text into numbers with longspan.data.Words."),
    "texts": (lambda: as_tensors(["ab", "c"]), "received list of text, such as 'ab'; turn text into numbers"),
    "nan": (
        lambda: as_tensors([[1.0, 2.0], [float("nan"), float("inf")]]),
        "x: expected finite numbers, received 2 NaN or infinite, the first nan at [1, 0]; "
        "fill or drop them first.",
    ),
    "missing": (
        lambda: as_tensors([[1.0, None]]),
        "received list with None; fill missing values, and leave out or encode what is no number.",
    ),
    "column of words": (
        lambda: as_tensors(pandas_frame().assign(c=["u", "v", "w"])),
        "received DataFrame with 'u'; fill missing values",
    ),
    "dates": (
        lambda: as_tensors(np.array(["2020-01-01"], dtype="datetime64[D]")),
        "received ndarray of datetime64[D]; leave out or encode the columns that are no numbers.",
    ),
    "a row that is none": (
        lambda: as_tensors([[1, 2], 3]),
        "x: expected rows that are all sequences, received 3 in row 1; make it a list of one number.",
    ),
    "rows of other widths": (
        lambda: as_tensors([np.ones((2, 3)), np.ones((1, 4))]),
        "x: expected rows of one shape, received (3,) in row 0 and (4,) in row 1; "
        "only their lengths may differ.",
    ),
    "only empty rows": (lambda: as_tensors([[], []]), "x: expected at least one value, received no data"),
}


@pytest.mark.parametrize("case", WRONG)
def test_sentence(case: str):
    wrong, words = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        wrong()
