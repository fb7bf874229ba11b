"""Finds the layout of dates in text (order of day and month, separators, clock, offset), and parses them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import polars as pl

from longspan import errors

SECOND = 1_000_000  # in microseconds, the unit of all dated times
DAY = 86_400 * SECOND
_SAMPLE = 200  # rows of a column from which its layouts are found
_COMPARED = 5_000  # rows from which `density` is computed, to decide between two layouts
_MOST_LAYOUTS = 4  # largest number of layouts that one column may mix

# Formats of dates by the order of day, month and year; `timestamps` decides between orders that both fit.
# %y is a two-digit year: polars parses 00 to 69 as 2000 to 2069, and 70 to 99 as 1970 to 1999.
_DATES = {
    "ymd": (
        "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y %m %d", "%Y%m%d", "%Y-%m", "%Y/%m", "%Y%m", "%YM%m", "%Y",
        "%Y-%b-%d", "%Y %b %d", "%Y-%b", "%Y %b", "%Y/%b/%d", "%b-%Y", "%b %Y", "%b/%Y", "%m/%Y", "%m-%Y",
        "%m.%Y", "%b-%y", "%b %y", "%b'%y", "%y-%b",
    ),
    "dmy": (
        "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%d %m %Y", "%d %b %Y", "%d-%b-%Y", "%d/%b/%Y", "%d.%b.%Y",
        "%d. %b %Y", "%d%b%Y", "%d/%m/%y", "%d.%m.%y", "%d-%m-%y", "%d %m %y", "%d %b %y", "%d-%b-%y",
        "%d/%b/%y", "%d%b%y", "%d. %b %y", "%b %d %Y", "%b-%d-%Y", "%b %d %y", "%b. %d %Y",
    ),
    "mdy": ("%m/%d/%Y", "%m-%d-%Y", "%m/%d/%y", "%m-%d-%y", "%m %d %Y"),
    "yymmdd": ("%y-%m-%d", "%y/%m/%d", "%y.%m.%d", "%y%m%d"),
}  # fmt: skip
# Formats of the time of day that may follow a date.
_CLOCKS = (
    "", " %H:%M:%S%.f", " %H:%M", " %H", " %I:%M:%S %p", " %I:%M %p", " %I %p", " %I:%M:%S%p", " %I:%M%p",
    " %I%p", " %H.%M", " %H.%M.%S", " %Hh%M", " %Hh", " %H%M%S", " %H%M", ":%H:%M:%S", "_%H:%M:%S",
    "-%H:%M:%S", "_%H%M%S",
)  # fmt: skip
_COMPACT = ("%Y%m%d%H", "%Y%m%d%H%M", "%Y%m%d%H%M%S")
_CTIME = (
    "%b %d %H:%M:%S %Y",
    "%b %d %I:%M:%S %p %Y",
    "%H:%M:%S %d/%m/%Y",
    "%H:%M %d/%m/%Y",
    "%H:%M %d.%m.%Y",
)
# Field of a format -> the pattern of its text.
_FIELDS = {
    "%Y": r"\d{4}", "%y": r"\d{2}", "%m": r"\d{1,2}", "%d": r"\d{1,2}", "%b": r"[^\W\d_]{3,9}",
    "%H": r"\d{1,2}", "%M": r"\d{2}", "%S": r"\d{2}", "%.f": r"(?:\.\d+)?", "%I": r"\d{1,2}",
    "%p": r"[APap][Mm]",
}  # fmt: skip
_TIGHT = {**_FIELDS, "%m": r"\d{2}", "%d": r"\d{2}", "%H": r"\d{2}"}  # where digits stand side by side
_PART_OF_YEAR = r"^(?:(\d{4})[-/ ]?X([1-N])|X([1-N])[-/' ]?(\d{4}|\d{2})|([1-N])X[-/' ]?(\d{4}|\d{2}))$"
_QUARTER, _HALF = (
    _PART_OF_YEAR.replace("X", letter).replace("N", count) for letter, count in (("[Qq]", "4"), ("[Hh]", "2"))
)
_TWO_DIGITS = 70  # first two-digit year of the last century in quarters and halves, as polars has it for %y
_FISCAL = r"^(?i)FY[ -]?(\d{4})$"
_MONTHS = {
    "January": "januar|jan|jänner|janvier|janv|enero|ene|gennaio|gen|janeiro|januari",
    "February": "februar|feb|février|févr|fév|febrero|febbraio|fevereiro|fev|februari",
    "March": "märz|mrz|mär|mars|marzo|mar|março|maart|mrt",
    "April": "april|apr|avril|avr|abril|abr|aprile",
    "May": "mai|mayo|may|maggio|mag|maio|mei",
    "June": "juni|jun|juin|junio|giugno|giu|junho",
    "July": "juli|jul|juillet|juil|julio|luglio|lug|julho",
    "August": "august|aug|août|aoû|agosto|ago|augustus",
    "September": "september|sept|sep|septembre|septiembre|settembre|set|setembro",
    "October": "oktober|okt|octobre|oct|octubre|ottobre|ott|outubro|out",
    "November": "november|nov|novembre|noviembre|novembro",
    "December": "dezember|dez|décembre|déc|diciembre|dic|dicembre|dezembro|december",
}
_NAMED_MONTH = re.compile(rf"(?i)(?<![^\W\d_])(?:{'|'.join(_MONTHS.values())})(?![^\W\d_])")
_ENGLISH = re.compile(
    r"(?i)jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?"
    r"|nov(ember)?|dec(ember)?"
)
_WEEK = r"^(\d{4})[- ]?[Ww](\d{1,2})(?:-?([1-7]))?$"
_INTERVAL = r"^(\S.*?\d{1,2}:\d{2}\S*)\s*(?:-|–|to|/)\s*\S.*\d{1,2}:\d{2}\S*$"
# Hours from UTC by the abbreviation of a zone; those of several zones need another one beside them in the
# column, which shows the zone.
_ZONE_HOURS = {
    "Z": 0, "UTC": 0, "GMT": 0, "WET": 0, "WEST": 1, "CET": 1, "CEST": 2, "MEZ": 1, "MESZ": 2, "EET": 2,
    "EEST": 3, "MSK": 3, "EST": -5, "EDT": -4, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
    "AKST": -9, "AKDT": -8, "HST": -10, "NST": -3.5, "NDT": -2.5, "JST": 9, "KST": 9, "HKT": 8, "SGT": 8,
    "AWST": 8, "ACST": 9.5, "ACDT": 10.5, "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13,
    "BRT": -3, "ART": -3, "SAST": 2,
}  # fmt: skip
_SHARED_ZONES = {
    "CST": ("CDT", -6),
    "BST": ("GMT", 1),
    "AST": ("ADT", -4),
    "ADT": ("AST", -3),
    "IST": ("", 0),
}
_ZONE_WORDS = "|".join(sorted((*_ZONE_HOURS, *_SHARED_ZONES), key=len, reverse=True))
_OFFSET = (
    rf"(?:(?:UTC|GMT) ?)?(z|{_ZONE_WORDS}|[+-]\d{{1,2}}:\d{{2}}|[+-]\d{{4}}|[+-]\d{{1,2}})(?:\s*\[[^\]]*\])?$"
)
_ZONE_BEFORE_YEAR = rf"(\d{{2}}:\d{{2}}:\d{{2}}(?: [AP]M)?) ({_ZONE_WORDS}) (\d{{4}})$"
_HAS_OFFSET = re.compile(
    r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s*[AaPp][Mm])?\s*" + _OFFSET + r"|T\d{4,6}" + _OFFSET
)
_WEEKDAY = r"(?i)^(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*[., ]+"
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:([ T])(?:[01]\d|2[0-3]):\d{2}(?::\d{2}(?:\.\d+)?)?)?")
_ZONES = (
    "Europe/London", "Europe/Berlin", "Europe/Helsinki", "America/New_York", "America/Chicago",
    "America/Denver", "America/Los_Angeles", "Australia/Sydney", "America/Sao_Paulo",
    "America/Halifax", "America/Anchorage",
    "Australia/Adelaide", "Pacific/Auckland", "Europe/Moscow", "America/Santiago", "Asia/Jerusalem",
)  # fmt: skip


class Layout(NamedTuple):
    """The layout of times in text.

    format: as polars' `str.to_datetime` takes it, for text changed by `_normal`; or "quarter" or "week".
    order: of day, month and year, a key of `_DATES`.
    plain: whether the text is parsed unchanged, without `_normal`.
    """

    format: str
    order: str = "dmy"
    plain: bool = False


# ---- finding


def candidates(column: pl.Series) -> list[Layout]:
    """The layouts that parse texts of a sample of the rows, the one that parses the most of them first."""
    sample = [str(text).strip() for text in column.gather(_spread_rows(len(column))).to_list()]
    separators = {match.group(1) for match in map(_ISO.fullmatch, sample) if match}
    lengths = {min(len(text), 17) for text in sample}
    if all(_ISO.fullmatch(text) for text in sample) and len(lengths) == 1 and len(separators) == 1:
        return [_iso(sample[0])]
    normal = _normal(pl.Series(sample, dtype=pl.String))[0].to_list()
    counted: dict[Layout, int] = {}
    for text in dict.fromkeys(normal):
        for layout in _layouts_of(text):
            counted[layout] = counted.get(layout, 0) + 1
    return sorted(counted, key=lambda layout: -counted[layout])


def _iso(text: str) -> Layout:
    """The layout of a date in ISO's form, which is parsed unchanged."""
    clock = "" if len(text) == 10 else f"{text[10]}%H:%M" + ("" if len(text) == 16 else ":%S%.f")
    return Layout(f"%Y-%m-%d{clock}", "ymd", plain=True)


def _spread_rows(rows: int) -> list[int]:
    return list(
        dict.fromkeys(
            [*range(min(rows, _SAMPLE // 2)), *np.linspace(0, rows - 1, _SAMPLE // 2).astype(int).tolist()]
        )
    )


def _layouts_of(text: str) -> list[Layout]:
    found = [Layout(form, order) for order, form, pattern in _patterns() if pattern.fullmatch(text)]
    if re.match(_QUARTER, text):
        found.append(Layout("quarter", "ymd"))
    if re.match(_HALF, text):
        found.append(Layout("half", "ymd"))
    if re.match(_WEEK, text):
        found.append(Layout("week", "ymd"))
    return found


@cache
def _patterns() -> list[tuple[str, str, re.Pattern[str]]]:
    """Order, format and pattern of every layout."""
    forms = [
        (order, date + clock)
        for order, dates in _DATES.items()
        for date, clock in product(dates, _CLOCKS)
        if not clock or "%d" in date
    ]
    forms += [("ymd", form) for form in _COMPACT] + [("dmy", form) for form in _CTIME]
    return [(order, form, re.compile(_pattern(form))) for order, form in forms]


def _pattern(form: str) -> str:
    tight = "%Y%m" in form or "%y%m" in form or "%d%b" in form
    date = form.partition(" ")[0]
    parts: list[str] = []
    for part in re.split(r"(%\.f|%[A-Za-z])", form):
        fields = (
            _TIGHT if (tight and part in ("%m", "%d") and "%b" not in date) or "%H%M" in form else _FIELDS
        )
        parts.append(fields.get(part, re.escape(part)))
    return "".join(parts)


# ---- reading


def parse(column: pl.Series, layout: Layout) -> tuple[np.ndarray, np.ndarray | None] | None:
    """All rows in one layout: local times in int64 microseconds, and their offsets from UTC or None.

    Returns:
        None if a row cannot be parsed, or a year is not from 1000 to 2999.
    """
    values, offsets = _parsed(column, layout)
    if values.null_count() or not _plausible(values):
        return None
    if offsets is not None and offsets.null_count():
        return None
    return values.to_numpy(), None if offsets is None else offsets.to_numpy()


def parse_mixed(
    column: pl.Series, layouts: Sequence[Layout]
) -> tuple[np.ndarray, list[Layout], np.ndarray | None] | None:
    """All rows, each in one of several layouts; None if no layout parses some row."""
    values = pl.Series([None] * len(column), dtype=pl.Int64)
    offsets: pl.Series | None = None
    used: list[Layout] = []
    for layout in layouts[: 3 * _MOST_LAYOUTS]:
        parsed, parsed_offsets = _parsed(column, layout)
        parsed = _without_odd_years(parsed)
        if not bool((values.is_null() & parsed.is_not_null()).any()):
            continue
        values, offsets = values.fill_null(parsed), parsed_offsets if offsets is None else offsets
        used.append(layout)
        if not values.null_count():
            break
    if values.null_count() or len(used) > _MOST_LAYOUTS or (offsets is not None and offsets.null_count()):
        return None
    return values.to_numpy(), used, None if offsets is None else offsets.to_numpy()


def count(column: pl.Series, layout: Layout) -> tuple[int, int]:
    """The number of rows that a layout parses, and the first row that it does not parse."""
    values = _without_odd_years(_parsed(column, layout)[0])
    unread = values.is_null().arg_true()
    return len(values) - len(unread), int(unread[0]) if len(unread) else 0


def first_unread(column: pl.Series, layout: Layout) -> int:
    """The first row that a layout does not parse."""
    return count(column, layout)[1]


def _plausible(values: pl.Series) -> bool:
    return not _without_odd_years(values).null_count()


_YEAR_1000, _YEAR_3000 = (int(np.datetime64(year, "us").astype(np.int64)) for year in ("1000", "3000"))


def _without_odd_years(values: pl.Series) -> pl.Series:
    right = (values >= _YEAR_1000) & (values < _YEAR_3000)
    return pl.select(pl.when(right).then(values).otherwise(None)).to_series()


def _parsed(column: pl.Series, layout: Layout) -> tuple[pl.Series, pl.Series | None]:
    """Microseconds, null where a row cannot be parsed; the offsets from UTC, None for a column without."""
    if layout.plain:
        return _strptime(column, layout.format), None
    text, offsets, later = _normal(column)
    if layout.format in ("quarter", "half"):
        pattern, months = (_QUARTER, 3) if layout.format == "quarter" else (_HALF, 6)
        values = _parts_of_year(text, pattern, months)
    elif layout.format == "week":
        values = _weeks(text)
    else:
        text, form = _completed(text, layout.format)
        values = _strptime(text, form)
    return (values if later is None else values + later), offsets


def _completed(text: pl.Series, form: str) -> tuple[pl.Series, str]:
    """Text and format with the day, month or minute that they lack."""
    date = "%d" in form
    if "%j" in form:  # the day of the year
        return text, form
    if "%m" not in form and "%b" not in form:
        return text + " 01 01", form + " %m %d"
    if not date:
        return text + " 01", form + " %d"
    if form.endswith((" %H", "%d%H")):
        return text + ":00", form + ":%M"
    if form.endswith("%Hh"):
        return text + "00", form + "%M"
    if form.endswith(("%I %p", "%I%p")):
        hour = "%I %p" if form.endswith("%I %p") else "%I%p"
        text = text.str.replace(r"(\d{1,2})\s?([APap][Mm])$", "${1}:00 ${2}")
        return text, form.removesuffix(hour) + "%I:%M %p"
    return text, form


def _strptime(text: pl.Series, form: str) -> pl.Series:
    try:
        read = text.str.to_datetime(form.replace("%b", "%B"), strict=False, time_unit="us", time_zone=None)
    except (pl.exceptions.PolarsError, ValueError) as error:
        received = "one that no text can have"
        raise errors.value_error(
            "time_format", "a form such as %d/%m/%Y %H:%M", received, repr(form)
        ) from error
    if isinstance(read.dtype, pl.Datetime) and read.dtype.time_zone:
        read = read.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return read.to_physical().cast(pl.Int64)


def _parts_of_year(text: pl.Series, pattern: str, months: int) -> pl.Series:
    """The first days of quarters or halves of years; months: in one of them."""
    parts = [text.str.extract(pattern, place).cast(pl.Int32) for place in range(1, 7)]
    year = parts[0].fill_null(parts[3]).fill_null(parts[5])
    century = pl.when(year < _TWO_DIGITS).then(2000).when(year < 100).then(1900).otherwise(0)
    number = parts[1].fill_null(parts[2]).fill_null(parts[4])
    dates = pl.select(pl.datetime(year + century, months * number - (months - 1), 1)).to_series()
    return dates.cast(pl.Datetime("us")).to_physical()


def _weeks(text: pl.Series) -> pl.Series:
    """The Monday of ISO weeks, or the day that is given."""
    year, week, day = (text.str.extract(_WEEK, place).cast(pl.Int32) for place in (1, 2, 3))
    fourth = pl.select(pl.datetime(year, 1, 4)).to_series()
    monday = fourth.cast(pl.Datetime("us")).to_physical() - (fourth.dt.weekday().cast(pl.Int64) - 1) * DAY
    days = 7 * (week.cast(pl.Int64) - 1) + day.fill_null(1).cast(pl.Int64) - 1
    read = monday + days * DAY
    thursday = (read - (days % 7) * DAY + 3 * DAY).cast(pl.Datetime("us"))  # its year is the week's
    right = (week >= 1) & (thursday.dt.year() == year)
    return pl.select(pl.when(right).then(read).otherwise(None)).to_series()


# ---- one form of text


def _normal(column: pl.Series) -> tuple[pl.Series, pl.Series | None, pl.Series | None]:
    """Text in one form (date, a blank, clock), its offsets from UTC, and the day that 24:00 adds to 00:00.

    A change is applied only if a sample of the rows needs it, since each takes a pass over the column.
    """
    text = column.str.strip_chars()
    sample = [str(one) for one in text.gather(_spread_rows(len(text))).to_list()]
    if any(
        re.match(_INTERVAL, one) and not _HAS_OFFSET.search(one.partition(" - ")[0] + "\0") for one in sample
    ):
        text = text.str.replace(_INTERVAL, "${1}")
    if any(re.match(_WEEKDAY, one) for one in sample):
        text = text.str.replace(_WEEKDAY, "")
    if any(re.search(_ZONE_BEFORE_YEAR, one) for one in sample):
        text = text.str.replace(_ZONE_BEFORE_YEAR, "${1} ${3} ${2}")
        sample = [re.sub(_ZONE_BEFORE_YEAR, r"\1 \2", one) for one in sample]
    offsets = None
    if any(_HAS_OFFSET.search(one) for one in sample):
        offsets = _offset_of(text.str.extract(_OFFSET, 1))
        text = text.str.replace(r"\s*" + _OFFSET, "")
    later = None
    if any("24:00" in one for one in sample):
        late = text.str.contains(r"(^|[ T])24:00(:00(\.0+)?)?$")
        text = text.str.replace(r"([ T])24:00", "${1}00:00")
        later = late.cast(pl.Int64) * DAY
    if any("," in one for one in sample):
        text = text.str.replace(r"(:\d{2}),(\d+)$", "${1}.${2}").str.replace_all(",", " ", literal=True)
    if any(re.match(_FISCAL.replace("^(?i)", "(?i)"), one) for one in sample):
        text = text.str.replace(_FISCAL, "${1}")
    if any(not _ENGLISH.fullmatch(month) for one in sample for month in _NAMED_MONTH.findall(one)):
        text = _in_english(text)
    if any(re.search(r"(?i)[ap]\.\s?m\.", one) for one in sample):
        text = text.str.replace(r"(?i)([ap])\.\s?m\.", "${1}m")
    if any(re.match(r"(?i).*\d(st|nd|rd|th)\b", one) for one in sample):
        text = text.str.replace(r"(?i)(\d)(st|nd|rd|th)\b", "${1}")
    text = text.str.replace(r"(\d)[Tt](\d)", "${1} ${2}")
    if any(re.search(r"\s\s|\u00a0|\u202f", one) for one in sample) or any("," in one for one in sample):
        text = text.str.replace_all(r"\s+", " ")
    return text, offsets, later


def _in_english(text: pl.Series) -> pl.Series:
    """Text with the months of German, French, Spanish, Italian, Portuguese and Dutch in English."""
    text = text.str.replace_all(r"(?i)\bde\b ?", "").str.replace_all(r"(\d)\. ", "${1} ")
    for month, names in _MONTHS.items():
        text = text.str.replace(rf"(?i)\b(?:{names})\b\.?", month)
    return text


def _offset_of(text: pl.Series) -> pl.Series:
    """Offsets from UTC in microseconds."""
    written = {one for one in text.unique().to_list() if one is not None}
    named = {one: _offset(one, written) for one in written}
    return text.replace_strict(named, default=None, return_dtype=pl.Int64) if named else text.cast(pl.Int64)


def _offset(text: str, beside: Collection[str]) -> int:
    """An offset from UTC; beside: all that the column has, by which a zone is told from its namesakes.

    Raises:
        ValueError: the abbreviation is that of several zones; one sentence.
    """
    if text in _SHARED_ZONES:
        other, hours = _SHARED_ZONES[text]
        if other not in beside:
            expected = "zones that one place has"
            way_out = "write the offset, such as +05:30, or leave the zone out"
            raise errors.value_error("time", expected, f"{text!r}, which several have", way_out)
        return round(hours * 3600) * SECOND
    if text[0] not in "+-":
        return round(_ZONE_HOURS[text.upper()] * 3600) * SECOND
    digits = text[1:].replace(":", "")
    hours, rest = (digits[:-2], digits[-2:]) if len(digits) > 2 else (digits, "0")
    minutes = 60 * int(hours) + int(rest)
    return (1 if text[0] == "+" else -1) * minutes * 60 * SECOND


# ---- judging


def density(values: np.ndarray, series: np.ndarray | None) -> float:
    """The share of a regular grid that the times fill, 1 for all; its steps are of one size, or months."""
    values = values[:_COMPARED]
    codes = np.zeros(len(values), np.int64) if series is None else series[: len(values)]
    rows, steps, months = 0, 0.0, 0.0
    for code in np.unique(codes)[:20]:
        part = np.unique(values[codes == code])
        gaps = np.diff(part)
        if not len(gaps):
            continue
        rows += len(part)
        steps += (part[-1] - part[0]) / np.gcd.reduce(gaps) + 1
        month = part.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
        within = part - month.astype("datetime64[M]").astype("datetime64[us]").astype(np.int64)
        regular = len(np.unique(within)) == 1 and len(np.unique(month)) == len(month)
        months += (month[-1] - month[0]) / np.gcd.reduce(np.diff(month)) + 1 if regular else np.inf
    return 0.0 if not rows else float(rows / min(steps, months))


def zone_word(column: pl.Series) -> str | None:
    """The abbreviation of a zone at the end of the first text; None for an offset in digits or none."""
    match = re.search(rf"\b(?:{_ZONE_WORDS})\b", str(column[0])) if len(column) else None
    return match.group() if match else None


def zone_of(utc: np.ndarray, offsets: np.ndarray, name: str) -> str:
    """The time zone that has these offsets: UTC, whole hours from UTC, or the first such of `_ZONES`.

    UTC, with a notice, if there is none.
    """
    different = np.unique(offsets)
    if len(different) == 1:
        hours = different[0] / (3600 * SECOND)
        if hours == 0:
            return "UTC"
        if hours == int(hours):
            return f"Etc/GMT{-int(hours):+d}"
        errors.notice(f"The offsets of {name} are no whole hours; its times are answered in UTC.")
        return "UTC"
    moments = pl.Series(utc).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    for zone in _ZONES:
        local = moments.dt.convert_time_zone(zone).dt.replace_time_zone(None).to_physical().to_numpy()
        if np.array_equal(local - utc, offsets):
            errors.notice(f"The offsets of {name} change as the clocks of {zone}; its times are answered so.")
            return zone
    errors.notice(f"The offsets of {name} change; its times are answered in UTC.")
    return "UTC"
