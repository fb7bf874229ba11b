"""Buffers the last rows of one series as the network reads them, so that a window is a view of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from longspan.data import transforms

from .covariates import standard
from .panel import Panel
from .reading import note_undefined
from .streaming import Row
from .window_encoder import WindowEncoder

_PARTS = ("values", "past", "past_words", "future", "future_words")
_SPARE_ROWS = 64  # rows of the arrays beyond twice the memory: after so many more the rows in use move


class SeriesBuffer:
    """The last rows of one series as the network reads them: targets transformed, covariates scaled.

    A row is written behind the last one, so that every window is a view. At the end of the arrays the rows
    that are still needed move to their beginning.

    Args:
        encoder: fitted; name: the series'; end: the whole step after its last row.

    Attributes:
        count: rows that a forecast may look back on, `encoder.memory` at most.
        values (N, C) float64, NaN where missing; past, future (N, _) float32; past_words, future_words (N, _)
            int64: the rows in use end at `at`.
        static (1, S) float32, static_words (1, _): of the series; mean, scale, floor (C, 1): its statistics.
    """

    def __init__(self, encoder: WindowEncoder, name: str, end: int) -> None:
        template = encoder.template
        self.name, self.end, self.at, self.count, self.memory = name, end, 0, 0, encoder.memory
        statistics = encoder.statistics.of_name(name)
        self.mean, self.scale, self.floor = statistics.mean.T, statistics.scale.T, statistics.floor.T
        self.size = 2 * encoder.memory + _SPARE_ROWS
        self.values = np.empty((self.size, len(template.columns.target)))
        self.past = np.zeros((self.size, template.past.numbers.shape[1]), np.float32)
        self.future = np.zeros((self.size, template.future.numbers.shape[1]), np.float32)
        self.past_words = np.zeros((self.size, len(template.past.labels)), np.int64)
        self.future_words = np.zeros((self.size, len(template.future.labels)), np.int64)
        self.static = np.zeros((1, template.static.numbers.shape[1]), np.float32)
        self.static_words = np.zeros((1, len(template.static.labels)), np.int64)

    @classmethod
    def from_panel(cls, encoder: WindowEncoder, panel: Panel) -> SeriesBuffer:
        """The last rows of a panel of one series."""
        buffer = cls(encoder, panel.ids[0], int(panel.ends[0]))
        rows = np.arange(max(0, len(panel.values) - encoder.memory), len(panel.values))
        series, n = np.zeros(1, np.int64), len(rows)
        buffer.at = buffer.count = n
        buffer.values[:n] = transforms.apply(panel.values[rows], encoder.config.transform, buffer.floor.T)
        buffer.past[:n] = standard(panel.past.numbers[rows], encoder.moments[0])
        buffer.future[:n] = standard(panel.future.numbers[rows], encoder.moments[1])
        buffer.past_words[:n] = panel.past.words(rows, encoder.vocabularies)
        buffer.future_words[:n] = panel.future.words(rows, encoder.vocabularies)
        buffer.static[:] = standard(panel.static.numbers[series], encoder.moments[2])
        buffer.static_words[:] = panel.static.words(series, encoder.vocabularies)
        return buffer

    def skip(self, steps: int) -> None:
        """Append rows in which everything is missing."""
        for _ in range(min(steps, self.memory)):
            at = self._next()
            self.values[at] = np.nan
            self.past[at] = self.future[at] = 0.0
            self.past_words[at] = self.future_words[at] = 0
        self.end += steps

    def append(self, encoder: WindowEncoder, row: Row) -> None:
        """Append a row."""
        at, transform, template = self._next(), encoder.config.transform, encoder.template
        self.values[at] = row.values
        if transform != "none":
            note_undefined(self.values[at][None], template.columns.target, transform)
            self.values[at] = transforms.apply(self.values[at], transform, self.floor[:, 0])
        if row.past:
            self.past[at] = standard(np.array(row.past, np.float32), encoder.moments[0])
        if row.future:
            self.future[at] = standard(np.array(row.future, np.float32), encoder.moments[1])
        if row.past_words:
            self.past_words[at] = _indices(row.past_words, template.past.labels, encoder)
        if row.future_words:
            self.future_words[at] = _indices(row.future_words, template.future.labels, encoder)
        self.end += 1

    def _next(self) -> int:
        """The index at which the next row is written."""
        if self.at == self.size:
            for name in _PARTS:
                part = getattr(self, name)
                part[: self.memory] = part[self.size - self.memory :]
            self.at = self.memory
        at, self.at = self.at, self.at + 1
        self.count = min(self.count + 1, self.memory)
        return at

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `from_state` takes."""
        parts = {name: getattr(self, name)[self.at - self.count : self.at] for name in _PARTS}
        parts |= {"static": self.static, "static_words": self.static_words}
        return {"name": self.name, "end": self.end, **{n: torch.tensor(part) for n, part in parts.items()}}

    @classmethod
    def from_state(cls, encoder: WindowEncoder, state: Mapping[str, Any]) -> SeriesBuffer:
        """The buffer that gave this state."""
        buffer = cls(encoder, state["name"], state["end"])
        buffer.at = buffer.count = len(state["values"])
        for name in _PARTS:
            getattr(buffer, name)[: buffer.count] = state[name].numpy()
        buffer.static[:], buffer.static_words[:] = state["static"].numpy(), state["static_words"].numpy()
        return buffer


def _indices(words: Sequence[str], columns: Mapping[str, Any], encoder: WindowEncoder) -> list[int]:
    """The vocabulary index of each column's word, 0 for an unknown one."""
    return [encoder.vocabularies[name].get(word, 0) for name, word in zip(columns, words, strict=True)]
