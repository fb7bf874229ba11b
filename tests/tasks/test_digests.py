"""Checks that digests are of values: equal for equal data, and others for any change of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
import torch

from longspan.tasks.digests import digest


class Pair(NamedTuple):
    text: str
    label: Any = None


VALUES = (
    None, True, 1, 1.0, "1", b"1", [1], [[1]], [], {}, {"a": 1}, {"a": 2}, {"b": 1}, {1},
    datetime(2024, 1, 1), np.float64(1), np.ones(1), np.ones((1, 1)), np.ones(1, np.float32), np.zeros(1),
    np.array([b"1"]), np.array(["1"], object), torch.ones(1), torch.ones(1, dtype=torch.int64),
    pl.Series("a", [1]), pl.Series("b", [1]), pl.DataFrame({"a": [2]}), ["ab", "c"], ["a", "bc"],
    [Pair("ab", 1), Pair("c", 1)], [Pair("a", 1), Pair("bc", 1)], [("ab", 1), ("c", "1")], [[1.0, 2.0]],
    [1.0, 2.0], [np.ones(1)] * 2, np.array([(1, 2.0)], [("x", int), ("y", float)]),
    np.array([(1, 3.0)], [("x", int), ("y", float)]),
)  # fmt: skip


def test_other_values_have_other_digests():
    digests = [digest(value) for value in VALUES]
    assert len(set(digests)) == len(VALUES)
    assert digests == [digest(value) for value in VALUES]


def test_the_layout_in_memory_makes_no_difference():
    rows = np.arange(12.0).reshape(3, 4)
    assert digest(rows) == digest(np.asfortranarray(rows)) == digest(rows.astype(">f8"))
    assert digest(rows[:, ::2]) == digest(rows[:, ::2].copy()) != digest(rows)
    assert digest(["".join(["a", "b"])] * 2) == digest(["ab", "".join(["a", "b"])])
    assert digest(torch.ones(2, 3).T) == digest(torch.ones(3, 2))


def test_a_digest_is_the_same_in_every_version():
    data = [Pair("good", 1), Pair("bad", 0), np.arange(3, dtype=np.int16)]
    assert digest(data) == "892362b3f39d2eb3b477b335ce53784e"


def test_what_has_no_values_is_refused():
    with pytest.raises(TypeError, match="data: expected values, arrays and containers of them, received"):
        digest([lambda: 1])
