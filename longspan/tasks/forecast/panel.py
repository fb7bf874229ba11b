"""Holds many series side by side on one regular grid of time; cuts, joins and keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from longspan import errors
from longspan.data.frequency import ROWS, Frequency
from longspan.data.time_table import NO_TIMES
from longspan.data.timestamps import TimeForm

from .covariates import Covariates


@dataclass(frozen=True)
class Columns:
    """Which column of a table is what; time: one column, or year, month, day ... apart; id: the series' name.

    past, future, static: covariates known up to now, known beforehand, and one value a series.
    """

    target: tuple[str, ...] = ()
    time: tuple[str, ...] = ()
    id: str | None = None
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()


@dataclass(frozen=True)
class Panel:
    """S series of C channels on regular grids, one after another in N rows.

    columns: what was read as what; frequency: of all series; values: (N, C) float64, NaN where missing;
    starts: (S+1,) int64, where series start, and N; first: (S,) int64, the whole step (see `Frequency`) of
    each series' first row; ids: the series' names; past, future: by row; static: by series.
    """

    columns: Columns
    frequency: Frequency
    values: np.ndarray
    starts: np.ndarray
    first: np.ndarray
    ids: tuple[str, ...]
    past: Covariates
    future: Covariates
    static: Covariates
    named: bool = field(default=True)  # whether times and targets came with names
    form: TimeForm = field(default=NO_TIMES)  # of the times, as they came in
    answers: str = field(default="polars")  # the kind of frame in which answers go back

    def series_of(self, rows: np.ndarray) -> np.ndarray:
        """The number of the series that rows (0 to N, the row after a series' last being its own) are in."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def steps(self, rows: np.ndarray, series: np.ndarray) -> np.ndarray:
        """The whole steps in time of rows; rows beyond a series' end are in its future."""
        return rows - self.starts[series] + self.first[series]

    @property
    def ends(self) -> np.ndarray:
        """(S,): the whole step after each series' last row."""
        return self.first + np.diff(self.starts)

    def last_seen(self) -> np.ndarray:
        """(S,): for each series the row after the last one in which any target is there."""
        there = np.flatnonzero(~np.isnan(self.values).all(1))
        ends = np.searchsorted(there, self.starts[1:])
        last = there[np.maximum(ends - 1, 0)] + 1 if len(there) else np.zeros(len(self.ids), np.int64)
        return np.where((ends > 0) & (last > self.starts[:-1]), last, self.starts[:-1])

    def tail(self, rows: int) -> Panel:
        """The last rows of every series, as copies."""
        return self.cut(np.maximum(self.starts[1:] - rows, self.starts[:-1]), self.starts[1:])

    def cut(self, begins: np.ndarray, ends: np.ndarray) -> Panel:
        """Rows begins[s] to ends[s] of every series, as copies."""
        take = np.concatenate([np.arange(a, b) for a, b in zip(begins, ends, strict=True)])
        return replace(
            self,
            values=self.values[take],
            starts=np.concatenate([[0], np.cumsum(ends - begins)]).astype(np.int64),
            first=self.first + begins - self.starts[:-1],
            past=self.past.take(take),
            future=self.future.take(take),
        )

    def only(self, names: tuple[str, ...]) -> Panel:
        """The series of these names, in this order, as copies."""
        places = np.array([self.ids.index(name) for name in names], np.int64)
        spans = [np.arange(int(self.starts[s]), int(self.starts[s + 1])) for s in places.tolist()]
        take = np.concatenate(spans)
        return replace(
            self,
            values=self.values[take],
            starts=np.concatenate([[0], np.cumsum([len(span) for span in spans])]).astype(np.int64),
            first=self.first[places],
            ids=names,
            past=self.past.take(take),
            future=self.future.take(take),
            static=self.static.take(places),
        )

    def joined(self, new: Panel) -> Panel:
        """These series continued by new rows; new series are added.

        Raises:
            ValueError: rows that are there already, or columns or steps of another kind.
        """
        if new.frequency != self.frequency and len(new.values) > len(new.ids):
            expected = f"rows {self.frequency} apart, as in fit"
            raise errors.value_error(
                "source", expected, f"{new.frequency} apart", "bring them onto that step"
            )
        places = {name: place for place, name in enumerate(new.ids)}
        held = [_rows_of(self, s, _rows_at(new, places.get(name))) for s, name in enumerate(self.ids)]
        held += [_rows_at(new, s) for s, name in enumerate(new.ids) if name not in self.ids]
        return _stacked(self, [part for part in held if part is not None], new)

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `from_state` makes the same panel from."""
        import torch  # only here: reading tables needs none of it

        c = self.columns
        return {
            "columns": [c.target, c.time, c.id, c.past, c.future, c.static],
            "frequency": self.frequency.state(),
            "values": torch.from_numpy(self.values.copy()),
            "starts": self.starts.tolist(),
            "first": self.first.tolist(),
            "ids": self.ids,
            "named": self.named,
            "form": self.form.state(),
            "answers": self.answers,
            **{name: getattr(self, name).state() for name in ("past", "future", "static")},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Panel:
        """The panel that gave this state."""
        return cls(
            Columns(*state["columns"]),
            Frequency.from_state(state["frequency"]),
            state["values"].numpy(),
            np.array(state["starts"], np.int64),
            np.array(state["first"], np.int64),
            tuple(state["ids"]),
            *(Covariates.from_state(state[name]) for name in ("past", "future", "static")),
            named=state["named"],
            form=TimeForm.from_state(state["form"]),
            answers=state["answers"],
        )


class Origins(NamedTuple):
    """Places at which forecasts begin: rows (n,) int64 of the panel, each the first row that is foretold."""

    panel: Panel
    rows: np.ndarray

    @property
    def series(self) -> np.ndarray:
        """(n,): the numbers of their series; the row after a series' last belongs to it."""
        if len(self.panel.ids) == 1:
            return np.zeros(len(self.rows), np.int64)
        return self.panel.series_of(self.rows - 1)


class _Rows(NamedTuple):
    """A stretch of one series."""

    name: str
    first: int
    values: np.ndarray
    past: Covariates
    future: Covariates
    static: Covariates


def _rows_at(panel: Panel, series: int | None) -> _Rows | None:
    if series is None:
        return None
    span = np.arange(panel.starts[series], panel.starts[series + 1])
    return _Rows(
        panel.ids[series],
        int(panel.first[series]),
        panel.values[span],
        panel.past.take(span),
        panel.future.take(span),
        panel.static.take(np.array([series])),
    )


def _rows_of(old: Panel, series: int, new: _Rows | None) -> _Rows:
    """A series of the old panel, continued by new rows."""
    held = _rows_at(old, series)
    assert held is not None
    if new is None:
        return held
    end = held.first + len(held.values)
    first = end if old.frequency == ROWS else new.first  # rows of an array have no times: they follow
    if first < end:
        at = old.frequency.shown(old.frequency.times(np.array([first])))[0]
        expected = f"rows after the last of series {held.name!r}" if held.name else "rows after the last ones"
        raise errors.value_error("source", expected, f"one at {at}", "pass new rows only")
    gap = first - end
    return _Rows(
        held.name,
        held.first,
        np.concatenate([held.values, np.full((gap, held.values.shape[1]), np.nan), new.values]),
        _chained(held.past, new.past, gap),
        _chained(held.future, new.future, gap),
        held.static,
    )


def _chained(one: Covariates, other: Covariates, gap: int) -> Covariates:
    hole = np.full((gap, one.numbers.shape[1]), np.nan, np.float32)
    labels = {
        name: np.concatenate([values, np.full(gap, "", object), other.labels[name]])
        for name, values in one.labels.items()
    }
    return Covariates(np.concatenate([one.numbers, hole, other.numbers]), labels)


def _stacked(like: Panel, rows: Sequence[_Rows], new: Panel) -> Panel:
    def together(parts: Sequence[Covariates]) -> Covariates:
        names = parts[0].labels
        return Covariates(
            np.concatenate([part.numbers for part in parts]),
            {name: np.concatenate([part.labels[name] for part in parts]) for name in names},
        )

    lengths = [len(row.values) for row in rows]
    return replace(
        like,
        values=np.concatenate([row.values for row in rows]),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        first=np.array([row.first for row in rows], np.int64),
        ids=tuple(row.name for row in rows),
        past=together([row.past for row in rows]),
        future=together([row.future for row in rows]),
        static=together([row.static for row in rows]),
    )
