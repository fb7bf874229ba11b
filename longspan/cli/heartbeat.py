"""Writes a line to stderr every few seconds of a fit that shows no progress bar."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from longspan.callbacks import Callback

from .messages import is_quiet, on_stderr

INTERVAL = 10.0  # seconds between two lines


class EpochNote(Callback):
    """Notes which epoch training is in and the losses of the last one, for another thread to read."""

    epoch = ""
    losses = ""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch = f", epoch {epoch + 1} of {self.params['epochs']}"

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        losses = [f"{name} {value:.4g}" for name, value in (logs or {}).items() if "loss" in name]
        self.losses = f" ({', '.join(losses)})"


@contextmanager
def heartbeat(activity: str) -> Iterator[EpochNote]:
    """Writes lines such as `fitting, 20 s, epoch 3 of 20 (loss 0.12)` while the block runs.

    Nothing is written where a progress bar is (standard output is a terminal) or with --quiet.

    Args:
        activity: the first word of each line.

    Yields:
        A callback for the training; without it the lines have no epoch.
    """
    note, ended, began = EpochNote(), threading.Event(), monotonic()

    def write_lines() -> None:
        while not ended.wait(INTERVAL):
            on_stderr(f"{activity}, {monotonic() - began:.0f} s{note.epoch}{note.losses}")

    if is_quiet() or sys.stdout.isatty():
        yield note
        return
    thread = threading.Thread(target=write_lines, daemon=True)
    thread.start()
    try:
        yield note
    finally:
        ended.set()
        thread.join()
