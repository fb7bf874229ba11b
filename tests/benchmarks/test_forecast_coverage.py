"""The table of coverages draws its series reproducibly, splits them in order of time, and counts."""

from __future__ import annotations

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from benchmarks import forecast_coverage
from benchmarks.forecast_coverage import SETS


@pytest.mark.parametrize("name", [name for name, part in SETS.items() if part.draw is not None])
def test_generated_series_are_finite_and_reproducible(name: str) -> None:
    draw = SETS[name].draw
    assert draw is not None
    first, again, other = (np.asarray(draw(np.random.default_rng(seed))) for seed in (0, 0, 1))
    assert np.isfinite(first).all() and np.array_equal(first, again) and not np.array_equal(first, other)


def test_the_test_part_is_at_the_end() -> None:
    train, rows, test = forecast_coverage._split(np.arange(100), 12, development=False)
    assert len(train) == 80 and len(rows) == 100 and test == 20
    train, rows, _ = forecast_coverage._split([np.arange(60), np.arange(40)], 12, development=True)
    assert [len(part) for part in rows] == [46, 26] and [len(part) for part in train] == [32, 12]


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
def test_a_set_has_a_line_of_the_table() -> None:
    rows = forecast_coverage.run("short", 1, None, development=False)
    assert rows is not None and rows.shape == (1, 7) and 0 <= rows[0, 0] <= 1
    assert forecast_coverage.run("airline", 1, None, development=False) is None
    console = Console(file=StringIO(), width=120)
    console.print(forecast_coverage.table({"short": np.full((2, 7), 0.9)}))
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "short" in text and "kept" in text and "0.900" in text
