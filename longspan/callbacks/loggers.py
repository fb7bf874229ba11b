"""Writes the numbers of every epoch: to a CSV file, to a server, or for TensorBoard."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from longspan import errors
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
        if not self._names:
            self._names = sorted(logs)
            if self.trainer.skips_validation:  # epochs that have one follow
                self._names += [f"val_{name}" for name in self._names]
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


class RemoteMonitor(Callback):
    """Post the numbers of every epoch to a server; a notice says where it cannot be reached.

    Args:
        root, path: the address, in two parts.
        field: the field of the form that holds the numbers as JSON.
        headers: of the request, by name.
        send_as_json: post the JSON itself in the place of a form.
    """

    seconds = 10.0  # after which a server that does not answer is given up

    def __init__(
        self,
        root: str = "http://localhost:9000",
        path: str = "/publish/epoch/end/",
        field: str = "data",
        headers: Mapping[str, str] | None = None,
        send_as_json: bool = False,
    ) -> None:
        self.root, self.path, self.field, self.headers = root, path, field, dict(headers or {})
        self.send_as_json = errors.check_bool("send_as_json", send_as_json)
        if not root.startswith(("http://", "https://")):
            raise errors.value_error("root", "an address of http or https", repr(root), "name the server")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        numbers = {name: float(value) for name, value in (logs or {}).items()}
        text = json.dumps({"epoch": epoch, **numbers})
        kind = "application/json" if self.send_as_json else "application/x-www-form-urlencoded"
        body = text if self.send_as_json else urlencode({self.field: text})
        headers = {"Content-Type": kind, **self.headers}
        try:
            urlopen(Request(self.root + self.path, body.encode(), headers), timeout=self.seconds).close()
        except (URLError, TimeoutError) as error:
            errors.notice(f"Could not reach RemoteMonitor root server at {self.root}: {error}.")


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
