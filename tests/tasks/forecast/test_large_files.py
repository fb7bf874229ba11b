"""A large Parquet file is read a part at a time, and gives the model that it gives as a whole."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from longspan import Forecaster, errors
from longspan.tasks.forecast import large_files

OPTIONS = {"horizon": 4, "id": "shop", "time": "day", "target": "sales", "hidden_size": 6, "epochs": 2}


def table(shops: int = 9, days: int = 90) -> pl.DataFrame:
    draw = np.random.default_rng(0)
    day = np.datetime64("2024-01-01", "us") + np.arange(days) * np.timedelta64(1, "D")
    parts = [
        pl.DataFrame(
            {
                "shop": [f"s{shop}"] * days,
                "day": day,
                "sales": np.sin(np.arange(days) / 3 + shop) + 0.1 * draw.standard_normal(days),
                "price": draw.random(days),
                "size": [float(shop)] * days,
                "left": ["out"] * days,
            }
        )
        for shop in range(shops)
    ]
    return pl.concat(parts).filter(pl.int_range(pl.len()) % 37 != 5)  # some days are missing


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for 100 rows at once."""
    monkeypatch.setattr(large_files, "usable_memory", lambda: 8 * 8 * 100)
    monkeypatch.setattr(large_files, "_LEAST_ROWS", 100)


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
def test_a_part_at_a_time_gives_the_same_model(tmp_path: Path, small_memory: None):
    path = tmp_path / "sales.parquet"
    table().write_parquet(path, row_group_size=64)
    options = {**OPTIONS, "past_covariates": ("price",), "static_covariates": ("size",)}
    with errors.collect_notices() as notes:
        stored = Forecaster(**options).panel(path)
    whole = Forecaster(**options).panel(table())
    assert isinstance(stored.values.base, np.memmap) and not isinstance(whole.values.base, np.memmap)
    assert notes[0].startswith(f"The file's {table().height:,} rows are read a part at a time")
    missing = len(stored.values) - table().height
    assert [note.split(" in the ")[0] for note in notes[1:]] == [f"{missing} rows are missing"]
    for name in ("values", "starts", "first", "ids", "columns", "frequency", "form"):
        np.testing.assert_equal(getattr(stored, name), getattr(whole, name))
    np.testing.assert_equal(stored.past.numbers, whole.past.numbers)
    np.testing.assert_equal(stored.static.numbers, whole.static.numbers)
    np.testing.assert_equal(stored.last_seen(), whole.last_seen())
    part, all_rows = (Forecaster(**options).fit(source, verbose=0) for source in (path, table()))
    assert part.predict().equals(all_rows.predict())


def test_series_longer_than_a_part_are_whole(tmp_path: Path, small_memory: None):
    path = tmp_path / "sales.parquet"
    table(3, 350).write_parquet(path)
    with pytest.warns(errors.LongspanWarning):
        panel = Forecaster(**OPTIONS).panel(path)
    assert np.diff(panel.starts).tolist() == [350, 350, 350] and isinstance(panel.values.base, np.memmap)


def sentence(path: Path, frame: pl.DataFrame, **options: object) -> str:
    frame.write_parquet(path)
    with pytest.raises(ValueError) as error:
        Forecaster(**{**OPTIONS, **options}).panel(path)  # pyright: ignore[reportArgumentType]
    return str(error.value)


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
def test_rows_that_stand_apart_and_text_are_one_sentence(tmp_path: Path, small_memory: None):
    path = tmp_path / "sales.parquet"
    words = (
        "source: expected the rows of a series together in a large file, received those of 's3' in several"
    )
    assert sentence(path, table().sort("day", "shop")).startswith(words)
    words = "past_covariates: expected numbers in a file that is larger than memory, received text in left;"
    assert sentence(path, table(), past_covariates=("left",)).startswith(words)


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
def test_interleaved_series_and_rows_of_later_parts_are_named(tmp_path: Path, small_memory: None):
    whole = table()
    said = sentence(tmp_path / "sales.parquet", whole.sort("day"))
    assert said.startswith("source: expected the rows of a series together in a large file")
    odd = pl.when(pl.int_range(pl.len()) == 699).then(np.inf).otherwise("sales").alias("sales")
    said = sentence(tmp_path / "sales.parquet", whole.with_columns(odd))
    row, begin = (int(text.replace(",", "")) for text in re.findall(r"row ([0-9,]+)(?:;| of the file)", said))
    assert row + begin - 1 == 700
