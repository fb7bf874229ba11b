"""Knows the task of finding anomalies: in series and event streams, whole or a reading at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from longspan import checks
from longspan.data.batches import Batch
from longspan.data.events import TIMES, Columns, Series, read_series
from longspan.data.peaks import START, Watch, intervals

from .anomaly_codec import Detection, windows
from .anomaly_net import Foreteller, Mirror
from .estimator import Estimator, Metrics
from .exhibits import Curves, Line, Number, Numbers, Section, Table
from .options import option

METHODS = ("forecast", "reconstruct")
LEAST = 1.02  # the lowest threshold: the extreme of the recent past, and a little


@dataclass(eq=False, repr=False, kw_only=True)
class AnomalyDetector(Estimator):
    """Finds what a series has not shown before: readings that a recurrent network did not expect.

    The network foretells each next reading (or writes windows down again, method "reconstruct"); the value
    and running means of the signed error are held against their own extremes in the recent past, so that a
    score of 1.1 is a tenth beyond all that was usual (see `longspan.data.peaks.Watch`). The threshold lets
    through as many of the held-out readings as the false-alarm budget says, or, where some readings are
    flagged, is the one that finds the flagged stretches best.

    A source is a CSV or Parquet file, a frame, an array (T,) or (T, C), or a list of arrays, in the order of
    time. Text columns and those in `categories` are categories; each entity in the column `id` is a sequence
    of its own: logins, transactions, connections.

    >>> import numpy
    >>> wave = numpy.sin(numpy.arange(400) / 5)
    >>> detector = AnomalyDetector(epochs=3, hidden_size=8).fit(wave, verbose=0)
    >>> detector.update(wave[0])[1], detector.update(9.0)[1]
    (False, True)
    """

    time: str | None = option(
        None, "column with the times; none for one called time, timestamp or date", group="data"
    )
    id: str | None = option(
        None, "column that names each reading's entity; none for a single series", group="data"
    )
    flag: str | None = option(None, "column that is 1 where a reading is a known anomaly", group="data")
    target: tuple[str, ...] = option((), "columns that are watched; none for all", group="data")
    categories: tuple[str, ...] = option((), "columns of numbers that are categories", group="data")
    method: str = option("forecast", "what the network does with the readings", choices=METHODS)
    false_alarms: float = option(0.001, "share of ordinary readings that may raise an alarm")
    window: int = option(4000, "readings that count as the recent past, to which scores are relative")
    quiet: int = option(100, "readings without an alarm that end one")
    context: int | None = option(None, "readings of a training window", group="network")
    hidden_size: int = option(32, "units of every recurrent layer", group="network")
    epochs: int = option(50, "times the training part is gone through at most", group="training")
    batch_size: int = option(32, "windows a step", group="training")
    learning_rate: float = option(1e-2, "of Adam, at the start", group="training")
    patience: int | None = option(10, "epochs without improvement before training stops", group="training")

    name: ClassVar[str] = "anomaly"

    def check(self) -> None:
        super().check()
        checks.rate("false_alarms", self.false_alarms, below_one=True)
        checks.whole("window", self.window, START, "give the readings that count as the recent past")
        checks.whole("quiet", self.quiet, 1, "1 makes every reading over the threshold an alarm")
        if self.context is not None:
            checks.whole("context", self.context, 2, "give the readings of a training window")

    # ---- the parts

    def read(self, source: Any, y: Any = None, *, use: str = "fit") -> list[Series]:
        """Series out of the source; y: flags (T,), True where a reading is a known anomaly."""
        found = read_series(source, Columns(self.time, self.id, self.flag, self.categories))
        if y is not None:
            flags = (
                np.concatenate([np.asarray(one).reshape(-1) for one in (y if len(found) > 1 else [y])]) > 0
            )
            if len(flags) != sum(map(len, found)):
                raise checks.wrong("y", f"{sum(map(len, found))} flags", len(flags), "give one a reading")
            ends = np.cumsum([len(one) for one in found])
            found = [
                Series(
                    one.name,
                    one.times,
                    one.names,
                    one.numbers,
                    one.categories,
                    one.words,
                    flags[end - len(one) : end],
                )
                for one, end in zip(found, ends, strict=True)
            ]
        if use == "evaluate" and self.flag is None and y is None:
            raise checks.wrong(
                "flag", "the column with the known anomalies", None, "set flag, or pass them as y"
            )
        return found

    def split(self, records: list[Series]) -> tuple[Any, Any]:
        """The last part of every series is held out."""
        ends = [len(one) - round(len(one) * self.validation) for one in records]
        first = [one.cut(0, end) for one, end in zip(records, ends, strict=True)]
        last = [one.cut(end, len(one)) for one, end in zip(records, ends, strict=True) if len(one) - end > 1]
        if max(map(len, first)) < 4:
            received = f"{max(map(len, records))} in the longest series"
            raise checks.wrong("source", "at least 5 readings", received, "give more of them")
        return first, last or None

    def codec(self) -> Detection:
        return Detection(self.target, self.window, self.context)

    def batches(self, codec: Detection, records: list[Series], *, train: bool) -> Any:
        if train:
            found = [(*codec.encode(one), _ordinary(one)) for one in records]
            return windows(found, codec.context, self.batch_size, ahead=self._ahead())
        return [self._whole(codec, one) for one in records]

    def _whole(self, codec: Detection, one: Series) -> Batch:
        x, y = (torch.from_numpy(found) for found in codec.encode(one))
        ahead = int(self._ahead())
        weight = (~y.isnan()) & torch.from_numpy(_ordinary(one))[:, None]
        rows = y.nan_to_num(), weight.float()
        after = tuple(torch.cat([part[ahead:], part.new_zeros(ahead, part.shape[1])])[None] for part in rows)
        return Batch(x[None], after)

    def _ahead(self) -> bool:
        return self.method == "forecast"

    def network(self, sizes: Mapping[str, Any]) -> nn.Module:
        kind = Foreteller if self._ahead() else Mirror
        options = {"cell": self.cell, "num_layers": self.num_layers, "dropout": self.dropout}
        return kind(sizes, self.hidden_size, options)

    def loss(self, output: tuple[Tensor, list[Tensor]], batch: Batch) -> Tensor:
        """Mean absolute error of the numbers plus cross entropy of the categories, over what is there."""
        numbers, texts = output
        targets, weight = batch.y
        count = numbers.shape[2]
        total = ((numbers - targets[..., :count]).abs() * weight[..., :count]).sum()
        for place, logits in enumerate(texts, start=count):
            found = functional.cross_entropy(
                logits.flatten(0, 1), targets[..., place].flatten().long(), reduction="none"
            )
            total = total + (found * weight[..., place].flatten()).sum()
        return total / weight.sum().clamp_min(1.0)

    def answer(self, network: nn.Module, batch: Batch) -> np.ndarray:
        """What was expected of each reading of one series (T, O), NaN where nothing was."""
        assert isinstance(network, (Foreteller, Mirror))
        return network.follow(batch.x[0])[0].double().cpu().numpy()

    def metrics(self) -> Metrics:
        """Of alarms and flagged stretches: precision, recall and f1 (an alarm hits by touching a stretch)."""
        return {
            "precision": lambda found, truth: self._hits(found, truth)[0],
            "recall": lambda found, truth: self._hits(found, truth)[1],
            "f1": lambda found, truth: _f1(*self._hits(found, truth)),
        }

    def _hits(self, alarms: Sequence[np.ndarray], flags: Sequence[np.ndarray]) -> tuple[float, float]:
        right, alarmed, found, known = 0, 0, 0, 0
        for over, truth in zip(alarms, flags, strict=True):
            ours, theirs = intervals(over.tolist(), self.quiet), intervals(truth.tolist(), 2)
            right += sum(any(_touch(one, other) for other in theirs) for one in ours)
            found += sum(any(_touch(one, other) for other in ours) for one in theirs)
            alarmed, known = alarmed + len(ours), known + len(theirs)
        return right / max(alarmed, 1), found / max(known, 1)

    def exam(self, source: Any, y: Any = None) -> tuple[Any, Any]:
        codec = self.codec_of()
        records = self.read(source, y, use="evaluate")
        over = codec.decode(self.coded(codec, self.network_, records), records)["alarm"].to_numpy()
        ends = np.cumsum([len(one) for one in records])
        return np.split(over, ends[:-1]), codec.truth(records)

    # ---- what is learnt after the weights: what is usual, the threshold, where the stream stands

    @torch.no_grad()
    def settle(self, records: list[Series]) -> None:
        codec, network, parts = self.codec_of(), self.network_of(), []
        watches = codec.fresh()
        self.stream_: dict[Any, Stream] = {}
        for one in records:
            for watch in watches:
                watch.restart()
            expected, state = network.follow(self._inputs(one))
            parts.append(codec.run(watches, one, expected.double().cpu().numpy())[0])
            stream = Stream(state, [], codec.before(one), None if one.times is None else one.times[-1])
            self.stream_[one.name] = stream
        codec.watches = watches
        codec.threshold = self._threshold(parts, records)
        alone = len(records) == 1
        for stream in self.stream_.values():
            stream.watches = [Watch.from_state(one.state()) for one in watches] if alone else codec.learnt()
        if not alone and self.id is None:
            self.stream_ = {}

    def network_of(self) -> Foreteller | Mirror:
        """The network learnt."""
        assert isinstance(self.network_, (Foreteller, Mirror))
        return self.network_

    def _inputs(self, one: Series) -> Tensor:
        return torch.from_numpy(self.codec_of().encode(one)[0]).to(next(self.network_.parameters()).device)

    def _threshold(self, scores: list[np.ndarray], records: list[Series]) -> float:
        """By the flags, where there are any; else what the budget lets through on the held-out readings."""
        flags = self.codec_of().truth(records)
        if any(one.any() for one in flags):
            return self._best(scores, flags)
        share = self.validation or 1.0
        held = np.concatenate([one[len(one) - round(len(one) * share) :] for one in scores])
        allowed = int(self.false_alarms * len(held))
        beyond = np.sort(held)[::-1]
        return max(LEAST, float(np.nextafter(beyond[allowed], np.inf)) if allowed < len(beyond) else LEAST)

    def _best(self, scores: list[np.ndarray], flags: list[np.ndarray]) -> float:
        known = np.concatenate(scores)
        tried = (
            np.unique(np.quantile(known[known > 0], np.linspace(0.5, 1.0, 200)))
            if (known > 0).any()
            else [LEAST]
        )
        worth = [_f1(*self._hits([one >= limit for one in scores], flags)) for limit in tried]
        return float(tried[len(worth) - 1 - int(np.argmax(worth[::-1]))])

    # ---- alarms

    def alarms(self, source: Any) -> pl.DataFrame:
        """The alarms of a source as intervals.

        Returns:
            A frame: id where there is one, start, end, severity (the highest score), cause (the columns that
            raised it, the one that did so most first), readings (over the threshold).
        """
        return self._intervals(self.predict(source))

    def _intervals(self, frame: pl.DataFrame) -> pl.DataFrame:
        rows = []
        parts = [frame] if "id" not in frame.columns else frame.partition_by("id", maintain_order=True)
        for part in parts:
            for first, last in intervals(part["alarm"].to_list(), self.quiet):
                rows.append(_alarm(part[first : last + 1]))
        columns = ["id"] if "id" in frame.columns else []
        kinds = {"start": frame.schema["time"], "end": frame.schema["time"], "severity": pl.Float64}
        schema = {
            **{one: frame.schema[one] for one in columns},
            **kinds,
            "cause": pl.String,
            "readings": pl.Int64,
        }
        return pl.DataFrame([{name: row[name] for name in schema} for row in rows], schema=schema)

    # ---- one reading at a time

    @torch.no_grad()
    def update(self, reading: Any, *, time: Any = None) -> tuple[float, bool]:
        """Take one reading and judge it at once; the first goes on where the training data ended.

        Args:
            reading: a number, a sequence of the columns' values in fit's order (numbers, then categories), or
                a dict of them by name, which may hold the time and the entity too. NaN or None is missing.
            time: when it was; it may not be before the last one.

        Returns:
            score, and whether it is an alarm. What was learnt from the reading is saved with the model.

        Raises:
            ValueError, TypeError: the reading lacks a column, or is not in the order of time; one sentence.
        """
        codec = self.codec_of()
        numbers, words, name, when = self._given(reading, time)
        stream = self.stream_.get(name)
        if stream is None:
            stream = self.stream_[name] = Stream(
                None, codec.learnt(), [float("nan")] * len(codec.names), None
            )
        if when is not None:
            stream.advance(when)
        row, targets = codec.row(numbers, words, stream.before)
        expected, stream.state = self.network_of().step(row, stream.state)
        score, _ = codec.score(stream.watches, numbers, targets, expected)
        return score, score >= codec.threshold

    def _given(self, reading: Any, time: Any) -> tuple[list[float], list[str], Any, Any]:
        """The reading's numbers, categories, entity and time."""
        codec, name = self.codec_of(), None
        if isinstance(reading, Mapping):
            time = reading.get(
                self.time or next((one for one in reading if str(one).lower() in TIMES), None), time
            )
            name = reading.get(self.id) if self.id is not None else None
            lacking = [one for one in (*codec.names, *codec.categories) if one not in reading]
            if lacking:
                raise checks.wrong(
                    "reading",
                    "every column that fit had",
                    f"none called {lacking[0]}",
                    "pass None where missing",
                )
            reading = [reading[one] for one in (*codec.names, *codec.categories)]
        values = [reading] if np.ndim(reading) == 0 else list(reading)
        count = len(codec.names)
        if len(values) != count + len(codec.categories):
            expected = f"{count + len(codec.categories)} values"
            raise checks.wrong("reading", expected, len(values), "give one a column, as in fit")
        try:
            numbers = [float("nan") if value is None else float(value) for value in values[:count]]
        except (TypeError, ValueError) as error:
            raise checks.wrong("reading", "numbers", str(error), "give None where one is missing") from error
        for value in numbers:
            if value in (float("inf"), float("-inf")):
                raise checks.wrong("reading", "finite numbers", value, "give None where one is missing")
        return numbers, ["" if value is None else str(value) for value in values[count:]], name, time

    def stream(self) -> Any:
        found = getattr(self, "stream_", {})
        return [[name, stream.tree()] for name, stream in found.items()]

    def resume_stream(self, stream: Any) -> None:
        self.stream_ = {name: Stream.from_tree(tree) for name, tree in stream}

    # ---- what a report shows

    def exhibits(self, source: Any = None) -> list[Section]:
        base = super().exhibits(source)
        codec = self.codec_of()
        columns = ", ".join(codec.causes)
        shown = [Number("Threshold", f"{codec.threshold:.3g}", "times the extreme of the recent past")]
        if source is None:
            return [Section("Summary", [Numbers("Detector", shown, note=f"Watched: {columns}.")]), *base]
        frame = self.predict(source)
        alarms = self._intervals(frame)
        shown += [Number("Readings", f"{len(frame):,}"), Number("Alarms", f"{len(alarms):,}")]
        part = frame if "id" not in frame.columns else frame.filter(pl.col("id") == frame["id"][0])
        x = part["time"].to_list()
        spans = [(x[a], x[b], "alarm") for a, b in intervals(part["alarm"].to_list(), self.quiet)]
        line = Line("score", x, part["score"].to_list())
        level = [(codec.threshold, "threshold")]
        curve = Curves("Scores", "time", "score", [line], spans=spans, levels=level)
        rows = [list(row) for row in alarms.head(200).rows()]
        return [
            Section("Summary", [Numbers("Detector", shown, note=f"Watched: {columns}.")]),
            Section("Scores", [curve]),
            Section("Alarms", [Table("Alarms", alarms.columns, rows)]),
            *base,
        ]


@dataclass
class Stream:
    """Where one stream stands: the network's state, its watches, the scaled numbers and time last seen."""

    state: Any
    watches: list[Watch]
    before: list[float]
    time: Any

    def advance(self, when: Any) -> None:
        """Go on to a reading's time, which may not be before the last one's."""
        last = self.time
        if last is not None:
            when = when if isinstance(last, type(when)) else str(when)
            last = last if isinstance(when, type(last)) else str(last)
            if when < last:
                way_out = "sort the readings by time before they are fed"
                raise checks.wrong("time", f"one not before the last reading's ({last})", when, way_out)
        self.time = when

    def tree(self) -> dict[str, Any]:
        """Plain values and tensors that `from_tree` takes; a time that is neither number nor text as text."""
        time = self.time if isinstance(self.time, (int, float, str, type(None))) else str(self.time)
        watches = [one.state() for one in self.watches]
        return {"state": self.state, "watches": watches, "before": self.before, "time": time}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Stream:
        """The stream that gave this."""
        watches = [Watch.from_state(one) for one in tree["watches"]]
        return cls(tree["state"], watches, list(tree["before"]), tree["time"])


def _ordinary(one: Series) -> np.ndarray:
    return np.ones(len(one), dtype=bool) if one.flags is None else ~one.flags


def _touch(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _alarm(part: pl.DataFrame) -> dict[str, Any]:
    """One alarm out of its readings."""
    over = part.filter("alarm")
    causes = (
        over.group_by("cause", maintain_order=True).agg(pl.col("score").max()).sort("score", descending=True)
    )
    found = {
        "start": part["time"][0],
        "end": part["time"][-1],
        "severity": part["score"].max(),
        "cause": ", ".join(causes["cause"].to_list()),
        "readings": len(over),
    }
    return {**found, "id": part["id"][0]} if "id" in part.columns else found
