"""Knows the codec of a detector: readings to a network's inputs, what it expected to scores and alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from typing_extensions import Self

from longspan.data.timestamps import next_timestamp
from longspan.tasks.codec import Codec

from .dynamic_threshold import Dynamic
from .extremes import Watch
from .features import Readings
from .reading import Reading, Series
from .scoring import Judge, Seen


@dataclass
class Stream:
    """Where one stream stands.

    state: the network's or the forecaster's; watches: of every watched column; limits: its dynamic
    thresholds, none where not asked for; before: the scaled numbers last seen; time: `parse_timestamp` of
    the last reading; alarm: whether there was one when the dynamic thresholds last decided.
    """

    state: Any
    watches: list[Watch]
    limits: list[Dynamic]
    before: list[float]
    time: Any
    alarm: bool = False

    def tree(self, state: Any) -> dict[str, Any]:
        """Plain values and tensors that `from_tree` takes; state: the stream's, as such values."""
        watches, limits = [one.state() for one in self.watches], [one.state() for one in self.limits]
        plain = {"before": self.before, "time": self.time, "alarm": self.alarm}
        return {"state": state, "watches": watches, "limits": limits, **plain}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any], state: Any) -> Stream:
        """The stream that gave this; state: its own, made again."""
        watches = [Watch.from_state(one) for one in tree["watches"]]
        limits = [Dynamic.from_state(one) for one in tree["limits"]]
        return cls(state, watches, limits, list(tree["before"]), tree["time"], tree["alarm"])


class Detection(Codec):
    """Readings to network inputs and targets, and what was expected of them back to a frame.

    Args:
        target: the columns that are watched, () for all.
        window: readings that count as the recent past.
        context: readings of a window that is trained on, None for a third of the longest series, 100 at most.
        dynamic: whether alarms come from thresholds that find themselves (`.dynamic_threshold`).
        numbers_only: why categories cannot be watched, "" where they can.

    Attributes:
        readings: `longspan.tasks.anomaly.features.Readings`; judge: `longspan.tasks.anomaly.scoring.Judge`.
    """

    def __init__(
        self,
        target: Sequence[str],
        window: int,
        context: int | None,
        dynamic: bool = False,
        numbers_only: str = "",
    ) -> None:
        self.readings, self.judge = Readings(target, numbers_only), Judge(window, dynamic)
        self.context = context or 0

    def fit(self, records: Sequence[Series]) -> Self:
        self.readings.fit(records)
        self.context = self.context or max(2, min(100, max(map(len, records)) // 3))
        self.watch()
        self.judge.watches = self.judge.fresh()
        return self

    def watch(self) -> None:
        """Called in `fit` and `restore`, once columns and scales are known."""
        self.judge.watch(self.readings.spreads, self.readings.sizes["categories"])

    @property
    def sizes(self) -> Mapping[str, Any]:
        return {**self.readings.sizes, "context": self.context}

    # ---- what is expected of readings

    def follow(self, network: Any, one: Series) -> tuple[np.ndarray, Any]:
        """What the network expected of each reading of a series (T, O), NaN for nothing; and its state."""
        inputs = torch.from_numpy(self.readings.encode(one)[0]).to(next(network.parameters()).device)
        expected, state = network.follow(inputs)
        return expected.double().cpu().numpy(), state

    def step(
        self, network: Any, reading: Reading, stream: Stream
    ) -> tuple[Sequence[float] | None, Sequence[float]]:
        """Take the next reading of a stream: what had been expected of it (O,), and its targets (W,)."""
        row, targets = self.readings.row(reading.numbers, reading.words, stream.before)
        expected, stream.state = network.step(row, stream.state)
        return expected, targets

    def state_to_tree(self, state: Any) -> Any:
        """A stream's state as plain values and tensors."""
        return state

    def state_from_tree(self, tree: Any) -> Any:
        """The state that `state_to_tree` gave."""
        return tree

    def seen(self, one: Series, expected: np.ndarray) -> Seen:
        """A series as it is judged."""
        watched = self.readings.aligned(one).numbers[:, self.readings.numeric]
        return Seen(watched, self.readings.encode(one)[1], expected, one.known)

    def decode(self, coded: list[Any], records: Sequence[Series]) -> pl.DataFrame:
        self.readings.note_more(records[0])
        frames = [self._frame(expected, one) for expected, one in zip(coded, records, strict=True)]
        return pl.concat(frames, how="vertical_relaxed")

    def _frame(self, expected: np.ndarray, one: Series) -> pl.DataFrame:
        """Time, score, alarm, cause, and the entity's name first where there is one."""
        scores, over, causes = self.judge.verdict(self.seen(one, expected))
        columns: dict[str, Any] = {} if one.name is None else {"id": [one.name] * len(one)}
        columns["time"] = list(range(len(one))) if one.times is None else list(one.times)
        columns["score"], columns["alarm"] = scores, over
        names = [self.readings.causes[at] if alarm else None for at, alarm in zip(causes, over, strict=True)]
        return pl.DataFrame({**columns, "cause": pl.Series(names, dtype=pl.String)})

    def truth(self, records: Sequence[Series]) -> list[np.ndarray]:
        return [one.known for one in records]

    # ---- what is learnt after the weights, and where streams stand

    def settle(self, network: Any, records: Sequence[Series], **how: Any) -> list[Stream]:
        """Learn what is usual and the threshold from all readings, those held out included.

        Args:
            how: share, budget, quiet; see `Judge.learn`.

        Returns:
            For each series the stream that goes on where it ended.
        """
        followed = [self.follow(network, one) for one in records]
        self.expect([expected for expected, _ in followed])
        series = [self.seen(one, expected) for one, (expected, _) in zip(records, followed, strict=True)]
        errors, streams = self.judge.learn(series, **how), []
        for one, part, found, (_, state) in zip(records, series, errors, followed, strict=True):
            limits = self.judge.limits()
            if limits:
                self.judge.excess(limits, part, found)
            watches = self.judge.learnt(go_on=len(records) == 1)
            streams.append(Stream(state, watches, limits, self.readings.encode(one)[2], one.last))
        return streams

    def expect(self, expected: Sequence[np.ndarray]) -> None:
        """Learn from what was expected of all readings, series by series, before they are judged."""

    def stream(self) -> Stream:
        """A stream of which nothing has been read yet."""
        return Stream(None, self.judge.learnt(), self.judge.limits(), self.readings.start(), None)

    def take(self, network: Any, reading: Reading, stream: Stream) -> tuple[float, bool]:
        """The score of a stream's next reading and whether it is an alarm.

        Raises:
            ValueError: its time cannot be the next; the stream stays where it is.
        """
        if reading.time is not None:
            reading = reading._replace(time=next_timestamp(stream.time, reading.time))
        expected, targets = self.step(network, reading, stream)
        stream.time = stream.time if reading.time is None else reading.time
        judge, errors = self.judge, self.judge.errors(targets, expected)
        numbers = [reading.numbers[place] for place in self.readings.numeric]
        score, _ = judge.score(stream.watches, numbers, errors)
        if not judge.dynamic:
            return score, score >= judge.threshold
        decided = [
            limit.add(target if target == target else None, error)
            for limit, target, error in zip(stream.limits, targets, errors, strict=True)
        ]
        if decided[0] is not None:
            stream.alarm = any(one is not None and one[-1] > 0.0 for one in decided)
        return score, stream.alarm

    # ---- kept

    def state(self) -> Any:
        return {**self.readings.state(), **self.judge.state(), "context": self.context}

    def restore(self, state: Mapping[str, Any]) -> Self:
        self.readings.restore(state)
        self.judge.restore(state)
        self.context = state["context"]
        self.watch()
        return self
