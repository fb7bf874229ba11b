"""Reads single points in time: numbers, dates and date-times, brought into one form that can be compared."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import numpy as np

from longspan import errors


def parse_timestamp(when: Any) -> int | float | str | None:
    """A time as a number, or as text in the order of time where it is a date and a time.

    >>> parse_timestamp("2024-01-01T10:00:00"), parse_timestamp(datetime(2024, 1, 1, 10)), parse_timestamp(7)
    ('2024-01-01 10:00:00', '2024-01-01 10:00:00', 7)

    Raises:
        ValueError: it is text that is neither; one sentence.
    """
    if isinstance(when, np.generic):
        when = when.item()
    if isinstance(when, str):
        try:
            when = datetime.fromisoformat(when)
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
