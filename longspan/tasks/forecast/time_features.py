"""Encodes the calendar of whole steps (hour, weekday, month ...) as cosines and sines."""

from __future__ import annotations

import numpy as np

from longspan.data.frequency import Frequency, months
from longspan.data.layouts import DAY, SECOND

_CHUNK = 1 << 16  # steps that are encoded at once

_YEAR = 365 * DAY
# feature -> (number of values, longest step for which it varies, shortest span of data to learn it from;
# both in microseconds)
CALENDAR = {
    "minute": (60, 30 * 60 * SECOND, 12 * 3600 * SECOND),
    "hour": (24, 12 * 3600 * SECOND, 7 * DAY),
    "weekday": (7, DAY, 56 * DAY),
    "day": (31, DAY, 2 * _YEAR),
    "month": (12, 31 * DAY, 2 * _YEAR),
}


def calendar_names(frequency: Frequency, steps: int) -> tuple[str, ...]:
    """The calendar features that can be learnt from data of this frequency and number of steps.

    A feature needs several of its periods: a yearly pattern cannot be learnt from one year.
    """
    if not frequency.dated:
        return ()
    if frequency.kind == "month":
        return ("month",) if frequency.size < 12 and steps * frequency.size >= 24 else ()
    size = DAY * 7 // 5 if frequency.kind == "business" else frequency.size
    if frequency.kind == "week":
        size = 7 * DAY // len(frequency.slots)
    if frequency.kind == "days":
        size = 30 * DAY // len(frequency.slots)
    return tuple(
        name
        for name, (_, longest, least) in CALENDAR.items()
        if size <= longest * 7 // 5 and steps * size >= least
    )


def calendar_codes(frequency: Frequency, low: int, high: int, names: tuple[str, ...]) -> np.ndarray:
    """The features of the whole steps from low up to high as codes from 0, (N, K) uint8."""
    codes = np.empty((high - low, len(names)), np.uint8)
    for begin in range(0, len(codes), _CHUNK):
        steps = np.arange(low + begin, min(low + begin + _CHUNK, high))
        times = frequency.clock(frequency.times(steps))
        for column, name in enumerate(names):
            codes[begin : begin + _CHUNK, column] = _code(times, name)
    return codes


def _code(times: np.ndarray, name: str) -> np.ndarray:
    """A feature of times as whole numbers from 0."""
    if name == "minute":
        return times // (60 * SECOND) % 60
    if name == "hour":
        return times // (3600 * SECOND) % 24
    if name == "weekday":
        return (times // DAY + 3) % 7
    if name == "month":
        return months(times) % 12
    days = (times // DAY).astype("datetime64[D]")
    return (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64)


def calendar_waves(names: tuple[str, ...]) -> np.ndarray:
    """The cosine and sine of every code of every feature, (K, 60, 2) float32."""
    waves = np.zeros((len(names), 60, 2), np.float32)
    for feature, name in enumerate(names):
        count = CALENDAR[name][0]
        angle = 2 * np.pi * np.arange(count) / count
        waves[feature, :count] = np.stack([np.cos(angle), np.sin(angle)], 1)
    return waves


class Calendar:
    """The calendar at whole steps of one frequency, looked up in a table that grows as needed.

    Args:
        names: features (see `calendar_names`).
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names, self._waves = names, calendar_waves(names)
        self._table = (
            0,
            0,
            np.empty((0, 0), np.uint8),
        )  # first step, end, codes

    def at(self, frequency: Frequency, steps: np.ndarray, low: int, high: int) -> np.ndarray:
        """The features at steps (B, L) as cosines and sines, (B, L, 2*K) float32.

        Args:
            low, high: the first step that will be looked up, and the step after the last one.
        """
        least, most = int(steps.min()), int(steps.max()) + 1
        begin, end, codes = self._table
        if least < begin or most > end:
            begin, end = min(least, low), max(most, high)
            codes = calendar_codes(frequency, begin, end, self.names)
            self._table = (begin, end, codes)
        codes = codes[steps - begin]
        return self._waves[np.arange(len(self.names)), codes].reshape(*codes.shape[:-1], -1)
