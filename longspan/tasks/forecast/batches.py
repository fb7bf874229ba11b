"""Deals encoded windows in batches, shuffled for training or in order for prediction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from longspan.data.batches import Batch

from .panel import Origins
from .window_encoder import WindowEncoder
from .windows import window_index

_MOST_REPEATS = 8  # times that a window comes in one iteration at most


class Windows:
    """Batches of encoded windows, gathered when they are iterated over.

    Args:
        encoder: fitted.
        origins: where windows end and forecasts begin.
        batch_size: B.
        shuffle: whether every iteration has a new order.
        most: windows of an iteration at most; with `shuffle` they are drawn anew every time.
        least: windows of an iteration at least with `shuffle`; each comes up to `_MOST_REPEATS` times for it.
    """

    def __init__(
        self,
        encoder: WindowEncoder,
        origins: Origins,
        batch_size: int,
        *,
        shuffle: bool,
        most: int,
        least: int = 0,
    ) -> None:
        self.encoder, self.origins, self.batch_size, self.shuffle = encoder, origins, batch_size, shuffle
        self.count = len(origins.rows) * origins.panel.values.shape[1]
        self.most = (
            min(most, max(self.count, min(least, _MOST_REPEATS * self.count))) if shuffle else self.count
        )

    @classmethod
    def in_order(
        cls, encoder: WindowEncoder, parts: Sequence[Origins], batch_size: int
    ) -> Windows | WindowParts:
        """All windows of the parts in their order; no batch has windows of two parts."""
        all_parts = [cls(encoder, origins, batch_size, shuffle=False, most=0) for origins in parts]
        return all_parts[0] if len(all_parts) == 1 else WindowParts(all_parts)

    def __len__(self) -> int:
        return -(-self.most // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        panel = self.origins.panel
        statistics, order = self.encoder.statistics.of_panel(panel), self._order()
        for start in range(0, self.most, self.batch_size):
            index = window_index(self.origins, order[start : start + self.batch_size])
            yield self.encoder.encode(panel, index, statistics, with_targets=True)

    def _order(self) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.count)
        if self.most < self.count:
            return torch.randint(self.count, (self.most,)).numpy()
        orders = [torch.randperm(self.count) for _ in range(-(-self.most // self.count))]
        return torch.cat(orders)[: self.most].numpy()


class WindowParts:
    """The batches of several `Windows`, one after the other."""

    def __init__(self, parts: Sequence[Windows]) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[Batch]:
        for part in self.parts:
            yield from part
