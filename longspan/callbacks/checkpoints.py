"""Saves the model between epochs or steps: every time, or when a number improves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from longspan import artifact, errors

from .base import Callback, Logs, Monitor, weights_of


@runtime_checkable
class Savable(Protocol):
    """A model that writes itself, such as Sequential."""

    def save(self, path: str) -> None: ...

    def save_weights(self, path: str) -> None: ...


class ModelCheckpoint(Monitor):
    """Save the model as it gets better, or all the time; to go on with training use `resume` of train.

    Args:
        filepath: where to; {epoch} (from 1), {batch} and the names of logs in it are filled in, such as
            "model-{epoch:02d}-{val_loss:.2f}.ls".
        monitor, mode: as for `EarlyStopping`.
        verbose: 1 prints when it saves.
        save_best_only: only when the monitored number improves; every time where the logs do not have it.
        save_weights_only: the weights alone.
        save_freq: "epoch", or a number of steps.
        initial_value_threshold: a value that the first improvement must beat.

    A model with `save` and `save_weights` writes itself; any other network's weights go to a file that
    `longspan.artifact.load` reads.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode, 0.0)
        self.filepath, self.verbose = os.fspath(filepath), verbose
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.save_freq, self._steps_since = _checked_freq(save_freq), 0
        self.best = initial_value_threshold
        if self.save_freq != "epoch":
            self.on_train_batch_end = self._on_step  # costs nothing where it is not asked for

    without = "saves every time"

    def _on_step(self, batch: int, logs: Logs | None = None) -> None:
        self._steps_since += 1
        if self._steps_since == self.save_freq:
            self._steps_since = 0
            self._save_if_wanted(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save_if_wanted(None, logs)

    def _save_if_wanted(self, batch: int | None, logs: Logs | None) -> None:
        if self.save_best_only:
            value = self.value(logs)
            if value is None and self.trainer.skips_validation:
                return
            if value is not None and not self.better(value, self.best):
                return
            self.best = self.best if value is None else value
        step = {} if batch is None else {"batch": batch + 1}
        try:
            path = self.filepath.format(epoch=self.trainer.epoch + 1, **step, **(logs or {}))
        except KeyError as error:
            names = ", ".join(["epoch", *step, *(logs or {})])
            raise errors.value_error(
                "filepath", f"names among {names}", error, "leave the others out"
            ) from error
        self._write(path)
        if self.verbose:
            self.trainer.log(f"Epoch {self.trainer.epoch + 1}: saved {path}")

    def _write(self, path: str) -> None:
        if not isinstance(self.model, Savable):
            artifact.save(path, {"kind": "weights"}, weights_of(self.trainer.network))
        elif self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)

    def state(self) -> Any:
        return {"best": self.best, "steps_since": self._steps_since}

    def restore(self, state: Any) -> None:
        self.best, self._steps_since = state["best"], state["steps_since"]


class BackupAndRestore(Callback):
    """Lets `fit` of a model go on after a kill, as `fit(resume=)` does: the weights end bit-equal.

    Args:
        backup_dir: the folder of the checkpoint, made where it is missing.
        save_freq: "epoch", or the number of steps between two checkpoints.
        double_checkpoint: accepted for False: a checkpoint is written beside and renamed, never half.
        delete_checkpoint: remove the checkpoint at the end of training.
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        if double_checkpoint:
            way_out = "leave it out: a checkpoint is never half-written"
            raise errors.value_error("double_checkpoint", "False", double_checkpoint, way_out)
        if not backup_dir:
            raise errors.value_error("backup_dir", "a folder", repr(backup_dir), "name where checkpoints go")
        self.backup_dir, self.save_freq = Path(backup_dir), _checked_freq(save_freq)
        self.delete_checkpoint = errors.check_bool("delete_checkpoint", delete_checkpoint)

    @property
    def path(self) -> Path:
        """The file of the checkpoint."""
        return self.backup_dir / "training.checkpoint"

    def delete(self) -> None:
        """Remove the checkpoint, and its folder if nothing else is in it, after a whole training."""
        if self.delete_checkpoint:
            self.path.unlink(missing_ok=True)
            if self.backup_dir.is_dir() and not any(self.backup_dir.iterdir()):
                self.backup_dir.rmdir()


def _checked_freq(save_freq: str | int) -> str | int:
    """ "epoch", or a number of steps."""
    if save_freq == "epoch":
        return save_freq
    return errors.check_int("save_freq", save_freq, 1, 'give "epoch" or a number of steps')
