"""Reads times: dates in every usual form, whole numbers that stand for them, zones; single points in time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from longspan import errors

from . import layouts
from .layouts import SECOND, Layout

TIME_NAMES = (
    "time", "date", "datetime", "timestamp", "ds", "day", "month", "week", "year", "hour", "quarter",
    "period", "date_time", "time_stamp", "utc", "datum", "zeit", "unix", "epoch",
)  # fmt: skip
"""Names of columns that hold times, the more usual first."""

NUMBERED = ("time", "date", "datetime", "timestamp", "ds", "unix", "epoch", "utc", "date_time", "time_stamp")
"""Those whose whole numbers are times."""

_DATE_NAMES = ("date", "datum", "datetime", "date_time")  # whose whole numbers should be dates
FRACTION_NAMES = ("year", "quarter", "month", "week", "day", "period")  # whose fractions are no seconds
PARTS = ("year", "month", "day", "hour", "minute", "second")
_UNITS = {"s": SECOND, "ms": 1000, "us": 1, "ns": 0.001}
_UNIX = {"s": (5e8, 4.1e9), "ms": (5e11, 4.1e12), "us": (5e14, 4.1e15), "ns": (5e17, 4.1e18)}
_DIGITS = {
    6: ("%Y%m", "%y%m%d"),
    7: ("%Y%j",),
    8: ("%Y%m%d",),
    10: ("%Y%m%d%H",),
    12: ("%Y%m%d%H%M",),
    14: ("%Y%m%d%H%M%S",),
}
# What stands before the number of a part of a year, by the name of its column.
_PART_MARKS = {
    "quarter": "Q", "quartal": "Q", "week": "W", "iso_week": "W", "weekofyear": "W", "kw": "W", "woche": "W",
    "doy": "day", "dayofyear": "day", "day_of_year": "day", "yday": "day",
}  # fmt: skip
_DOUBTFUL_YEAR = int(np.datetime64("2040", "us").astype(np.int64))  # two-digit ones from it on may be 19..
_HALF_YEAR = 183 * layouts.DAY
_YEARS = ("year", "yr", "jahr", "année", "ano", "anno")


@dataclass(frozen=True)
class TimeForm:
    """The form of a column of times.

    kind: "dates" (a type of the table's own), "text", "digits" (whole numbers such as 20240131), "unix"
    (units since 1970), "parts" (year, month ... in columns of their own), "elapsed" (time since the start),
    "number"; layouts: of text and digits; zone: the zone's name where the times have one; unit: of unix
    numbers.
    """

    kind: str
    layouts: tuple[Layout, ...] = ()
    zone: str | None = None
    unit: str = ""

    @property
    def dated(self) -> bool:
        """Whether the times are dates."""
        return self.kind not in ("number", "elapsed")

    def state(self) -> list[Any]:
        """Plain values that `from_state` makes the same form from."""
        return [self.kind, [list(one) for one in self.layouts], self.zone, self.unit]

    @classmethod
    def from_state(cls, state: Sequence[Any]) -> TimeForm:
        """The form that gave this state.

        Raises:
            ValueError: a layout is none, as in a file made by hand.
        """
        found = tuple(Layout(*one) for one in state[1])
        if not all(isinstance(one.format, str) and isinstance(one.order, str) for one in found):
            raise ValueError("a layout of its times is no text")
        return cls(state[0], found, state[2], state[3])

    def __str__(self) -> str:
        words = {"dates": "dates", "unix": f"unix {self.unit}", "parts": "parts", "elapsed": "elapsed time"}
        form = words.get(self.kind, ", ".join(one.format for one in self.layouts) or "whole numbers")
        return f"{form} in {self.zone}" if self.zone else form


class Times(NamedTuple):
    """Times of rows: values (N,) int64, microseconds since 1970 (UTC where the form has a zone), of elapsed
    time since the start, or plain numbers; and their form."""

    values: np.ndarray
    form: TimeForm


def parse_times(
    frame: pl.DataFrame,
    columns: Sequence[str],
    *,
    form: TimeForm | None = None,
    series: np.ndarray | None = None,
    written: str | None = None,
) -> Times | None:
    """Times of a frame; None if the columns hold none.

    Args:
        columns: one column of dates, date-times, text that stands for them or numbers; or several that
            together are year, month, day, hour, minute and second, or a date and a time of day.
        form: what fit found, which is tried first and must not be contradicted.
        series: (N,) the number of each row's series, by which days are told from months where both orders
            can be read: one of them gives a regular grid.
        written: the form as the user gives it, such as "%d/%m/%Y".

    Raises:
        ValueError: some, but not all, can be read; the sentence names the first that cannot.
    """
    if len(columns) > 1:
        return _joined(frame, columns, form, series, written)
    column = frame[columns[0]]
    if column.null_count():
        row = int(column.is_null().arg_true()[0])
        raise errors.value_error(
            f"time {columns[0]}", "a time in every row", f"none in row {row + 1}", "drop that row"
        )
    if isinstance(column.dtype, pl.Datetime) or column.dtype == pl.Date:
        return _from_dates(column)
    if isinstance(column.dtype, pl.Duration):
        return Times(column.cast(pl.Duration("us")).to_physical().to_numpy(), TimeForm("elapsed"))
    if column.dtype == pl.String:
        return _from_text(column, columns[0], form, series, written)
    if column.dtype.is_numeric():
        return _from_numbers(column, columns[0], form, series, written)
    return None


def _from_dates(column: pl.Series) -> Times:
    zone = column.dtype.time_zone if isinstance(column.dtype, pl.Datetime) else None
    if zone:
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    values = column.cast(pl.Datetime("us")).to_physical().to_numpy()
    return Times(values, TimeForm("dates", zone=zone))


def _joined(
    frame: pl.DataFrame,
    columns: Sequence[str],
    form: TimeForm | None,
    series: np.ndarray | None,
    written: str | None,
) -> Times | None:
    """Columns that together are the time: whole numbers from the year on, or texts one after another."""
    for column in columns:
        if frame[column].null_count():
            row = int(frame[column].is_null().arg_true()[0])
            raise errors.value_error(
                f"time {column}", "a time in every row", f"none in row {row + 1}", "drop that row"
            )
    part = _part_of_year(frame, columns)
    if part is not None:
        return _from_text(part, ", ".join(columns), form, series, None)
    whole = all(_is_whole(frame[column]) for column in columns)
    first = frame[columns[0]]
    if whole and len(columns) <= len(PARTS) and not (len(columns) == 2 and float(first.max() or 0) > 9999):  # pyright: ignore[reportArgumentType]
        return _from_parts(frame, columns)
    texts = [_as_text(frame[column]) for column in columns]
    name = ", ".join(columns)
    together = texts[0]
    for text in texts[1:]:
        together = together + " " + text
    read = _from_text(together, name, form, series, written)
    if read is None:
        expected = "a date and a time of day, or year, month, day"
        raise errors.value_error(f"time {name}", expected, repr(together[0]), "name the columns of the times")
    return read


def _part_of_year(frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series | None:
    """A year and its quarter, week, day or month by name as one text; None for other columns."""
    if len(columns) != 2:
        return None
    year, part = (frame[column] for column in columns)
    if not year.dtype.is_integer() or not bool(year.is_between(1000, 2999).all()):
        return None
    years = year.cast(pl.String)
    if part.dtype == pl.String:
        return years + " " + part.str.strip_chars()
    mark = _PART_MARKS.get(columns[1].strip().lower())
    if mark is None or not part.dtype.is_integer():
        return None
    if mark == "day":
        start = (years + "-01-01").str.to_date("%Y-%m-%d")
        return pl.select(start + pl.duration(days=part.cast(pl.Int64) - 1)).to_series().cast(pl.String)
    return years + "-" + mark + part.cast(pl.String)


def _is_whole(column: pl.Series) -> bool:
    return column.dtype.is_integer() or (column.dtype.is_float() and bool((column == column.round()).all()))


def _as_text(column: pl.Series) -> pl.Series:
    """A column of dates, times of day, digits or text as text that can be joined."""
    if column.dtype == pl.String:
        return column.str.strip_chars()
    if isinstance(column.dtype, pl.Datetime) or column.dtype == pl.Date:
        return column.dt.strftime("%Y-%m-%d")
    if column.dtype == pl.Time:
        return column.dt.strftime("%H:%M:%S%.f")
    if _is_whole(column):
        whole = column.cast(pl.Int64)
        high = int(whole.max() or 0)  # pyright: ignore[reportArgumentType]
        text = whole.cast(pl.String)
        return text if high > 9999 else text.str.zfill(2) + ":00" if high < 25 else _clock(text.str.zfill(4))
    return column.cast(pl.String)


def _clock(digits: pl.Series) -> pl.Series:
    """0930 as 09:30."""
    return digits.str.slice(0, 2) + ":" + digits.str.slice(2)


def _from_parts(frame: pl.DataFrame, columns: Sequence[str]) -> Times:
    parts = {part: frame[column].cast(pl.Int32) for part, column in zip(PARTS, columns, strict=False)}
    limits = {"month": (1, 12), "day": (1, 31), "hour": (0, 24), "minute": (0, 59), "second": (0, 59)}
    for (part, values), column in zip(parts.items(), columns, strict=True):
        low, high = limits.get(part, (1000, 2999))
        wrong = ((values < low) | (values > high)).arg_true()
        if len(wrong):
            received = f"{values[int(wrong[0])]} in row {int(wrong[0]) + 1}"
            raise errors.value_error(
                f"time {column}", f"a {part} from {low} to {high}", received, "correct it"
            )
    fields: dict[str, Any] = {"day": pl.lit(1), "month": pl.lit(1), **{part: pl.col(part) for part in parts}}
    hours = parts.pop("hour", pl.Series([0]))
    fields.pop("hour", None)
    try:
        days = pl.DataFrame({**parts, "hour": hours} if len(hours) == frame.height else parts)
        joined = days.select(pl.datetime(**fields)).to_series()
    except pl.exceptions.PolarsError as error:
        received = "a day that its month does not have"
        raise errors.value_error(
            f"time {columns[0]}", "dates of the calendar", received, "correct it"
        ) from error
    if joined.null_count():
        row = int(joined.is_null().arg_true()[0])
        received = f"a day that its month does not have in row {row + 1}"
        raise errors.value_error(f"time {columns[0]}", "dates of the calendar", received, "correct it")
    values = joined.cast(pl.Datetime("us")).to_physical().to_numpy()
    return Times(values + hours.cast(pl.Int64).to_numpy() * 3600 * SECOND, TimeForm("parts"))


# ---- numbers


def _from_numbers(
    column: pl.Series, name: str, form: TimeForm | None, series: np.ndarray | None, written: str | None
) -> Times | None:
    if not _is_whole(column):
        return _from_fractions(column, name, form)
    whole = column.cast(pl.Int64, strict=False)
    if whole.null_count():
        return None
    if form is not None and form.kind in ("number", "elapsed"):
        return Times(whole.to_numpy() * (SECOND if form.kind == "elapsed" else 1), form)
    low, high = int(whole.min() or 0), int(whole.max() or 0)  # pyright: ignore[reportArgumentType]
    digits = {len(str(low)), len(str(high))} if low > 0 else set()
    if name.lower() in _YEARS and digits == {4} and high < 3000:
        years = (whole.to_numpy() - 1970).astype("datetime64[Y]").astype("datetime64[us]").astype(np.int64)
        return Times(years, TimeForm("digits", (Layout("%Y", "ymd"),)))
    if len(digits) == 1 and (tried := _DIGITS.get(digits.pop())):
        known = [Layout(written)] if written else [Layout(one, "ymd") for one in tried]
        read = _from_layouts(whole.cast(pl.String), known, form, series)
        if read is not None and _within(read[0]):
            return Times(read[0], TimeForm("digits", (read[1],)))
    for unit, (least, most) in _UNIX.items():
        if least <= low and high <= most:
            values = (
                (whole.to_numpy() * _UNITS[unit]).astype(np.int64)
                if unit != "ns"
                else whole.to_numpy() // 1000
            )
            first, last = (str(np.datetime64(int(values[at]), "us"))[:19] for at in (0, -1))
            if form is None or form.kind != "unix":
                errors.notice(f"{name} is read as unix time in {unit}: from {first} to {last}.")
            return Times(values, TimeForm("unix", unit=unit))
    if form is None and name.lower() in _DATE_NAMES:
        errors.notice(f"{name} holds whole numbers such as {low}, which are read as numbers, not as dates.")
    return Times(whole.to_numpy(), TimeForm("number"))


def _within(values: np.ndarray) -> bool:
    """Whether all times lie between 1900 and 2100."""
    years = values.astype("datetime64[us]").astype("datetime64[Y]").astype(np.int64) + 1970
    return bool(((years >= 1900) & (years <= 2100)).all())


def _from_fractions(column: pl.Series, name: str, form: TimeForm | None) -> Times | None:
    """Fractions of seconds: unix time, or seconds since the start.

    Raises:
        ValueError: the column is called as one of dates is, such as 2024.01; one sentence.
    """
    values = column.cast(pl.Float64).to_numpy()
    if not np.isfinite(values).all() or np.abs(values).max() > 9e12:
        return None
    whole = np.round(values * SECOND).astype(np.int64)
    unix = _UNIX["s"][0] <= values.min() and values.max() <= _UNIX["s"][1]
    if unix and (form is None or form.kind == "unix"):
        return Times(whole, TimeForm("unix", unit="s"))
    is_month = _are_years_and_months(values)
    if is_month or name.strip().lower() in (*_DATE_NAMES, *FRACTION_NAMES):
        way_out = "write them so" + ("" if is_month else ", or call the column time if they are seconds")
        raise errors.value_error(f"time {name}", "dates such as 2024-01-31", f"{values[0]:g}", way_out)
    return Times(whole, TimeForm("elapsed"))


def _are_years_and_months(values: np.ndarray) -> bool:
    """Whether numbers are years with a month as 2024.01 to 2024.12, of several years."""
    years = np.floor(values + 1e-6)
    months = (values - years) * 100
    whole = bool((np.abs(months - np.round(months)) < 1e-3).all())
    if not whole or years.min() < 1900 or years.max() > 2100 or years.min() == years.max():
        return False
    return bool(((np.round(months) >= 1) & (np.round(months) <= 12)).all())


# ---- text


def _from_text(
    column: pl.Series, name: str, form: TimeForm | None, series: np.ndarray | None, written: str | None
) -> Times | None:
    """Dates out of text, in the usual form that reads all of it."""
    known = [Layout(written)] if written else list(form.layouts) if form is not None else []
    if known:
        read = _from_layouts(column, known, None, None)
        if read is not None:
            return _zoned(column, read[0], read[2], known, form, name)
        if written:
            odd = layouts.first_unread(column, known[0])
            received = f"{column[odd]!r} in row {odd + 1}"
            raise errors.value_error(f"time {name}", f"times as {written}", received, "correct time_format")
    found = layouts.candidates(column)
    if not found:
        return None
    read = _from_layouts(column, found, form, series)
    if read is None:
        return _mixed(column, found, name, form, series)
    return _zoned(column, read[0], read[2], [read[1]], form, name)


def _mixed(
    column: pl.Series, found: Sequence[Layout], name: str, form: TimeForm | None, series: np.ndarray | None
) -> Times | None:
    """Times in several layouts of one order, such as days without an hour at midnight."""
    readings: list[tuple[np.ndarray, list[Layout], np.ndarray | None]] = []
    for order in dict.fromkeys(one.order for one in found):
        read = layouts.parse_mixed(column, [one for one in found if one.order == order])
        if read is not None:
            readings.append(read)
    if readings:
        values, used, offsets = readings[_chosen([one[0] for one in readings], name, series, column)]
        return _zoned(column, values, offsets, used, form, name)
    best, odd = max((layouts.count(column, one) for one in found), key=lambda one: one[0])
    if best < 0.5 * len(column):
        return None
    way_out = "write all times in one form, such as 2024-01-31 18:00"
    received = f"{column[odd]!r} in row {odd + 1}"
    raise errors.value_error(f"time {name}", "times in one form", received, way_out)


def _from_layouts(
    column: pl.Series, tried: Sequence[Layout], form: TimeForm | None, series: np.ndarray | None
) -> tuple[np.ndarray, Layout, np.ndarray | None] | None:
    """The times in the layout that reads them all; of several the one of fit, or one on a regular grid."""
    readings: list[tuple[np.ndarray, Layout, np.ndarray | None]] = []
    for layout in tried:
        read = layouts.parse(column, layout)
        if read is not None and not any(np.array_equal(read[0], other[0]) for other in readings):
            readings.append((read[0], layout, read[1]))
    if not readings:
        return None
    if form is not None and form.layouts:
        alike = [one for one in readings if one[1].order == form.layouts[0].order]
        if not alike:
            received = f"{column[0]!r}, in the order {readings[0][1].order}"
            expected = f"dates in the order of fit ({form.layouts[0].order})"
            raise errors.value_error(f"time {column.name}", expected, received, "write them as in fit")
        readings = alike
    if len(readings) == 1:
        return readings[0]
    return readings[_chosen([one[0] for one in readings], column.name or "time", series, column)]


def _chosen(readings: list[np.ndarray], name: str, series: np.ndarray | None, column: pl.Series) -> int:
    """Which of several readings of the same text is right: the one that gives a regular grid.

    Raises:
        ValueError: none is more regular than the others; one sentence.
    """
    if len(readings) == 1:
        return 0
    dense = [layouts.density(values, series) for values in readings]
    ordered = [bool((np.diff(values) >= 0).all()) for values in readings]
    best = int(np.argmax(dense))
    others = [one for place, one in enumerate(dense) if place != best]
    if dense[best] > 0.5 and max(others) < 0.7 * dense[best]:
        return best
    if sum(ordered) == 1 and len(column) > 2 and max(dense) < 0.5:
        return ordered.index(True)
    received = f"{column[0]!r}, which can be read in two orders"
    way_out = "write 2024-01-31, or name the form by time_format, such as '%d/%m/%Y'"
    raise errors.value_error(f"time {name}", "dates whose day and month are told apart", received, way_out)


def _zoned(
    column: pl.Series,
    wall: np.ndarray,
    offsets: np.ndarray | None,
    used: Sequence[Layout],
    form: TimeForm | None,
    name: str,
) -> Times:
    """Times with their offsets in UTC, and the zone these are of."""
    if form is None:
        _note_century(column, wall, used, name)
    if offsets is None:
        return Times(wall, TimeForm("text", tuple(used)))
    utc = wall - offsets
    kept = form.zone if form is not None else None
    if kept is None:
        _note_season(column, utc, offsets, name)
    zone = kept or layouts.zone_of(utc, offsets, name)
    return Times(utc, TimeForm("text", tuple(used), zone=zone))


def _note_season(column: pl.Series, utc: np.ndarray, offsets: np.ndarray, name: str) -> None:
    """Say how a zone such as CET is read that stands beside the times of summer and winter alike."""
    word, hours = layouts.zone_word(column), offsets[0] / (3600 * SECOND)
    if word is not None and hours and len(np.unique(offsets)) == 1 and np.ptp(utc) > _HALF_YEAR:
        errors.notice(f"{name}: {word} is read as UTC{hours:+g} h in summer and winter.")


def _note_century(column: pl.Series, wall: np.ndarray, used: Sequence[Layout], name: str) -> None:
    """Say in which century two-digit years were put, where another one is as likely."""
    may_be_short = any("%y" in one.format or one.format in ("quarter", "half") for one in used)
    if not may_be_short or not len(wall) or wall.max() < _DOUBTFUL_YEAR:
        return
    row = int(wall.argmax())
    if re.search(r"\d{4}", str(column[row])) is None:
        year = str(np.datetime64(int(wall[row]), "us"))[:4]
        errors.notice(
            f"{name}: {column[row]!r} is read as in {year}; two-digit years to 69 are those from 2000 on."
        )


# ---- zones


def check_zone(now: TimeForm, fitted: TimeForm) -> None:
    """Refuse times with a zone where fit's had none, and the other way round."""
    if (now.zone is None) == (fitted.zone is None) or "number" in (now.kind, fitted.kind):
        return
    expected = (
        f"times in a zone, as in fit ({fitted.zone})" if fitted.zone else "times without a zone, as in fit"
    )
    received = f"times in {now.zone}" if now.zone else "times without a zone"
    raise errors.value_error("time", expected, received, "bring them into the form of fit")


def to_wall(utc: np.ndarray, zone: str) -> np.ndarray:
    """What clocks of a zone show, (N,) microseconds, at moments in UTC."""
    moments = pl.Series(utc).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return moments.dt.convert_time_zone(zone).dt.replace_time_zone(None).to_physical().to_numpy()


def from_wall(wall: np.ndarray, zone: str) -> np.ndarray:
    """The moments in UTC at which clocks of a zone show these times; times that a clock skips move on."""
    series = pl.Series(wall).cast(pl.Datetime("us"))
    there = series.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    if there.null_count():
        later = (series + timedelta(hours=1)).dt.replace_time_zone(
            zone, ambiguous="earliest", non_existent="null"
        )
        there = there.fill_null(later)
    return there.dt.convert_time_zone("UTC").to_physical().to_numpy()


# ---- single points in time


def parse_timestamp(when: Any) -> int | float | str | None:
    """A time as a number, or as text in the order of time where it is a date and a time.

    >>> parse_timestamp("2024-01-01T10:00:00"), parse_timestamp(datetime(2024, 1, 1, 10)), parse_timestamp(7)
    ('2024-01-01 10:00:00', '2024-01-01 10:00:00', 7)

    Raises:
        ValueError: it is text that is neither; one sentence.
    """
    if isinstance(when, np.datetime64):
        when = when.astype("datetime64[us]").item()
    if isinstance(when, np.generic):
        when = when.item()
    if isinstance(when, str):
        try:
            when = datetime.fromisoformat(re.sub(r"\s*(Z|UTC)$", "+00:00", when.strip()))
        except ValueError as error:
            expected = "a number, or a date and time such as 2024-01-31 18:00"
            raise errors.value_error("time", expected, repr(when), "pass it as a datetime") from error
    if isinstance(when, datetime) and when.tzinfo is not None:
        when = when.astimezone(timezone.utc)
    return when if isinstance(when, (int, float, type(None))) else str(when)


def next_timestamp(last: Any, when: Any) -> Any:
    """A reading's `parse_timestamp`, which may not be before the last one's, where there is one.

    Raises:
        ValueError: it is; one sentence.
    """
    now = parse_timestamp(when)
    if last is None:
        return now
    if isinstance(last, str) != isinstance(now, str):
        raise errors.value_error(
            "time", f"one like the last reading's ({last})", repr(when), "pass such a one"
        )
    if not now >= last:
        way_out = "sort the readings by time before they are fed"
        raise errors.value_error("time", f"one not before the last reading's ({last})", when, way_out)
    return now
