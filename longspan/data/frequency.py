"""Knows how time columns become whole steps: frequency, steps to times and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from longspan import errors

SECOND = 1_000_000  # in microseconds, the unit of all dated times here
DAY = 86_400 * SECOND
_FORMATS = (
    "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M", "%Y/%m/%d", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y", "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M", "%m/%d/%Y", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y", "%b %d %Y", "%B %d %Y",
    "%d %b %Y", "%Y%m%d", "%d-%b-%Y", "%d-%m-%Y",
)  # fmt: skip
_CHUNK = 1 << 16  # steps that are worked on at once
_MOST_EMPTY = 20  # rows of a regular grid for one that is there, beyond which it is no frequency
_PARTS = ("year", "month", "day", "hour", "minute", "second")
_WORD = {
    1: "1 us",
    1000: "1 ms",
    SECOND: "1 s",
    60 * SECOND: "1 min",
    3600 * SECOND: "1 h",
    DAY: "1 day",
    7 * DAY: "1 week",
}


@dataclass(frozen=True)
class Frequency:
    """How far apart the rows of a series are.

    kind: "number" (plain whole numbers, or rows of an array), "step" (a fixed time in microseconds), "month"
    (calendar months) or "business" (Monday to Friday); size: the numbers, microseconds, months or days of one
    step; phase: what is left of a time beyond its step, such as microseconds within the month; end: whether
    months are dated by their last day; shift: the first month of a step of several.
    """

    kind: str
    size: int
    phase: int = 0
    end: bool = False
    shift: int = 0

    @property
    def dated(self) -> bool:
        """Whether times are dates."""
        return self.kind != "number"

    def steps(self, times: np.ndarray) -> np.ndarray:
        """Whole steps (int64) of times (int64: microseconds since 1970, or numbers)."""
        if self.kind == "month":
            return (months(times) - self.shift) // self.size
        if self.kind == "business":
            days = ((times - self.phase) // DAY).astype("datetime64[D]")
            return np.busday_count(np.datetime64("1970-01-01"), days)
        return (times - self.phase) // self.size

    def times(self, steps: np.ndarray) -> np.ndarray:
        """The times of whole steps: what `steps` undoes."""
        if self.kind == "month":
            months = (steps * self.size + self.shift).astype("datetime64[M]")
            if self.end:
                return ((months + 1).astype("datetime64[D]") - 1).astype("datetime64[us]").astype(np.int64)
            return months.astype("datetime64[us]").astype(np.int64) + self.phase
        if self.kind == "business":
            days = np.busday_offset(np.datetime64("1970-01-01"), steps)
            return days.astype("datetime64[us]").astype(np.int64) + self.phase
        return steps * self.size + self.phase

    def shown(self, times: np.ndarray) -> np.ndarray:
        """Times as the user knows them: datetime64[us], or whole numbers."""
        return times.astype("datetime64[us]") if self.dated else times

    def __str__(self) -> str:
        if self.kind == "number":
            return "1 row" if self.size == 1 else f"{self.size} rows"
        if self.kind == "month":
            return {1: "1 month", 3: "1 quarter", 12: "1 year"}.get(self.size, f"{self.size} months")
        if self.kind == "business":
            return "1 business day"
        if self.size in _WORD:
            return _WORD[self.size]
        unit = max(unit for unit in _WORD if self.size % unit == 0)
        return f"{self.size // unit} {_WORD[unit][2:]}"

    def seasons(self) -> tuple[int, ...]:
        """Steps after which such data usually repeat, by the calendar, short ones first."""
        if self.kind == "month":
            return (12 // self.size,) if 12 % self.size == 0 and self.size < 12 else ()
        if self.kind == "business":
            return (5, 21, 260)
        if self.kind == "number":
            return ()
        spans = (3600 * SECOND, DAY, 7 * DAY, round(365.25 * DAY))
        found = [round(span / self.size) for span in spans if span >= 2 * self.size]
        return tuple(found if self.size < 60 * SECOND else [s for s in found if s * self.size >= DAY])

    def state(self) -> dict[str, Any]:
        """Plain values that `from_state` makes the same frequency from."""
        return {
            "kind": self.kind,
            "size": self.size,
            "phase": self.phase,
            "end": self.end,
            "shift": self.shift,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Frequency:
        """The frequency that gave this state."""
        return cls(**state)


ROWS = Frequency("number", 1)


def months(times: np.ndarray) -> np.ndarray:
    """Whole months since 1970 of dated times."""
    return times.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)


def parse_times(frame: pl.DataFrame, columns: Sequence[str]) -> tuple[np.ndarray, bool] | None:
    """Times of a frame as int64, and whether they are dates (microseconds since 1970); None if they are none.

    Args:
        columns: one column of dates, date-times, text that stands for them or whole numbers; or several that
            together are year, month, day, hour, minute and second, from the first on.

    Raises:
        ValueError: some, but not all, can be read; the sentence names the first that cannot.
    """
    if len(columns) > 1:
        parts = {part: frame[column].cast(pl.Int32) for part, column in zip(_PARTS, columns, strict=False)}
        fields: dict[str, Any] = {"day": pl.lit(1), **{part: pl.col(part) for part in parts}}
        joined = pl.DataFrame(parts).select(pl.datetime(**fields))
        return joined.to_series().cast(pl.Datetime("us")).to_physical().to_numpy(), True
    series = frame[columns[0]]
    if series.null_count():
        place = int(series.is_null().arg_true()[0])
        raise errors.value_error(
            f"time {columns[0]}", "a time in every row", f"none in row {place + 1}", "drop that row"
        )
    if series.dtype == pl.String:
        series = _from_text(series, columns[0])
        if series is None:
            return None
    if series.dtype.is_integer():
        return series.cast(pl.Int64).to_numpy(), False
    if isinstance(series.dtype, pl.Datetime) or series.dtype == pl.Date:
        if isinstance(series.dtype, pl.Datetime) and series.dtype.time_zone:
            series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return series.cast(pl.Datetime("us")).to_physical().to_numpy(), True
    if series.dtype.is_float() and bool((series == series.round()).all()):
        return series.cast(pl.Int64).to_numpy(), False
    return None


def _from_text(series: pl.Series, name: str) -> pl.Series | None:
    """Dates out of text, in the one of the usual forms that reads all of it."""
    text = series.str.strip_chars()
    best, count = None, 0
    for form in ("%Y-%m", "%Y", *_FORMATS):
        head = text.head(1)
        found = _read(head, form)
        if found.null_count():
            continue
        found = _read(text, form)
        read = len(found) - found.null_count()
        if read > count:
            best, count = found, read
        if count == len(text):
            return best
    if best is None or count < 0.5 * len(text):
        return None
    place = int(best.is_null().arg_true()[0])
    way_out = "write all times in one form, such as 2024-01-31 18:00"
    raise errors.value_error(
        f"time {name}", "times in one form", f"{series[place]!r} in row {place + 1}", way_out
    )


def _read(text: pl.Series, form: str) -> pl.Series:
    if form == "%Y-%m":
        whole = text.str.contains(r"^\d{4}-\d{1,2}$")
        return _strict(pl.Series(text + "-01").str.to_date("%Y-%m-%d", strict=False), whole)
    if form == "%Y":
        whole = text.str.contains(r"^\d{4}$")
        return _strict(pl.Series(text + "-01-01").str.to_date("%Y-%m-%d", strict=False), whole)
    if "%H" in form:
        return text.str.to_datetime(form, strict=False, time_unit="us")
    return text.str.to_date(form, strict=False)


def _strict(found: pl.Series, whole: pl.Series) -> pl.Series:
    return pl.select(pl.when(whole).then(found).otherwise(None)).to_series()


def find_frequency(times: np.ndarray, starts: np.ndarray, dated: bool) -> Frequency:
    """The step that the times of all series are on.

    Args:
        times: (N,) int64, rising within each series; starts: (S+1,), where series start and the last ends.
        dated: whether they are microseconds.

    Raises:
        ValueError: none fits; the sentence names the first time off the most usual step.

    >>> find_frequency(np.array([0, 60, 120, 240]) * 10**6, np.array([0, 4]), True)
    Frequency(kind='step', size=60000000, phase=0, end=False, shift=0)
    """
    gaps = np.diff(times)
    alike = gaps == gaps[0] if len(gaps) else np.empty(0, bool)
    alike[starts[1:-1] - 1] = True
    first = times[starts[:-1]]
    if len(alike) and alike.all() and (starts[1] > 1 or len(starts) == 2):
        size = int(gaps[0])
        weekdays = dated and size == DAY and _business(times[:_CHUNK])
        if (
            size > 0
            and not weekdays
            and not (dated and size >= 28 * DAY)
            and len(np.unique(first % size)) == 1
        ):
            return Frequency("step" if dated else "number", size, int(first[0] % size))
    inside = np.ones(len(gaps), bool)
    inside[starts[1:-1] - 1] = False
    gaps = gaps[inside]
    if len(gaps) == 0:
        size, phase = (DAY, int(times[0] % DAY)) if dated else (1, 0)
        return Frequency("step" if dated else "number", size, phase)
    sizes, counts = np.unique(gaps, return_counts=True)
    usual = int(sizes[counts.argmax()])
    monthly = _monthly(times, gaps) if dated else None
    if monthly is not None:
        return monthly
    phases = times % usual
    if (gaps % usual == 0).all() and gaps.sum() / usual <= _MOST_EMPTY * (len(gaps) + 1):
        if dated and usual == DAY and _business(times):
            return Frequency("business", 1, int(times[0] % DAY))
        if len(np.unique(phases)) == 1:
            return Frequency("step" if dated else "number", usual, int(phases[0]))
    common = int(np.gcd.reduce(np.concatenate([gaps, np.diff(np.unique(phases))])))
    if gaps.sum() / common <= _MOST_EMPTY * (len(gaps) + 1):
        return Frequency("step" if dated else "number", common, int(times[0] % common))
    raise _no_frequency(times, gaps, usual, dated)


def _no_frequency(times: np.ndarray, gaps: np.ndarray, usual: int, dated: bool) -> ValueError:
    odd = int(np.flatnonzero(gaps % usual)[0]) if (gaps % usual).any() else int(gaps.argmax())
    kind = Frequency("step" if dated else "number", usual)
    frequency = Frequency("step" if dated else "number", int(gaps[odd]))
    way_out = "bring the rows onto a regular step first, such as one mean an hour"
    received = f"{frequency} between two rows where the most usual is {kind}"
    return errors.value_error("time", "times on a regular step", received, way_out)


def _monthly(times: np.ndarray, gaps: np.ndarray) -> Frequency | None:
    """Calendar months, quarters or years, all at one moment of the month or all on its last day."""
    if gaps.min() < 28 * DAY:
        return None
    month = months(times)
    within = times - month.astype("datetime64[M]").astype("datetime64[us]").astype(np.int64)
    last = (
        ((month + 1).astype("datetime64[M]").astype("datetime64[D]") - 1)
        .astype("datetime64[us]")
        .astype(np.int64)
    )
    end = bool((times == last).all())
    if not end and len(np.unique(within)) > 1:
        return None
    apart = np.diff(month)
    size = int(np.gcd.reduce(apart[apart > 0]))
    if len(np.unique(month % size)) > 1:
        size = 1
    return Frequency("month", size, 0 if end else int(within[0]), end, int(month[0] % size))


def _business(times: np.ndarray) -> bool:
    """Whether days over at least two weeks leave out every Saturday and Sunday."""
    weekday = (times // DAY + 3) % 7
    return len(times) >= 10 and bool((weekday < 5).all())
