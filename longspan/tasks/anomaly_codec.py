"""Knows what a detector learns beside its weights: scales, categories, what was usual, and its threshold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from typing_extensions import Self

from longspan import checks
from longspan.data.batches import Batches
from longspan.data.events import Series
from longspan.data.peaks import Watch
from longspan.data.threshold import GLIMPSE, Dynamic, smoothed

from .anomaly_net import Foresight
from .estimator import Codec

SURE = 10.0  # times at most that an error counts for what it usually does, where a forecaster is that sure
SKIPPED = 5  # steps at a window's beginning that are not learnt from, for lack of a past
AFTER = 30  # readings after a known anomaly that still feel it
MOST_WINDOWS = 4096  # an epoch
MOST = 50  # categories of a column that are told apart; the rarer ones are one


class Detection(Codec):
    """Readings to network inputs and targets, and scores back to a frame.

    Args:
        target: the columns that are watched, () for all.
        window: readings that count as the recent past.
        context: readings of a window that is trained on, None for a third of the longest series, 100 at most.
        dynamic: whether alarms come from thresholds that find themselves (`longspan.data.threshold`).
        foresight: where a `Forecaster` says what is expected, None for a network of the detector's own.

    Inputs of a reading (I): for every number its scaled value, the change since the reading before where it
    is watched, and whether it is missing; for every category one of its values. Targets (W): the scaled
    numbers, then the places of the categories, of the watched columns; NaN where missing.
    """

    def __init__(
        self,
        target: Sequence[str],
        window: int,
        context: int | None,
        dynamic: bool = False,
        foresight: Foresight | None = None,
    ) -> None:
        self.target, self.window, self.context = tuple(target), window, context or 0
        self.dynamic, self.foresight = dynamic, foresight
        self.usual: list[float] = []  # half widths of a forecaster's intervals, of every watched column
        self.names: tuple[str, ...] = ()
        self.categories: tuple[str, ...] = ()
        self.center: list[float] = []
        self.scale: list[float] = []
        self.values: list[list[str]] = []  # of each category, place 0 stands for all others
        self.watches: list[Watch] = []
        self.threshold = 1.0
        self.least: list[float] = []  # of every watched column, an error at most that high is usual

    def fit(self, records: Sequence[Series]) -> Self:
        self.names, self.categories = records[0].names, records[0].categories
        self._check(records)
        records = [self.aligned(one) for one in records]
        plain = np.concatenate([one.numbers for one in records])
        for place, name in enumerate(self.names):
            center, scale = _spread(plain[:, place], name)
            self.center.append(center)
            self.scale.append(scale)
        text = np.concatenate([one.words for one in records])
        for place in range(len(self.categories)):
            self.values.append([value for value, _ in Counter(text[:, place].tolist()).most_common(MOST)])
        unknown = [one for one in self.target if one not in self._watchable()]
        if unknown:
            known = self._watchable()
            which = "columns" if self.foresight is None else "columns of numbers, with a forecaster,"
            raise checks.wrong(
                "target", f"of the {which} {', '.join(known)}", unknown[0], checks.guess(unknown[0], known)
            )
        self.context = self.context or max(2, min(100, max(map(len, records)) // 3))
        self._prepare()
        self.watches = self.fresh()
        return self

    def _check(self, records: Sequence[Series]) -> None:
        if not self.names and not self.categories:
            raise checks.wrong("source", "at least one column to watch", "none", "add the readings' columns")
        if all(one.all() for one in self.truth(records)):
            expected = "readings that are no known anomaly, to learn from"
            raise checks.wrong("flags", expected, "none", "correct the flags, or leave them out")

    def _watchable(self) -> tuple[str, ...]:
        return self.names if self.foresight is not None else (*self.names, *self.categories)

    def _prepare(self) -> None:
        watched = self.target or self._watchable()
        self.numeric = [place for place, name in enumerate(self.names) if name in watched]
        self.textual = [place for place, name in enumerate(self.categories) if name in watched]
        self.watched = frozenset(self.numeric)
        self.places = [{value: at + 1 for at, value in enumerate(values)} for values in self.values]
        self.causes = [self.names[at] for at in self.numeric] + [self.categories[at] for at in self.textual]
        if self.foresight is not None:
            if not self.numeric:
                raise checks.wrong(
                    "source", "a column of numbers to foretell", "none", "leave forecaster out"
                )
            columns = self.names, self.categories
            self.foresight.know(columns, self.numeric, (self.center, self.scale))

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
                raise checks.wrong("source", f"the column {name} that fit had", received, "add it")
        numbers = np.full((len(one), len(self.names)), np.nan)
        for place, name in enumerate(self.names):
            if name in one.names:
                numbers[:, place] = one.numbers[:, one.names.index(name)]
            elif (one.words[:, one.categories.index(name)] != "").any():
                held = max(one.words[:, one.categories.index(name)], key=bool)
                way_out = "correct it or leave it empty"
                raise checks.wrong(f"column {name}", "numbers, as in fit", repr(held), way_out)
        words = np.empty((len(one), len(self.categories)), dtype=object)
        for place, name in enumerate(self.categories):
            if name in one.categories:
                words[:, place] = one.words[:, one.categories.index(name)]
            else:  # a file's column of categories that all look like numbers
                words[:, place] = [_word(value) for value in one.numbers[:, one.names.index(name)].tolist()]
        return replace(one, names=self.names, numbers=numbers, categories=self.categories, words=words)

    @property
    def sizes(self) -> dict[str, Any]:
        if self.foresight is not None:
            return self.foresight.forecaster.codec_.sizes
        many = [len(values) + 1 for values in self.values]
        watched = [many[place] for place in self.textual]
        return {
            "inputs": 2 * len(self.names) + len(self.numeric) + sum(many),
            "numbers": len(self.numeric),
            "categories": watched,
            "context": self.context,
        }

    def fresh(self) -> list[Watch]:
        """A watch for every watched column that has seen nothing."""
        spreads = [*(self.scale[place] for place in self.numeric), *(None for _ in self.textual)]
        return [Watch(self.window, spread) for spread in spreads]

    def allow(
        self, records: Sequence[Series], errors: Sequence[np.ndarray], share: float, budget: float
    ) -> None:
        """Learn how high the running mean of errors may be: what the budget says of held-out readings.

        Args:
            errors: of every series (T, W), NaN for none.
            share: of the last readings, held out; budget: of these, how many may be above.
        """
        seen = np.concatenate([self.encode(one)[1] for one in records])
        self.least = []
        for place in range(seen.shape[1]):
            levels = [smoothed(one[:, place])[len(one) - round(len(one) * share) :] for one in errors]
            usual = float(np.quantile(np.concatenate(levels), 1.0 - budget))
            span = np.nanmax(seen[:, place]) - np.nanmin(seen[:, place]) if place < len(self.numeric) else 0.0
            self.least.append(max(usual, GLIMPSE * float(span or 2.0)))

    def allow_for(self, expected: Sequence[np.ndarray]) -> None:
        """Learn how wide a forecaster's intervals usually are, from what it expected of readings (T, 2W)."""
        if self.foresight is not None:
            widths = np.concatenate(list(expected))[:, len(self.numeric) :]
            self.usual = np.nanmedian(widths, axis=0).tolist()

    def limits(self) -> list[Dynamic]:
        """The dynamic threshold of every watched column, at the beginning of a series."""
        return [Dynamic(least) for least in self.least]

    def learnt(self) -> list[Watch]:
        """Watches that know what was usual in training, at the beginning of another series."""
        copies = [Watch.from_state(one.state()) for one in self.watches]
        _restart(copies)
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

    def encode(self, one: Series) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (T, I) and targets (T, W) of a series, float32."""
        one, before = self.aligned(one), [math.nan] * len(self.names)
        rows = [self.row(a, b, before) for a, b in zip(one.numbers.tolist(), one.words.tolist(), strict=True)]
        inputs = np.array([row[0] for row in rows], dtype=np.float32)
        return inputs, np.array([row[1] for row in rows], dtype=np.float32)

    def before(self, one: Series) -> list[float]:
        """The scaled numbers that were seen last in a series."""
        before = [math.nan] * len(self.names)
        for numbers, words in zip(one.numbers.tolist(), one.words.tolist(), strict=True):
            self.row(numbers, words, before)
        return before

    def errors(self, targets: Sequence[float], expected: Sequence[float] | None) -> list[float | None]:
        """How far each watched column was from what the network gave, None where either is missing.

        Args:
            targets: (W,) as `row` gave them.
            expected: (O,) what the network gave for them, None where it gave nothing yet.
        """
        if expected is None:
            return [None] * len(targets)
        at = len(self.numeric)
        found: list[float | None] = [
            truth - other if truth == truth else None
            for truth, other in zip(targets[:at], expected, strict=False)
        ]
        if self.usual:
            return [
                None if error is None else error * _sureness(usual, width)
                for error, usual, width in zip(found, self.usual, expected[at:], strict=True)
            ]
        for place, truth in zip(self.textual, targets[at:], strict=True):
            many = len(self.values[place]) + 1
            found.append(_surprise(expected[at : at + many], int(truth)))
            at += many
        return found

    def score(
        self,
        watches: list[Watch],
        numbers: Sequence[float],
        errors: Sequence[float | None],
        learn: bool = True,
    ) -> tuple[float, int]:
        """The score of one reading and the place of the column that causes it.

        Args:
            watches: of the series, kept up.
            numbers: (N,) as read; errors: (W,) as `errors` gave them.
            learn: False for a known anomaly, which is no part of what is usual.
        """
        best, cause, count = -1.0, 0, len(self.numeric)
        for place, watch in enumerate(watches):
            value = numbers[self.numeric[place]] if place < count else None
            score = watch.add(value if value == value else None, errors[place], learn)
            if score > best:
                best, cause = score, place
        return best, cause

    def decode(self, coded: list[Any], records: Sequence[Series]) -> pl.DataFrame:
        known = (*self.names, *self.categories)
        more = [name for name in (*records[0].names, *records[0].categories) if name not in known]
        if more:
            checks.note(f"Left out, since fit did not have them: {', '.join(more)}.")
        frames = [self._frame(found, one) for found, one in zip(coded, records, strict=True)]
        return pl.concat(frames, how="vertical_relaxed")

    def _frame(self, found: np.ndarray, one: Series) -> pl.DataFrame:
        one, limits = self.aligned(one), self.limits() if self.dynamic else []
        scores, causes, _, excess = self.run(self.learnt(), limits, one, found)
        if not self.dynamic:
            return self.frame(one, scores, scores >= self.threshold, causes)
        return self.frame(one, scores, np.any(excess > 0.0, axis=1), excess.argmax(1))

    def run(
        self,
        watches: list[Watch],
        limits: list[Dynamic],
        one: Series,
        expected: np.ndarray,
        *,
        training: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Score a series one by one; watches and limits are kept up.

        Args:
            expected: (T, O), NaN where nothing was.
            training: whether flagged readings are kept out of what is usual.

        Returns:
            Scores (T,), causes (T,), errors (T, W) with NaN for none, and how far they lie above `limits`
            (T, W), of which there may be none.
        """
        scores, causes, errors = np.empty(len(one)), np.empty(len(one), dtype=np.int64), []
        known = _disturbed(self.truth([one])[0] & training).tolist()
        targets = self.encode(one)[1].tolist()
        for at, (numbers, target, row) in enumerate(
            zip(one.numbers.tolist(), targets, expected.tolist(), strict=True)
        ):
            error = self.errors(target, None if row[0] != row[0] else row)
            if at and known[at - 1] and not known[at]:
                _restart(watches)
            scores[at], causes[at] = self.score(watches, numbers, error, not known[at])
            errors.append(error)
        columns = zip(limits, zip(*targets, strict=True), zip(*errors, strict=True), strict=False)
        excess = [_decided(*column) for column in columns]
        plain = np.array(errors, dtype=np.float64)
        return scores, causes, plain, np.stack(excess, 1) if excess else np.empty((len(one), 0))

    def frame(self, one: Series, scores: np.ndarray, over: np.ndarray, causes: np.ndarray) -> pl.DataFrame:
        """Time, score, alarm, cause, and the entity's name first where there is one."""
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
            "dynamic": self.dynamic,
            "least": self.least,
            "context": self.context,
            "watches": [one.state() for one in self.watches],
            "usual": self.usual,
            "forecaster": None if self.foresight is None else self.foresight.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        self.names, self.categories = tuple(state["names"]), tuple(state["categories"])
        self.center, self.scale, self.values = state["center"], state["scale"], state["values"]
        self.threshold, self.context = state["threshold"], state["context"]
        self.dynamic, self.least, self.usual = state["dynamic"], state["least"], state["usual"]
        self.watches = [Watch.from_state(one) for one in state["watches"]]
        self._prepare()
        if self.foresight is not None:
            self.foresight.restore(state["forecaster"])
        return self


def _sureness(usual: float, width: float) -> float:
    """What an error counts for where the interval is so wide: 1 where as usual, the more the narrower."""
    return usual / max(width, usual / SURE) if usual > 0.0 else 1.0


def _word(value: float) -> str:
    """A number as the category that it stands for."""
    return "" if value != value else str(int(value)) if value == int(value) else str(value)


def _spread(values: np.ndarray, name: str) -> tuple[float, float]:
    """The middle of a column and half of what most of its values span, or all where most are equal."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        raise checks.wrong(f"column {name}", "at least one number", "NaN only", "leave the column out")
    low, middle, high = np.quantile(known, [0.1, 0.5, 0.9])
    spread = (high - low) / 2 or (known.max() - known.min()) / 2
    return float(middle), float(spread or abs(middle) or 1.0)


def _disturbed(flags: np.ndarray) -> np.ndarray:
    """Flagged readings (T,) and those after them in which they are still felt."""
    after = np.cumsum(np.concatenate([np.zeros(AFTER + 1, dtype=np.int64), flags]))
    return after[AFTER + 1 :] > after[: len(flags)]


def _restart(watches: Sequence[Watch]) -> None:
    """What comes is no longer the course of errors that was."""
    for one in watches:
        one.restart()


def _decided(limit: Dynamic, values: Sequence[float], errors: Sequence[float | None]) -> np.ndarray:
    """How far above a limit each of a column's readings (T,) lies, 0 where it is usual."""
    found = [
        limit.add(value if value == value else None, error)
        for value, error in zip(values, errors, strict=True)
    ]
    return np.concatenate([*(one for one in found if one is not None), limit.finish()])


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
