"""Knows what a detector learns beside its weights: scales, categories, what was usual, and its threshold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from typing_extensions import Self

from longspan import checks
from longspan.data.batches import Batches
from longspan.data.events import Series
from longspan.data.peaks import Watch

from .estimator import Codec

SKIPPED = 5  # steps at a window's beginning that are not learnt from, for lack of a past
MOST_WINDOWS = 4096  # an epoch
MOST = 50  # categories of a column that are told apart; the rarer ones are one


class Detection(Codec):
    """Readings to network inputs and targets, and scores back to a frame.

    Args:
        target: the columns that are watched, () for all.
        window: readings that count as the recent past.
        context: readings of a window that is trained on, None for a third of the longest series, 100 at most.

    Inputs of a reading (I): for every number its scaled value, the change since the reading before and
    whether it is missing; for every category one of its values. Targets (W): the scaled numbers, then the
    places of the categories, of the watched columns; NaN where missing.
    """

    def __init__(self, target: Sequence[str], window: int, context: int | None) -> None:
        self.target, self.window, self.context = tuple(target), window, context or 0
        self.names: tuple[str, ...] = ()
        self.categories: tuple[str, ...] = ()
        self.center: list[float] = []
        self.scale: list[float] = []
        self.values: list[list[str]] = []  # of each category, place 0 stands for all others
        self.watches: list[Watch] = []
        self.threshold = 1.0

    def fit(self, records: Sequence[Series]) -> Self:
        self.names, self.categories = records[0].names, records[0].categories
        for one in records:
            self._check(one)
        plain = np.concatenate([one.numbers for one in records])
        for place, name in enumerate(self.names):
            center, scale = _spread(plain[:, place], name)
            self.center.append(center)
            self.scale.append(scale)
        text = np.concatenate([one.words for one in records])
        for place in range(len(self.categories)):
            self.values.append([value for value, _ in Counter(text[:, place].tolist()).most_common(MOST)])
        unknown = [one for one in self.target if one not in (*self.names, *self.categories)]
        if unknown:
            known = (*self.names, *self.categories)
            raise checks.wrong(
                "target", f"of the columns {', '.join(known)}", unknown[0], checks.guess(unknown[0], known)
            )
        self.context = self.context or max(2, min(100, max(map(len, records)) // 3))
        self._prepare()
        self.watches = self.fresh()
        return self

    def _prepare(self) -> None:
        watched = self.target or (*self.names, *self.categories)
        self.numeric = [place for place, name in enumerate(self.names) if name in watched]
        self.textual = [place for place, name in enumerate(self.categories) if name in watched]
        self.places = [{value: at + 1 for at, value in enumerate(values)} for values in self.values]
        self.causes = [self.names[at] for at in self.numeric] + [self.categories[at] for at in self.textual]

    def _check(self, one: Series) -> None:
        if (one.names, one.categories) != (self.names, self.categories):
            expected = (
                f"the columns {', '.join((*self.names, *self.categories)) or 'of numbers or categories'}"
            )
            received = ", ".join((*one.names, *one.categories)) or "none"
            raise checks.wrong("source", expected, received, "give the columns that were there in fit")
        if not self.names and not self.categories:
            raise checks.wrong("source", "at least one column to watch", "none", "add the readings' columns")

    @property
    def sizes(self) -> dict[str, Any]:
        many = [len(values) + 1 for values in self.values]
        watched = [many[place] for place in self.textual]
        return {
            "inputs": 3 * len(self.names) + sum(many),
            "numbers": len(self.numeric),
            "categories": watched,
            "context": self.context,
        }

    def fresh(self) -> list[Watch]:
        """A watch for every watched column that has seen nothing."""
        spreads = [*(self.scale[place] for place in self.numeric), *(None for _ in self.textual)]
        return [Watch(self.window, spread) for spread in spreads]

    def learnt(self) -> list[Watch]:
        """Watches that know what was usual in training, at the beginning of another series."""
        copies = [Watch.from_state(one.state()) for one in self.watches]
        for one in copies:
            one.restart()
        return copies

    def row(
        self, numbers: Sequence[float], words: Sequence[str], before: list[float]
    ) -> tuple[list[float], list[Any]]:
        """Inputs and targets of one reading; `before` holds the scaled numbers last seen and is kept up."""
        row: list[float] = []
        seen: list[Any] = []
        for place, value in enumerate(numbers):
            last = before[place]
            missing = value != value
            now = (
                (0.0 if last != last else last)
                if missing
                else math.asinh((value - self.center[place]) / self.scale[place])
            )
            row += (now, 0.0 if last != last else now - last, 1.0 if missing else 0.0)
            seen.append(math.nan if missing else now)
            before[place] = now
        targets = [seen[place] for place in self.numeric]
        found = [places.get(word, 0) for places, word in zip(self.places, words, strict=True)]
        for places, at in zip(self.places, found, strict=True):
            row += [1.0 if at == other else 0.0 for other in range(len(places) + 1)]
        return row, targets + [found[place] for place in self.textual]

    def encode(self, one: Series) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (T, I) and targets (T, W) of a series, float32."""
        self._check(one)
        before = [math.nan] * len(self.names)
        rows = [self.row(a, b, before) for a, b in zip(one.numbers.tolist(), one.words.tolist(), strict=True)]
        inputs = np.array([row[0] for row in rows], dtype=np.float32)
        return inputs, np.array([row[1] for row in rows], dtype=np.float32)

    def before(self, one: Series) -> list[float]:
        """The scaled numbers that were seen last in a series."""
        before = [math.nan] * len(self.names)
        for numbers, words in zip(one.numbers.tolist(), one.words.tolist(), strict=True):
            self.row(numbers, words, before)
        return before

    def score(
        self, watches: list[Watch], numbers: Sequence[float], targets: Sequence[float], expected: Any
    ) -> tuple[float, int]:
        """The score of one reading and the place of the column that causes it.

        Args:
            watches: of the series, kept up.
            numbers: (N,) as read; targets: (W,) as `row` gave them.
            expected: what the network gave for them as a list, None where it gave nothing yet.
        """
        best, cause, count, at = -1.0, 0, len(self.numeric), 0
        for place, watch in enumerate(watches):
            truth, value, error = targets[place], None, None
            if place < count:
                if truth == truth:
                    value = numbers[self.numeric[place]]
                    error = None if expected is None else truth - expected[place]
            else:
                many = len(self.values[self.textual[place - count]]) + 1
                start = count + at
                at += many
                if expected is not None:
                    error = _surprise(expected[start : start + many], int(truth))
            score = watch.add(value, error)
            if score > best:
                best, cause = score, place
        return best, cause

    def decode(self, coded: list[Any], records: Sequence[Series]) -> pl.DataFrame:
        frames = [self._frame(found, one) for found, one in zip(coded, records, strict=True)]
        return pl.concat(frames, how="vertical_relaxed")

    def _frame(self, found: Any, one: Series) -> pl.DataFrame:
        scores, causes = self.run(self.learnt(), one, found)
        return self.frame(one, scores, causes)

    def run(self, watches: list[Watch], one: Series, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores (T,) and causes (T,) of a series, one by one; expected (T, O), NaN where nothing was."""
        rows = expected.tolist()
        targets = self.encode(one)[1].tolist()
        found = [
            self.score(watches, numbers, target, None if row[0] != row[0] else row)
            for numbers, target, row in zip(one.numbers.tolist(), targets, rows, strict=True)
        ]
        return np.array([score for score, _ in found]), np.array(
            [cause for _, cause in found], dtype=np.int64
        )

    def frame(self, one: Series, scores: np.ndarray, causes: np.ndarray) -> pl.DataFrame:
        """Time, score, alarm, cause, and the entity's name first where there is one."""
        over = scores >= self.threshold
        columns: dict[str, Any] = {} if one.name is None else {"id": [one.name] * len(one)}
        columns["time"] = list(range(len(one))) if one.times is None else list(one.times)
        columns["score"], columns["alarm"] = scores, over
        names = [self.causes[at] if alarm else None for at, alarm in zip(causes, over, strict=True)]
        return pl.DataFrame({**columns, "cause": pl.Series(names, dtype=pl.String)})

    def truth(self, records: Sequence[Series]) -> list[np.ndarray]:
        return [one.flags if one.flags is not None else np.zeros(len(one), dtype=bool) for one in records]

    def state(self) -> Any:
        return {
            "names": list(self.names),
            "categories": list(self.categories),
            "center": self.center,
            "scale": self.scale,
            "values": self.values,
            "threshold": self.threshold,
            "context": self.context,
            "watches": [one.state() for one in self.watches],
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        self.names, self.categories = tuple(state["names"]), tuple(state["categories"])
        self.center, self.scale, self.values = state["center"], state["scale"], state["values"]
        self.threshold, self.context = state["threshold"], state["context"]
        self.watches = [Watch.from_state(one) for one in state["watches"]]
        self._prepare()
        return self


def _spread(values: np.ndarray, name: str) -> tuple[float, float]:
    """The middle of a column and half of what most of its values span."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        raise checks.wrong(f"column {name}", "at least one number", "NaN only", "leave the column out")
    low, middle, high = np.quantile(known, [0.1, 0.5, 0.9])
    return float(middle), float((high - low) / 2 or known.std() or abs(middle) or 1.0)


def _surprise(logits: Sequence[float], place: int) -> float:
    """-log of the probability that the network gave to what came."""
    most = max(logits)
    return most + math.log(sum(math.exp(one - most) for one in logits)) - logits[place]


def windows(
    series: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], context: int, batch_size: int, *, ahead: bool
) -> Batches:
    """The windows of all series to train on, in a new order every epoch.

    Args:
        series: of each its inputs (T, I), its targets (T, W) and which readings are to be learnt (T,) bool.
        context: readings of a window; shorter series are filled up with steps that do not count.
        ahead: whether the targets are those of the next reading.
    """
    total = sum(len(x) for x, _, _ in series)
    stride = max(1, context // 8, -(-total // MOST_WINDOWS))
    xs, ys, counts = [], [], []
    for x, y, ordinary in series:
        length = len(x) - ahead
        weight = ((~np.isnan(y)) & ordinary[:, None]).astype(np.float32)
        for start in range(0, max(1, length - context + 1), stride) if length > 0 else ():
            end = min(start + context, length)
            xs.append(_padded(x[start:end], context))
            ys.append(_padded(np.nan_to_num(y[start + ahead : end + ahead]), context))
            counts.append(_padded(weight[start + ahead : end + ahead], context))
            if ahead and start:
                counts[-1][: min(SKIPPED, context // 4)] = 0.0
    return Batches(np.stack(xs), (np.stack(ys), np.stack(counts)), batch_size=batch_size, shuffle=True)


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    return np.pad(values, [(0, length - len(values)), (0, 0)]).astype(np.float32)
