"""The base class of all tasks: fits, predicts, evaluates, tunes, saves and reports by a task's parts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import polars as pl
from typing_extensions import Self

from longspan import errors
from longspan.callbacks import Callback, History
from longspan.nn.quantization import check_trainable
from longspan.report import write_report
from longspan.report.elements import Section
from longspan.training.checkpoint import as_checkpoint_config
from longspan.training.processes import check_processes

from . import persistence
from .codec import RecordsT
from .fitting import Run, predictions, seeded
from .identity import identified
from .joining import each_noted, predict_joined
from .learning import read_and_split, search_options
from .parts import CodecT, Fitted, NetworkT, StreamT, TaskParts
from .provenance import describe_source
from .sections import common_sections
from .sklearn_tags import tags_of


@dataclass(eq=False, repr=False, kw_only=True)
class Estimator(TaskParts[RecordsT, CodecT, NetworkT, StreamT]):
    """A task as a scikit-learn estimator, whose fields are its options and nothing else. Abstract.

    The constructor only stores options. `fit` checks the options, trains, and stores the results under names
    that end in `_`: codec_, network_, history_ (`longspan.training.History`), stream_ where the task has one,
    and notes_, the notices that fit gave.

    The same seed, data and options give the same model, bit by bit, on one machine and number of torch's
    threads. With another number of threads, torch may add numbers in another order. Fits in several Python
    threads wait for each other, since torch has one random generator for all threads.

    Tasks are final subclasses. They override the parts of `longspan.tasks.parts.TaskParts` and inherit the
    public methods of this class. A task may add keywords to `fit`, `predict` and `evaluate` that say how a
    source is read; it then calls these methods with the source in another form.
    """

    def fit(
        self,
        source: Any,
        y: Any = None,
        *,
        validation_data: Any = None,
        resume: Any = None,
        callbacks: Sequence[Callback] = (),
        verbose: int | str = "auto",
        processes: int | None = None,
    ) -> Self:
        """Train on a source; an earlier fit is forgotten.

        Args:
            source: what the task reads; y: the targets, if they are not part of `source`.
            validation_data: a source of validation records; None to hold out a share of `source`.
            resume: a checkpoint file to resume from and to write, or a `longspan.training.CheckpointConfig`.
                A checkpoint of other data or options is refused; that of a finished fit gives its weights.
            callbacks: `longspan.training.Callback` objects.
            verbose: 0 for no output, 1 or "auto" for a progress bar in a terminal, 2 for a line per epoch.
            processes: how many share every batch; they are forked on Linux, with one thread each. Under
                torchrun they are those that it started, and each then has the fitted task.

        Returns:
            The task itself, fitted.

        Raises:
            ValueError, TypeError: an option or the source cannot be used; one sentence.
        """
        self.check()
        if "fitted_" in vars(self):
            check_trainable(self.network_)
        if processes is not None:
            check_processes(processes)
        codec, run = self.codec(), Run(as_checkpoint_config(resume), callbacks, verbose, processes=processes)
        with errors.collect_notices() as notes, seeded(self.seed):
            records, train, valid = read_and_split(self, source, y, validation_data)
            checkpoint = identified(run.resume, self, records, None if validation_data is None else valid)
            fitted = self.learn(codec, train, valid, run._replace(resume=checkpoint))
            del train  # frees its memory before all records are encoded
            if valid is not None:
                more = Run(verbose=verbose, processes=processes)  # of training after the training part's
                self.calibrate(fitted, valid, more)
                if validation_data is None:
                    fitted = self._refitted(fitted, records, more)
            fitted.stream = self.start_stream(fitted, records)
            fitted.data = describe_source(source, y, fitted.codec.count_rows(records))
        self.fitted_, self.notes_ = fitted, notes
        vars(self).pop("stop_training", None)  # callbacks may set it during training
        return self

    @final
    def check_source(self, source: Any, y: Any = None) -> list[str]:
        """Read a source as `fit` does and hold a part of it out, without training.

        Args:
            source, y: as for `fit`.

        Returns:
            The notices that `fit` would give about the source.

        Raises:
            ValueError, TypeError: what `fit` would raise about an option or the source; one sentence.

        >>> from longspan import Forecaster
        >>> Forecaster(horizon=4).check_source([1.0, 2.0, 3.0])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: source: expected at least 9 rows for a horizon of 4, received 3; ...
        """
        self.check()
        with errors.collect_notices() as notes, seeded(self.seed):
            read_and_split(self, source, y, None)
        return notes

    @final
    def _refitted(
        self, fitted: Fitted[CodecT, NetworkT, StreamT], records: RecordsT, run: Run
    ) -> Fitted[CodecT, NetworkT, StreamT]:
        """Codec and network trained on all records if `codec.refit` returns another codec; else `fitted`."""
        codec = fitted.codec.refit(records)
        if codec is fitted.codec:
            return fitted
        with seeded(self.seed):  # the same whether or not the first training was resumed
            network = self._fit_network(codec, records, None, run).network
        return Fitted(codec, network, fitted.history)

    def predict(self, source: Any = None, **search: Any) -> Any:
        """The predictions for a source, in the form that the task documents.

        Args:
            source: what the task reads; None to predict what follows the rows read so far, in a task with a
                stream.
            search: options of the group "predict" as keywords, such as beam_size=4, for this call only.

        Raises:
            ValueError, TypeError: the task is not fitted or the source cannot be used; one sentence.
        """
        fitted = self._check_fitted()
        records = self._records_to_predict(fitted, source)
        return fitted.codec.present(self._answers(fitted, records, search))

    @final
    def predict_table(self, source: Any = None, **search: Any) -> pl.DataFrame:
        """The predictions for a source as a polars frame, with details such as probabilities.

        Args:
            source, search: as for `predict`.

        Returns:
            A row for every prediction, as `longspan predict` writes them to a file.
        """
        fitted = self._check_fitted()
        records = self._records_to_predict(fitted, source)
        return fitted.codec.as_table(self._answers(fitted, records, search), records)

    @final
    def predict_tables(
        self, sources: Sequence[Any], *, notes: list[list[str]] | None = None, **search: Any
    ) -> list[pl.DataFrame | Exception]:
        """`predict_table` of several sources, in as few calls of the network as their shapes allow.

        Args:
            sources: as for `predict`; search: as for `predict`, the same for all.
            notes: takes a list for each source, the notes of the library about it. Those that come later, of
                several sources at once, are in none.

        Returns:
            For each source its answers, or the error of a source that cannot be read.
        """
        fitted = self._check_fitted()
        read: list[Any] = []
        notes = [] if notes is None else notes
        for source in sources:
            with errors.collect_notices() as own:
                try:
                    read.append(self._records_to_predict(fitted, source))
                except (ValueError, TypeError, OSError) as error:
                    read.append(error)
            notes.append(own)
        records = [part for part in read if not isinstance(part, Exception)]
        of_records = [own for own, part in zip(notes, read, strict=True) if not isinstance(part, Exception)]
        tables = iter(self._joined_tables(fitted, records, search, of_records))
        return [part if isinstance(part, Exception) else next(tables) for part in read]

    @final
    def _joined_tables(
        self,
        fitted: Fitted[CodecT, NetworkT, StreamT],
        records: Sequence[Any],
        search: Mapping[str, Any],
        notes: Sequence[list[str]],
    ) -> list[pl.DataFrame]:
        """The answers for the records of several sources; what is noted about one is added to its notes."""
        codec = fitted.codec
        whole = codec.join(records) if records else None
        if whole is not None:
            return codec.split(codec.as_table(self._answers(fitted, whole, search), whole), records)
        if fitted.network.joins:
            options = self._search_options(search)
            batches = each_noted(lambda part: list(self.batches(codec, part, train=False)), records, notes)
            predicted = predict_joined(lambda joined: predictions(fitted.network, joined, options), batches)
        else:
            predicted = each_noted(lambda part: self._predictions(fitted, part, search), records, notes)
        pairs = list(zip(predicted, records, strict=True))
        return each_noted(lambda pair: codec.as_table(codec.decode(*pair), pair[1]), pairs, notes)

    @final
    def _records_to_predict(self, fitted: Fitted[CodecT, NetworkT, StreamT], source: Any) -> RecordsT:
        if source is None and fitted.stream is None:
            raise errors.value_error("source", "one to predict for", None, "pass it")
        return self.read(source, use="predict", fitted=fitted)

    def evaluate(self, source: Any, y: Any = None, **search: Any) -> dict[str, float]:
        """Every metric by name, for a source with targets.

        Args:
            source, y: as for `fit`; search: as for `predict`.
        """
        fitted = self._check_fitted()
        records = self.read(source, y, use="evaluate", fitted=fitted)
        return self._scores(fitted, self._answers(fitted, records, search), fitted.codec.truth(records))

    @final
    def score(self, source: Any, y: Any = None) -> float:
        """One metric of `evaluate`, of which higher is better (scikit-learn's convention).

        Args:
            source, y: as for `evaluate`.

        Returns:
            The accuracy of a classifier, the F1 score of a detector's alarms, minus the MASE of a forecaster.
        """
        name = self.score_metric.removeprefix("-")
        value = self.evaluate(source, y)[name]
        return value if name == self.score_metric else -value

    def __sklearn_tags__(self) -> Any:
        """The task's tags for scikit-learn's tools; nothing else calls this."""
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
        """Search the options with the lowest validation loss, then fit with them; needs optuna.

        Of the first ten trials, those that differ in the learning rate alone are trained at once if they are
        four or more and no `minutes` are given; the numbers are the same to rounding.

        Args:
            source, y, validation_data: as for `fit`.
            space: option -> a list of values, or (low, high); None for the space that the task declares.
            trials, minutes: the search stops after so many trials or minutes, whichever comes first.
            verbose: 0 for no output, else a line per trial.

        Returns:
            The task itself, fitted with the best options; tuned_ has the trials, best first.
        """
        self.check()
        tried = search_options(
            self, source, y, validation_data, space=space, trials=trials, minutes=minutes, verbose=verbose
        )
        self.set_params(**tried[0][1])
        self.fit(source, y, validation_data=validation_data, verbose=0)
        self.tuned_ = tried
        return self

    # ---- the results of fit

    @property
    def codec_(self) -> CodecT:
        """The fitted codec: everything that was learnt except the network's weights."""
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
        """The names of the feature columns (scikit-learn's convention).

        Raises:
            AttributeError: the source of `fit` had no named features, such as texts or an array.
        """
        names = self.codec_.feature_names
        if not names:
            way_out = "fit a table with columns of numbers"
            raise AttributeError(errors.message("feature_names_in_", "named features", "none", way_out))
        return np.array(names, dtype=object)

    @property
    def n_features_in_(self) -> int:
        """The number of feature columns; an AttributeError as for `feature_names_in_`."""
        return len(self.feature_names_in_)

    @property
    def stream_(self) -> StreamT | None:
        """The state after the rows read so far; None for a task without a stream."""
        return self.fitted_.stream

    @final
    def _check_fitted(self) -> Fitted[CodecT, NetworkT, StreamT]:
        """The results of `fit`; an error before `fit`."""
        try:
            return self.fitted_
        except AttributeError:
            kind = type(self).__name__
            raise errors.value_error(
                kind, "a fitted one", "one before fit", "call fit(source) first"
            ) from None

    @final
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted task to one file, atomically; `longspan.load` reads it."""
        persistence.save(self, self._check_fitted(), self.notes_, path)

    # ---- the report

    @final
    def sections(self, source: Any = None) -> list[Section]:
        """The report's sections as plain data: the task's own, training, and how to reproduce it.

        Args:
            source: to evaluate on and to show; None for the validation scores that the model has stored.
        """
        fitted = self._check_fitted()
        sections = [*self.report(fitted, source), *common_sections(self, fitted, self.notes_)]
        return sorted(sections, key=lambda section: section.folded)  # stable: only those go to the end

    @final
    def write_report(
        self, path: str | os.PathLike[str], source: Any = None, *, title: str = "", lead: str = ""
    ) -> Path:
        """Write a report of settings, scores and training as one HTML file.

        Args:
            path: of the .html file; it is written atomically.
            source: as for `sections`.
            title, lead: the page's heading and the sentence below it; "" for the task's own.

        Returns:
            The path of the file.

        Raises:
            ImportError: matplotlib or jinja2 is missing; the sentence names the command.
            ValueError: the task is not fitted, or the source cannot be read.
            OSError: the file cannot be written; no part of it is left.
        """
        sections = self.sections(source)
        return write_report(sections, path, title=title or type(self).__name__, lead=lead or repr(self))
