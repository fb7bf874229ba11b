"""Keeps the past of every user: the items of all events so far, which later events follow."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import polars as pl
import torch
from typing_extensions import Self

from longspan.data.timestamps import TimeForm

from .events import Events
from .vocabulary import Ids, text_of


class Histories:
    """The events of U users so far, those of one user in a row.

    Args:
        users: their ids.
        starts: (U + 1,); items: (N,) int32, the items' numbers in the vocabulary.
        context: (N, C) float32, as the network reads it; C may be 0.
        times: (U,) int64, of each user's last event; None where there are no times.
        form: of the times.
    """

    def __init__(
        self,
        users: Ids,
        starts: np.ndarray,
        items: np.ndarray,
        context: np.ndarray,
        times: np.ndarray | None,
        form: TimeForm | None,
    ) -> None:
        self.users, self.starts, self.items, self.context = users, starts, items, context
        self.times, self.form = times, form
        self._new_users: list[Any] = []
        self._new_numbers: dict[Any, int] = {}
        self._added: dict[int, list[tuple[int, np.ndarray]]] = {}

    @classmethod
    def of(cls, events: Events, items: np.ndarray, context: np.ndarray) -> Histories:
        """The past that events are; items, context: as the network reads them."""
        if events.users is None:
            return cls.none(events.names[0], context.shape[1])
        return cls(Ids(events.users), events.starts, items, context, events.last, events.form)

    @classmethod
    def none(cls, name: str, width: int) -> Histories:
        """Without a user; name: of the column of users; width: C."""
        ids = Ids(pl.Series(name, [], pl.String))
        empty = np.zeros((0, width), np.float32)
        return cls(ids, np.zeros(1, np.int64), np.zeros(0, np.int32), empty, None, None)

    def number(self, user: Any) -> int:
        """The number of a user, -1 for one without events."""
        number = self.users.number(user)
        return number if number >= 0 else self._new_numbers.get(text_of(user), -1)

    def past(self, user: int) -> tuple[np.ndarray, np.ndarray]:
        """The items (T,) and the context (T, C) of a user's events so far."""
        rows = slice(0, 0)
        if user < len(self.starts) - 1:
            rows = slice(int(self.starts[user]), int(self.starts[user + 1]))
        items, context = self.items[rows], self.context[rows]
        added = self._added.get(user)
        if added is None:
            return items, context
        numbers = np.array([item for item, _ in added], dtype=np.int32)
        return np.concatenate([items, numbers]), np.concatenate([context, np.stack([c for _, c in added])])

    def add(self, user: Any, item: int, context: np.ndarray) -> int:
        """Add an event at the end of a user's past; returns the user's number."""
        number = self.number(user)
        if number < 0:
            number = len(self.users) + len(self._new_users)
            self._new_users.append(user)
            self._new_numbers[text_of(user)] = number
        self._added.setdefault(number, []).append((item, context))
        return number

    def settle(self) -> None:
        """Bring the events that were added into the arrays."""
        if not self._added:
            return
        counts = np.concatenate([np.diff(self.starts), np.zeros(len(self._new_users), np.int64)])
        ends = np.concatenate([self.starts[1:], np.full(len(self._new_users), len(self.items))])
        rows = [(ends[user], item, context) for user, added in sorted(self._added.items())
                for item, context in added]  # fmt: skip
        for user, added in self._added.items():
            counts[user] += len(added)
        where = np.array([row[0] for row in rows])
        self.items = np.insert(self.items, where, np.array([row[1] for row in rows], np.int32))
        self.context = np.insert(self.context, where, np.stack([row[2] for row in rows]), axis=0)
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        if self._new_users:
            self.users.add(self._new_users)
            if self.times is not None:
                least = np.full(len(self._new_users), np.iinfo(np.int64).min)
                self.times = np.concatenate([self.times, least])
        self._new_users, self._new_numbers, self._added = [], {}, {}

    def later(self, events: Events, items: np.ndarray, users: np.ndarray) -> np.ndarray:
        """(N,) bool: whether an event is none of its user's past.

        An event before the user's last one is of the past. One at the same time is, if it has an item of the
        past.

        Args:
            items: (N,) the numbers of the events' items; users: (U,) the numbers of the events' users, -1 for
                new ones.
        """
        later = np.ones(len(items), bool)
        if self.times is None or events.time is None:
            return later
        number = np.repeat(users, events.lengths)
        last = np.where(number >= 0, self.times[np.maximum(number, 0)], np.iinfo(np.int64).min)
        later[events.time < last] = False
        for row in np.flatnonzero((events.time == last) & (number >= 0)).tolist():
            later[row] = items[row] not in self.past(int(number[row]))[0]
        return later

    def state(self) -> Any:
        """Plain values and tensors."""
        self.settle()
        return {
            "users": self.users.state(),
            "starts": torch.from_numpy(self.starts),
            "items": _as_tensor(self.items),
            "context": torch.from_numpy(self.context),
            "times": None if self.times is None else _as_tensor(self.times),
            "form": None if self.form is None else self.form.state(),
        }

    @classmethod
    def restore(cls, state: Any) -> Self:
        """The histories whose `state` this is."""
        return cls(
            Ids.restore(state["users"]),
            state["starts"].numpy(),
            state["items"].numpy(),
            state["context"].numpy(),
            None if state["times"] is None else state["times"].numpy(),
            None if state["form"] is None else TimeForm.from_state(state["form"]),
        )


def _as_tensor(array: np.ndarray) -> torch.Tensor:
    """An array to be read, without a copy; PyTorch warns of those in files, which may not be written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
