"""Predicts rows of series one by one, from the last rows of each as the network reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from longspan.data import transforms
from longspan.data.batches import Batch
from longspan.data.frequency import ROWS
from longspan.tasks.codec import Tree
from longspan.tasks.parts import Stream
from longspan.training.evaluation import to_device

from .codec import ForecastCodec
from .covariates import standard
from .network import ForecastInputs, ForecastNetwork
from .panel import Panel
from .streaming import Row

MAX_GAP = 100_000  # steps without a row after which a series begins anew
_CALENDAR = 4096  # steps whose calendar is looked up at once
_PARTS = ("values", "past", "past_words", "future", "future_words")


class SeriesBuffer:
    """The last rows of one series as the network reads them: targets transformed, covariates scaled.

    A row is written behind the last one, so that every window is a view. At the end of the arrays the rows
    that are still needed move to their beginning.

    Args:
        codec: fitted; name: the series'; end: the whole step after its last row.

    Attributes:
        count: rows that a window may look back on, `codec.reach` at most.
        values (N, C) float64, NaN where missing; past, future (N, _) float32; past_words, future_words (N, _)
            int64: the rows in use end at `at`.
        static (1, S) float32, static_words (1, _): of the series; mean, scale, floor (C, 1): its statistics.
    """

    def __init__(self, codec: ForecastCodec, name: str, end: int) -> None:
        template = codec.template
        self.name, self.end, self.at, self.count, self.reach = name, end, 0, 0, codec.reach
        statistics = codec.statistics_of(name)
        self.mean, self.scale, self.floor = (
            part.T for part in (statistics.mean, statistics.scale, statistics.floor)
        )
        self.size = 2 * codec.reach + 64
        self.values = np.empty((self.size, len(template.columns.target)))
        self.past = np.zeros((self.size, template.past.numbers.shape[1]), np.float32)
        self.future = np.zeros((self.size, template.future.numbers.shape[1]), np.float32)
        self.past_words = np.zeros((self.size, len(template.past.labels)), np.int64)
        self.future_words = np.zeros((self.size, len(template.future.labels)), np.int64)
        self.static = np.zeros((1, template.static.numbers.shape[1]), np.float32)
        self.static_words = np.zeros((1, len(template.static.labels)), np.int64)

    @classmethod
    def from_panel(cls, codec: ForecastCodec, panel: Panel) -> SeriesBuffer:
        """The last rows of a panel of one series."""
        buffer = cls(codec, panel.ids[0], int(panel.ends[0]))
        rows = np.arange(max(0, len(panel.values) - codec.reach), len(panel.values))
        series, n = np.zeros(1, np.int64), len(rows)
        buffer.at = buffer.count = n
        buffer.values[:n] = transforms.apply(panel.values[rows], codec.transform, buffer.floor.T)
        buffer.past[:n] = standard(panel.past.numbers[rows], codec.moments[0])
        buffer.future[:n] = standard(panel.future.numbers[rows], codec.moments[1])
        buffer.past_words[:n] = panel.past.words(rows, codec.vocabularies)
        buffer.future_words[:n] = panel.future.words(rows, codec.vocabularies)
        buffer.static[:] = standard(panel.static.numbers[series], codec.moments[2])
        buffer.static_words[:] = panel.static.words(series, codec.vocabularies)
        return buffer

    def skip(self, steps: int) -> None:
        """Rows of which nothing is known."""
        for _ in range(min(steps, self.reach)):
            at = self._next()
            self.values[at] = np.nan
            self.past[at] = self.future[at] = 0.0
            self.past_words[at] = self.future_words[at] = 0
        self.end += steps

    def append(self, codec: ForecastCodec, row: Row) -> None:
        """One more row."""
        at = self._next()
        self.values[at] = row.values
        if codec.transform != "none":
            self.values[at] = transforms.apply(self.values[at], codec.transform, self.floor[:, 0])
        if row.past:
            self.past[at] = standard(np.array(row.past, np.float32), codec.moments[0])
        if row.future:
            self.future[at] = standard(np.array(row.future, np.float32), codec.moments[1])
        if row.past_words:
            self.past_words[at] = _numbers(row.past_words, codec.template.past.labels, codec)
        if row.future_words:
            self.future_words[at] = _numbers(row.future_words, codec.template.future.labels, codec)
        self.end += 1

    def _next(self) -> int:
        """Where the next row is written."""
        if self.at == self.size:
            for name in _PARTS:
                part = getattr(self, name)
                part[: self.reach] = part[self.size - self.reach :]
            self.at = self.reach
        at, self.at = self.at, self.at + 1
        self.count = min(self.count + 1, self.reach)
        return at

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `from_state` takes."""
        parts = {name: getattr(self, name)[self.at - self.count : self.at] for name in _PARTS}
        parts |= {"static": self.static, "static_words": self.static_words}
        return {"name": self.name, "end": self.end, **{n: torch.tensor(part) for n, part in parts.items()}}

    @classmethod
    def from_state(cls, codec: ForecastCodec, state: Mapping[str, Any]) -> SeriesBuffer:
        """The buffer that gave this state."""
        buffer = cls(codec, state["name"], state["end"])
        buffer.at = buffer.count = len(state["values"])
        for name in _PARTS:
            getattr(buffer, name)[: buffer.count] = state[name].numpy()
        buffer.static[:], buffer.static_words[:] = state["static"].numpy(), state["static_words"].numpy()
        return buffer


def _numbers(words: Sequence[str], columns: Mapping[str, Any], codec: ForecastCodec) -> list[int]:
    return [codec.vocabularies[name].get(word, 0) for name, word in zip(columns, words, strict=True)]


class ForecastStream(Stream):
    """The last rows of every series, after which forecasts go on; and predictions of rows one by one.

    Args:
        codec: fitted; network: trained; panel: the rows so far; keep: how many rows of every series are kept.
    """

    def __init__(self, codec: ForecastCodec, network: ForecastNetwork, panel: Panel, keep: int) -> None:
        self.codec, self.network, self.panel, self.keep = codec, network, panel, keep
        self._calendar = (0, np.empty((0, 2 * len(codec.calendar_features)), np.float32))  # from a step on

    def update(self, reading: Panel) -> None:
        """Go on from new rows."""
        self.panel = self.panel.joined(reading).tail(self.keep)

    def state(self) -> Tree:
        return self.panel.state()

    def restore(self, state: Tree) -> None:
        self.panel = Panel.from_state(state)

    # ---- row by row

    def step(
        self, row: Row, name: str, buffer: SeriesBuffer | None
    ) -> tuple[np.ndarray | None, SeriesBuffer]:
        """Take one row: the quantiles (C, Q) that had been expected of it, None before a whole window."""
        gap = 0 if buffer is None else row.step - buffer.end
        if buffer is None or gap > MAX_GAP:
            buffer = SeriesBuffer(self.codec, name, row.step)
            buffer.append(self.codec, row)
            return None, buffer
        whole = buffer.count == self.codec.reach
        if gap and self.codec.template.frequency != ROWS:  # rows that are only counted follow one another
            buffer.skip(gap)
        buffer.append(self.codec, row)
        return (self._expected(buffer) if whole else None), buffer

    @torch.no_grad()
    def _expected(self, buffer: SeriesBuffer) -> np.ndarray:
        """Quantiles (C, Q) of the last row, from the rows before it."""
        window = self._window(buffer)
        if not self.network.levels.is_cpu:
            window = to_device(self.network)(window)
        values, scale = self.network.predict(window)
        return self.codec.first_step(values.cpu().numpy(), scale.cpu().numpy())

    def _window(self, buffer: SeriesBuffer) -> Batch:
        """The window before the last row as a batch of C rows, as `ForecastCodec.encode` would make it."""
        codec, now = self.codec, buffer.at - 1
        raw = np.ascontiguousarray(buffer.values[now - codec.reach : now].T)
        scaled = codec.scaled_windows(raw, buffer.mean, buffer.scale)
        rows, channels = slice(now - codec.context, now), len(raw)
        x = ForecastInputs(
            codec.network_values(scaled),
            _repeated(buffer.past[rows], channels),
            _repeated(self._future(buffer), channels),
            _repeated(buffer.static[0], channels),
            _repeated(buffer.past_words[rows], channels),
            _repeated(self._ahead(buffer.future_words, now), channels),
            _repeated(buffer.static_words[0], channels),
            torch.from_numpy(scaled.center),
            torch.from_numpy(scaled.scale),
        )
        return Batch(x)

    def _ahead(self, part: np.ndarray, now: int) -> np.ndarray:
        """Rows (T + H, _) of what is known beforehand; nothing is known beyond the last one."""
        rows = part[now - self.codec.context : now + 1]
        beyond = self.codec.horizon - 1
        return rows if not beyond else np.concatenate([rows, np.zeros((beyond, part.shape[1]), part.dtype)])

    def _future(self, buffer: SeriesBuffer) -> np.ndarray:
        codec, now = self.codec, buffer.at - 1
        if not codec.calendar_features:
            return self._ahead(buffer.future, now)
        calendar = self._calendar_between(buffer.end - 1 - codec.context, buffer.end - 1 + codec.horizon)
        if not buffer.future.shape[1]:
            return calendar
        return np.concatenate([self._ahead(buffer.future, now), calendar], 1)

    def _calendar_between(self, first: int, last: int) -> np.ndarray:
        """The calendar of steps, (last - first, 2K); looked up for many at once."""
        begin, table = self._calendar
        if first < begin or last > begin + len(table):
            steps = np.arange(first, first + max(_CALENDAR, last - first))
            table = self.codec.calendar_table.at(
                self.codec.template.frequency, steps[None], first, int(steps[-1]) + 1
            )[0]
            begin, self._calendar = first, (first, table)
        return table[first - begin : last - begin]


def _repeated(part: np.ndarray, channels: int) -> torch.Tensor:
    """The same for every channel, (C, ...)."""
    return torch.from_numpy(
        part[None] if channels == 1 else np.broadcast_to(part, (channels, *part.shape)).copy()
    )
