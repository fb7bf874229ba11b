"""Knows the task of finding anomalies: in series and event streams, whole or a reading at a time."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from longspan import checks
from longspan.data.batches import Batch
from longspan.data.events import Columns, Series, moment, named, parts, read_series
from longspan.data.peaks import START, Watch

from .anomaly_alarms import alarm_frame, best_threshold, f1, hits, sections, summary
from .anomaly_codec import Detection, windows
from .anomaly_net import Foresight, Foreteller, Mirror
from .anomaly_stream import Stream
from .estimator import Estimator, Metrics
from .exhibits import Number, Section
from .forecast import Forecaster
from .options import option

METHODS = ("forecast", "reconstruct")
ERRORS = ("absolute", "squared")
THRESHOLDS = ("learnt", "dynamic")
LEAST = 1.02  # the lowest threshold: the extreme of the recent past, and a little


@dataclass(eq=False, repr=False, kw_only=True)
class AnomalyDetector(Estimator):
    """Finds what a series has not shown before: readings that a recurrent network did not expect.

    The network foretells each next reading (or writes windows down again, method "reconstruct"); the value
    and running means of the signed error are held against their own extremes in the recent past, so that a
    score of 1.1 is a tenth beyond all that was usual (see `longspan.data.peaks.Watch`). The threshold lets
    through as many of the held-out readings as the false-alarm budget says, or, where some readings are
    flagged, is the one that finds the flagged stretches best. For long telemetry there is the dynamic
    threshold of Hundman et al. (2018) instead, which never goes below what the budget says (see
    `longspan.data.threshold`); it needs some two thousand readings.

    A `forecaster` of horizon 1, or its options as text ("context=48 past=mode"), foretells the readings in
    the place of that network: it is fitted with the detector, kept in it as forecaster_ and saved with it. It
    knows the calendar, seasons and covariates (the columns not watched, where it names none) and how sure it
    is: where its intervals are narrow, errors count more. It wants times on a regular step, watches numbers
    alone, judges no reading before a whole context, and takes some two thousand readings a second.

    A source is a CSV or Parquet file, a frame, an array (T,) or (T, C), or a list of arrays, in the order of
    time. Text columns and those in `categories` are categories; each entity in the column `id` is a sequence
    of its own: logins, transactions, connections.

    >>> import numpy
    >>> wave = numpy.sin(numpy.arange(400) / 5)
    >>> detector = AnomalyDetector(epochs=3, hidden_size=8).fit(wave, verbose=0)
    >>> detector.update(wave[0])[1], detector.update(9.0)[1]
    (False, True)

    On hourly readings with a daily round:

    >>> from longspan import Forecaster
    >>> load = numpy.where(numpy.arange(600) % 24 < 8, 1.0, 5.0) + 0.1 * numpy.sin(numpy.arange(600))
    >>> watched = AnomalyDetector(forecaster=Forecaster(horizon=1, epochs=3)).fit(load, verbose=0)
    >>> load[506] = 5.0  # as by day, but at two at night
    >>> watched.alarms(load)["start"].to_list()
    [506]
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
    forecaster: Forecaster | str | None = option(  # noqa: RUF009 it makes a field
        None,
        "options of one that foretells the readings, such as 'context=48 past=mode'; "
        "none for a network that foretells categories too",
    )
    false_alarms: float = option(0.001, "share of ordinary readings that may raise an alarm")
    threshold: str = option(
        "learnt",
        "of the scores, learnt in fit; or found anew in the recent errors, 70 readings at a time",
        choices=THRESHOLDS,
    )
    window: int = option(4000, "readings that count as the recent past, to which scores are relative")
    quiet: int = option(100, "readings without an alarm that end one")
    context: int | None = option(None, "readings of a training window", group="network")
    error: str = option(
        "absolute", "of a number, that training makes small", choices=ERRORS, group="training"
    )
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
        self._check_forecaster()

    def _check_forecaster(self) -> None:
        foresight = self._foresight()
        if foresight is None:
            return
        if self.method != "forecast":
            raise checks.wrong("forecaster", "none to reconstruct", "one", "leave it or the method out")
        inner = foresight.forecaster
        inner.check()
        if inner.horizon != 1:
            raise checks.wrong("forecaster", "one with horizon=1", f"horizon={inner.horizon}", "set it to 1")
        if inner.static:
            raise checks.wrong("forecaster", "no static covariates", inner.static, "leave them out")
        for name in ("time", "id"):
            if getattr(inner, name) not in (None, (), getattr(self, name)):
                way_out = f"give the detector {name}={getattr(inner, name)!r}"
                raise checks.wrong("forecaster", f"the detector's {name}", f"its own {name}", way_out)

    def _foresight(self) -> Foresight | None:
        """A forecaster of the detector's own, not fitted, with the options of the one that was given."""
        if self.forecaster is None:
            return None
        given = self.forecaster
        inner = Forecaster.from_words(f"horizon=1 {given}") if isinstance(given, str) else given.clone()
        return Foresight(inner.set_params(seed=self.seed, device=self.device, validation=self.validation))

    # ---- the parts

    def read(self, source: Any, y: Any = None, *, use: str = "fit") -> list[Series]:
        """Series out of the source; y: flags (T,), True where a reading is a known anomaly."""
        columns = Columns(self.time, self.id, self.flag, self.categories, use != "predict")
        return read_series(source, columns, y)

    def split(self, records: list[Series]) -> tuple[Any, Any]:
        """The last part of every series is held out; a forecaster does that by itself."""
        parts = self._parts(records)
        return parts if self.forecaster is None else (records, None)

    def _parts(self, records: list[Series]) -> tuple[list[Series], list[Series] | None]:
        ends = [len(one) - round(len(one) * self.validation) for one in records]
        first = [one.cut(0, end) for one, end in zip(records, ends, strict=True)]
        last = [one.cut(end, len(one)) for one, end in zip(records, ends, strict=True) if len(one) - end > 1]
        if max(map(len, first)) < 4:
            received = f"{max(map(len, records))} in the longest series"
            raise checks.wrong("source", "at least 5 readings", received, "give more of them")
        return first, last or None

    def codec(self) -> Detection:
        foresight, target = self._foresight(), self.target
        if foresight is not None and not target:
            named = foresight.forecaster.target
            target = (named,) if isinstance(named, str) else named
        return Detection(target, self.window, self.context, self.threshold == "dynamic", foresight)

    def _learn(self, train_part: Any, held: Any, **how: Any) -> Any:
        if self.forecaster is None:
            return super()._learn(train_part, held, **how)
        codec = self.codec().fit(train_part if held else self._parts(train_part)[0])
        assert codec.foresight is not None
        codec.foresight.fit(train_part, held, **how)
        inner = codec.foresight.forecaster
        return codec, inner.network_, inner.history_

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
        foresight = self._foresight()
        if foresight is not None:
            return foresight.forecaster.network(sizes)
        kind = Foreteller if self._ahead() else Mirror
        options = {"cell": self.cell, "num_layers": self.num_layers, "dropout": self.dropout}
        return kind(sizes, self.hidden_size, options)

    def loss(self, output: tuple[Tensor, list[Tensor]], batch: Batch) -> Tensor:
        """Mean error of the numbers plus cross entropy of the categories, over what is there."""
        numbers, texts = output
        targets, weight = batch.y
        count = numbers.shape[2]
        off = numbers - targets[..., :count]
        total = ((off.square() if self.error == "squared" else off.abs()) * weight[..., :count]).sum()
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

    def coded(self, codec: Detection, network: nn.Module, records: list[Series]) -> list[Any]:
        if codec.foresight is None:
            return super().coded(codec, network, records)
        return [codec.foresight.follow(codec.aligned(one))[0] for one in records]

    def metrics(self) -> Metrics:
        """Of alarms and flagged stretches: precision, recall and f1 (an alarm hits by touching a stretch)."""
        return {
            "precision": lambda found, truth: hits(found, truth, self.quiet)[0],
            "recall": lambda found, truth: hits(found, truth, self.quiet)[1],
            "f1": lambda found, truth: f1(*hits(found, truth, self.quiet)),
        }

    def exam(self, source: Any, y: Any = None) -> tuple[Any, Any]:
        codec = self.codec_of()
        if self.flag is None and y is None:
            raise checks.wrong(
                "flag", "the column with the known anomalies", None, "set flag, or pass them as y"
            )
        records = self.read(source, y, use="evaluate")
        if not any(one.any() for one in codec.truth(records)):
            checks.note("No reading is flagged, so recall and f1 say nothing.")
        over = codec.decode(self.coded(codec, self.network_, records), records)["alarm"].to_numpy()
        ends = np.cumsum([len(one) for one in records])
        return np.split(over, ends[:-1]), codec.truth(records)

    # ---- what is learnt after the weights: what is usual, the threshold, where the stream stands

    @torch.no_grad()
    def settle(self, records: list[Series]) -> None:
        codec, found = self.codec_of(), []
        watches, self.stream_ = codec.fresh(), {}
        self._hold()
        followed = [self._follow(one) for one in records]
        codec.allow_for([expected for expected, _ in followed])
        for one, (expected, state) in zip(records, followed, strict=True):
            for watch in watches:
                watch.restart()
            found.append((codec.run(watches, [], one, expected, training=True), expected, state))
        codec.watches, share = watches, self.validation or 1.0
        if any(one.any() for one in codec.truth(records)):
            codec.threshold = self._best(records, [expected for _, expected, _ in found])
        else:
            codec.threshold = self._allowed([runs[0] for runs, _, _ in found], share)
        codec.allow(records, [runs[2] for runs, _, _ in found], share, self.false_alarms)
        if len(records) == 1 or self.id is not None:
            for one, (_, expected, state) in zip(records, found, strict=True):
                alone = [Watch.from_state(watch.state()) for watch in watches] if len(records) == 1 else None
                self.stream_[one.name] = self._stream(one, expected, state, alone)

    def _stream(self, one: Series, expected: np.ndarray, state: Any, watches: list[Watch] | None) -> Stream:
        """The stream that goes on where a series of the training data ended."""
        codec = self.codec_of()
        limits = codec.limits() if codec.dynamic else []
        if limits:
            codec.run(codec.fresh(), limits, one, expected)
        time = None
        if one.times is not None:
            with suppress(ValueError):  # text of another form: the stream's own times begin anew
                time = moment(one.times[-1])
        return Stream(state, watches or codec.learnt(), limits, codec.before(one), time)

    def _hold(self) -> None:
        """Give the forecaster, where there is one, what the detector has learnt or loaded."""
        foresight = self.codec_of().foresight
        if foresight is not None:
            self.forecaster_ = foresight.forecaster
            self.forecaster_.network_, self.forecaster_.history_ = self.network_, self.history_

    def _follow(self, one: Series) -> tuple[np.ndarray, Any]:
        """What was expected of each reading of a series (T, O), and the state to go on from."""
        codec, network = self.codec_of(), self.network_
        if codec.foresight is not None:
            return codec.foresight.follow(one)
        assert isinstance(network, (Foreteller, Mirror))
        inputs = torch.from_numpy(codec.encode(one)[0]).to(next(network.parameters()).device)
        expected, state = network.follow(inputs)
        return expected.double().cpu().numpy(), state

    def _allowed(self, scores: list[np.ndarray], share: float) -> float:
        """The threshold that lets through what the budget says of the held-out readings."""
        held = np.concatenate([one[len(one) - round(len(one) * share) :] for one in scores])
        allowed = int(self.false_alarms * len(held))
        beyond = np.sort(held)[::-1]
        return max(LEAST, float(np.nextafter(beyond[allowed], np.inf)) if allowed < len(beyond) else LEAST)

    def _best(self, records: list[Series], expected: list[np.ndarray]) -> float:
        """The threshold that finds the flagged stretches best, scored as such would be from now on."""
        codec, quiet = self.codec_of(), self.quiet
        flags = codec.truth(records)
        known = [
            codec.run(codec.learnt(), [], one, rows)[0] for one, rows in zip(records, expected, strict=True)
        ]
        return best_threshold(
            known, lambda limit: f1(*hits([one >= limit for one in known], flags, quiet)), LEAST
        )

    # ---- alarms

    def alarms(self, source: Any) -> pl.DataFrame:
        """The alarms of a source as intervals.

        Returns:
            A frame: id where there is one, start, end, severity (the highest score), cause (the columns that
            raised it, the one that did so most first), readings (that were over the threshold).
        """
        return alarm_frame(self.predict(source), self.quiet)

    # ---- one reading at a time

    @torch.no_grad()
    def update(self, reading: Any, *, time: Any = None) -> tuple[float, bool]:
        """Take one reading and judge it at once; the first goes on where the training data ended.

        Args:
            reading: a number, a sequence of the columns' values in fit's order (numbers, then categories), or
                a dict of them by name, which may hold the time and has to hold the entity. NaN or None is
                missing.
            time: when it was; it may not be before the last one.

        Returns:
            score, and whether it is an alarm: with the dynamic threshold, whether there was one when a batch
            of readings was last decided about. What was learnt from the reading is saved with the model.

        Raises:
            ValueError, TypeError: the reading lacks a column, or is not in the order of time; one sentence.
        """
        codec = self.codec_of()
        columns = (*codec.names, *codec.categories)
        values, name, when = named(reading, time, columns, (self.time, self.id))
        numbers, words = parts(values, len(codec.names), len(codec.categories))
        stream = self.stream_.get(name) or Stream.fresh(codec)
        found = stream.take(codec, self.network_, numbers, words, name, when)
        self.stream_[name] = stream
        return found

    def stream(self) -> Any:
        return [[name, stream.tree()] for name, stream in getattr(self, "stream_", {}).items()]

    def resume_stream(self, stream: Any) -> None:
        self._hold()
        self.stream_ = {name: Stream.from_tree(tree) for name, tree in stream}

    # ---- what a report shows

    def exhibits(self, source: Any = None) -> list[Section]:
        base, codec = super().exhibits(source), self.codec_of()
        level, columns = None if codec.dynamic else codec.threshold, ", ".join(codec.causes)
        threshold = Number("Threshold", "dynamic", "found anew in the recent errors")
        if level is not None:
            threshold = Number("Threshold", f"{level:.3g}", "times the extreme of the recent past")
        if source is None:
            return [summary(columns, threshold, None, 0), *base]
        frame = self.predict(source)
        alarms = alarm_frame(frame, self.quiet)
        shown = sections(frame, alarms, self.quiet, level)
        return [summary(columns, threshold, frame, len(alarms)), *shown, *base]


def _ordinary(one: Series) -> np.ndarray:
    return np.ones(len(one), dtype=bool) if one.flags is None else ~one.flags
