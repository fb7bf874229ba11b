"""Writes the numbers of every epoch: to a CSV file, or for TensorBoard."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

from longspan.optional import require

from .base import Callback, Logs


class CSVLogger(Callback):
    """Write the numbers of every epoch to a CSV file, a row an epoch.

    Args:
        filename: the file; its folder is made where it is missing.
        separator: between values.
        append: go on after what the file holds instead of starting it anew. Training that resumes does so by
            itself, without a row twice.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        self.path, self.separator, self.append = Path(filename), separator, append
        self._names: list[str] = []
        self._size = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._names = []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._size = self.path.stat().st_size if self.append and self.path.exists() else 0
        if self._size:
            with self.path.open(newline="") as file:
                self._names = next(csv.reader(file, delimiter=self.separator))[1:]

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        self._names = self._names or sorted(logs)
        with self.path.open("r+" if self._size else "w", newline="") as file:
            file.truncate(self._size)
            file.seek(self._size)
            table = csv.writer(file, delimiter=self.separator)
            if not self._size:
                table.writerow(["epoch", *self._names])
            table.writerow([epoch, *(logs.get(name, "NA") for name in self._names)])
            self._size = file.tell()

    def state(self) -> Any:
        return {"names": self._names, "size": self._size}

    def restore(self, state: Any) -> None:
        self._names = state["names"]
        self._size = min(state["size"], self.path.stat().st_size if self.path.exists() else 0)


class TensorBoard(Callback):
    """Write the numbers of every epoch for TensorBoard, which must be installed.

    Args:
        log_dir: the folder; training goes to `train` in it and validation to `validation`.

    Raises:
        ImportError: tensorboard is missing; the sentence names the command.
    """

    def __init__(self, log_dir: str | os.PathLike[str] = "logs") -> None:
        require("tensorboard", "tensorboard", "TensorBoard")
        self.log_dir = Path(log_dir)
        self._writers: dict[str, Any] = {}

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        for name, value in (logs or {}).items():
            folder = "validation" if name.startswith("val_") else "train"
            self._writer(folder).add_scalar(f"epoch_{name.removeprefix('val_')}", value, epoch)
        for writer in self._writers.values():
            writer.flush()

    def _writer(self, folder: str) -> Any:
        if folder not in self._writers:
            board = require("torch.utils.tensorboard", "tensorboard", "TensorBoard")
            self._writers[folder] = board.SummaryWriter(str(self.log_dir / folder))
        return self._writers[folder]

    def on_train_end(self, logs: Logs | None = None) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}
