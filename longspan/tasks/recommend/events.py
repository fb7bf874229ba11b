"""Holds the events of users (clicks, purchases, plays), a user's events in a row and in the order of time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import polars as pl

from longspan import errors
from longspan.data.splits import rows_of_fraction
from longspan.data.stored_rows import blocks, computed
from longspan.data.timestamps import TimeForm

HOLDOUTS = ("leave-one-out", "time", "users")
_MOST_VALIDATION = 10_000  # events held out at most, by leave-one-out and by users
_FEWEST = 3  # events of a user from whom the last one is held out


@dataclass(frozen=True)
class Events:
    """N events of U users with V different items.

    users: (U,) the users' ids, in the order in which they appear; None for sequences without names.
    items: (V,) the items' ids, in the order in which they appear.
    starts: (U + 1,) int64; the events of user u are the rows from starts[u] to starts[u + 1].
    item: (N,) int32, the index in `items` of each event's item.
    time: (N,) int64 microseconds or numbers, see `longspan.data.timestamps.Times`; None for order alone.
    last: (U,) the time of each user's last event; None without times.
    form: of the times, None without.
    context: N rows, the columns that describe events; None without.
    attributes: a row for every item with values of its own: the id and its attributes; None without.
    names: of the columns of users and items, as answers have them.
    targets: whether each event is to be predicted by those before it.
    kind: the library of the source, which is that of the answers.
    """

    users: pl.Series | None
    items: pl.Series
    starts: np.ndarray
    item: np.ndarray
    time: np.ndarray | None = None
    last: np.ndarray | None = None
    form: TimeForm | None = None
    context: pl.DataFrame | None = None
    attributes: pl.DataFrame | None = None
    names: tuple[str, str] = ("user", "item")
    targets: bool = True
    kind: str = "file"

    @property
    def lengths(self) -> np.ndarray:
        """(U,) the number of each user's events."""
        return np.diff(self.starts)

    @property
    def user(self) -> np.ndarray:
        """(N,) int32, the number of each event's user."""
        return np.repeat(np.arange(len(self.lengths), dtype=np.int32), self.lengths)

    def subset(self, keep: np.ndarray, *, times: bool = True) -> Events:
        """The events where `keep` (N,) bool is True, of the users that have some.

        Args:
            times: whether the subset has the time of every event; `last` it has in any case.
        """
        until, last_rows = _kept(keep, self.starts[1:])
        counts = np.diff(until, prepend=0)
        present = counts > 0
        rows = pl.Series(present)
        return replace(
            self,
            users=None if self.users is None else self.users.filter(rows),
            starts=np.concatenate([[0], np.cumsum(counts[present])]).astype(np.int64),
            item=computed(_chosen, self.item, keep),
            time=computed(_chosen, self.time, keep) if times and self.time is not None else None,
            last=None if self.time is None else self.time[last_rows[present]],
            context=None if self.context is None else self.context.filter(pl.Series(keep)),
        )


def _chosen(rows: np.ndarray, keep: np.ndarray) -> np.ndarray:
    return rows[keep]


def _kept(keep: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many rows are kept before each of some rows, and the last one of them, -1 for none.

    Args:
        keep: (N,) bool; ends: (U,) rows from 0 to N, in their order.
    """
    count, last = np.empty(len(ends), np.int64), np.empty(len(ends), np.int64)
    total, latest = 0, -1
    for part in blocks(len(keep) + 1):
        kept = np.flatnonzero(keep[part]) + part.start
        at = slice(*np.searchsorted(ends, (part.start, part.stop)).tolist())
        until = np.searchsorted(kept, ends[at])
        count[at] = total + until
        last[at] = np.concatenate([[latest], kept])[until]
        total, latest = total + len(kept), int(kept[-1]) if len(kept) else latest
    return count, last


def hold_out(events: Events, fraction: float, holdout: str | None, seed: int) -> tuple[Events, Events | None]:
    """Events to train on and later ones to validate on, None for none.

    Those to train on keep their order alone, which takes less memory than their times.

    Args:
        fraction: of the users whose last event is held out, of the events that are the latest, or of the
            users that appear last.
        holdout: one of HOLDOUTS, None to find it: "users" for sessions, else "leave-one-out".
        seed: of the random choice of users.
    """
    holdout = holdout or ("users" if is_sessions(events) else "leave-one-out")
    if holdout == "time" and events.time is None:
        way_out = "name the column of the times, or choose another one"
        raise errors.value_error("holdout", "leave-one-out or users, without times", "'time'", way_out)
    if not fraction:
        return events, None
    held_out = _HOLD_OUT[holdout](events, fraction, seed)
    if not held_out.any() or held_out.all():
        errors.notice("There are too few events to hold some out: all are trained on.")
        return events, None
    valid = events.subset(held_out)
    return events.subset(np.logical_not(held_out, out=held_out), times=False), valid


def is_sessions(events: Events) -> bool:
    """Whether the users are sessions that end, by the name of their column, and do not come again."""
    return events.users is None or "sess" in events.names[0].lower() or "visit" in events.names[0].lower()


def _last_events(events: Events, fraction: float, seed: int) -> np.ndarray:
    """The last event of some users, drawn at random, who have events left, but for repetitions."""
    users = np.flatnonzero(events.lengths >= _FEWEST)
    count = min(_MOST_VALIDATION, rows_of_fraction(len(users), fraction))
    drawn = np.random.default_rng(seed).permutation(users).tolist()
    chosen = np.array([*islice((user for user in drawn if not _repeats(events, user)), count)], np.int64)
    held_out = np.zeros(len(events.item), bool)
    held_out[events.starts[chosen + 1] - 1] = True
    return held_out


def _repeats(events: Events, user: int) -> bool:
    """Whether a user's last event has the time of the one before it and an item of the user's past."""
    begin, last = events.starts[user], events.starts[user + 1] - 1
    same_time = events.time is not None and events.time[last] == events.time[last - 1]
    return bool(same_time) and events.item[last] in events.item[begin:last]


def _latest_events(events: Events, fraction: float, seed: int) -> np.ndarray:
    """All events after a moment."""
    times = np.zeros(0, np.int64) if events.time is None else events.time
    count = rows_of_fraction(len(times), fraction)
    if not count:
        return np.zeros(len(times), bool)
    low, high = int(times.min()), int(times.max())
    while low < high:  # the earliest moment after which there are at most `count` events
        middle = (low + high) // 2
        later = sum(np.count_nonzero(times[part] > middle) for part in blocks(len(times)))
        low, high = (low, middle) if later <= count else (middle + 1, high)
    return times > low


def _last_users(events: Events, fraction: float, seed: int) -> np.ndarray:
    """All events of the users that begin last, or that appear last where there are no times."""
    users, lengths = len(events.lengths), events.lengths
    begins = np.arange(users) if events.time is None else events.time[events.starts[:-1]]
    order = np.argsort(begins, kind="stable")
    most = np.searchsorted(np.cumsum(lengths[order[::-1]]), _MOST_VALIDATION, side="right")
    chosen = np.zeros(users, bool)
    chosen[order[users - min(max(1, int(most)), rows_of_fraction(users, fraction)) :]] = True
    return np.repeat(chosen, lengths)


_HOLD_OUT = {"leave-one-out": _last_events, "time": _latest_events, "users": _last_users}
