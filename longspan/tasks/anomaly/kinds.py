"""Finds the kind of data in the training part: series, sensors, records or telemetry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .reading import Series

KINDS = ("series", "sensors", "records", "telemetry")

_ROWS = 5000  # readings of each series, at its start, that are looked at
_SERIES = 200  # series that are looked at
_REGULAR = 0.9  # share of equal time steps from which on times count as regular
_MIXED_ORDER = 0.5  # median dependence on the last reading below which mixed columns are records
_NUMBER_ORDER = 0.3  # largest dependence on the last reading below which columns of numbers are records
_MIN_COLUMNS = 3  # columns of numbers that a table of records has, where it has no categories
_MIN_COMMANDS = 2  # columns of 0 and 1 that telemetry has
_MIN_CYCLES = 3  # periods that the training part must hold to show a rhythm
_MIN_PERIOD = 4  # readings of the shortest period
_RHYTHM = 0.5  # correlation with the last period from which on a channel has a rhythm
_DRIFT = 0.6  # share of drifting channels from which on levels tell nothing


class DataKind(NamedTuple):
    """A kind of data, and why it was chosen, as the end of a sentence."""

    name: str
    reason: str


def find_kind(records: Sequence[Series], numeric: Sequence[int], textual: Sequence[int]) -> DataKind:
    """The kind of the training data.

    Records are rows that do not depend on the row before: categories, irregular times. Telemetry has at least
    as many columns of 0 and 1 (commands) as channels. Sensors are several channels without a rhythm, most of
    whose levels are steady. All else are series, compared with their recent past.

    Args:
        records: the training series.
        numeric, textual: positions of the watched columns of numbers and of categories.
    """
    parts = [series.cut(0, min(len(series), _ROWS)) for series in records[:_SERIES]]
    unordered = _reason_for_records(parts, numeric, textual)
    if unordered:
        return DataKind("records", unordered)
    chosen = numeric if len(numeric) < len(parts[0].names) else ()  # what the user watches is no command
    commands = [column for column in command_columns(parts) if column not in chosen]
    channels = [column for column in numeric if column not in commands]
    if len(commands) >= max(_MIN_COMMANDS, len(channels)) and channels and not textual:
        return DataKind("telemetry", f"{len(commands)} columns hold commands, 0 or 1")
    if len(channels) < 2 or textual:
        return DataKind("series", "one channel is watched" if not textual else "categories are watched")
    longest = max(parts, key=len).numbers[:, channels]
    if has_rhythm(longest):
        return DataKind("series", "the channels have a rhythm")
    if np.mean(drifting(longest)) >= _DRIFT:
        return DataKind("series", "the channels' levels drift")
    return DataKind("sensors", "several channels without a rhythm keep their levels")


# ---- records


def _reason_for_records(parts: Sequence[Series], numeric: Sequence[int], textual: Sequence[int]) -> str:
    """Why the rows are records without order; "" where they are series."""
    if _regular_times(parts) or sum(map(len, parts)) < 100:
        return ""
    numbers = [_number_dependence(parts, column) for column in numeric]
    words = [_word_dependence(parts, column) for column in textual]
    known = [value for value in (*numbers, *words) if value is not None]
    if not known:
        return ""
    median, largest = float(np.median(known)), float(np.max(known))
    if textual:
        mixed = len(numeric) + len(textual) > 1 and median < _MIXED_ORDER
        return f"rows with categories hardly depend on the row before ({median:.2f})" if mixed else ""
    plain = len(numeric) >= _MIN_COLUMNS and largest < _NUMBER_ORDER
    return f"rows do not depend on the row before ({largest:.2f} at most)" if plain else ""


def _regular_times(parts: Sequence[Series]) -> bool:
    """Whether the times of most series go on in equal steps."""
    regular = []
    for series in parts:
        if series.moments is None:
            return False
        steps = np.diff(series.moments)
        if len(steps) > 2:
            _, counts = np.unique(steps, return_counts=True)
            regular.append(float(counts.max() / len(steps)))
    return bool(regular) and float(np.median(regular)) >= _REGULAR


def _number_dependence(parts: Sequence[Series], column: int) -> float | None:
    """Absolute rank correlation of a column with its last value, within series; None for a constant."""
    before, after = [], []
    for series in parts:
        values = series.numbers[:, column]
        values = values[~np.isnan(values)]
        if len(values) < 3:
            continue
        ranks = np.argsort(np.argsort(values + 0.0, kind="stable"), kind="stable").astype(float)
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks = (np.bincount(inverse, ranks) / counts)[inverse]
        ranks = (ranks - ranks.mean()) / len(ranks)
        before.append(ranks[:-1])
        after.append(ranks[1:])
    if not before:
        return None
    first, second = np.concatenate(before), np.concatenate(after)
    scale = np.sqrt((first**2).mean() * (second**2).mean())
    return None if scale < 1e-6 else float(abs((first * second).mean() / scale))


def _word_dependence(parts: Sequence[Series], column: int) -> float | None:
    """Bias-corrected Cramer's V of a column and its last value, within series; None for a constant.

    Bergsma, "A bias-correction for Cramer's V and Tschuprow's T" (2013). Expected counts of pairs come from
    the frequencies within each series, so that entities with habits of their own show no dependence.
    """
    words = [series.words[:, column].astype(str) for series in parts if len(series) > 1]
    if not words:
        return None
    values, indices = np.unique(np.concatenate(words), return_inverse=True)
    size, rows = len(values), sum(len(part) - 1 for part in words)
    if size < 2:
        return None
    counts, expected, freedom = np.zeros((size, size)), np.zeros((size, size)), 0
    for codes in np.split(indices, np.cumsum([len(part) for part in words])[:-1]):
        np.add.at(counts, (codes[:-1], codes[1:]), 1.0)
        before, after = (np.bincount(part, minlength=size) for part in (codes[:-1], codes[1:]))
        expected += np.outer(before, after) / (len(codes) - 1)
        freedom += (len(np.unique(codes)) - 1) ** 2
    square = float(((counts - expected) ** 2 / np.where(expected > 0, expected, 1.0)).sum())
    corrected = max(0.0, square - freedom) / rows
    return float(np.sqrt(corrected / (size - 1)))


# ---- telemetry


def command_columns(parts: Sequence[Series]) -> list[int]:
    """Positions of the columns of numbers that hold nothing but 0 and 1."""
    commands = []
    for column in range(len(parts[0].names)):
        values = np.concatenate([np.unique(series.numbers[:, column]) for series in parts])
        if set(values[~np.isnan(values)].tolist()) <= {0.0, 1.0}:
            commands.append(column)
    return commands


# ---- series or sensors


def has_rhythm(values: np.ndarray) -> bool:
    """Whether at least half of the channels (T, C) repeat themselves after a period.

    The period is the lag with the highest autocorrelation after the first dip in the first half. The second
    half must be correlated with itself at this lag, too.
    """
    return float(np.mean([_repeats(values[:, column]) for column in range(values.shape[1])])) >= 0.5


def _repeats(values: np.ndarray) -> bool:
    values = _filled(values)
    half = len(values) // 2
    first, second = _detrended(values[:half]), _detrended(values[half:])
    if half < _MIN_CYCLES * _MIN_PERIOD or first.std() < 1e-9 or second.std() < 1e-9:
        return False
    correlation = _autocorrelation(first, 2 * half // _MIN_CYCLES)
    dips = np.flatnonzero(correlation < 0.1)
    if not len(dips) or dips[0] + 1 >= len(correlation):
        return False
    start = max(int(dips[0]), _MIN_PERIOD)
    if start >= len(correlation):
        return False
    period = start + int(correlation[start:].argmax())
    if correlation[period] < _RHYTHM:
        return False
    later = _autocorrelation(second, min(period + 1 + period // 10, half - 2))
    return float(later[period - period // 10 - 1 :].max(initial=-1.0)) >= 0.8 * _RHYTHM


def _autocorrelation(values: np.ndarray, lags: int) -> np.ndarray:
    """(lags + 1,) correlation of values with themselves at each lag, by the fast Fourier transform."""
    spectrum = np.fft.rfft(values, 2 * len(values))
    sums = np.fft.irfft(spectrum * spectrum.conj())[: min(lags + 1, len(values) - 1)]
    counts = len(values) - np.arange(len(sums))
    return (sums / counts) / max(sums[0] / len(values), 1e-12)


def _detrended(values: np.ndarray) -> np.ndarray:
    steps = np.arange(len(values)) - (len(values) - 1) / 2
    slope = (steps * values).sum() / max((steps**2).sum(), 1.0)
    return values - values.mean() - slope * steps


def _filled(values: np.ndarray) -> np.ndarray:
    missing = np.isnan(values)
    return np.zeros_like(values) if missing.all() else np.where(missing, np.median(values[~missing]), values)


def drifting(values: np.ndarray, blocks: int = 8) -> np.ndarray:
    """(C,) bool, True for channels (T, C) whose level wanders ever farther.

    Block means are compared with those of the next block and of blocks half the data away. The level drifts
    where the squared distance over the long way is twice that over the short one, and larger than what the
    spread within blocks explains.
    """
    filled = np.stack([_filled(values[:, column]) for column in range(values.shape[1])], 1)
    parts = np.array_split(filled, blocks)
    means = np.stack([part.mean(0) for part in parts])
    near = ((means[1:] - means[:-1]) ** 2).mean(0)
    far = ((means[blocks // 2 :] - means[: -(blocks // 2)]) ** 2).mean(0)
    within = np.mean([part.var(0) for part in parts], 0)
    return (far > 2.0 * near) & (far > within)
