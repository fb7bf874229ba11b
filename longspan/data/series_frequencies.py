"""Finds the frequency of every series of a table: one for all, or others for series on other days."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from .frequency import Frequency, find_frequency
from .layouts import DAY

_COMPLETE = 0.95  # share of the common grid's steps with a row, above which a series needs no grid of its own
_LEAST_ROWS = 30  # rows of a series from which closed days or hours of its own are believed
_SAMPLED = 500  # series of a large table in which other days or hours are looked for first
_OPEN_ROWS = 0.8  # share of its open steps that must have a row for that


@dataclass(frozen=True)
class SeriesFrequencies:
    """The frequency of most series, and by a series' number those of the others.

    All steps are of one length; what differs is the day or the moment on which they fall, such as weekly
    series on Mondays and on Wednesdays, or shops that are open on Sundays and shops that are not.
    """

    common: Frequency
    own: Mapping[int, Frequency] = field(default_factory=dict)

    def __str__(self) -> str:
        others = f", {len(self.own)} series on other days or hours" if self.own else ""
        return f"{self.common}{others}"

    def of(self, series: int) -> Frequency:
        """The frequency of one series."""
        return self.own.get(series, self.common)

    def steps(self, times: np.ndarray, series: np.ndarray) -> np.ndarray:
        """The whole steps (N, ...) of times (N, ...), each on the grid of its series (N,)."""
        steps = self.common.steps(times)
        for frequency, rows in self.rows_by_frequency(series):
            steps[rows] = frequency.steps(times[rows])
        return steps

    def times(self, steps: np.ndarray, series: np.ndarray) -> np.ndarray:
        """The times (N, ...) of whole steps (N, ...), the inverse of `steps`."""
        times = self.common.times(steps)
        for frequency, rows in self.rows_by_frequency(series):
            times[rows] = frequency.times(steps[rows])
        return times

    def fits(self, times: np.ndarray, series: np.ndarray) -> np.ndarray:
        """(N,) bool: whether times are on the grid of their series."""
        fits = self.common.fits(times)
        for frequency, rows in self.rows_by_frequency(series):
            fits[rows] = frequency.fits(times[rows])
        return fits

    def rows_by_frequency(self, series: np.ndarray) -> list[tuple[Frequency, np.ndarray]]:
        """Every frequency but the common one, and which rows (N,) bool are of its series."""
        numbers: dict[Frequency, list[int]] = {}
        for number, frequency in self.own.items():
            numbers.setdefault(frequency, []).append(number)
        return [(frequency, np.isin(series, of)) for frequency, of in numbers.items()]

    def in_zone(self, zone: str | None, wall: bool) -> SeriesFrequencies:
        """The same frequencies with the zone of their times."""
        own = {number: replace(one, zone=zone, wall=wall) for number, one in self.own.items()}
        return SeriesFrequencies(replace(self.common, zone=zone, wall=wall), own)


def find_frequencies(
    times: np.ndarray, starts: np.ndarray, dated: bool, elapsed: bool = False
) -> SeriesFrequencies:
    """The frequency of every series.

    Args:
        times, starts, dated, elapsed: as for `find_frequency`.

    Raises:
        ValueError: no frequency fits; the sentence names the first gap that is not the most usual one.

    >>> days = np.array([0, 7, 14, 2, 9, 16]) * DAY
    >>> frequencies = find_frequencies(days, np.array([0, 3, 6]), True)
    >>> str(frequencies.of(0)), frequencies.of(0).phase // DAY, frequencies.of(1).phase // DAY
    ('1 week', 0, 2)
    """
    refusal: ValueError | None = None
    common: Frequency | None = None
    try:
        common = find_frequency(times, starts, dated, elapsed)
    except ValueError as error:
        refusal = error
    if common is not None and (len(starts) == 2 or _is_complete(common, times, starts)):
        return SeriesFrequencies(common)
    every = range(len(starts) - 1)
    if common is not None and len(every) > 4 * _SAMPLED:
        sample = every[:: len(every) // _SAMPLED]
        if all(one == common for one in _by_series(times, starts, sample, dated, elapsed).values()):
            return SeriesFrequencies(common)
    own = _of_one_length(_by_series(times, starts, every, dated, elapsed))
    if own and (common is None or any(one != common for one in own.values())):
        settled = _settled(own, times, starts)
        if settled is not None:
            return settled
    if common is None:
        raise refusal or ValueError("times on no step")
    return SeriesFrequencies(common)


def fitting_frequency(times: np.ndarray, among: SeriesFrequencies) -> Frequency | None:
    """The frequency of a series that is new: one of the known ones, or its own moment of the same step."""
    counted = Counter(among.own.values())
    for frequency in (among.common, *(one for one, _ in counted.most_common())):
        if bool(frequency.fits(times).all()):
            return frequency
    if not among.own or among.common.kind not in ("step", "elapsed", "number"):
        return None
    moved = replace(among.common, phase=int(times[0] % among.common.size))
    return moved if bool(moved.fits(times).all()) else None


def _is_complete(frequency: Frequency, times: np.ndarray, starts: np.ndarray) -> bool:
    """Whether nearly every step of every series has a row."""
    if not frequency.fits(times[:: max(1, len(times) // 1000)]).all():
        return False
    steps = frequency.steps(times[starts[1:] - 1]) - frequency.steps(times[starts[:-1]]) + 1
    return bool((np.diff(starts) >= _COMPLETE * steps).all())


def _by_series(
    times: np.ndarray, starts: np.ndarray, numbers: Sequence[int], dated: bool, elapsed: bool
) -> dict[int, Frequency]:
    """The frequency of each of some series by itself, where it has one."""
    own: dict[int, Frequency] = {}
    for series in numbers:
        begin, end = int(starts[series]), int(starts[series + 1])
        if end - begin < 3:
            continue
        with suppress(ValueError):
            part = times[begin:end]
            found = find_frequency(part, np.array([0, end - begin]), dated, elapsed)
            own[series] = found if _is_believed(found, part) else Frequency("step", *_step_of(found, part))
    return own


def _is_believed(frequency: Frequency, times: np.ndarray) -> bool:
    """Whether closed days or hours of one series are no accident of rows that are missing."""
    if frequency.kind not in ("business", "week"):
        return True
    first, last = frequency.steps(times[[0, -1]])
    return len(times) >= _LEAST_ROWS and len(times) >= _OPEN_ROWS * (last - first + 1)


def _step_of(frequency: Frequency, times: np.ndarray) -> tuple[int, int]:
    """Size and phase of the plain step of a frequency."""
    size = DAY if frequency.kind == "business" else frequency.size
    return size, int(times[0] % size)


def _length(frequency: Frequency) -> tuple[str, int]:
    """The length of a step, by which frequencies can stand side by side: months, or a fixed time."""
    if frequency.kind == "business":
        return "step", DAY
    return ("step" if frequency.kind == "week" else frequency.kind), frequency.size


def _of_one_length(own: Mapping[int, Frequency]) -> dict[int, Frequency]:
    """Frequencies with the most usual length of a step; {} where some have another length.

    A series whose step is a multiple of the usual one has rows missing.
    """
    if not own:
        return {}
    kind, size = Counter(map(_length, own.values())).most_common(1)[0][0]
    found: dict[int, Frequency] = {}
    for series, frequency in own.items():
        if _length(frequency) == (kind, size):
            found[series] = frequency
        elif frequency.kind == kind not in ("month", "days") and frequency.size % size == 0:
            found[series] = replace(frequency, size=size, phase=frequency.phase % size)
        else:
            return {}
    return found


def _settled(own: Mapping[int, Frequency], times: np.ndarray, starts: np.ndarray) -> SeriesFrequencies | None:
    """The usual frequency and those of the other series; short series take one that fits them.

    None where a series fits none.
    """
    common = Counter(own.values()).most_common(1)[0][0]
    others = {series: frequency for series, frequency in own.items() if frequency != common}
    frequencies = SeriesFrequencies(common, dict(others))
    for series in set(range(len(starts) - 1)) - set(own):
        fitting = fitting_frequency(times[starts[series] : starts[series + 1]], frequencies)
        if fitting is None:
            return None
        if fitting != common:
            others[series] = fitting
    return SeriesFrequencies(common, others)
