"""Knows a detector's streams: where each stands, and how it takes the next reading."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from longspan import checks
from longspan.data.events import moment
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
        if last is None:
            return now
        if isinstance(last, str) != isinstance(now, str):
            raise checks.wrong("time", f"one like the last reading's ({last})", repr(when), "pass such a one")
        if not now >= last:
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
