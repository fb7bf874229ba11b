"""Knows a panel row by row: which of its rows a table's are, and rows that come after those kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from longspan import errors
from longspan.data.frequency import parse_times
from longspan.data.readers.tables import read_table
from longspan.data.timestamps import parse_timestamp
from longspan.tasks.codec import Tree
from longspan.tasks.parts import Stream

from .covariates import Covariates
from .panel import Panel


class ForecastStream(Stream):
    """The last rows of every series, after which forecasts go on.

    Args:
        panel: the rows so far; keep: how many rows of every series are kept.
    """

    def __init__(self, panel: Panel, keep: int) -> None:
        self.panel, self.keep = panel, keep

    def update(self, reading: Panel) -> None:
        """Go on from new rows."""
        self.panel = self.panel.joined(reading).tail(self.keep)

    def state(self) -> Tree:
        return self.panel.state()

    def restore(self, state: Tree) -> None:
        self.panel = Panel.from_state(state)


def rows_of(panel: Panel, source: Any) -> np.ndarray:
    """The rows (T,) of a panel of one series that a source's are, in the source's order.

    Args:
        source: what the panel was read from; where it has times, rows that it lacks are not among them.
    """
    if not panel.columns.time:
        return np.arange(len(panel.values))
    times = parse_times(read_table(source), panel.columns.time)
    assert times is not None  # the panel could read them
    return panel.frequency.steps(times[0]) - panel.first[0]


def row_after(like: Panel, row: Any, kept: Panel | None) -> Panel:
    """One row as a panel.

    Args:
        like: a panel with the same columns on the same grid of time.
        row: a dict by column, or without covariates and times a number, or one a target.
        kept: the series' last rows, None for none.

    Raises:
        ValueError: it lacks a column, or its time is not on the grid or not after the last; one sentence.
    """
    columns = like.columns
    if not isinstance(row, Mapping):
        row = dict(zip(columns.target, np.ravel(row).tolist(), strict=False))
    for name in (*columns.target, *columns.past, *columns.future):
        if name not in row:
            raise errors.value_error(
                "row", f"the column {name} that fit had", ", ".join(row) or "none", "add it"
            )
    name = None if columns.id is None else row.get(columns.id)
    return replace(
        like,
        values=np.array([[row[name] for name in columns.target]], dtype=np.float64),
        starts=np.array([0, 1]),
        first=np.array([_step(like, row, kept)]),
        ids=("" if name is None else str(name),),
        past=_covariates(row, columns.past, like.past),
        future=_covariates(row, columns.future, like.future),
        static=Covariates(np.empty((1, 0), np.float32), {}),
    )


def continued(panel: Panel, kept: Panel | None) -> tuple[Panel, np.ndarray | None]:
    """A panel with the rows before it where it goes right on from those kept.

    Returns:
        The panel, and (S,) the rows from which on its own are; None in their place where it stays as it is.
    """
    if kept is None or not panel.columns.time or not set(panel.ids) <= set(kept.ids):
        return panel, None
    kept = kept if kept.ids == panel.ids else kept.only(panel.ids)
    if not np.array_equal(kept.ends, panel.first):
        return panel, None
    joined = kept.joined(panel)
    return joined, joined.starts[:-1] + np.diff(kept.starts)


def end(panel: Panel) -> int:
    """The step after the last row of a panel of one series."""
    return int(panel.first[0]) + len(panel.values)


def _step(like: Panel, row: Mapping[str, Any], kept: Panel | None) -> int:
    """The whole step in time of a row; the next one where it has no time."""
    columns, grid, after = like.columns.time, like.frequency, 0 if kept is None else end(kept)
    when = row.get(columns[0]) if columns else None
    if not columns or (when is None and kept is not None):
        return after
    time = _time(row, columns, grid.dated)
    if time is None:
        expected = "when the reading was, a time as in fit"
        raise errors.value_error("time", expected, repr(when), "pass it with the reading")
    step = int(grid.steps(np.array([time]))[0])
    if grid.times(np.array([step]))[0] != time or (kept is not None and step < after):
        expected = f"one after the last reading's, on fit's grid of {grid}"
        raise errors.value_error("time", expected, when, "bring the readings onto it, in the order of time")
    return step


def _time(row: Mapping[str, Any], columns: Sequence[str], dated: bool) -> int | None:
    """A row's time as a number, microseconds since 1970 where dated; None where it has none of this kind."""
    if len(columns) > 1:
        found = parse_times(pl.DataFrame({name: [row.get(name)] for name in columns}), columns)
        return None if found is None else int(found[0][0])
    with suppress(ValueError):  # text that is no time
        when = parse_timestamp(row.get(columns[0]))
        if isinstance(when, str) and dated:
            return int(np.datetime64(when, "us").astype(np.int64))
        if isinstance(when, (int, float)) and not dated and when == int(when):
            return int(when)
    return None


def _covariates(row: Mapping[str, Any], names: Sequence[str], like: Covariates) -> Covariates:
    plain = [row[name] for name in names if name not in like.labels]
    labels = {name: np.array([row[name]], dtype=object) for name in like.labels}
    return Covariates(np.array([plain], dtype=np.float32).reshape(1, -1), labels)
