"""Predicts rows of series one step ahead: row by row from a buffer, or many rows of a panel at once."""

from __future__ import annotations

import numpy as np
import torch

from longspan.data.batches import Batch
from longspan.data.frequency import ROWS, Frequency
from longspan.tasks.codec import Tree
from longspan.tasks.parts import Stream
from longspan.training.evaluation import to_device

from .codec import ForecastCodec
from .network import ForecastInputs, ForecastNetwork
from .panel import Origins, Panel
from .series_buffer import SeriesBuffer
from .streaming import Row
from .time_features import Calendar
from .window_encoder import fill, no_history
from .windows import window_index

MAX_GAP = 100_000  # steps without a row after which a series begins anew
_CALENDAR_STEPS = 4096  # steps whose calendar is looked up at once
_ROWS_AT_ONCE = 2048  # rows that are predicted in one batch


class ForecastStream(Stream):
    """The last rows of every series, from which forecasts go on; it also predicts rows one by one.

    Args:
        codec: fitted; network: trained; panel: the rows so far; keep: how many rows of every series are kept.
    """

    def __init__(self, codec: ForecastCodec, network: ForecastNetwork, panel: Panel, keep: int) -> None:
        self.codec, self.network, self.panel, self.keep = codec, network, panel, keep
        waves = 2 * len(codec.encoder.calendar_features)
        empty = np.empty((0, waves), np.float32)
        self._calendar = (codec.encoder.template.frequency, 0, empty)  # a table from a step on

    def update(self, reading: Panel) -> None:
        """Append new rows."""
        self.panel = self.panel.joined(reading).tail(self.keep)

    def state(self) -> Tree:
        return self.panel.state()

    def restore(self, state: Tree) -> None:
        self.panel = Panel.from_state(state)

    # ---- row by row

    def step(
        self, row: Row, name: str, buffer: SeriesBuffer | None
    ) -> tuple[np.ndarray | None, SeriesBuffer]:
        """The quantiles (C, Q) predicted for a row from the rows before it, and the buffer with the row.

        Args:
            row: the next one of a series; name: the series'.
            buffer: the series' rows so far, changed in place; None at its beginning.

        Returns:
            None in place of the quantiles while there is no whole window before the row.
        """
        encoder = self.codec.encoder
        gap = 0 if buffer is None else row.step - buffer.end
        if buffer is None or gap > MAX_GAP:
            buffer = SeriesBuffer(encoder, name, row.step)
            buffer.append(encoder, row)
            return None, buffer
        has_window = buffer.count >= encoder.reach
        if gap and encoder.template.frequency != ROWS:  # rows that are only counted follow one another
            buffer.skip(gap)
        before = buffer.count
        buffer.append(encoder, row)
        return (self._predicted(buffer, before) if has_window else None), buffer

    @torch.no_grad()
    def _predicted(self, buffer: SeriesBuffer, before: int) -> np.ndarray:
        """Quantiles (C, Q) of the last row, from the rows before it; before: how many the buffer has."""
        window = self._window(buffer, before)
        if not self.network.levels.is_cpu:
            window = to_device(self.network)(window)
        return self.codec.first_step(*(part.cpu().numpy() for part in self.network.predict(window)))

    def _window(self, buffer: SeriesBuffer, before: int) -> Batch:
        """The window before the last row as a batch of C rows, as `WindowEncoder.encode` would make it."""
        encoder, now = self.codec.encoder, buffer.at - 1
        raw = np.ascontiguousarray(buffer.values[now - encoder.reach : now].T)
        scaled = encoder.scaled_windows(raw, buffer.mean, buffer.scale)
        rows, channels = slice(now - encoder.config.context, now), len(raw)
        x = ForecastInputs(
            encoder.network_values(scaled),
            _repeated(buffer.past[rows], channels),
            _repeated(self._future(buffer), channels),
            _repeated(buffer.static[0], channels),
            _repeated(buffer.past_words[rows], channels),
            _repeated(self._ahead(buffer.future_words, now), channels),
            _repeated(buffer.static_words[0], channels),
            torch.from_numpy(scaled.center),
            torch.from_numpy(scaled.scale),
            *self._history(buffer, before),
        )
        return Batch(x)

    def _history(self, buffer: SeriesBuffer, before: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows before the last one that simple forecasts read, as `WindowEncoder.history` makes them."""
        encoder, now = self.codec.encoder, buffer.at - 1
        if not encoder.shares:
            return no_history(buffer.values.shape[1])
        steps = encoder.history_shape.steps
        values = buffer.values[now - min(steps, before) : now].T
        missing = np.full((len(values), steps - values.shape[1]), np.nan)
        return fill(np.concatenate([missing, values], 1), buffer.mean)

    def _ahead(self, part: np.ndarray, now: int) -> np.ndarray:
        """Rows (T + H, _) of future covariates, zeros after the last row of the buffer."""
        rows = part[now - self.codec.encoder.config.context : now + 1]
        beyond = self.codec.horizon - 1
        return rows if not beyond else np.concatenate([rows, np.zeros((beyond, part.shape[1]), part.dtype)])

    def _future(self, buffer: SeriesBuffer) -> np.ndarray:
        """Future covariates and calendar around the last row, (T + H, F)."""
        encoder, now, step = self.codec.encoder, buffer.at - 1, buffer.end - 1
        if not encoder.calendar_features:
            return self._ahead(buffer.future, now)
        calendar = self._calendar_between(
            encoder.template.frequency_of(buffer.name),
            step - encoder.config.context,
            step + encoder.horizon,
        )
        if not buffer.future.shape[1]:
            return calendar
        return np.concatenate([self._ahead(buffer.future, now), calendar], 1)

    def _calendar_between(self, frequency: Frequency, first: int, last: int) -> np.ndarray:
        """The calendar of steps, (last - first, 2K); looked up for many at once."""
        of, begin, table = self._calendar
        if of != frequency or first < begin or last > begin + len(table):
            steps = np.arange(first, first + max(_CALENDAR_STEPS, last - first))
            calendar = Calendar(self.codec.encoder.calendar_features)
            table = calendar.at(frequency, steps[None], first, int(steps[-1]) + 1)[0]
            begin, self._calendar = first, (frequency, first, table)
        return table[first - begin : last - begin]


def _repeated(part: np.ndarray, channels: int) -> torch.Tensor:
    """The same for every channel, (C, ...)."""
    return torch.from_numpy(
        part[None] if channels == 1 else np.broadcast_to(part, (channels, *part.shape)).copy()
    )


@torch.no_grad()
def predict_rows(
    codec: ForecastCodec, network: ForecastNetwork, panel: Panel, rows: np.ndarray
) -> np.ndarray:
    """One-step predictions of rows of a panel of one series, each from the rows before it.

    Args:
        rows: (T,), numbers of rows of the panel.

    Returns:
        Quantiles (T, C, Q), NaN where there is no whole window before a row.
    """
    encoder = codec.encoder
    quantiles = np.full((len(rows), len(encoder.template.columns.target), len(codec.levels)), np.nan)
    with_window = np.flatnonzero(rows >= encoder.reach)
    statistics = encoder.statistics.of_name(panel.ids[0])
    for begin in range(0, len(with_window), _ROWS_AT_ONCE):
        part = with_window[begin : begin + _ROWS_AT_ONCE]
        index = window_index(Origins(panel, rows[part]))
        batch = to_device(network)(encoder.encode(panel, index, statistics, with_targets=False))
        predicted = codec.first_step(*(answer.cpu().numpy() for answer in network.predict(batch)))
        quantiles[part] = predicted.reshape(len(part), -1, len(codec.levels))
    return quantiles
