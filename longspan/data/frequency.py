"""Finds the step of times and counts whole steps: fixed ones, calendar months, days and hours that occur."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from longspan import errors

from .layouts import DAY, SECOND
from .timestamps import from_wall, to_wall

_CHUNK = 1 << 16  # times from which weekdays are told, enough for many weeks
_MOST_EMPTY = 20  # rows of a regular grid for one that is there; with more, the grid is no frequency
_WEEK = 7 * DAY
_MONDAY = 4 * DAY  # the first Monday after 1970-01-01
_WORD = {
    1: "1 us",
    1000: "1 ms",
    SECOND: "1 s",
    60 * SECOND: "1 min",
    3600 * SECOND: "1 h",
    DAY: "1 day",
    7 * DAY: "1 week",
}
_CHANCE = 0.01  # probability that a part of the week is empty by accident, below which it counts as closed
_FILLED = 0.6  # share of the open steps that must have rows for a week with closed days or hours
_MOST_DAYS = 4  # days of a month that occur, such as the 1st and the 16th; with more, days are counted
_LEAST_MONTHS = 3  # months from which the same days of every month are believed
_MONTH_FILLED = 0.8  # share of those days that must have rows
_MONTH = 31 * DAY  # stands for a month's last day, whatever its number, among the days of every month


@dataclass(frozen=True)
class Frequency:
    """The step from one row of a series to the next, and the grid of times that it makes.

    kind: "number" (plain whole numbers, or rows of an array), "elapsed" (microseconds since the start),
        "step" (a fixed time in microseconds), "month" (calendar months), "business" (Monday to Friday),
        "week" (the same moments every week, such as opening hours) or "days" (the same few days of every
        month, such as the 1st and the 16th).
    size: of one step, in numbers, microseconds, months or days.
    phase: the rest of a time beyond its step, such as microseconds within the month.
    end: whether months are dated by their last day.
    shift: the first month of a step of several months.
    business: whether months are dated by their first day from Monday to Friday; with `end`, by their last.
    slots: of "week", microseconds since Monday; of "days", since the month's first midnight, 31 days for
        midnight of its last day.
    zone: the time zone in which times are shown, None for none.
    wall: whether steps are counted on the clocks of that zone.
    """

    kind: str
    size: int
    phase: int = 0
    end: bool = False
    shift: int = 0
    business: bool = False
    slots: tuple[int, ...] = ()
    zone: str | None = None
    wall: bool = False

    @property
    def dated(self) -> bool:
        """Whether times are dates."""
        return self.kind not in ("number", "elapsed")

    def steps(self, times: np.ndarray) -> np.ndarray:
        """The whole step (int64) of every time (int64: microseconds since 1970, or numbers)."""
        if self.kind == "month":
            return (months(times) - self.shift) // self.size
        if self.kind == "business":
            days = ((times - self.phase) // DAY).astype("datetime64[D]")
            return np.busday_count(np.datetime64("1970-01-01"), days)
        if self.kind == "week":
            slots, since = np.array(self.slots), times - _MONDAY
            return since // _WEEK * len(slots) + np.searchsorted(slots, since % _WEEK, side="right") - 1
        if self.kind == "days":
            slots, within = np.array(self.slots), _within_month(times - self.phase, self.slots)
            return months(times) * len(slots) + np.searchsorted(slots, within, side="right") - 1
        return (times - self.phase) // self.size

    def times(self, steps: np.ndarray) -> np.ndarray:
        """The times of whole steps, the inverse of `steps`."""
        if self.kind == "month":
            months = (steps * self.size + self.shift).astype("datetime64[M]")
            if self.business:
                month, day = (months + 1, -1) if self.end else (months, 0)
                days = np.busday_offset(month.astype("datetime64[D]"), day, roll="forward")
                return days.astype("datetime64[us]").astype(np.int64) + self.phase
            if self.end:
                return ((months + 1).astype("datetime64[D]") - 1).astype("datetime64[us]").astype(np.int64)
            return months.astype("datetime64[us]").astype(np.int64) + self.phase
        if self.kind == "business":
            days = np.busday_offset(np.datetime64("1970-01-01"), steps)
            return days.astype("datetime64[us]").astype(np.int64) + self.phase
        if self.kind == "week":
            week, slot = np.divmod(steps, len(self.slots))
            return week * _WEEK + np.array(self.slots)[slot] + _MONDAY
        if self.kind == "days":
            month, slot = np.divmod(steps, len(self.slots))
            last = _midnight(month + 1) - DAY
            return np.minimum(_midnight(month) + np.array(self.slots)[slot], last) + self.phase
        return steps * self.size + self.phase

    def fits(self, times: np.ndarray) -> np.ndarray:
        """(N,) bool: whether times are on the grid; a business day of a month may be 4 off for holidays."""
        nearest = self.times(self.steps(times))
        return np.abs(nearest - times) <= (4 * DAY if self.business else 0)

    def clock(self, times: np.ndarray) -> np.ndarray:
        """The times on the clocks of their zone, in microseconds."""
        return times if self.zone is None or self.wall else to_wall(times, self.zone)

    def shown(self, times: np.ndarray) -> np.ndarray:
        """Times as the user wrote them: datetime64[us] of the zone's clocks, seconds, or whole numbers."""
        if self.kind == "elapsed":
            return times / SECOND
        return self.clock(times).astype("datetime64[us]") if self.dated else times

    def column(self, times: np.ndarray, name: str) -> pl.Series:
        """Times (any shape) as a column, in their zone where they have one."""
        if self.zone is None:
            return pl.Series(name, self.shown(times).ravel())
        utc = from_wall(times.ravel(), self.zone) if self.wall else times.ravel()
        return (
            pl.Series(name, utc)
            .cast(pl.Datetime("us"))
            .dt.replace_time_zone("UTC")
            .dt.convert_time_zone(self.zone)
        )

    def __str__(self) -> str:
        if self.kind == "week":
            return self._week_text()
        if self.kind == "number":
            return "1 row" if self.size == 1 else f"{self.size} rows"
        if self.kind == "days":
            days = ["last" if slot == _MONTH else str(slot // DAY + 1) for slot in self.slots]
            return f"day {', '.join(days[:-1])} and {days[-1]} of a month"
        if self.kind == "month":
            return {1: "1 month", 3: "1 quarter", 12: "1 year"}.get(self.size, f"{self.size} months")
        if self.kind == "business":
            return "1 business day"
        if self.size in _WORD:
            return _WORD[self.size]
        unit = max(unit for unit in _WORD if self.size % unit == 0)
        return f"{self.size // unit} {_WORD[unit][2:]}"

    def _week_text(self) -> str:
        step, days = str(Frequency("step", self.size)), sorted({slot // DAY for slot in self.slots})
        named = ", ".join(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][day] for day in days)
        if self.size >= DAY:
            return f"{step} ({named})"
        clocks = sorted({slot % DAY for slot in self.slots})
        first, last = (
            f"{at // (3600 * SECOND):02d}:{at // (60 * SECOND) % 60:02d}" for at in (clocks[0], clocks[-1])
        )
        return f"{step} ({named}, {first} to {last})"

    def seasons(self) -> tuple[int, ...]:
        """The calendar's season lengths in steps, such as a day and a week, short ones first."""
        if self.kind == "week":
            days = len({slot // DAY for slot in self.slots})
            daily = len(self.slots) // days
            return tuple(dict.fromkeys(steps for steps in (daily, len(self.slots)) if steps > 1))
        if self.kind == "days":
            return len(self.slots), 12 * len(self.slots)
        if self.kind == "month":
            return (12 // self.size,) if 12 % self.size == 0 and self.size < 12 else ()
        if self.kind == "business":
            return (5, 21, 260)
        if not self.dated:
            return ()
        spans = (3600 * SECOND, DAY, 7 * DAY, round(365.25 * DAY))
        steps = [round(span / self.size) for span in spans if span >= 2 * self.size]
        return tuple(steps if self.size < 60 * SECOND else [n for n in steps if n * self.size >= DAY])

    def state(self) -> dict[str, Any]:
        """Plain values that `from_state` takes."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Frequency:
        """The frequency that gave this state.

        Raises:
            ValueError: its zone is none, as in a file made by hand.
        """
        if not isinstance(state.get("zone"), (str, type(None))):
            raise ValueError("the zone of its times is no text")
        return cls(**{**state, "slots": tuple(state.get("slots", ()))})


ROWS = Frequency("number", 1)


def months(times: np.ndarray) -> np.ndarray:
    """Whole months since 1970 of dated times."""
    return times.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)


def _midnight(month: np.ndarray) -> np.ndarray:
    """The first moment of months counted from 1970."""
    return month.astype("datetime64[M]").astype("datetime64[us]").astype(np.int64)


def _within_month(times: np.ndarray, slots: tuple[int, ...]) -> np.ndarray:
    """Microseconds since the month's first midnight, 31 days for its last day where that is a slot."""
    month = months(times)
    within = times - _midnight(month)
    return np.where(times == _midnight(month + 1) - DAY, _MONTH, within) if _MONTH in slots else within


def find_frequency(times: np.ndarray, starts: np.ndarray, dated: bool, elapsed: bool = False) -> Frequency:
    """The frequency of the times of all series.

    Args:
        times: (N,) int64, rising within each series; starts: (S+1,), where series start and the last ends.
        dated: whether times are microseconds since 1970; elapsed: whether they count from another start.

    Raises:
        ValueError: no frequency fits; the sentence names the first gap that is not the most usual one.

    >>> print(find_frequency(np.array([0, 60, 120, 240]) * 10**6, np.array([0, 4]), True))
    1 min
    """
    kind = "step" if dated else "elapsed" if elapsed else "number"
    uniform = _uniform(times, starts, kind)
    if uniform is not None:
        return uniform
    gaps = _gaps(times, starts)
    if len(gaps) == 0:
        size, phase = (DAY, int(times[0] % DAY)) if dated else (1, 0)
        return Frequency(kind, size, phase)
    sizes, counts = np.unique(gaps, return_counts=True)
    usual = int(sizes[counts.argmax()])
    frequency = _by_calendar(times, gaps, usual) if dated else None
    frequency = frequency or _fixed(times, gaps, usual, kind)
    if frequency is None:
        raise _no_frequency(gaps, usual, kind)
    return frequency


def _gaps(times: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The differences of consecutive times, without those between two series."""
    inside = np.ones(max(len(times) - 1, 0), bool)
    inside[starts[1:-1] - 1] = False
    return np.diff(times)[inside]


def _uniform(times: np.ndarray, starts: np.ndarray, kind: str) -> Frequency | None:
    """The frequency of times that are all one fixed step apart, without sorting them; None for others."""
    gaps, first = np.diff(times), times[starts[:-1]]
    is_first_gap = gaps == gaps[0] if len(gaps) else np.empty(0, bool)
    is_first_gap[starts[1:-1] - 1] = True
    if not len(is_first_gap) or not is_first_gap.all() or (starts[1] <= 1 and len(starts) > 2):
        return None
    size, dated = int(gaps[0]), kind == "step"
    may_be_calendar = dated and (size >= 28 * DAY or (size == DAY and _business(times[:_CHUNK])))
    if size <= 0 or may_be_calendar or len(np.unique(first % size)) > 1:
        return None
    return Frequency(kind, size, int(first[0] % size))


def _by_calendar(times: np.ndarray, gaps: np.ndarray, usual: int) -> Frequency | None:
    """Months, the same days of a month or moments of a week, or business days; None for other times.

    Raises:
        ValueError: weekly series are on different days of the week.
    """
    monthly = _monthly(times, gaps) or _days_of_month(times, gaps)
    if monthly is not None:
        return monthly
    if usual == _WEEK and not (gaps % usual).any() and len(np.unique(times % usual)) > 1:
        received = "series on different ones"
        way_out = "move the dates onto one day, or fit a model for each"
        raise errors.value_error("time", "weekly series on one day of the week", received, way_out)
    weekly = _week(times, usual if usual <= DAY else int(np.gcd.reduce(gaps)), gaps)
    if weekly is not None:
        return weekly
    is_business = usual == DAY and _fills_grid(gaps, usual) and _business(times)
    return Frequency("business", 1, int(times[0] % DAY)) if is_business else None


def _fixed(times: np.ndarray, gaps: np.ndarray, usual: int, kind: str) -> Frequency | None:
    """The most usual step where all times are on its grid, else the largest step on whose grid they are."""
    phases = np.unique(times % usual)
    if _fills_grid(gaps, usual) and len(phases) == 1:
        return Frequency(kind, usual, int(phases[0]))
    common = int(np.gcd.reduce(np.concatenate([gaps, np.diff(phases)])))
    return Frequency(kind, common, int(times[0] % common)) if _fills_grid(gaps, common) else None


def _fills_grid(gaps: np.ndarray, size: int) -> bool:
    """Whether gaps are whole steps of this size, and one in 20 rows of that grid is there at least."""
    whole = not (gaps % size).any()
    return bool(whole and gaps.sum() / size <= _MOST_EMPTY * (len(gaps) + 1))


def _no_frequency(gaps: np.ndarray, usual: int, kind: str) -> ValueError:
    odd = int(np.flatnonzero(gaps % usual)[0]) if (gaps % usual).any() else int(gaps.argmax())
    step = Frequency(kind, usual)
    way_out = f"bring the rows onto a regular step, such as by frequency={str(step).replace(' ', '')!r}"
    received = f"{Frequency(kind, int(gaps[odd]))} between two rows where the most usual is {step}"
    return errors.value_error("time", "times on a regular step", received, way_out)


def _monthly(times: np.ndarray, gaps: np.ndarray) -> Frequency | None:
    """Calendar months, quarters or years at one moment of the month, on its last day or by business days."""
    if gaps.min() < 28 * DAY:
        return None
    month = months(times)
    within = times - _midnight(month)
    end = bool((times == _midnight(month + 1) - DAY).all())
    apart = np.diff(month)
    size = int(np.gcd.reduce(apart[apart > 0]))
    if len(np.unique(month % size)) > 1:
        size = 1
    if not end and len(np.unique(within)) > 1:
        return _business_days_of_months(times, size)
    return Frequency("month", size, 0 if end else int(within[0]), end, int(month[0] % size))


def _business(times: np.ndarray) -> bool:
    """Whether days over at least two weeks leave out every Saturday and Sunday."""
    weekday = (times // DAY + 3) % 7
    return len(times) >= 10 and bool((weekday < 5).all())


def _business_days_of_months(times: np.ndarray, size: int) -> Frequency | None:
    """Months by their first or their last day from Monday to Friday, of which some are holidays."""
    month = months(times)
    for end in (True, False):
        shift, phase = int(month[0] % size), int(times[0] % DAY)
        frequency = Frequency("month", size, phase, end=end, shift=shift, business=True)
        nominal = frequency.times(frequency.steps(times))
        near = bool((np.abs(nominal - times) <= 4 * DAY).all()) and len(np.unique(times % DAY)) == 1
        if near and float((nominal == times).mean()) >= 0.8:
            return frequency
    return None


def _days_of_month(times: np.ndarray, gaps: np.ndarray) -> Frequency | None:
    """The same two to four days of every month, such as the 1st and the 16th, or the 15th and the last."""
    month = months(times)
    if gaps.min() < 5 * DAY or len(np.unique(times % DAY)) > 1 or month.max() - month.min() < _LEAST_MONTHS:
        return None
    phase = int(times[0] % DAY)
    within = times - phase - _midnight(month)
    is_last = times - phase == _midnight(month + 1) - DAY
    late = within >= 27 * DAY
    if late.any() and bool(is_last[late].all()):
        within = np.where(is_last, _MONTH, within)
    slots = np.unique(within)
    if not 1 < len(slots) <= _MOST_DAYS:
        return None
    frequency = Frequency("days", len(slots), phase, slots=tuple(slots.tolist()))
    steps = np.unique(frequency.steps(times))
    is_filled = len(steps) >= _MONTH_FILLED * (steps[-1] - steps[0] + 1)
    return frequency if is_filled and bool(frequency.fits(times).all()) else None


def _week(times: np.ndarray, size: int, gaps: np.ndarray) -> Frequency | None:
    """Steps that occur at the same moments of every week, where days or hours never have a row.

    A day or an hour counts as closed where it is unlikely to be empty by accident, given how many weeks or
    days there are and how many of the other steps have rows.
    """
    if size > DAY or DAY % size or bool((gaps % size).any()) or len(np.unique(times % size)) > 1:
        return None
    if size == DAY and _business(times) and len(np.unique(times // DAY % 7)) == 5:
        return None
    first, last = int(times.min()), int(times.max())
    days, weeks = (last - first) // DAY + 1, (last - first) / _WEEK
    moments = np.unique((times - _MONDAY) % _WEEK)
    weekdays, clocks = np.unique(moments // DAY), np.unique(moments % DAY)
    total = len(np.unique(times)) / ((last - first) // size + 1)
    if total > 0.96 or days < 5:
        return None
    slots = (weekdays[:, None] * DAY + clocks).ravel()
    if len(slots) > 1.3 * len(moments) and weeks >= 4:
        slots = moments
    frequency = Frequency("week", size, slots=tuple(slots.tolist()))
    steps = frequency.steps(np.array([first, last]))
    filled = len(np.unique(times)) / (steps[1] - steps[0] + 1)
    empty = max(1.0 - filled, 0.02)
    weekend = weeks >= 1 and weekdays.tolist() == [0, 1, 2, 3, 4]
    luck = 0.0 if weekend else (7 - len(weekdays)) * empty**weeks
    luck += (DAY // size - len(clocks)) * empty ** (days * len(weekdays) / 7)
    closed = len(slots) < 7 * DAY // size
    return frequency if closed and filled >= _FILLED and luck < _CHANCE else None
