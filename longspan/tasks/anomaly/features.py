"""Knows how readings of numbers and categories become a network's inputs and targets, one or a series."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from typing_extensions import Self

from longspan import errors
from longspan.data.batches import Batch, Batches
from longspan.data.timestamps import TimeForm

from .reading import Series

SKIPPED = 5  # steps at a window's beginning that are not learnt from, for lack of a past
MOST_WINDOWS = 4096  # an epoch
MOST = 50  # categories of a column that are told apart; the rarer ones are one


class FeatureEncoder:
    """Numbers and categories of readings to a network's inputs and targets.

    Args:
        target: the columns that are watched, () for all.
        numbers_only: why categories cannot be watched, "" where they can.

    Attributes:
        names, categories: the columns of numbers and of categories, in their order.
        center, scale: of every number; its scaled value is asinh((value - center) / scale).
        values: of every category, those told apart; place 0 stands for all others.
        numeric, textual: places of the watched ones among them; causes: the watched columns.

    Inputs of a reading (I): for every number its scaled value, the change since the reading before where it
    is watched, and whether it is missing; for every category one of its values. Targets (W): the scaled
    numbers, then the places of the categories, of the watched columns; NaN where missing.
    """

    def __init__(self, target: Sequence[str], numbers_only: str = "") -> None:
        self.target, self.numbers_only = tuple(target), numbers_only
        self.names: tuple[str, ...] = ()
        self.categories: tuple[str, ...] = ()
        self.center: list[float] = []
        self.scale: list[float] = []
        self.values: list[list[str]] = []
        self.form: TimeForm | None = None  # of the times

    def fit(self, records: Sequence[Series]) -> Self:
        """Learn columns, scales and categories.

        Raises:
            ValueError: there is nothing to watch or to learn from; one sentence.
        """
        self.names, self.categories = records[0].names, records[0].categories
        self.form = records[0].form
        if not self.names and not self.categories:
            raise errors.value_error(
                "source", "at least one column to watch", "none", "add the readings' columns"
            )
        if all(one.known.all() for one in records):
            expected = "readings that are no known anomaly, to learn from"
            raise errors.value_error("flags", expected, "none", "correct the flags, or leave them out")
        records = [self.aligned(one) for one in records]
        plain = np.concatenate([one.numbers for one in records])
        for place, name in enumerate(self.names):
            center, scale = _spread(plain[:, place], name)
            self.center.append(center)
            self.scale.append(scale)
        text = np.concatenate([one.words for one in records])
        for place in range(len(self.categories)):
            self.values.append([value for value, _ in Counter(text[:, place].tolist()).most_common(MOST)])
        self._check_target()
        self._prepare()
        return self

    def _check_target(self) -> None:
        known = self._watchable()
        unknown = [one for one in self.target if one not in known]
        if unknown:
            which = f"columns of numbers, {self.numbers_only}," if self.numbers_only else "columns"
            expected = f"of the {which} {', '.join(known)}"
            raise errors.value_error("target", expected, unknown[0], errors.did_you_mean(unknown[0], known))

    def _watchable(self) -> tuple[str, ...]:
        return self.names if self.numbers_only else (*self.names, *self.categories)

    def _prepare(self) -> None:
        watched = self.target or self._watchable()
        self.numeric = [place for place, name in enumerate(self.names) if name in watched]
        self.textual = [place for place, name in enumerate(self.categories) if name in watched]
        self.watched = frozenset(self.numeric)
        self.places = [{value: at + 1 for at, value in enumerate(values)} for values in self.values]
        self.monitored = [self.names[at] for at in self.numeric] + [
            self.categories[at] for at in self.textual
        ]

    @property
    def sizes(self) -> dict[str, Any]:
        """Inputs I, watched numbers, and how many values each watched category has."""
        many = [len(values) + 1 for values in self.values]
        inputs = 2 * len(self.names) + len(self.numeric) + sum(many)
        watched = [many[place] for place in self.textual]
        return {"inputs": inputs, "numbers": len(self.numeric), "categories": watched}

    @property
    def spreads(self) -> list[float]:
        """The scales of the watched numbers."""
        return [self.scale[place] for place in self.numeric]

    def aligned(self, one: Series) -> Series:
        """The series with the columns that fit had, in that order.

        Raises:
            ValueError: one is not there, or holds text where it held numbers; one sentence.
        """
        if (one.names, one.categories) == (self.names, self.categories):
            return one
        there, wanted = (*one.names, *one.categories), (*self.names, *self.categories)
        for name in wanted:
            if name not in there:
                received = ", ".join(there) or "none"
                raise errors.value_error("source", f"the column {name} that fit had", received, "add it")
        numbers = np.full((len(one), len(self.names)), np.nan)
        for place, name in enumerate(self.names):
            if name in one.names:
                numbers[:, place] = one.numbers[:, one.names.index(name)]
            elif (one.words[:, one.categories.index(name)] != "").any():
                held = max(one.words[:, one.categories.index(name)], key=bool)
                way_out = "correct it or leave it empty"
                raise errors.value_error(f"column {name}", "numbers, as in fit", repr(held), way_out)
        words = np.empty((len(one), len(self.categories)), dtype=object)
        for place, name in enumerate(self.categories):
            if name in one.categories:
                words[:, place] = one.words[:, one.categories.index(name)]
            else:  # a file's column of categories that all look like numbers
                words[:, place] = [_word(value) for value in one.numbers[:, one.names.index(name)].tolist()]
        return replace(one, names=self.names, numbers=numbers, categories=self.categories, words=words)

    def warn_unknown_columns(self, one: Series) -> None:
        """Say which columns of a series fit did not have."""
        known = (*self.names, *self.categories)
        more = [name for name in (*one.names, *one.categories) if name not in known]
        if more:
            errors.notice(f"Left out, since fit did not have them: {', '.join(more)}.")

    # ---- inputs and targets

    def start(self) -> list[float]:
        """The scaled numbers last seen (N,), before the first reading."""
        return [math.nan] * len(self.names)

    def encode_row(
        self, numbers: Sequence[float], words: Sequence[str], before: list[float]
    ) -> tuple[list[float], list[Any]]:
        """Inputs and targets of one reading; `before` holds the scaled numbers last seen and is kept up."""
        row: list[float] = []
        seen: list[Any] = []
        for place, value in enumerate(numbers):
            last = before[place]
            missing = value != value
            if not missing:
                now = math.asinh((value - self.center[place]) / self.scale[place])
            else:
                now = last if last == last else 0.0
            seen.append(math.nan if missing else now)
            if place in self.watched:
                row += (now, now - last if last == last else 0.0, 1.0 if missing else 0.0)
            else:
                row += (now, 1.0 if missing else 0.0)
            before[place] = now
        targets = [seen[place] for place in self.numeric]
        if not self.places:
            return row, targets
        found = [places.get(word, 0) for places, word in zip(self.places, words, strict=True)]
        for places, at in zip(self.places, found, strict=True):
            row += [1.0 if at == other else 0.0 for other in range(len(places) + 1)]
        return row, targets + [found[place] for place in self.textual]

    def encode(self, one: Series) -> tuple[np.ndarray, np.ndarray, list[float]]:
        """Inputs (T, I) and targets (T, W) of a series, float32, and the scaled numbers last seen."""
        one, before = self.aligned(one), self.start()
        rows = [
            self.encode_row(a, b, before)
            for a, b in zip(one.numbers.tolist(), one.words.tolist(), strict=True)
        ]
        inputs = np.array([row[0] for row in rows], dtype=np.float32)
        return inputs, np.array([row[1] for row in rows], dtype=np.float32), before

    def encode_series(self, one: Series, *, ahead: bool) -> Batch:
        """A series as a batch of one row, y and weight as those of `windows`."""
        x, y = (torch.from_numpy(found) for found in self.encode(one)[:2])
        rows = y.nan_to_num(), ((~y.isnan()) & torch.from_numpy(~one.known)[:, None]).float()
        targets, weight = (
            torch.cat([part[ahead:], part.new_zeros(int(ahead), part.shape[1])])[None] for part in rows
        )
        return Batch(x[None], targets, weight=weight)

    def windows(self, records: Sequence[Series], context: int, batch_size: int, *, ahead: bool) -> Batches:
        """The windows of all series to train on, in a new order every epoch.

        y (B, T, W): targets; weight (B, T, W): 0 for missing ones and for known anomalies, else 1.

        Args:
            context: readings of a window; shorter series are filled up with steps that do not count.
            ahead: whether the targets are those of the next reading.
        """
        stride = max(1, context // 8, -(-sum(map(len, records)) // MOST_WINDOWS))
        xs, ys, counts = [], [], []
        for one in records:
            x, y, _ = self.encode(one)
            length = len(x) - ahead
            weight = ((~np.isnan(y)) & ~one.known[:, None]).astype(np.float32)
            for start in range(0, max(1, length - context + 1), stride) if length > 0 else ():
                end = min(start + context, length)
                xs.append(_padded(x[start:end], context))
                ys.append(_padded(np.nan_to_num(y[start + ahead : end + ahead]), context))
                counts.append(_padded(weight[start + ahead : end + ahead], context))
                if ahead and start:
                    counts[-1][: min(SKIPPED, context // 4)] = 0.0
        x, y, weight = (np.stack(parts) for parts in (xs, ys, counts))
        return Batches(x, y, weight=weight, batch_size=batch_size, shuffle=True)

    # ---- kept

    def state(self) -> dict[str, Any]:
        """Plain values that `restore` takes."""
        columns = {"names": list(self.names), "categories": list(self.categories)}
        form = None if self.form is None else self.form.state()
        return {**columns, "center": self.center, "scale": self.scale, "values": self.values, "form": form}

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Take what `state` gave; returns itself."""
        self.names, self.categories = tuple(state["names"]), tuple(state["categories"])
        self.center, self.scale, self.values = state["center"], state["scale"], state["values"]
        self.form = None if state["form"] is None else TimeForm.from_state(state["form"])
        self._prepare()
        return self


def _word(value: float) -> str:
    """A number as the category that it stands for."""
    return "" if value != value else str(int(value)) if value == int(value) else str(value)


def _spread(values: np.ndarray, name: str) -> tuple[float, float]:
    """The middle of a column and half of what most of its values span, or all where most are equal."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        raise errors.value_error(f"column {name}", "at least one number", "NaN only", "leave the column out")
    low, middle, high = np.quantile(known, [0.1, 0.5, 0.9])
    spread = (high - low) / 2 or (known.max() - known.min()) / 2
    return float(middle), float(spread or abs(middle) or 1.0)


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    return np.pad(values, [(0, length - len(values)), (0, 0)]).astype(np.float32)
