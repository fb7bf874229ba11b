"""Events are read from tables and lists, sorted, and held out; bad sources are told in a sentence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from longspan.errors import LongspanWarning
from longspan.tasks.recommend.events import Events, hold_out
from longspan.tasks.recommend.reading import EventColumns, read_events

SHOP = {"user": ["b", "a", "b", "a", "a"], "item": [7, 8, 7, 9, 8], "time": [1, 2, 3, 4, 5]}


def rows(events: Events) -> list[list[Any]]:
    """Every user's items, in their order."""
    items = events.items.to_list()
    parts = zip(events.starts[:-1], events.starts[1:], strict=True)
    return [[items[number] for number in events.item[a:b]] for a, b in parts]


def test_a_table_is_read_by_user_and_time() -> None:
    events = read_events(pl.DataFrame(SHOP))
    assert events.users is not None and events.users.to_list() == ["b", "a"]
    assert rows(events) == [[7, 7], [8, 9, 8]] and events.lengths.tolist() == [2, 3]
    assert events.time is not None and events.time.tolist() == [1, 3, 2, 4, 5]
    assert events.user.tolist() == [0, 0, 1, 1, 1]


def test_unsorted_times_are_sorted_with_a_notice() -> None:
    frame = pl.DataFrame(SHOP)
    with pytest.warns(LongspanWarning, match="were not in the order of their times and have been sorted"):
        shuffled = read_events(frame[[4, 0, 2, 1, 3]])
    assert shuffled.users is not None and shuffled.users.to_list() == ["a", "b"]
    assert rows(shuffled) == [[8, 9, 8], [7, 7]]


@pytest.mark.parametrize("ending", ["csv", "parquet", "tsv"])
def test_files_give_ids_in_their_type(tmp_path: Path, ending: str) -> None:
    frame = pl.DataFrame({"user": ["0007", "0008", "0007"], "item": ["1", "2", "2"], "time": [1, 2, 3]})
    path = tmp_path / f"events.{ending}"
    if ending == "parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path, separator="\t" if ending == "tsv" else ",")
    events = read_events(str(path))
    assert events.users is not None and events.users.to_list() == ["0007", "0008"]
    assert events.items.to_list() == [1, 2]


def test_pandas_polars_and_lists_are_read_alike() -> None:
    frame = pl.DataFrame(SHOP)
    of_pandas = read_events(pd.DataFrame(SHOP))
    assert rows(of_pandas) == rows(read_events(frame)) and of_pandas.kind == "pandas"
    lists = read_events([[7, 7], [8, 9, 8]])
    assert lists.users is None and rows(lists) == rows(of_pandas)
    assert rows(read_events([np.array([7, 7]), np.array([8])])) == [[7, 7], [8]]
    assert rows(read_events([["a", 1]])) == [["a", "1"]]


def test_columns_with_usual_names_are_found_and_said() -> None:
    frame = pl.DataFrame(SHOP).rename({"user": "session_id", "item": "ItemId", "time": "timestamp"})
    with pytest.warns(LongspanWarning) as told:
        events = read_events(frame)
    assert events.names == ("session_id", "ItemId")
    said = " ".join(str(one.message) for one in told)
    assert "session_id is read as the users" in said and "timestamp is read as the times" in said
    assert read_events(frame, EventColumns("session_id", "ItemId", "timestamp")).names == events.names


def test_without_times_the_rows_are_in_order() -> None:
    events = read_events(pl.DataFrame(SHOP).drop("time"), EventColumns(time=None))
    assert rows(events) == [[7, 7], [8, 9, 8]] and events.time is None


def test_predict_takes_users_alone_and_rows_without_items() -> None:
    users = read_events(pl.DataFrame({"user": ["a", "new"]}), use="predict")
    assert users.users is not None and users.users.to_list() == ["a", "new"] and not len(users.item)
    some = read_events(pl.DataFrame({"user": ["a", "b"], "item": [None, 7], "time": [1, 2]}), use="predict")
    assert rows(some) == [[], [7]]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (
            pl.DataFrame(SHOP).drop("time"),
            "time: expected a column of source (user, item), received 'time'; ",
        ),
        (pl.DataFrame(SHOP).drop("item"), "item: expected a column of source"),
        (pl.DataFrame({**SHOP, "item": [7, None, 7, 9, 8]}), "column item: expected an id in every row, "),
        (pl.DataFrame({**SHOP, "user": ["a", None, "b", "c", "d"]}), "column user: expected an id in every"),
        (pl.DataFrame({**SHOP, "time": [1, 2, None, 4, 5]}), "time time: expected a time in every row"),
        (["tea", "milk"], "source: expected a table with a row for every event, or a list of sequences"),
        ([[], []], "source: expected at least one event, received none"),
        (7, "source: expected a table with a row for every event, or a list of sequences"),
        (pl.DataFrame(SHOP).clear(), "source: expected at least one row"),
    ],
)
def test_a_bad_source_is_told_in_a_sentence(source: Any, sentence: str) -> None:
    with pytest.raises((ValueError, TypeError), match=r"^" + re.escape(sentence)):
        read_events(source)


def test_attributes_come_from_events_or_from_a_table_of_items(tmp_path: Path) -> None:
    frame = pl.DataFrame(SHOP).with_columns(kind=pl.Series(["x", "y", "x", "z", "w"]))
    events = read_events(frame, EventColumns(attributes=("kind",)))
    assert events.attributes is not None
    assert dict(events.attributes.iter_rows()) == {7: "x", 8: "w", 9: "z"}
    pl.DataFrame({"item": [7, 8, 9, 10], "kind": list("pqrs")}).write_csv(tmp_path / "items.csv")
    columns = EventColumns(attributes=("kind",), item_table=str(tmp_path / "items.csv"))
    described = read_events(frame.drop("kind"), columns).attributes
    assert described is not None and dict(described.iter_rows()) == {7: "p", 8: "q", 9: "r", 10: "s"}


# ---- splits


def many(users: int = 40, events: int = 6) -> Events:
    user, step = np.repeat(np.arange(users), events), np.tile(np.arange(events), users)
    columns = {"user": user, "item": (user + step) % 9, "time": 10 * user + step}
    return read_events(pl.DataFrame(columns))


def test_leave_one_out_takes_the_last_event_of_some_users() -> None:
    train, valid = hold_out(many(), 0.25, None, seed=0)
    assert valid is not None and valid.lengths.tolist() == [1] * 10 and len(train.item) == 230
    assert valid.users is not None and valid.time is not None
    assert all(time == 10 * user + 5 for user, time in zip(valid.users, valid.time, strict=True))
    again = hold_out(many(), 0.25, "leave-one-out", seed=0)[1]
    other = hold_out(many(), 0.25, "leave-one-out", seed=1)[1]
    assert again is not None and other is not None and again.users is not None and other.users is not None
    assert valid.users.equals(again.users) and not valid.users.equals(other.users)


def test_the_latest_events_are_held_out_by_time() -> None:
    train, valid = hold_out(many(), 0.1, "time", seed=0)
    assert train.time is None and valid is not None and valid.time is not None
    assert train.last is not None and train.last.max() < valid.time.min() and len(valid.item) == 24


def test_the_last_users_are_held_out_of_sessions() -> None:
    sessions = read_events([[1, 2, 3]] * 20)
    train, valid = hold_out(sessions, 0.1, None, seed=0)
    assert valid is not None and len(valid.lengths) == 2 and len(train.lengths) == 18
    reversed_times = pl.DataFrame({"session": [1, 1, 2, 2], "item": [1, 2, 3, 4], "time": [5, 6, 1, 2]})
    columns = EventColumns(user="session")
    train, valid = hold_out(read_events(reversed_times, columns), 0.5, None, seed=0)
    assert valid is not None and valid.users is not None and valid.users.to_list() == [1], "it begins last"


def test_too_few_events_are_all_trained_on_with_a_notice() -> None:
    events = read_events([[1, 2], [2, 1]])
    with pytest.warns(LongspanWarning, match="too few events to hold some out"):
        assert hold_out(events, 0.1, "leave-one-out", seed=0) == (events, None)
    assert hold_out(events, 0.0, None, seed=0) == (events, None)
    with pytest.raises(ValueError, match=r"^holdout: expected leave-one-out or users, without times"):
        hold_out(events, 0.1, "time", seed=0)


def test_events_given_twice_are_not_held_out() -> None:
    frame = pl.DataFrame({"user": [*"aaabbbccc"], "item": [1, 2, 3] * 3, "time": range(9)})
    with pytest.warns(LongspanWarning, match="too few events to hold some out"):
        assert (
            hold_out(read_events(pl.concat([frame, frame]).sort("time")), 0.5, "leave-one-out", 0)[1] is None
        )
    last = pl.DataFrame({"user": ["a", "b"], "item": [4, 3], "time": [8, 5]})  # b's last event again
    valid = hold_out(read_events(pl.concat([frame, last])), 1.0, "leave-one-out", 0)[1]
    assert valid is not None and valid.users is not None and valid.users.to_list() == ["a", "c"]


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_number_that_is_no_time_is_told(odd: float) -> None:
    said = f"time time: expected a time in every row, received {odd} in row 2"
    with pytest.raises(ValueError, match=said):
        read_events(pl.DataFrame({"user": [1, 1], "item": [1, 2], "time": [1.0, odd]}))
