"""Declares a task's parts (nine methods that it may override), the options of all tasks, and `Fitted`."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar, final

import torch

from longspan import errors
from longspan.callbacks import History
from longspan.data.batches import Batch
from longspan.data.splits import rows_of_fraction
from longspan.networks.encoder import CELL_NAMES
from longspan.report.elements import Section
from longspan.training import TrainingRuns

from .codec import Codec, RecordsT, Tree
from .fitting import (
    Run,
    check_device,
    decoded_validation,
    device_of,
    fit_network,
    fit_networks,
    predictions,
)
from .network import TaskNetwork
from .options import Configurable, option, options_of
from .provenance import DataSource
from .schedule import Schedule, TrainingOptions

CodecT = TypeVar("CodecT", bound=Codec[Any])
NetworkT = TypeVar("NetworkT", bound=TaskNetwork)
StreamT = TypeVar("StreamT", bound="Stream")
Use = Literal["fit", "evaluate", "predict"]


class Stream(abc.ABC):
    """A fitted task that is fed one row after another: its state after the rows so far. Abstract.

    The state is saved with the model.
    """

    @abc.abstractmethod
    def update(self, reading: Any) -> Any:
        """Read the next row; returns the task's answer to it, None from a task that gives none."""

    @abc.abstractmethod
    def state(self) -> Tree:
        """Plain values and tensors."""

    @abc.abstractmethod
    def restore(self, state: Tree) -> None:
        """Take what `state` returned."""


@dataclass(eq=False)
class Fitted(Generic[CodecT, NetworkT, StreamT]):
    """The results of a fit: codec, network, history of the training, stream if the task has one, data.

    data: None for a part of a fit, such as a trial, and for models saved before it was kept.
    """

    codec: CodecT
    network: NetworkT
    history: History
    stream: StreamT | None = None
    data: DataSource | None = None

    @property
    def running(self) -> StreamT:
        """The stream, or an error for a task that has none."""
        if self.stream is None:
            raise errors.value_error("task", "one with a stream", "one without", "pass a source")
        return self.stream


@dataclass(eq=False, repr=False, kw_only=True)
class TaskParts(Configurable, Generic[RecordsT, CodecT, NetworkT, StreamT]):
    """The parts of a task: the methods that it overrides. Abstract.

    `longspan.tasks.estimator.Estimator` calls them in fit, predict, evaluate and its other public methods. A
    part gets the results of an earlier fit as an argument, and never reads them from the task. Four parts are
    abstract: `read`, `codec`, `network`, `batches`. Five have defaults: `split`, `learn`, `calibrate`,
    `start_stream`, `report`. The network has the loss and the prediction, the codec has the metrics.

    Fit calls `read`, `split`, `learn` (which fits the codec, and trains the network on `batches`),
    `calibrate` and `start_stream`. Predict calls `read` and `batches`, then the network's `predict`, then the
    codec's `decode` and `present`.
    """

    cell: str = option(
        "LSTM",
        "recurrent cell of the network",
        choices=CELL_NAMES,
        group="network",
        advanced=True,
    )
    hidden_size: int = option(
        64,
        "units of every recurrent layer",
        group="network",
        minimum=1,
        maximum=65_536,
        search=[32, 64, 128],
    )
    num_layers: int = option(
        1,
        "recurrent layers stacked",
        group="network",
        minimum=1,
        maximum=1000,
        search=[1, 2],
        advanced=True,
    )
    dropout: float = option(
        0.0,
        "share of values dropped in training",
        group="network",
        fraction=True,
        search=[0.0, 0.1, 0.3],
        advanced=True,
    )
    epochs: int | None = option(20, "passes over the training part at most", group="training", minimum=1)
    batch_size: int = option(
        64,
        "rows of a training step",
        group="training",
        minimum=1,
        advanced=True,
    )
    learning_rate: float | None = option(
        1e-3,
        "highest learning rate of Adam",
        group="training",
        positive=True,
        search=(3e-4, 1e-2),
        advanced=True,
    )
    patience: int | None = option(
        5,
        "epochs without a lower validation loss before training stops",
        group="training",
        minimum=1,
        advanced=True,
    )
    validation_fraction: float = option(
        0.15,
        "share of the training data held out for validation",
        group="training",
        fraction=True,
        advanced=True,
    )
    seed: int = option(
        0,
        "seed of the random generators: the same seed gives the same model",
        group="training",
        minimum=0,
        maximum=2**32 - 1,
    )
    device: str | None = option(
        None,
        "device such as cpu or cuda; none for a GPU if there is one",
        group="training",
        check=check_device,
        advanced=True,
    )

    name: ClassVar[str]  # the task's name in `longspan.tasks.TASKS`
    takes_targets: ClassVar[bool] = False  # whether the targets may be a file beside the source's
    score_metric: ClassVar[str]  # the codec's metric that `score` returns; "-mae" for minus the MAE
    reads_texts: ClassVar[bool] = (
        False  # whether sources hold texts alone; files without a name are lines then
    )
    _estimator_type: ClassVar[str | None] = None  # scikit-learn's name of the kind of task
    schedule: ClassVar[Schedule] = Schedule()  # the learning rate over the steps, relative to its peak
    decode_validation: ClassVar[bool] = False  # whether the codec's metrics are computed after every epoch

    # ---- the nine parts

    @abc.abstractmethod
    def read(
        self,
        source: Any,
        y: Any = None,
        *,
        use: Use = "fit",
        fitted: Fitted[CodecT, NetworkT, StreamT] | None = None,
    ) -> RecordsT:
        """The records of a source.

        Args:
            source: in any form that the task documents; y: the targets, if they are not part of `source`.
            use: "fit", "evaluate" (the records need targets) or "predict" (they may have none).
            fitted: the results of fit; None during fit, also for validation data (use "evaluate").
        """

    def split(self, records: RecordsT) -> tuple[RecordsT, RecordsT | None]:
        """Training records and validation records, None for no validation.

        By default the last `validation_fraction` of the records are held out; this takes `len` and slices.
        """
        rows: Any = records
        held_out = rows_of_fraction(len(rows), self.validation_fraction)
        return (rows[: len(rows) - held_out], rows[len(rows) - held_out :]) if held_out else (records, None)

    @abc.abstractmethod
    def codec(self) -> CodecT:
        """A codec that is not fitted; raises an error if options contradict each other."""

    @abc.abstractmethod
    def network(self, codec: CodecT, train: RecordsT | None) -> NetworkT:
        """A new network for a fitted codec.

        Args:
            train: the training records, for weights that are initialized by data; None if the weights of the
                network are loaded afterwards.
        """

    @abc.abstractmethod
    def batches(self, codec: CodecT, records: RecordsT, *, train: bool) -> Iterable[Batch]:
        """The records in batches; an iterable that can be iterated once for every epoch.

        Args:
            train: whether to train on them. Their order is then random. `longspan.data.Batches` draws it so
                that a resumed training repeats it; an iterable of your own draws it in `__iter__` from
                torch's global generator. Without `train` the batches are in the order of the records.
        """

    def learn(
        self, codec: CodecT, train: RecordsT, valid: RecordsT | None, run: Run
    ) -> Fitted[CodecT, NetworkT, StreamT]:
        """Fit codec and network; valid: None without validation records."""
        codec.fit(train, valid)
        return self._fit_network(codec, train, valid, run)

    def calibrate(self, fitted: Fitted[CodecT, NetworkT, StreamT], valid: RecordsT, run: Run) -> None:
        """Calibrate on the validation records after training, such as a temperature; by default nothing.

        Args:
            run: how training that goes on here shows its progress, and how many processes share it.
        """

    def start_stream(
        self, fitted: Fitted[CodecT, NetworkT, StreamT], records: RecordsT | None
    ) -> StreamT | None:
        """The stream after all records of a fit; None for a task without one.

        Args:
            records: None for a stream whose state is loaded.
        """
        return None

    def report(self, fitted: Fitted[CodecT, NetworkT, StreamT], source: Any) -> list[Section]:
        """The task's own sections of its report; source: to evaluate on and to show, or None."""
        return []

    # ---- shared by the verbs

    @final
    def _fit_network(
        self, codec: CodecT, train: RecordsT, valid: RecordsT | None, run: Run
    ) -> Fitted[CodecT, NetworkT, StreamT]:
        """A new network trained on records with a fitted codec."""
        network = self.network(codec, train).to(device_of(self.device))
        batches = self.batches(codec, train, train=True)
        validate: Any = None if valid is None else self.batches(codec, valid, train=False)
        if validate is not None and self.decode_validation:
            validate = decoded_validation(codec, network, valid, validate, self._search_options())
        history = fit_network(network, batches, validate, self._training(codec), run._replace(model=self))
        return Fitted(codec, network, history)

    @final
    def learn_rates(
        self, codec: CodecT, train: RecordsT, valid: RecordsT | None, rates: Sequence[float]
    ) -> TrainingRuns | None:
        """Fit the codec once, and at once a network for each learning rate.

        Returns:
            None where the networks have to be trained one after another, which gives other numbers or is all
            that the task can do: see `longspan.tasks.fitting.fit_networks`.
        """
        by_itself = type(self).learn is not TaskParts.learn or self.decode_validation
        if by_itself or self.dropout or device_of(self.device).type != "cpu":
            return None
        codec.fit(train, valid)
        state, networks, options = torch.get_rng_state(), [], []
        for rate in rates:
            torch.set_rng_state(state)  # all start with the weights that each of them would have alone
            trial = self.clone().set_params(learning_rate=rate)
            trial.check()
            networks.append(trial.network(codec, train))
            options.append(trial._training(codec))
        batches = self.batches(codec, train, train=True)
        validate = None if valid is None else self.batches(codec, valid, train=False)
        return fit_networks(networks, batches, validate, options)

    @final
    def _training(self, codec: CodecT) -> TrainingOptions:
        """How the network is trained: by the task's options, by the codec where one of them is None."""
        epochs = codec.epochs if self.epochs is None else self.epochs
        rate = codec.learning_rate if self.learning_rate is None else self.learning_rate
        options = TrainingOptions(epochs, rate, self.schedule, self.patience)
        return options if self.epochs is not None else codec.training(options, self.batch_size)

    @final
    def _search_options(self, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The options of the group "predict" by name, which the network's `predict` takes as keywords.

        Args:
            overrides: values that replace the task's own for one call; None keeps the task's own value.

        Raises:
            ValueError, TypeError: there is no such option, or its value is not allowed; one sentence.
        """
        options = {n: o for n, o in options_of(type(self)).items() if o.group == "predict"}
        values = {name: getattr(self, name) for name in options}
        for name, value in (overrides or {}).items():
            if name not in options:
                expected = f"one of {', '.join(options)}" if options else "none"
                raise TypeError(errors.message("option of predict", expected, repr(name), "leave it out"))
            if value is not None:
                options[name].check(value)
                values[name] = value
        return values

    @final
    def _predictions(
        self,
        fitted: Fitted[CodecT, NetworkT, StreamT],
        records: RecordsT,
        search: Mapping[str, Any] | None = None,
    ) -> list[Any]:
        """The network's predictions for every batch of the records; search: as for `_search_options`."""
        options = self._search_options(search)
        return predictions(fitted.network, self.batches(fitted.codec, records, train=False), options)

    @final
    def _answers(
        self,
        fitted: Fitted[CodecT, NetworkT, StreamT],
        records: RecordsT,
        search: Mapping[str, Any] | None = None,
    ) -> Any:
        """The decoded answers for records, as the metrics take them; search: as for `_search_options`."""
        return fitted.codec.decode(self._predictions(fitted, records, search), records)
