"""A large Parquet file of events is read a part at a time, and gives the model that it gives as a whole."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from longspan import Recommender, errors, load
from longspan.data import stored_rows
from longspan.tasks.recommend import large_files
from longspan.tasks.recommend.events import Events, hold_out
from longspan.tasks.recommend.reading import EventColumns, read_events

pytestmark = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
START = np.datetime64("2024-01-01", "us")


def table(rows: int = 900) -> pl.DataFrame:
    """Events of 60 users and 25 items in a random order, with times that repeat."""
    draw = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "user": [f"u{n}" for n in draw.integers(0, 60, rows)],
            "item": draw.integers(0, 25, rows),
            "time": START + draw.integers(0, 200, rows) * np.timedelta64(1, "h"),
            "kind": [f"k{n}" for n in draw.integers(0, 3, rows)],
        }
    )


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for 100 rows at once."""
    monkeypatch.setattr(large_files, "_LARGE", 0)
    monkeypatch.setattr(large_files, "_AT_ONCE", 100)
    monkeypatch.setattr(large_files, "_SORTED_AT_ONCE", 130)
    monkeypatch.setattr(stored_rows, "_AT_ONCE", 100)


def both(path: Path, frame: pl.DataFrame, columns: EventColumns | None = None) -> tuple[Events, Events]:
    """The events of a file that is read a part at a time, and as a whole."""
    frame.write_parquet(path, row_group_size=64)
    columns = columns or EventColumns()
    with errors.collect_notices() as of_parts:
        stored = large_files.read_large_events(path, columns, None, large_files.TimeOptions())
    with errors.collect_notices() as of_whole:
        whole = read_events(path, columns)
    said = [note for note in of_parts if note.startswith(f"The file's {frame.height:,} rows are read a part")]
    assert stored is not None and len(said) == 1 and sorted(of_parts) == sorted([*said, *of_whole])
    return stored, whole


def assert_equal(stored: Events, whole: Events) -> None:
    for name in ("starts", "item", "time", "last", "form", "names"):
        np.testing.assert_equal(getattr(stored, name), getattr(whole, name), name)
    for name in ("users", "items", "attributes"):
        one, other = getattr(stored, name), getattr(whole, name)
        one, other = (pl.DataFrame() if value is None else pl.DataFrame(value) for value in (one, other))
        assert_frame_equal(one, other)


FRAMES: dict[str, Callable[[], pl.DataFrame]] = {
    "random": table,
    "by time": lambda: table().sort("time", maintain_order=True),
    "in order": lambda: pl.concat(
        part.sort("time", maintain_order=True)
        for part in table().partition_by("user", maintain_order=True)
    ),
    "one of two": lambda: table().with_columns(user=pl.col("user").str.head(2)),
    "blanks": lambda: table().with_columns(
        user=pl.when(pl.int_range(pl.len()) % 7 == 0).then(pl.col("user") + " ").otherwise("user")
    ),
    "zeros": lambda: table().with_columns(item=pl.col("item").cast(pl.String).str.zfill(3)),
    "fractions": lambda: table().with_columns(item=pl.col("item").cast(pl.Float64)),
    "categories": lambda: table().with_columns(user=pl.col("user").cast(pl.Categorical)),
    "unix": lambda: table().with_columns(time=pl.col("time").dt.epoch("s")),
    "elapsed": lambda: table().with_columns(time=pl.col("time").dt.epoch("s") % 1000 / 8),
    "numbers": lambda: table().with_columns(time=pl.col("time").dt.epoch("s") % 1000),
    "text": lambda: table().with_columns(time=pl.col("time").dt.strftime("%d.%m.%Y %H:%M")),
    "usual names": lambda: table().rename({"user": "session_id", "time": "timestamp"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", FRAMES)
def test_a_part_at_a_time_gives_the_same_events(tmp_path: Path, small_memory: None, kind: str) -> None:
    assert_equal(*both(tmp_path / "events.parquet", FRAMES[kind]()))


def test_order_alone_and_attributes_are_read(tmp_path: Path, small_memory: None) -> None:
    columns = EventColumns(time=None, attributes=("kind",))
    assert_equal(*both(tmp_path / "events.parquet", table(), columns))


@pytest.mark.parametrize("holdout", ["leave-one-out", "time", "users"])
def test_the_same_events_are_held_out(tmp_path: Path, small_memory: None, holdout: str) -> None:
    stored, whole = both(tmp_path / "events.parquet", table())
    for one, other in zip(hold_out(stored, 0.2, holdout, 3), hold_out(whole, 0.2, holdout, 3), strict=True):
        assert one is not None and other is not None
        assert_equal(one, other)


def test_the_model_is_the_same(tmp_path: Path, small_memory: None, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events [1].parquet"  # no pattern of names
    options: dict[str, Any] = {"epochs": 2, "hidden_size": 6, "embedding_size": 6}
    table().write_parquet(path)
    checkpoint = tmp_path / "checkpoint"
    part = Recommender(**options).fit(path, verbose=0, resume=checkpoint)
    later, saved = tmp_path / "later.parquet", tmp_path / "model"
    table(300).with_columns(pl.col("time").dt.offset_by("1y")).write_parquet(later)
    scores = part.evaluate(later)
    part.save(saved)
    monkeypatch.setattr(large_files, "_LARGE", 1 << 30)
    whole = Recommender(**options).fit(path, verbose=0, resume=checkpoint)  # that of the same events
    histories = part.codec_.histories, whole.codec_.histories
    assert [stored_rows.is_stored(one.items) for one in histories] == [True, False]
    assert part.predict().equals(whole.predict()) and scores == whole.evaluate(later)
    part.update("u1", 3)
    whole.update("u1", 3)
    assert part.recommend("u1").equals(whole.recommend("u1"))
    assert part.predict().equals(whole.predict())
    loaded: Any = load(saved)
    assert loaded.recommend("u2").equals(whole.recommend("u2"))


class Case(NamedTuple):
    frame: pl.DataFrame
    options: dict[str, Any]
    sentence: str


def without(name: str) -> pl.DataFrame:
    """A table whose row 451 has no value in a column."""
    return table().with_columns(pl.when(pl.int_range(pl.len()) != 450).then(name).alias(name))


CASES = {
    "context": Case(table(), {"context": ("kind",)}, "context: expected none in a file that is larger than"),
    "no id": Case(without("user"), {}, "column user: expected an id in every row, received none in row 451"),
    "no time": Case(
        without("time"),
        {},
        "time time: expected a time in every row, received none in row 51; drop that row (row 1 is row 401",
    ),
    "forms": Case(
        table().with_columns(
            time=pl.when(pl.int_range(pl.len()) < 450)
            .then(pl.col("time").dt.strftime("%d.%m.%Y %H:%M"))
            .otherwise(pl.col("time").dt.strftime("%Y-%m-%d %H:%M"))
        ),
        {},
        "time time: expected ",
    ),
}  # fmt: skip


def test_what_needs_the_whole_file_is_read_as_a_whole(tmp_path: Path, small_memory: None) -> None:
    path = tmp_path / "events.parquet"
    table().write_parquet(path)
    notes = Recommender(context=("kind",)).check_source(path)
    assert "The file is read as a whole, since there are columns of context." in notes
    CASES["forms"].frame.write_parquet(path)
    columns, options = EventColumns(), large_files.TimeOptions()
    with errors.collect_notices() as notes:
        assert large_files.read_large_events(path, columns, None, options) is None
    assert any("read as a whole, since a part at a time cannot be: time time: expected" in n for n in notes)


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_read_is_one_sentence(
    tmp_path: Path, small_memory: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path, case = tmp_path / "events.parquet", CASES[name]
    monkeypatch.setattr(large_files, "usable_memory", lambda: 10_000)
    case.frame.write_parquet(path)
    with pytest.raises(ValueError) as error:
        Recommender(**case.options).fit(path)
    assert str(error.value).startswith(case.sentence)


def test_a_full_disk_is_one_sentence(
    tmp_path: Path, small_memory: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, usage = tmp_path / "events.parquet", shutil.disk_usage(tmp_path)
    table().write_parquet(path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    sentence = r"folder .*: expected 0.0 GB of room for temporary files of 900 events"
    notes = Recommender().check_source(path)  # which fits into memory, too
    assert re.search(f"read as a whole, since a part at a time cannot be: {sentence}", " ".join(notes))
    monkeypatch.setattr(large_files, "usable_memory", lambda: 10_000)
    with pytest.raises(OSError, match=sentence):
        Recommender().fit(path)


def test_a_large_file_of_another_kind_is_said(tmp_path: Path, small_memory: None) -> None:
    path = tmp_path / "events.csv"
    table().write_csv(path)
    notes = Recommender().check_source(path)
    assert any("is read as a whole" in note for note in notes)
