"""Reads Parquet files of events that are larger than memory: the events lie in temporary files, sorted."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from longspan import errors
from longspan.data.readers.tables import check_columns, is_path, read_table
from longspan.data.stored_rows import (
    LargeTable,
    StoredRows,
    blocks,
    computed,
    counted_from,
    large_table,
    usable_memory,
)
from longspan.data.time_table import TimeOptions
from longspan.data.timestamps import TimeForm

from .events import Events
from .neighbors import item_counts
from .reading import (
    ITEM_NAMES,
    SORTED,
    USER_NAMES,
    EventColumns,
    attributes_of,
    check_all_there,
    column_of,
    id_names,
    last_rows,
    missing_ids,
    numbered,
    time_column,
    times_of,
)

_LARGE = 1 << 29  # bytes of a table that is read a part at a time; as a whole it takes three times more
_SHARE = 8  # part of the memory that a table may take to be read as a whole where it has to be
_AT_ONCE = 1 << 20  # rows read at once
_SORTED_AT_ONCE = 1 << 22  # rows sorted at once, but for those of one user
_MOST_FILES = 256  # that the rows are parted into
_STORED, _TIME = 4, 8  # bytes of a number and of a time; every row is written twice at most
_ROW = np.dtype([("user", np.int32), ("item", np.int32), ("time", np.int64)])


class _Columns(NamedTuple):
    """Their names in the file; time: None for the order of the rows."""

    user: str
    item: str
    time: str | None
    attributes: tuple[str, ...]


class _Raw(NamedTuple):
    """The rows as they stand in the file: numbers of users and items, times, ids by their numbers."""

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray | None
    form: TimeForm | None
    users: pl.Series
    items: pl.Series
    attributes: pl.DataFrame | None


def read_large_events(
    source: Any, columns: EventColumns, form: TimeForm | None, options: TimeOptions
) -> Events | None:
    """The events of a large Parquet file, read a part at a time: those that `read_events` gives.

    Their items and times lie in temporary files (in `TMPDIR`), which go with the last use of them. The ids of
    users and items are held in memory.

    Args:
        source, columns, form, options: as for `read_events`.

    Returns:
        None for any other source, which `read_events` reads.

    Raises:
        ValueError: the file is larger than memory, and columns of context are asked for, or its times are in
            several forms; else as `read_events`.
        OSError: the folder of temporary files has too little room; one sentence.
    """
    memory = usable_memory()
    table = large_table(source, min(_LARGE, memory // _SHARE))
    if table is None:
        _note_whole(source)
        return None
    fits = table.rows * table.width * _SHARE < memory
    if columns.context:
        if not fits:
            received, expected = ", ".join(columns.context), "none in a file that is larger than memory"
            way_out = "leave it out, or pass a part of the rows as a frame"
            raise errors.value_error("context", expected, received, way_out)
        errors.notice("The file is read as a whole, since there are columns of context.")
        return None
    try:
        return _read(table, columns, form, options)
    except (_OddTimesError, OSError) as error:
        if not fits:
            raise
        errors.notice(f"The file is read as a whole, since a part at a time cannot be: {error}")
        return None


def _read(table: LargeTable, columns: EventColumns, form: TimeForm | None, options: TimeOptions) -> Events:
    head = table.scan.head(1).collect()
    names = _Columns(
        column_of(head, columns.user, "user", USER_NAMES),
        column_of(head, columns.item, "item", ITEM_NAMES),
        time_column(head, columns.time, "fit"),
        () if columns.item_table else columns.attributes,
    )
    check_columns(head, names.attributes, "attributes")
    _check_room(table.rows, names.time is not None)
    return _events(_raw(table, names, form, options, id_names(columns)), names, columns, options)


def _note_whole(source: Any) -> None:
    """Say that a large file of another kind is read as a whole."""
    path = Path(source) if is_path(source) else Path()
    if path.is_file() and path.suffix.lower() not in (".parquet", ".pq") and path.stat().st_size > 2 * _LARGE:
        size = path.stat().st_size / 1e9
        errors.notice(
            f"The file of {size:.1f} GB is read as a whole, which takes several times its size of memory; a "
            "Parquet file of its rows is read a part at a time."
        )


def _check_room(rows: int, timed: bool) -> None:
    """Say how much is written and where, and refuse where there is no room for it."""
    needed = 2 * rows * (2 * _STORED + _TIME * timed)
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < needed:
        expected = f"{needed / 1e9:.1f} GB of room for temporary files of {rows:,} events"
        way_out = "name another folder by the environment variable TMPDIR"
        raise OSError(errors.message(f"folder {folder}", expected, f"{free / 1e9:.1f} GB", way_out))
    errors.notice(
        f"The file's {rows:,} rows are read a part at a time, which takes less memory; temporary files in "
        f"{folder} take up to {needed / 1e9:.2f} GB."
    )


# ---- the rows of the file


class _Vocabulary:
    """Numbers the ids of a column in the order in which they appear, a part of the column at a time."""

    def __init__(self) -> None:
        self._known = pl.DataFrame()

    def numbers(self, column: pl.Series, begin: int) -> np.ndarray:
        """(N,) int32; begin: the number of rows before these."""
        check_all_there(missing_ids(column), begin)
        ids = column.unique(maintain_order=True).alias("id").to_frame()
        if not self._known.width:
            self._known = ids.clear().with_columns(number=pl.lit(0, pl.Int32))
        known = self._known.join(ids, on="id", how="semi")
        found = ids.join(known, on="id", how="left", maintain_order="left")
        new = found["number"].is_null()
        following = self._known.height + new.cum_sum().cast(pl.Int32) - 1
        found = found.with_columns(pl.col("number").fill_null(following))
        self._known = pl.concat([self._known, found.filter(new)])
        rows = column.alias("id").to_frame()
        return rows.join(found, on="id", how="left", maintain_order="left")["number"].to_numpy()

    def ids(self, name: str) -> pl.Series:
        return self._known["id"].alias(name)


class _OddTimesError(ValueError):
    """Times that cannot be read a part at a time."""


class _TimeReader:
    """Reads the times of a column, a part at a time, in one form for all."""

    def __init__(self, table: LargeTable, name: str, form: TimeForm | None, options: TimeOptions) -> None:
        self._table, self._name, self._options = table, name, options
        self.form, self._first = form, True

    def values(self, part: pl.DataFrame, users: np.ndarray, begin: int) -> np.ndarray:
        """(N,) int64; users: the number of each row's user; begin: the number of rows before these."""
        try:
            if self._first:
                self.form, self._first = self._found(part, users), False
            times = times_of(part, self._name, None, self.form, self._options)
        except ValueError as error:
            raise _OddTimesError(counted_from(error, begin)) from error
        if times.form != self.form:
            way_out = "write them in one form, such as 2024-01-31 18:00"
            expected = f"times as in the first rows ({self.form})"
            raise _OddTimesError(errors.message(f"time {self._name}", expected, times.form, way_out))
        return times.values

    def _found(self, head: pl.DataFrame, users: np.ndarray) -> TimeForm:
        """The form of numbers by their range and of text by the first rows."""
        column, scan = pl.col(self._name), self._table.scan.select(self._name)
        if not scan.collect_schema()[self._name].is_numeric():
            return times_of(head, self._name, users, self.form, self._options).form
        fraction = column.filter(column.cast(pl.Float64) % 1 != 0).first()
        telling = (column.first(), fraction, column.min(), column.max(), column.last())
        named = [value.alias(str(place)) for place, value in enumerate(telling)]
        parts = [
            scan.slice(at.start, _AT_ONCE).select(named).collect()
            for at in blocks(self._table.rows, _AT_ONCE)
        ]
        values = pl.concat([value.alias(self._name) for part in parts for value in part.get_columns()])
        shown = values.drop_nulls().to_frame()
        return times_of(shown, self._name, None, self.form, self._options).form


def _raw(
    table: LargeTable, names: _Columns, form: TimeForm | None, options: TimeOptions, text: Sequence[str]
) -> _Raw:
    """The rows of a file, numbered."""
    named = (names.user, names.item, *([names.time] if names.time else []), *names.attributes)
    scan = table.scan.select(list(dict.fromkeys(named)))
    users, items, described, notes = _Vocabulary(), _Vocabulary(), None, dict[str, None]()
    times = _TimeReader(table, names.time, form, options) if names.time else None
    with ExitStack() as files:
        stores = [files.enter_context(StoredRows(1, _ROW[place])) for place in range(3)]
        for at in blocks(table.rows, _AT_ONCE):
            with errors.collect_notices(quiet=True, apart=True) as of_part:
                part = read_table(scan.slice(at.start, _AT_ONCE).collect(), options=options, text=text)
                numbers = [users.numbers(part[names.user], at.start)]
                numbers.append(items.numbers(part[names.item], at.start))
                if times is not None:
                    numbers.append(times.values(part, numbers[0], at.start))
            for store, values in zip(stores, numbers, strict=False):
                store.append(values)
            if names.attributes:
                own = part.select(names.item, *names.attributes)
                described = last_rows(own if described is None else pl.concat([described, own]), names.item)
            notes.update(dict.fromkeys(of_part))
        user, item, time = (store.array()[:, 0] for store in stores)
    for note in notes:
        errors.notice(note)
    ids = users.ids(names.user), items.ids(names.item)
    return _Raw(user, item, time if times else None, times.form if times else None, *ids, described)


# ---- in order


def _events(raw: _Raw, names: _Columns, columns: EventColumns, options: TimeOptions) -> Events:
    """The events of the rows, sorted."""
    users = numbered(raw.users, written=True, required=True)
    items = numbered(raw.items, written=True, required=True)
    user = _renumbered(raw.user, users.number)
    item, time, form = _renumbered(raw.item, items.number), raw.time, raw.form
    described = pl.DataFrame() if raw.attributes is None else raw.attributes
    del raw  # and with it the files of what was written anew
    starts = np.concatenate([[0], np.cumsum(item_counts(user, len(users.ids)))]).astype(np.int64)
    if not _is_sorted(user, time):
        parts = _parted(user, item, time, starts)
        del user, item, time  # and with them their files
        item, time = _joined(parts)
    return Events(
        users.ids.alias(names.user),
        items.ids.alias(names.item),
        starts,
        item,
        time,
        None if time is None else time[starts[1:] - 1],
        form,
        None,
        attributes_of(described, names.item, columns, options, "fit", written=True),
        (names.user, names.item),
    )


def _renumbered(raw: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Numbers of ids that are written alike, such as 7 and " 7", as one."""
    if bool((number == np.arange(len(number))).all()):
        return raw
    return computed(lambda part: number[part], raw)


def _is_sorted(user: np.ndarray, time: np.ndarray | None) -> bool:
    """Whether the rows stand by user and time."""
    for part in blocks(len(user), _AT_ONCE):
        rows = slice(max(0, part.start - 1), part.stop)
        if not _in_order(user[rows], None if time is None else time[rows]):
            return False
    return True


def _in_order(user: np.ndarray, time: np.ndarray | None) -> bool:
    after = user[1:] > user[:-1]
    same = user[1:] == user[:-1]
    return bool((after | (same if time is None else same & (time[1:] >= time[:-1]))).all())


def _parted(
    user: np.ndarray, item: np.ndarray, time: np.ndarray | None, starts: np.ndarray
) -> list[StoredRows]:
    """The rows in files by ranges of users."""
    size = max(_SORTED_AT_ONCE, -(-len(user) // _MOST_FILES))
    file_of = (starts[:-1] // size).astype(np.int32)  # of each user
    row = np.dtype(_ROW.descr if time is not None else _ROW.descr[:2])
    parts = [StoredRows(1, row) for _ in range(int(file_of[-1]) + 1)]
    for at in blocks(len(user), _AT_ONCE):
        rows = np.empty(at.stop - at.start, row)
        rows["user"], rows["item"] = user[at], item[at]
        if time is not None:
            rows["time"] = time[at]
        place = file_of[rows["user"]]
        ends = np.cumsum(np.bincount(place, minlength=len(parts)))
        for part, own in zip(parts, np.split(rows[np.argsort(place, kind="stable")], ends[:-1]), strict=True):
            part.append(own)
    return parts


def _joined(parts: Sequence[StoredRows]) -> tuple[np.ndarray, np.ndarray | None]:
    """The items and times of all parts, each sorted by user and time."""
    in_order, timed = True, "time" in (parts[0].dtype.names or ())
    with StoredRows(1, np.int32) as items, StoredRows(1, np.int64) as times:
        for part in parts:
            with part:  # which removes its file
                rows = np.array(part.array()[:, 0])
            rows = rows[np.argsort(rows["user"], kind="stable")]
            if timed and not _in_order(rows["user"], rows["time"]):
                in_order = False
                rows = rows[np.lexsort((rows["time"], rows["user"]))]
            items.append(rows["item"])
            if timed:
                times.append(rows["time"])
        if not in_order:
            errors.notice(SORTED)
        return items.array()[:, 0], times.array()[:, 0] if timed else None
