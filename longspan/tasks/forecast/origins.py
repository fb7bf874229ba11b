"""Chooses forecast origins: for training, validation, evaluation, back-tests and the next forecast."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np

from longspan import errors
from longspan.data.frequency import Frequency
from longspan.data.timestamps import from_wall, parse_timestamp, to_wall

from .dependence import Dependence, independent_share
from .panel import Origins, Panel
from .windows import every_origin, subsample

MANY_SERIES = 10  # from this number on, series count as many: together they have enough windows


def check_length(panel: Panel, horizon: int, context: int | None) -> None:
    """Refuse series that are all too short to train on, and notice how many are.

    Raises:
        ValueError: the sentence has the largest horizon that works.
    """
    lengths = panel.last_seen() - panel.starts[:-1]
    longest = int(lengths.max())
    needed = horizon + (horizon if context is None else context) + 1
    if longest >= needed:
        short = int((lengths < horizon + 2).sum())
        if short:
            are, left_out = ("is", "it is") if short == 1 else ("are", "they are")
            errors.notice(
                f"{short} series {are} too short to learn a horizon of {horizon} from; {left_out} left out."
            )
        return
    works = (longest - 1) // 2 if context is None else longest - context - 1
    expected = f"at least {needed} rows for a horizon of {horizon}"
    if context is not None:
        expected += f" and a context of {context}"
    way_out = f"the largest horizon that works is {works}" if works > 0 else "pass more rows"
    raise errors.value_error("source", expected, f"{longest}", way_out)


def check_future(origins: Origins, horizon: int) -> None:
    """Refuse origins whose future covariates end before the horizon does.

    Raises:
        ValueError: the sentence names the first series that is too short.
    """
    panel, rows = origins
    if not panel.columns.future or not len(rows):
        return
    series = origins.series
    left = panel.starts[series + 1] - rows
    if left.min() < horizon:
        short = int(left.argmin())
        name = panel.ids[series[short]]
        where = f" of series {name!r}" if name else ""
        expected = f"{', '.join(panel.columns.future)} for the {horizon} steps to forecast{where}"
        received = f"{max(int(left[short]), 0)} steps"
        raise errors.value_error(
            "future_covariates", expected, received, "append rows with these columns, the target left empty"
        )


def known_ends(panel: Panel) -> np.ndarray:
    """For each series with a known target the row after the last such row; notice how many have none.

    Raises:
        ValueError: no series has one.
    """
    rows = panel.last_seen()
    known = rows > panel.starts[:-1]
    if known.all():
        return rows
    if not known.any():
        received = "none" if len(known) == 1 else f"none in {len(known)} series"
        raise errors.value_error("source", "a known value of the target", received, "pass earlier rows too")
    name, more = panel.ids[int(known.argmin())], int((~known).sum()) - 1
    of = f"{name!r} and {more} more have" if more else f"{name!r} has"
    errors.notice(f"Series {of} no known value of the target and cannot be forecast.")
    return rows[known]


def note_unknown_targets(origins: Origins) -> None:
    """Say which targets of several have no known value in a series before its origin."""
    panel, rows = origins
    series, unknown = origins.series, list[tuple[int, int]]()
    for place, channel in np.argwhere(np.isnan(panel.values[rows - 1])).tolist():
        number = int(series[place])
        if np.isnan(panel.values[panel.starts[number] : rows[place], channel]).all():
            unknown.append((number, channel))
    if not unknown:
        return
    name, target = panel.ids[unknown[0][0]], panel.columns.target[unknown[0][1]]
    of = f" in series {name!r}" if name else ""
    more = f" (and {len(unknown) - 1} more cases)" if len(unknown) > 1 else ""
    errors.notice(f"Target {target} has no known value{of}{more}; forecasts of it there mean little.")


def last_origins(panel: Panel, horizon: int) -> Origins:
    """One origin for each series, after its last target; a horizon earlier if future covariates need it.

    Series without a known target are left out, unless there is only one series.
    """
    rows, starts = panel.last_seen(), panel.starts[:-1]
    known = (rows > starts) | (len(starts) == 1)
    if panel.columns.future and (panel.starts[1:] - rows)[known].min() < horizon:
        rows = np.maximum(rows - horizon, starts + 1)
    return Origins(panel, rows[known])


def hold_out(records: Origins, share: float, horizon: int, most: int) -> tuple[Origins, Origins | None]:
    """Training origins, and validation origins: those in the last share of every series.

    The horizons of the training origins end before the validation part begins.

    Args:
        share: of a series' rows; three horizons at least, where that is at most a third of its rows.
        most: validation windows at most.

    Returns:
        None in place of the validation origins where the series are too short for a validation part.
    """
    panel, rows = records
    ends = panel.last_seen()
    lengths = ends - panel.starts[:-1]
    validation_rows = np.maximum(
        np.round(lengths * share).astype(np.int64), np.where(9 * horizon <= lengths, 3 * horizon, horizon)
    )
    border = (ends - validation_rows)[records.series]
    valid, train = rows[rows >= border], rows[rows + horizon <= border]
    if share == 0 or len(train) < max(4, horizon) or not len(valid):
        if share:
            errors.notice(
                f"The series are too short to hold rows out for {horizon} steps, so nothing calibrates the "
                "intervals, mostly too narrow; pass more rows, validation_data or a shorter horizon."
            )
        return records, None
    return Origins(panel, train), Origins(panel, subsample(valid, max(1, most // panel.values.shape[1])))


def earlier_splits(train: Origins, valid: Origins, horizon: int, most: int) -> list[tuple[Origins, Origins]]:
    """Splits of the training origins, each with its validation part one part earlier than the one before.

    A split has the same number of validation rows in every series as `valid`, and at least a third of the
    training origins.

    Args:
        train, valid: of one panel.
        most: splits at most.
    """
    panel, series = train.panel, train.series
    low = np.full(len(panel.ids), len(panel.values))
    high = np.full(len(panel.ids), -1)
    np.minimum.at(low, valid.series, valid.rows)
    np.maximum.at(high, valid.series, valid.rows)
    length = np.where(high >= 0, high - low + horizon, 0)
    splits = []
    for back in range(1, most + 1):
        begin = (low - back * length)[series]
        is_valid = (train.rows >= begin) & (train.rows + horizon <= begin + length[series])
        earlier, later = train.rows[train.rows + horizon <= begin], train.rows[is_valid]
        if not len(later) or len(earlier) < max(4, horizon, len(train.rows) // 3):
            break
        splits.append((Origins(panel, earlier), Origins(panel, later)))
    return splits


def with_full_context(records: Origins, before: int) -> Origins:
    """The origins with `before` rows before them; all origins if that leaves less than a quarter or 32."""
    panel, rows = records
    with_context = rows[rows - panel.starts[records.series] >= before]
    return Origins(panel, with_context) if len(with_context) >= max(32, len(rows) // 4) else records


def evaluation_origins(
    panel: Panel,
    before: int,
    horizon: int,
    *,
    begins: np.ndarray | None,
    seen: Mapping[str, int] | None,
    most: int,
) -> Origins:
    """Every origin with a whole horizon after it, and with `before` rows before it if any has them.

    Args:
        before: rows that a whole window needs.
        begins: (S,), the first row of each series that is evaluated; None for its beginning.
        seen: series -> the step after its last row in fit; earlier origins are left out, unless all are.
        most: windows at most.

    Raises:
        ValueError: every series is too short.
    """
    rows = every_origin(panel, before, horizon)
    if begins is not None:
        rows = rows[rows >= begins[Origins(panel, rows).series]]
    if seen is not None and panel.columns.time and len(rows):
        rows = _fresh(Origins(panel, rows), seen)
    if not len(rows):
        rows = every_origin(panel, 1, horizon)
    if not len(rows):
        longest = int(np.diff(panel.starts).max())
        expected = f"at least {horizon + 1} rows of a series, one and the horizon"
        raise errors.value_error("source", expected, f"{longest} rows", "pass more rows")
    return Origins(panel, subsample(rows, max(1, most // panel.values.shape[1])))


def _fresh(origins: Origins, seen: Mapping[str, int]) -> np.ndarray:
    """The origins after the rows of fit; all origins, with a notice, where there are none."""
    panel, rows = origins
    ends = np.array([seen.get(name, np.iinfo(np.int64).min) for name in panel.ids])
    fresh = rows[panel.steps(rows, origins.series) >= ends[origins.series]]
    if len(fresh):
        return fresh
    errors.notice("All rows were there in fit, so these scores flatter the model; evaluate on later rows.")
    return rows


def end_times(origins: Origins) -> dict[str, int]:
    """The whole step of the first origin of every series."""
    panel, rows = origins
    series, first = np.unique(origins.series, return_index=True)  # rows rise within a series
    steps = panel.steps(rows[first], series)
    return {panel.ids[s]: int(step) for s, step in zip(series, steps, strict=True)}


def independent_windows(origins: Origins, horizon: int, dependence: Dependence | None = None) -> np.ndarray:
    """The number of windows that count as independent, at each step ahead, (H,).

    Where the dependence of errors is not known, windows count whose first h steps do not overlap, S series
    count as the square root of S, and C channels as the fourth root of C.
    """
    panel, rows = origins
    low = np.full(len(panel.ids), len(panel.values) + 1)
    high = np.full(len(panel.ids), -1)
    np.minimum.at(low, origins.series, rows)
    np.maximum.at(high, origins.series, rows)
    has_origins = high >= 0
    memory = np.arange(1, horizon + 1) if dependence is None else dependence.memory
    blocks = 1 + (high - low)[has_origins][:, None] / memory
    count, channels = int(has_origins.sum()), panel.values.shape[1]
    if dependence is None or dependence.correlation is None:
        return blocks.mean(0) * count**0.5 * channels**0.25
    return blocks.mean(0) * independent_share(count * channels, dependence.correlation)


def rolling(panel: Panel, start: Any, stride: int, horizon: int) -> Origins:
    """Every `stride`-th origin with a whole horizon after it.

    Args:
        start: the first row or time to forecast; a row below 0 counts from each series' end.

    Raises:
        ValueError, TypeError: the start cannot be read, or less than a horizon of rows follows it.
    """
    stride = errors.check_int("stride", stride, 1, "give the rows from one origin to the next")
    spans = [
        np.arange(max(first, begin + 1), end - horizon + 1, stride)
        for first, begin, end in zip(
            _rows_at(panel, start), panel.starts[:-1], panel.last_seen(), strict=True
        )
    ]
    rows = np.concatenate(spans).astype(np.int64)
    if not len(rows):
        expected = f"a row or time with {horizon} rows from it on"
        raise errors.value_error("start", expected, repr(start), "start earlier")
    return Origins(panel, rows)


def _rows_at(panel: Panel, start: Any) -> np.ndarray:
    """(S,): the row of every series at a row number or time; the next row if the time has none."""
    if isinstance(start, (int, np.integer)) and not isinstance(start, bool):
        return (panel.starts[:-1] if start >= 0 else panel.last_seen()) + int(start)
    if not panel.frequency.dated:
        raise errors.type_error("start", "a row number, since the data have no dates", start, "pass one")
    series = np.arange(len(panel.ids))
    time = np.full(len(panel.ids), _moment(start, panel.frequency))
    steps = panel.frequencies.steps(time, series)
    is_on_grid = panel.frequencies.times(steps, series) == time
    return panel.starts[:-1] + steps + np.where(is_on_grid, 0, 1) - panel.first


def _moment(start: Any, frequency: Frequency) -> int:
    """A time in microseconds, as the frequency counts steps; without a zone it is in the data's zone."""
    try:
        text = str(parse_timestamp(str(start) if isinstance(start, date) else start))
        moment = int(np.datetime64(text.removesuffix("+00:00"), "us").astype(np.int64))
    except ValueError as error:
        raise errors.value_error(
            "start", "a row number or a time", repr(start), "such as '2024-01-31 18:00'"
        ) from error
    if frequency.zone is None or text.endswith("+00:00") != frequency.wall:
        return moment
    convert = to_wall if frequency.wall else from_wall
    return int(convert(np.array([moment]), frequency.zone)[0])
