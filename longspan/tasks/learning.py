"""Reads the records to train and validate on, and searches options by the validation loss."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from longspan import errors
from longspan.callbacks import History
from longspan.training import tune
from longspan.training.many import FEWEST

from .codec import RecordsT
from .fitting import Run, seeded
from .options import options_of, search_space
from .parts import TaskParts


def read_and_split(
    task: TaskParts[RecordsT, Any, Any, Any], source: Any, y: Any, validation_data: Any
) -> tuple[RecordsT, RecordsT, RecordsT | None]:
    """All records of a source, those to train on, and those to validate on or None.

    Args:
        source, y, validation_data: as for `longspan.tasks.estimator.Estimator.fit`.
    """
    records = task.read(source, y, use="fit")
    if validation_data is None:
        return records, *task.split(records)
    return records, records, task.read(validation_data, use="evaluate")


def search_options(
    task: TaskParts[Any, Any, Any, Any],
    source: Any,
    y: Any,
    validation_data: Any,
    *,
    space: Mapping[str, Any] | None,
    trials: int | None,
    minutes: float | None,
    verbose: int | str,
) -> list[tune.ScoredOptions]:
    """The options tried and their lowest validation losses, best first; the task's own are tried first.

    Args:
        source, y, validation_data, space, trials, minutes, verbose: as for
            `longspan.tasks.estimator.Estimator.tune`.
    """
    space = dict(search_space(type(task)) if space is None else space)
    for name in space:
        errors.check_choice("space", name, options_of(type(task)))
    scores = _Trials(task, source, y, validation_data, verbose not in (0, "auto"))
    first = {name: value for name, value in task.get_params().items() if name in space}
    return tune.search(
        scores.lowest_loss,
        space,
        first=first,
        trials=trials,
        minutes=minutes,
        seed=task.seed,
        verbose=verbose,
        score_at_once=scores.lowest_losses if "learning_rate" in space else None,
    )


class _Trials:
    """Trains a task with other options, and gives the lowest validation loss."""

    def __init__(
        self, task: TaskParts[Any, Any, Any, Any], source: Any, y: Any, validation_data: Any, verbose: bool
    ) -> None:
        self.task, self.data, self.verbose = task, (source, y, validation_data), verbose

    def lowest_loss(self, options: Mapping[str, Any]) -> float:
        """That of one trial."""
        with self._trial(options) as (trial, codec, train, valid):
            return _lowest(trial.learn(codec, train, valid, Run(verbose=0)).history)

    def lowest_losses(self, trials: Sequence[Mapping[str, Any]]) -> list[float]:
        """Those of several trials; several that differ in the learning rate alone are trained at once."""
        groups: dict[str, list[int]] = {}
        for index, options in enumerate(trials):
            others = {name: value for name, value in options.items() if name != "learning_rate"}
            groups.setdefault(repr(others), []).append(index)
        losses = [math.nan] * len(trials)
        for group in groups.values():
            own = [trials[index] for index in group]
            found = self._at_once(own) if len(own) >= FEWEST else None
            for index, loss in zip(group, found or map(self.lowest_loss, own), strict=True):
                losses[index] = loss
        return losses

    def _at_once(self, trials: Sequence[Mapping[str, Any]]) -> list[float] | None:
        """Those of trials that differ in the learning rate alone; None if they cannot be trained at once."""
        with self._trial(trials[0]) as (trial, codec, train, valid):
            runs = trial.learn_rates(codec, train, valid, [options["learning_rate"] for options in trials])
        if runs is None:
            return None
        if self.verbose:
            print(f"{len(trials)} learning rates: {runs.how}", flush=True)
        return [_lowest(history) for history in runs.histories]

    @contextmanager
    def _trial(self, options: Mapping[str, Any]) -> Iterator[tuple[Any, Any, Any, Any]]:
        """The task with these options, a codec, and the records to train and to validate on."""
        trial = self.task.clone().set_params(**options)
        trial.check()
        codec = trial.codec()
        with warnings.catch_warnings(), seeded(trial.seed):
            warnings.simplefilter("ignore", errors.LongspanWarning)
            _, train, valid = read_and_split(trial, *self.data)
            yield trial, codec, train, valid


def _lowest(history: History) -> float:
    """The lowest validation loss, or training loss where nothing was held out."""
    return min(history.history.get("val_loss", history.history["loss"]))
