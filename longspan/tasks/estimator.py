"""The base class of all tasks: fit, predict, evaluate, tune, save and report, made of a task's parts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import polars as pl
from typing_extensions import Self

from longspan import errors
from longspan.callbacks import Callback, History
from longspan.report import write_report
from longspan.report.elements import Section
from longspan.training import tune
from longspan.training.checkpoint import as_checkpoint_config

from . import persistence
from .codec import RecordsT
from .fitting import Run, seeded
from .identity import identified
from .options import options_of, search_space
from .parts import CodecT, Fitted, NetworkT, StreamT, TaskParts
from .sections import common_sections
from .sklearn_tags import tags_of


@dataclass(eq=False, repr=False, kw_only=True)
class Estimator(TaskParts[RecordsT, CodecT, NetworkT, StreamT]):
    """A task in scikit-learn's form: its fields are its options and nothing else. Abstract; tasks are final.

    Constructors only store. `fit` checks the options, learns, and stores what it learnt under names that end
    in `_`: codec_, network_, history_ (`longspan.training.History`), stream_ where the task has one, and
    notes_, the notices given meanwhile.

    The same seed, data and options give the same model, bit by bit, on one machine and number of torch's
    threads. Fits in Python threads wait for each other, since torch has one generator for all of them.
    On another number of threads sums of torch's own operations may be taken in another order.

    A task gives the nine parts of `longspan.tasks.parts.TaskParts` and gets these verbs.
    """

    @final
    def fit(
        self,
        source: Any,
        y: Any = None,
        *,
        validation_data: Any = None,
        resume: Any = None,
        callbacks: Sequence[Callback] = (),
        verbose: int | str = "auto",
    ) -> Self:
        """Learn from a source; what was learnt before is forgotten.

        Args:
            source: what the task reads; y: the targets, if they are not part of `source`.
            validation_data: a source of validation records; None to hold out a share of `source`.
            resume: a file to go on from and to write to, or a `longspan.training.CheckpointConfig`. A
                checkpoint of other data or options is refused; that of a finished fit gives its weights.
            callbacks: `longspan.training.Callback` objects.
            verbose: 0 for nothing, 1 or "auto" for a bar where there is a terminal, 2 for a line an epoch.

        Returns:
            Itself.

        Raises:
            ValueError, TypeError: an option or the source cannot be used; one sentence.
        """
        self.check()
        codec, run = self.codec(), Run(as_checkpoint_config(resume), callbacks, verbose)
        with errors.collect_notices() as notes, seeded(self.seed):
            records, train, valid = self._records(source, y, validation_data)
            checkpoint = identified(run.resume, self, records, None if validation_data is None else valid)
            fitted = self.learn(codec, train, valid, run._replace(resume=checkpoint))
            if valid is not None:
                self.calibrate(fitted, valid)
                if validation_data is None:
                    fitted = self._refitted(fitted, records, verbose)
            fitted.stream = self.start_stream(fitted, records)
        self.fitted_, self.notes_ = fitted, notes
        vars(self).pop("stop_training", None)  # which callbacks may set while it trains
        return self

    @final
    def _records(
        self, source: Any, y: Any, validation_data: Any
    ) -> tuple[RecordsT, RecordsT, RecordsT | None]:
        """All records of a source to fit, those to train on, and those to validate on or None."""
        records = self.read(source, y, use="fit")
        if validation_data is None:
            return records, *self.split(records)
        return records, records, self.read(validation_data, use="evaluate")

    @final
    def _refitted(
        self, fitted: Fitted[CodecT, NetworkT, StreamT], records: RecordsT, verbose: int | str
    ) -> Fitted[CodecT, NetworkT, StreamT]:
        """Learnt from all records, as far as the codec wants that."""
        codec = fitted.codec.refit(records)
        if codec is fitted.codec:
            return fitted
        with seeded(self.seed):  # the same whether or not the first training was resumed
            network = self._fit_network(codec, records, None, Run(verbose=verbose)).network
        return Fitted(codec, network, fitted.history)

    @final
    def predict(self, source: Any = None, **search: Any) -> Any:
        """The answers for a source, in the form that the task says.

        Args:
            source: what the task reads; None to go on from what it has read, where it has a stream.
            search: options of the group "predict", such as beam_size, for this call alone.

        Raises:
            ValueError, TypeError: the task is not fitted or the source cannot be used; one sentence.
        """
        fitted = self._check_fitted()
        records = self._records_to_predict(fitted, source)
        return fitted.codec.present(self._answers(fitted, records, search))

    @final
    def predict_table(self, source: Any = None, **search: Any) -> pl.DataFrame:
        """The answers for a source as a table, with what `predict` leaves out, such as probabilities.

        Args:
            source, search: as for `predict`.

        Returns:
            A row for every answer, as `longspan predict` writes them to a file.
        """
        fitted = self._check_fitted()
        records = self._records_to_predict(fitted, source)
        return fitted.codec.as_table(self._answers(fitted, records, search), records)

    @final
    def _records_to_predict(self, fitted: Fitted[CodecT, NetworkT, StreamT], source: Any) -> RecordsT:
        if source is None and fitted.stream is None:
            raise errors.value_error("source", "one to predict for", None, "pass it")
        return self.read(source, use="predict", fitted=fitted)

    @final
    def evaluate(self, source: Any, y: Any = None, **search: Any) -> dict[str, float]:
        """Every metric by name, for a source whose true answers are known; search: as for `predict`."""
        fitted = self._check_fitted()
        records = self.read(source, y, use="evaluate", fitted=fitted)
        return self._scores(fitted, self._answers(fitted, records, search), fitted.codec.truth(records))

    @final
    def score(self, source: Any, y: Any = None) -> float:
        """One number of `evaluate`, more is better (scikit-learn's convention).

        Args:
            source, y: as for `evaluate`.

        Returns:
            The accuracy of a classifier, the f1 of a detector's alarms, minus the MASE of a forecaster.
        """
        name = self.score_metric.removeprefix("-")
        value = self.evaluate(source, y)[name]
        return value if name == self.score_metric else -value

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn's tools ask about the task; nothing else calls it."""
        return tags_of(self._estimator_type, needs_y=self._estimator_type == "classifier")

    @final
    def _scores(
        self, fitted: Fitted[CodecT, NetworkT, StreamT], answers: Any, truth: Any
    ) -> dict[str, float]:
        return {name: float(metric(answers, truth)) for name, metric in fitted.codec.metrics().items()}

    @final
    def tune(
        self,
        source: Any,
        y: Any = None,
        *,
        space: Mapping[str, Any] | None = None,
        trials: int | None = 20,
        minutes: float | None = None,
        validation_data: Any = None,
        verbose: int | str = "auto",
    ) -> Self:
        """Search options by the validation loss, then fit with the best; needs optuna.

        Args:
            source, y, validation_data: as for `fit`.
            space: option -> a list of values, or (low, high); None for the task's own.
            trials, minutes: stop after so many trials or so much time, whichever comes first.
            verbose: 0 for nothing, else a line a trial.

        Returns:
            Itself, its options set to the best and fitted; tuned_ has the trials, best first.
        """
        self.check()
        space = dict(search_space(type(self)) if space is None else space)
        for name in space:
            errors.check_choice("space", name, options_of(type(self)))

        def score(options: Mapping[str, Any]) -> float:
            trial = self.clone().set_params(**options)
            trial.check()
            codec = trial.codec()
            with warnings.catch_warnings(), seeded(trial.seed):
                warnings.simplefilter("ignore", errors.LongspanWarning)
                _, train, valid = trial._records(source, y, validation_data)
                history = trial.learn(codec, train, valid, Run(verbose=0)).history.history
            return min(history.get("val_loss", history["loss"]))

        now = {name: value for name, value in self.get_params().items() if name in space}
        tried = tune.search(
            score, space, first=now, trials=trials, minutes=minutes, seed=self.seed, verbose=verbose
        )
        self.set_params(**tried[0][1])
        self.fit(source, y, validation_data=validation_data, verbose=0)
        self.tuned_ = tried
        return self

    # ---- what was learnt

    @property
    def codec_(self) -> CodecT:
        """What was learnt except weights."""
        return self.fitted_.codec

    @property
    def network_(self) -> NetworkT:
        """The trained network."""
        return self.fitted_.network

    @property
    def history_(self) -> History:
        """The losses of every epoch."""
        return self.fitted_.history

    @property
    def feature_names_in_(self) -> np.ndarray:
        """The columns that were read as features (scikit-learn's convention); none for texts and arrays."""
        names = self.codec_.feature_names
        if not names:
            way_out = "fit a table with columns of numbers"
            raise AttributeError(errors.message("feature_names_in_", "named features", "none", way_out))
        return np.array(names, dtype=object)

    @property
    def n_features_in_(self) -> int:
        """The number of columns that were read as features; none for texts and arrays."""
        return len(self.feature_names_in_)

    @property
    def stream_(self) -> StreamT | None:
        """Where the task stands in what it reads on and on; None where it has no stream."""
        return self.fitted_.stream

    @final
    def _check_fitted(self) -> Fitted[CodecT, NetworkT, StreamT]:
        """What was learnt, or an error before `fit`."""
        try:
            return self.fitted_
        except AttributeError:
            kind = type(self).__name__
            raise errors.value_error(
                kind, "a fitted one", "one before fit", "call fit(source) first"
            ) from None

    @final
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted task into one file, beside and renamed; `longspan.load` reads it."""
        persistence.save(self, self._check_fitted(), self.notes_, path)

    # ---- the report

    @final
    def sections(self, source: Any = None) -> list[Section]:
        """What a report shows, as plain data: the task's own sections, training, how to reproduce it.

        Args:
            source: what to evaluate on and to show; None for what the model itself remembers.
        """
        fitted = self._check_fitted()
        return [*self.report(fitted, source), *common_sections(self, fitted, self.notes_)]

    @final
    def write_report(
        self, path: str | os.PathLike[str], source: Any = None, *, title: str = "", lead: str = ""
    ) -> Path:
        """Write the report of the fitted task: what it learnt and how good it is, as one HTML file.

        Args:
            path: the .html file; it is written beside and renamed.
            source: what to evaluate on and to show; None for what the model itself remembers.
            title, lead: the page's heading and the sentence below it; "" for the task's own.

        Returns:
            Where it lies.

        Raises:
            ImportError: matplotlib or jinja2 is missing; the sentence names the command.
            ValueError: the model is not fitted, or the source is not what it takes.
            OSError: the file cannot be written; nothing is left of it.
        """
        sections = self.sections(source)
        return write_report(sections, path, title=title or type(self).__name__, lead=lead or repr(self))
