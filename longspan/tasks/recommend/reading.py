"""Reads events of users and items from tables, and sequences of items from lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from longspan import errors
from longspan.data.readers.tables import Source, check_columns, is_table, read_source, read_table
from longspan.data.time_table import TimeOptions, canonical_ids, natural_ids
from longspan.data.timestamps import TIME_NAMES, TimeForm, Times, parse_times

from .events import Events

USER_NAMES = (
    "user_id", "userid", "uid", "customer", "customer_id", "session", "session_id", "sessionid", "visitor",
    "visitor_id", "visitorid", "account", "account_id", "reviewerid",
)  # fmt: skip
ITEM_NAMES = (
    "item_id", "itemid", "iid", "product", "product_id", "productid", "article", "article_id", "sku",
    "movie_id", "movieid", "song_id", "track_id", "asin", "parent_asin",
)  # fmt: skip

SORTED = "The events of some users were not in the order of their times and have been sorted."


@dataclass(frozen=True)
class EventColumns:
    """The columns of a table of events.

    user, item: their ids; time: None for the order of the rows; context: describe an event.
    attributes: describe an item; item_table: a file with items and attributes, None where the table of the
    events has them.
    """

    user: str = "user"
    item: str = "item"
    time: str | None = "time"
    context: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    item_table: str | None = None


class _Numbered(NamedTuple):
    """ids: the different ones as they are answered; number: (N,) int32, of each row's id, -1 for none."""

    ids: pl.Series
    number: np.ndarray


def read_events(
    source: Any,
    columns: EventColumns | None = None,
    *,
    use: str = "fit",
    form: TimeForm | None = None,
    options: TimeOptions | None = None,
) -> Events:
    """The events of a source, sorted by user and time.

    Args:
        source: a table with a row for every event, as a path or a frame; or a list of sequences of items, one
            for every user or session.
        columns: of the table.
        use: "fit", "evaluate", or "predict", for which rows without an item, or a table without items, name
            users alone.
        form: of the times in fit; None during fit.
        options: how files and times are read.

    Raises:
        FileNotFoundError, ValueError, TypeError: a column is not there, or an id or a time is missing.

    >>> events = read_events([["tea", "milk"], ["tea"]])
    >>> events.items.to_list(), events.item.tolist(), events.starts.tolist()
    (['tea', 'milk'], [0, 1, 0], [0, 2, 3])
    """
    columns, options = columns or EventColumns(), options or TimeOptions()
    if not is_table(source):
        return _from_sequences(source, use)
    table = read_source(source, options=options, text=id_names(columns), dates=True)
    return _from_table(table, columns, use, form, options)


def id_names(columns: EventColumns) -> list[str]:
    """The names of columns that stay as they are written, in every case in which they may be written."""
    names = [*USER_NAMES, *ITEM_NAMES, columns.user, columns.item]
    return [form for name in names for form in {name, name.lower(), name.upper(), name.title()}]


# ---- lists of sequences


def _from_sequences(source: Any, use: str) -> Events:
    expected = "a table with a row for every event, or a list of sequences of items"
    if isinstance(source, (str, bytes)) or not isinstance(source, (Sequence, np.ndarray)):
        raise errors.type_error("source", expected, source, "pass a path, a frame or a list of lists")
    for row in source:
        if isinstance(row, (str, bytes)) or not isinstance(row, (Sequence, np.ndarray)):
            raise errors.type_error("source", expected, row, "put the items of a user into a list")
    lengths = np.array([len(row) for row in source], dtype=np.int64)
    if not lengths.sum() and (use != "predict" or not len(lengths)):
        raise errors.value_error("source", "at least one event", "none", "check what was passed")
    values = [value for row in source for value in row]
    items = numbered(_series_of(values), written=False, required=True)
    return Events(
        None,
        items.ids,
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items.number,
        targets=use != "predict",
        kind="list",
    )


def _series_of(values: list[Any]) -> pl.Series:
    """Items as a column; text and numbers mixed are text."""
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    if len({type(value) for value in plain}) > 1:
        plain = [None if value is None else str(value) for value in plain]
    return pl.Series("item", plain, strict=False)


# ---- tables


def _from_table(
    table: Source, columns: EventColumns, use: str, form: TimeForm | None, options: TimeOptions
) -> Events:
    frame = table.frame
    user = column_of(frame, columns.user, "user", USER_NAMES)
    alone = use == "predict" and columns.item not in frame.columns and not _usual(frame, ITEM_NAMES)
    item = columns.item if alone else column_of(frame, columns.item, "item", ITEM_NAMES)
    written = table.kind == "file"
    users = numbered(frame[user], written=written, required=True)
    items = _Numbered(pl.Series(item, [], pl.String), np.full(frame.height, -1, np.int32))
    if not alone:
        items = numbered(frame[item], written=written, required=use != "predict")
    time = None if alone else _times(frame, columns.time, users.number, form, options, use)
    check_columns(frame, columns.context if not alone else (), "context")
    values, there = None if time is None else time[0], items.number >= 0
    lengths = np.bincount(users.number if there.all() else users.number[there], minlength=len(users.ids))
    context = frame.select(columns.context) if columns.context and not alone else None
    keep = _order(users.number, time)
    if not there.all():
        keep = np.flatnonzero(there) if keep is None else keep[there[keep]]
    number = items.number
    if keep is not None:
        number, values = number[keep], None if values is None else values[keep]
        context = None if context is None else context[keep]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Events(
        users.ids.alias(user),
        items.ids.alias(item),
        starts,
        number,
        values,
        None if values is None or use == "predict" else values[starts[1:] - 1],
        None if time is None else time[1],
        context,
        attributes_of(frame, item, columns, options, use, written=written),
        (user, item),
        use != "predict",
        table.kind,
    )


def column_of(frame: pl.DataFrame, name: str, option: str, usual: Sequence[str]) -> str:
    """The column of an option; of the default a column with a usual name, which a notice says."""
    if name in frame.columns:
        return name
    near = _usual(frame, (option, *usual)) if name == option else None
    if near is None:
        check_columns(frame, [name], option)
    errors.notice(f"The column {near} is read as the {option}s; name another one by {option}.")
    return str(near)


def _usual(frame: pl.DataFrame, usual: Sequence[str]) -> str | None:
    """The first column with one of the usual names, in any case."""
    names = {column.strip().lower(): column for column in reversed(frame.columns)}
    return next((names[name] for name in usual if name in names), None)


def numbered(column: pl.Series, *, written: bool, required: bool) -> _Numbered:
    """The different ids of a column, in the order in which they appear, and each row's number.

    Args:
        written: see `natural_ids`; required: whether a row without an id is refused.
    """
    if column.dtype == pl.Null:
        column = column.cast(pl.String)
    missing = missing_ids(column)
    if required:
        check_all_there(missing)
    different = column.filter(~missing).unique(maintain_order=True)
    text = canonical_ids(different)
    unique = text.unique(maintain_order=True)
    number = pl.DataFrame({"id": unique, "number": pl.int_range(len(unique), dtype=pl.Int32, eager=True)})
    index = pl.DataFrame({"id": text, "value": different}).join(number, on="id", how="left")
    joined = pl.DataFrame({"value": column}).join(
        index.select("value", "number"), on="value", how="left", maintain_order="left"
    )
    first = different.gather(text.arg_unique()) if len(unique) < len(text) else different
    ids = natural_ids(first, written=written)
    return _Numbered(ids, joined["number"].fill_null(-1).to_numpy())


def missing_ids(column: pl.Series) -> pl.Series:
    """Whether each row has no id; refuses columns that hold no ids."""
    if column.dtype == pl.Object or column.dtype.is_nested():
        canonical_ids(column)  # raises the error that names the first row
    return column.is_null() | column.is_nan() if column.dtype.is_float() else column.is_null()


def check_all_there(missing: pl.Series, begin: int = 0) -> None:
    """Refuse a row without an id; begin: the number of rows before these."""
    if missing.any():
        row = begin + int(missing.arg_true()[0]) + 1
        way_out = "fill it or drop the row"
        raise errors.value_error(
            f"column {missing.name}", "an id in every row", f"none in row {row}", way_out
        )


def _times(
    frame: pl.DataFrame,
    name: str | None,
    users: np.ndarray,
    form: TimeForm | None,
    options: TimeOptions,
    use: str,
) -> Times | None:
    """The times of the rows and their form; None where the order of the rows is that of time."""
    name = time_column(frame, name, use)
    return None if name is None else times_of(frame, name, users, form, options)


def time_column(frame: pl.DataFrame, name: str | None, use: str) -> str | None:
    """The column of the times; None where the order of the rows is that of time."""
    if name is None or name in frame.columns:
        return name
    near = _usual(frame, TIME_NAMES) if name == "time" else None
    if near is None and use == "predict":
        return None
    if near is None:
        shown = ", ".join(frame.columns[:12])
        way_out = "name it, or pass time=None if the rows are in order"
        raise errors.value_error("time", f"a column of source ({shown})", repr(name), way_out)
    errors.notice(f"The column {near} is read as the times; name another one by time.")
    return near


def times_of(
    frame: pl.DataFrame,
    name: str,
    users: np.ndarray | None,
    form: TimeForm | None,
    options: TimeOptions,
) -> Times:
    """The times of a column; users: the number of each row's user."""
    times = parse_times(frame, (name,), form=form, series=users, written=options.time_format)
    if times is None:
        column, expected = frame[name], "dates, date-times or numbers"
        if column.dtype.is_float() and not column.is_finite().all():
            row = int((~column.is_finite()).arg_true()[0])
            received = f"{column[row]} in row {row + 1}"
            raise errors.value_error(f"time {name}", "a time in every row", received, "drop that row")
        shown = repr(column[0])
        raise errors.value_error(f"time {name}", expected, shown, "name the column of the times")
    return times


def _order(users: np.ndarray, time: Times | None) -> np.ndarray | None:
    """The order that sorts rows by user and time, None where they are sorted."""
    if time is None:
        return None if bool((users[1:] >= users[:-1]).all()) else np.argsort(users, kind="stable")
    order = None if bool((users[1:] >= users[:-1]).all()) else np.argsort(users, kind="stable")
    values, number = time[0], users
    if order is not None:
        values, number = values[order], number[order]
    if bool(((number[1:] > number[:-1]) | (values[1:] >= values[:-1])).all()):
        return order
    errors.notice(SORTED)
    return np.lexsort((time[0], users))


# ---- attributes


def attributes_of(
    frame: pl.DataFrame, item: str, columns: EventColumns, options: TimeOptions, use: str, *, written: bool
) -> pl.DataFrame | None:
    """A row for every item with its attributes: of the table of items, else of its last event."""
    if not columns.attributes or use == "predict":
        return None
    if columns.item_table is not None:
        frame = read_table(columns.item_table, "item_table", options=options, text=[columns.item, item])
        item = column_of(frame, item if item in frame.columns else columns.item, "item", ITEM_NAMES)
        written = True
    check_columns(frame, columns.attributes, "attributes")
    table = last_rows(frame.select(item, *columns.attributes), item)
    return table.with_columns(natural_ids(table[item], written=written)).rename({item: "item"})


def last_rows(frame: pl.DataFrame, item: str) -> pl.DataFrame:
    """The last row of every item."""
    return frame.unique(item, keep="last", maintain_order=True)
