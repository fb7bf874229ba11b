"""Evaluates and saves a model with the moving averages of its weights."""

from __future__ import annotations

from typing import Any

import torch

from longspan import errors
from longspan.optimizers import KerasOptimizer

from .base import Callback, Logs


class SwapEMAWeights(Callback):
    """Use the moving averages of the weights for validations and predictions: keras.callbacks.SwapEMAWeights.

    The optimizer keeps the averages with `use_ema=True` (Polyak and Juditsky 1992). Training goes on with the
    weights themselves, which come back after the validation.

    Args:
        swap_on_epoch: also use the averages from the end of an epoch to the start of the next one, so that
            callbacks after this one, such as ModelCheckpoint, save them.

    Raises:
        ValueError: the optimizer keeps no averages.

    >>> from longspan.callbacks import SwapEMAWeights
    >>> from longspan.optimizers import Adam
    >>> optimizer, callbacks = Adam(use_ema=True), [SwapEMAWeights()]
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = errors.check_bool("swap_on_epoch", swap_on_epoch)
        self._swapped = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._averaging()
        self._swapped = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch:
            self._show_averages(False)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch:
            self._show_averages(True)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._show_averages(False)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._show_averages(True)

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._show_averages(False)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._show_averages(True)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._show_averages(False)

    def _averaging(self) -> KerasOptimizer:
        """The optimizer, which keeps averages."""
        optimizer: Any = self.model.optimizer if self._trainer is None else self._trainer.optimizer
        if isinstance(optimizer, KerasOptimizer) and optimizer.config.use_ema:
            return optimizer
        expected, way_out = "an optimizer that keeps averages", "give the optimizer use_ema=True"
        raise errors.value_error("SwapEMAWeights", expected, type(optimizer).__name__, way_out)

    @torch.no_grad()
    def _show_averages(self, wanted: bool) -> None:
        """Swap the weights and their averages, unless what is wanted is in the model already."""
        if wanted == self._swapped:
            return
        self._swapped = wanted
        optimizer = self._averaging()
        for parameter in optimizer.parameters_in_groups():
            average = optimizer.state[parameter].get("average")
            if average is not None:
                weights = parameter.clone()
                parameter.copy_(average)
                average.copy_(weights)
