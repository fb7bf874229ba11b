"""Knows a detector's streams: where each stands, and what a single reading may look like."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np

from longspan import checks
from longspan.data.events import TIMES
from longspan.data.panel import Panel
from longspan.data.peaks import Watch
from longspan.data.threshold import Dynamic

from .anomaly_codec import Detection


@dataclass
class Stream:
    """Where one stream stands.

    state: the network's, or the last readings for a forecaster; watches: of every watched column; limits: its
    dynamic thresholds, () for none; before: the scaled numbers last seen; time: `moment` of the last reading;
    alarm: whether there was one when the dynamic thresholds last decided.
    """

    state: Any
    watches: list[Watch]
    limits: list[Dynamic]
    before: list[float]
    time: Any
    alarm: bool = False

    @classmethod
    def fresh(cls, codec: Detection) -> Stream:
        """A stream of which nothing has been read yet."""
        limits = codec.limits() if codec.dynamic else []
        return cls(None, codec.learnt(), limits, [math.nan] * len(codec.names), None)

    def next(self, when: Any) -> Any:
        """A reading's `moment`, which may not be before the last one's; None where it has no time.

        Raises:
            ValueError: it is; one sentence.
        """
        last, now = self.time, moment(when)
        if last is not None and now is not None:
            alike = isinstance(last, str) == isinstance(now, str)
            if (now < last) if alike else (str(now) < str(last)):
                way_out = "sort the readings by time before they are fed"
                raise checks.wrong("time", f"one not before the last reading's ({last})", when, way_out)
        return now

    def take(
        self, codec: Detection, network: Any, numbers: list[float], words: list[str], name: Any, when: Any
    ) -> tuple[float, bool]:
        """The score of the next reading and whether it is an alarm.

        Args:
            network: with a `step`, where no forecaster says what is expected.
            numbers, words: of the reading; name, when: its entity and its time, None for none.

        Raises:
            ValueError: its time cannot be the next; the stream stays where it is.
        """
        now = None if when is None else self.next(when)
        if codec.foresight is None:
            row, targets = codec.row(numbers, words, self.before)
            expected, self.state = network.step(row, self.state)
        else:
            expected, self.state = codec.foresight.step((numbers, words), name, now, self.state)
            _, targets = codec.row(numbers, words, self.before)
        self.time = self.time if now is None else now
        errors = codec.errors(targets, expected)
        score, _ = codec.score(self.watches, numbers, errors)
        if not codec.dynamic:
            return score, score >= codec.threshold
        decided = [
            limit.add(target if target == target else None, error)
            for limit, target, error in zip(self.limits, targets, errors, strict=True)
        ]
        if decided[0] is not None:
            self.alarm = any(one is not None and one[-1] > 0.0 for one in decided)
        return score, self.alarm

    def tree(self) -> dict[str, Any]:
        """Plain values and tensors that `from_tree` takes."""
        watches, limits = [one.state() for one in self.watches], [one.state() for one in self.limits]
        plain = {"before": self.before, "time": self.time, "alarm": self.alarm}
        state = self.state.state() if isinstance(self.state, Panel) else self.state
        return {"state": state, "watches": watches, "limits": limits, **plain}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Stream:
        """The stream that gave this."""
        watches = [Watch.from_state(one) for one in tree["watches"]]
        limits = [Dynamic.from_state(one) for one in tree["limits"]]
        state = Panel.from_state(tree["state"]) if isinstance(tree["state"], dict) else tree["state"]
        return cls(state, watches, limits, list(tree["before"]), tree["time"], tree["alarm"])


def moment(when: Any) -> int | float | str | None:
    """A time as a number, or as text in the order of time where it is a date and a time.

    >>> moment("2024-01-01T10:00:00"), moment(datetime(2024, 1, 1, 10)), moment(7)
    ('2024-01-01 10:00:00', '2024-01-01 10:00:00', 7)
    """
    if isinstance(when, np.generic):
        when = when.item()
    if isinstance(when, str):
        try:
            when = datetime.fromisoformat(when)
        except ValueError:
            return when
    if isinstance(when, datetime) and when.tzinfo is not None:
        when = when.astimezone(timezone.utc)
    return when if isinstance(when, (int, float, type(None))) else str(when)


def named(reading: Any, time: Any, codec: Detection, columns: tuple[str | None, str | None]) -> Any:
    """A reading's values in fit's order, its entity and its time.

    Args:
        reading: a number, a sequence, or a dict by column; time: where it does not hold it.
        columns: that of the times and that of the entities, None for none.

    Raises:
        ValueError: the dict lacks a column; one sentence.
    """
    if isinstance(reading, (int, float)):
        return [reading], None, time
    if not isinstance(reading, Mapping):
        return ([reading] if np.ndim(reading) == 0 else list(reading)), None, time
    when, entity = columns
    when = when or next((one for one in reading if str(one).lower() in TIMES), None)
    known = (*codec.names, *codec.categories)
    lacking = [one for one in known if one not in reading]
    if lacking:
        expected = "every column that fit had"
        raise checks.wrong("reading", expected, f"none called {lacking[0]}", "pass None where missing")
    if entity is not None and entity not in reading:
        raise checks.wrong("reading", "the entity it belongs to", f"none called {entity}", "name it")
    return [reading[one] for one in known], reading.get(entity), reading.get(when, time)


def parts(values: list[Any], codec: Detection) -> tuple[list[float], list[str]]:
    """A reading's numbers and categories.

    Raises:
        ValueError: there are too few or too many, or what should be a number is none; one sentence.
    """
    count = len(codec.names)
    if len(values) != count + len(codec.categories):
        expected = f"{count + len(codec.categories)} values"
        raise checks.wrong("reading", expected, len(values), "give one a column, as in fit")
    try:
        numbers = [math.nan if value is None else float(value) for value in values[:count]]
    except (TypeError, ValueError) as error:
        raise checks.wrong("reading", "numbers", str(error), "give None where one is missing") from error
    for value in numbers:
        if math.isinf(value):
            raise checks.wrong("reading", "finite numbers", value, "give None where one is missing")
    return numbers, ["" if value is None else str(value) for value in values[count:]]
