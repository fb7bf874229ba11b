"""Holds many series of one frequency one after another; cuts, joins and saves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from longspan import errors
from longspan.artifact import as_texts
from longspan.data.frequency import ROWS, Frequency
from longspan.data.series_frequencies import SeriesFrequencies
from longspan.data.time_table import NO_TIMES
from longspan.data.timestamps import TimeForm

from .covariates import Covariates

_SPARSEST = 100  # steps from the first to the last row of stacked panels, for each row that they have
_AT_ONCE = 1 << 20  # rows of which missing values are counted at once
_FROM_END = 64  # rows that are looked at from the ends of all series at once, to find the last known ones


@dataclass(frozen=True)
class Columns:
    """The role of each column of a table.

    time: one column, or those of year, month, day and so on; id: of the series' names.
    past, future, static: covariates whose future is unknown, whose future is known, and of whole series.
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

    columns: their roles; values: (N, C) float64, NaN where missing.
    frequency: of the series that are not in own_frequencies; that has the others' by id, see
        `SeriesFrequencies`.
    starts: (S+1,) int64, the first row of each series, and N.
    first: (S,) int64, the whole step (see `Frequency`) of each series' first row.
    ids: the series' names; past, future: covariates by row; static: by series.
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
    own_frequencies: Mapping[str, Frequency] = field(default_factory=dict)
    id_type: str = field(default="String")  # polars' name of the type in which ids go back

    def series_of(self, rows: np.ndarray) -> np.ndarray:
        """The number of the series that rows (0 to N, the row after a series' last being its own) are in."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def steps(self, rows: np.ndarray, series: np.ndarray) -> np.ndarray:
        """The whole steps in time of rows; rows beyond a series' end are in its future."""
        return rows - self.starts[series] + self.first[series]

    def frequency_of(self, name: str) -> Frequency:
        """The frequency of the series of an id."""
        return self.own_frequencies.get(name, self.frequency)

    @property
    def frequencies(self) -> SeriesFrequencies:
        """The frequencies by the series' numbers."""
        if not self.own_frequencies:
            return SeriesFrequencies(self.frequency)
        own = {
            s: self.own_frequencies[name] for s, name in enumerate(self.ids) if name in self.own_frequencies
        }
        return SeriesFrequencies(self.frequency, own)

    @property
    def ends(self) -> np.ndarray:
        """(S,): the whole step after each series' last row."""
        return self.first + np.diff(self.starts)

    def last_seen(self) -> np.ndarray:
        """(S,): for each series the row after the last one in which any target is present."""
        last = self.starts[1:].copy()
        left = np.flatnonzero(np.diff(self.starts))  # series whose row before `last` is still to be looked at
        for _ in range(_FROM_END):
            if not len(left):
                break
            left = left[np.isnan(self.values[last[left] - 1]).all(1)]
            last[left] -= 1
            left = left[last[left] > self.starts[left]]
        for series in left.tolist():
            begin = int(self.starts[series])
            present = np.flatnonzero(~np.isnan(self.values[begin : last[series]]).all(1))
            last[series] = begin + (int(present[-1]) + 1 if len(present) else 0)
        return last

    def missing_values(self) -> int:
        """The number of values that are missing."""
        parts = range(0, len(self.values), _AT_ONCE)
        return sum(int(np.isnan(self.values[row : row + _AT_ONCE]).sum()) for row in parts)

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
        series = np.array([self.ids.index(name) for name in names], np.int64)
        spans = [np.arange(int(self.starts[s]), int(self.starts[s + 1])) for s in series.tolist()]
        take = np.concatenate(spans)
        return replace(
            self,
            values=self.values[take],
            starts=np.concatenate([[0], np.cumsum([len(span) for span in spans])]).astype(np.int64),
            first=self.first[series],
            ids=names,
            past=self.past.take(take),
            future=self.future.take(take),
            static=self.static.take(series),
        )

    def joined(self, new: Panel) -> Panel:
        """These series continued by new rows; new series are added.

        Raises:
            ValueError: rows are there already, or columns or frequency differ.
        """
        if new.frequency != self.frequency and len(new.values) > len(new.ids):
            expected = f"rows {self.frequency} apart, as in fit"
            raise errors.value_error(
                "source", expected, f"{new.frequency} apart", "bring them onto that step"
            )
        numbers = {name: series for series, name in enumerate(new.ids)}
        parts = [_series_rows(self, series) for series in range(len(self.ids))]
        for series, name in enumerate(self.ids):
            if name in numbers:
                parts[series] = _continued(self, parts[series], _series_rows(new, numbers[name]))
        parts += [_series_rows(new, series) for series, name in enumerate(new.ids) if name not in self.ids]
        own = {**new.own_frequencies, **self.own_frequencies}
        return replace(_stacked(self, parts), own_frequencies=own)

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `from_state` takes."""
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
            "id_type": self.id_type,
            "own_frequencies": {name: one.state() for name, one in self.own_frequencies.items()},
            **{name: getattr(self, name).state() for name in ("past", "future", "static")},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Panel:
        """The panel that gave this state."""
        return cls(
            _columns_from_state(state["columns"]),
            Frequency.from_state(state["frequency"]),
            state["values"].numpy(),
            np.array(state["starts"], np.int64),
            np.array(state["first"], np.int64),
            as_texts(state["ids"]),
            *(Covariates.from_state(state[name]) for name in ("past", "future", "static")),
            named=state["named"],
            form=TimeForm.from_state(state["form"]),
            answers=state["answers"],
            id_type=state.get("id_type", "String"),
            own_frequencies={
                name: Frequency.from_state(one) for name, one in state.get("own_frequencies", {}).items()
            },
        )


def stacked(panels: Sequence[Panel]) -> Panel | None:
    """The series of several panels as one, in their order; ids may come several times.

    Returns:
        None where the panels differ in their columns, times or kinds of answers, or lie far apart in time.
    """
    first, rows = panels[0], sum(len(panel.values) for panel in panels)
    if len(panels) == 1:
        return first
    typed = first.columns.id is not None and first.id_type != "String"
    if typed or first.answers != "polars" or any(_form(panel) != _form(first) for panel in panels):
        return None
    begins, ends = (np.concatenate([getattr(panel, name) for panel in panels]) for name in ("first", "ends"))
    if int(ends.max() - begins.min()) > _SPARSEST * rows:
        return None
    lengths = np.concatenate([np.diff(panel.starts) for panel in panels])
    return replace(
        first,
        values=np.concatenate([panel.values for panel in panels]),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        first=begins,
        ids=tuple(name for panel in panels for name in panel.ids),
        past=together([panel.past for panel in panels]),
        future=together([panel.future for panel in panels]),
        static=together([panel.static for panel in panels]),
    )


def _form(panel: Panel) -> tuple[Any, ...]:
    """What the panels that are `stacked` have in common."""
    return (
        panel.columns, panel.frequency, panel.named, panel.form, panel.answers, panel.id_type,
        panel.own_frequencies,
    )  # fmt: skip


def _columns_from_state(state: Sequence[Any]) -> Columns:
    target, time, id, *covariates = state
    names = (as_texts(part) for part in covariates)
    return Columns(as_texts(target), as_texts(time), None if id is None else str(id), *names)


class Origins(NamedTuple):
    """The origins of forecasts: rows (n,) int64 of the panel, each the first row that is forecast."""

    panel: Panel
    rows: np.ndarray

    @property
    def series(self) -> np.ndarray:
        """(n,): the numbers of their series; the row after a series' last belongs to it."""
        if len(self.panel.ids) == 1:
            return np.zeros(len(self.rows), np.int64)
        return self.panel.series_of(self.rows - 1)


class _Rows(NamedTuple):
    """Consecutive rows of one series."""

    name: str
    first: int
    values: np.ndarray
    past: Covariates
    future: Covariates
    static: Covariates


def _series_rows(panel: Panel, series: int) -> _Rows:
    span = np.arange(panel.starts[series], panel.starts[series + 1])
    return _Rows(
        panel.ids[series],
        int(panel.first[series]),
        panel.values[span],
        panel.past.take(span),
        panel.future.take(span),
        panel.static.take(np.array([series])),
    )


def _continued(panel: Panel, old: _Rows, new: _Rows) -> _Rows:
    """The rows of a series of the panel, continued by new ones; rows between them are missing."""
    end = old.first + len(old.values)
    first = end if panel.frequency == ROWS else new.first  # rows of an array have no times: they follow
    if first < end:
        frequency = panel.frequency_of(old.name)
        time = frequency.shown(frequency.times(np.array([first])))[0]
        expected = f"rows after the last of series {old.name!r}" if old.name else "rows after the last ones"
        raise errors.value_error("source", expected, f"one at {time}", "pass new rows only")
    gap = first - end
    return _Rows(
        old.name,
        old.first,
        np.concatenate([old.values, np.full((gap, old.values.shape[1]), np.nan), new.values]),
        _chained(old.past, new.past, gap),
        _chained(old.future, new.future, gap),
        old.static,
    )


def _chained(old: Covariates, new: Covariates, gap: int) -> Covariates:
    missing = np.full((gap, old.numbers.shape[1]), np.nan, np.float32)
    labels = {
        name: np.concatenate([values, np.full(gap, "", object), new.labels[name]])
        for name, values in old.labels.items()
    }
    return Covariates(np.concatenate([old.numbers, missing, new.numbers]), labels)


def _stacked(like: Panel, rows: Sequence[_Rows]) -> Panel:
    """A panel of these series, with the columns and the frequency of another panel."""
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


def together(parts: Sequence[Covariates]) -> Covariates:
    """The rows of several covariates, one after the other."""
    names = parts[0].labels
    return Covariates(
        np.concatenate([part.numbers for part in parts]),
        {name: np.concatenate([part.labels[name] for part in parts]) for name in names},
    )
