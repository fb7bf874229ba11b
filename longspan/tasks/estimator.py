"""Knows the spine that every task shares: the parts a task gives and the verbs it gets for them."""

from __future__ import annotations

import abc
import os
import shlex
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from longspan import artifact, errors, optimizers
from longspan.data.batches import Batch
from longspan.networks.encoder import CELL_NAMES
from longspan.report import write_report
from longspan.report.elements import Curves, Exhibit, Line, Section, Table, Words
from longspan.training import Callback, EarlyStopping, History, train, tune
from longspan.training.loop import to_device

from .codec import Codec as Codec
from .codec import Tree as Tree
from .options import option, options_of

KIND = "task"
Metrics = Mapping[str, Callable[[Any, Any], float]]


@dataclass(eq=False, repr=False, kw_only=True)
class Estimator(abc.ABC):
    """A task: its fields are its options and nothing else. Abstract; final classes are the tasks.

    Constructors only store. `fit` checks the options, learns, and stores what it learnt under names that end
    in `_`: codec_, network_, history_ (`longspan.training.History`) and notes_, the notes given meanwhile.
    None of the parts reads these: they get all they need as arguments, so one task may hold another's parts.
    """

    cell: str = option("LSTM", "recurrent cell of the network", choices=CELL_NAMES, group="network")
    hidden_size: int = option(64, "units of every recurrent layer", group="network")
    num_layers: int = option(1, "recurrent layers stacked", group="network")
    dropout: float = option(0.0, "share of values dropped in training", group="network")
    epochs: int = option(20, "times the training part is gone through at most", group="training")
    batch_size: int = option(64, "rows a step", group="training")
    learning_rate: float = option(1e-3, "of Adam, at the start", group="training")
    patience: int | None = option(
        5, "epochs without improvement on the held-out part before training stops", group="training"
    )
    validation_fraction: float = option(0.15, "share of the training data held out", group="training")
    seed: int = option(0, "of all that is random: the same seed gives the same model", group="training")
    device: str | None = option(
        None, "such as cpu or cuda; none for a GPU where there is one", group="training"
    )

    name: ClassVar[str]  # the task's name in TASKS

    def __new__(cls, *args: Any, **options: Any) -> Self:
        known = options_of(cls)
        for given in options:
            if given not in known:
                expected = f"one of the options of {cls.__name__}"
                way_out = errors.did_you_mean(given, known) if errors.did_you_mean(given, known) else ""
                raise TypeError(errors.message("option", expected, repr(given), _ways(way_out, known)))
        return super().__new__(cls)

    # ---- the parts: what a task gives

    @abc.abstractmethod
    def read(self, source: Any, y: Any = None, *, use: str = "fit") -> Any:
        """Records out of whatever the user has.

        Args:
            source: the user's; y: the answers where they come apart.
            use: "fit", "evaluate" (answers must be there) or "predict" (they need not).
        """

    def split(self, records: Any) -> tuple[Any, Any]:
        """Records to train on and held-out ones, or None for none: the last share of a list."""
        held = round(len(records) * self.validation_fraction)
        return (records[: len(records) - held], records[len(records) - held :]) if held else (records, None)

    @abc.abstractmethod
    def codec(self) -> Codec:
        """A fresh codec, not fitted."""

    @abc.abstractmethod
    def batches(self, codec: Any, records: Any, *, train: bool) -> Iterable[Batch]:
        """The records in batches, dealt anew at every iteration.

        With `train` their order is drawn in `__iter__` from torch's global generator (a killed run goes on to
        the same bits by that); without, they come in the records' order.
        """

    @abc.abstractmethod
    def network(self, sizes: Mapping[str, Any]) -> nn.Module:
        """A network built from the codec's sizes: forward(batch, state) -> (output, state)."""

    @abc.abstractmethod
    def batch_loss(self, output: Any, batch: Batch) -> Tensor:
        """One number."""

    def answer(self, network: nn.Module, batch: Batch) -> Any:
        """Answers still in code, one batch's; the codec's `decode` gets the list of them. No gradients."""
        return network(batch, None)[0]

    @abc.abstractmethod
    def metrics(self) -> Metrics:
        """Name -> function (answers, truths) -> number, in the order in which they are shown."""

    def calibrate(self, codec: Any, network: nn.Module, held: Any) -> None:  # noqa: B027 a hook
        """What is learnt after training from the held-out part, into the codec; most learn nothing."""

    def select(self, codec: Any, train: Any, held: Any) -> None:  # noqa: B027 a hook
        """What is chosen on the held-out part before training, into the codec; most choose nothing."""

    def prepare(self, codec: Any, network: nn.Module) -> None:  # noqa: B027 a hook
        """What is done to a fresh network before training, such as a good start; most do nothing."""

    def again(self, codec: Any, records: Any) -> Any:
        """The codec with which all records, the held-out ones too, are learnt from once more, from the start,
        after the held-out ones have told what is chosen by them; None for leaving it at the first time."""
        return None

    def rate(self, codec: Any) -> float:
        """The learning rate to start from: the option, where a task does not find it from the data."""
        return self.learning_rate

    def schedule(self, steps: int, rate: float) -> Callable[[int], float] | None:
        """From the optimizer's step (0 to steps - 1) to the learning rate; None for a constant `rate`."""
        return None

    def space(self) -> Mapping[str, Any]:
        """What `tune` searches: option -> a list of values, or (low, high) with whole or real ends."""
        return {
            "hidden_size": [32, 64, 128],
            "num_layers": [1, 2],
            "dropout": [0.0, 0.1, 0.3],
            "learning_rate": (3e-4, 1e-2),
        }

    # ---- the verbs: what it gets

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
            source: what the task reads; y: the answers where they come apart.
            validation_data: a source of held-out records, None to hold out a share of `source`.
            resume: a file to go on from and to write to (see `longspan.training.CheckpointConfig`).
            callbacks: `longspan.training.Callback` objects.
            verbose: 0 for nothing, 1 or "auto" for a bar where there is a terminal, 2 for a line an epoch.

        Returns:
            Itself.

        Raises:
            ValueError, TypeError: an option or the source cannot be used; one sentence.
        """
        self.check()
        with errors.collect_notices() as notes, seeded(self.seed):
            records, part, held = self._dealt(source, y, validation_data)
            learned = self._learn(part, held, resume=resume, callbacks=callbacks, verbose=verbose)
            self.codec_: Any = learned[0]  # each task knows its own codec's class
            self.network_, self.history_ = learned[1:]
            whole = self.again(learned[0], records) if validation_data is None and held is not None else None
            if whole is not None:
                with seeded(self.seed):  # whether or not the first time was resumed
                    self.codec_, self.network_ = whole, self._train(whole, records, None, verbose=verbose)[0]
            self.settle(records)
        self.notes_ = notes
        return self

    def _dealt(self, source: Any, y: Any, validation: Any) -> tuple[Any, Any, Any]:
        """All records of a source to fit, those to train on, and those held out or None."""
        records = self.read(source, y, use="fit")
        if validation is None:
            return records, *self.split(records)
        # read by one that has learnt nothing: what an earlier fit knows of columns and rows is forgotten
        return records, records, self.clone().read(validation, use="evaluate")

    def settle(self, records: Any) -> None:  # noqa: B027 a hook
        """Called last in `fit`, with all records: what to keep beside codec and network, such as a state."""

    def _learn(
        self, train_part: Any, held: Any, *, resume: Any, callbacks: Sequence[Callback], verbose: int | str
    ) -> tuple[Any, nn.Module, History]:
        codec = self.codec().fit(train_part)
        self.select(codec, train_part, held)
        network, history = self._train(
            codec, train_part, held, resume=resume, callbacks=callbacks, verbose=verbose
        )
        if held is not None:
            self.calibrate(codec, network, held)
        return codec, network.eval(), history

    def _train(
        self,
        codec: Any,
        train_part: Any,
        held: Any,
        *,
        resume: Any = None,
        callbacks: Sequence[Callback] = (),
        verbose: int | str,
    ) -> tuple[nn.Module, History]:
        """A network that has learnt, and how it went."""
        network = self.network(codec.sizes).to(self._device())
        self.prepare(codec, network)
        batches = self.batches(codec, train_part, train=True)
        validate = None if held is None else self.batches(codec, held, train=False)
        steps, rate = self.epochs * _count(batches), self.rate(codec)
        history = train(
            network,
            batches,
            self.batch_loss,
            optimizers.Adam(rate).build(network.parameters()),
            epochs=self.epochs,
            validate=validate,
            callbacks=[*self._stopping(validate), *callbacks],
            clip_norm=1.0,
            schedule=self.schedule(steps, rate),
            verbose=verbose,
            resume=resume,
            model=self,
        )
        return network.eval(), history

    def _stopping(self, validate: Any) -> list[Callback]:
        if validate is None or self.patience is None:
            return []
        return [EarlyStopping("val_loss", patience=self.patience, restore_best_weights=True)]

    def _device(self) -> torch.device:
        return torch.device(self.device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def predict(self, source: Any) -> Any:
        """The answers for a source, in the form that the task says."""
        records = self.read(source, use="predict")
        return self.codec_of().decode(self.coded(self.codec_, self.network_, records), records)

    def evaluate(self, source: Any, y: Any = None) -> dict[str, float]:
        """Every metric by name, for a source whose right answers are known."""
        answers, truths = self.exam(source, y)
        return {name: float(metric(answers, truths)) for name, metric in self.metrics().items()}

    def exam(self, source: Any, y: Any = None) -> tuple[Any, Any]:
        """Answers and truths as the metrics take them."""
        codec = self.codec_of()
        records = self.read(source, y, use="evaluate")
        return codec.decode(self.coded(codec, self.network_, records), records), codec.truth(records)

    def coded(self, codec: Any, network: nn.Module, records: Any) -> list[Any]:
        """`answer` for every batch of the records, without gradients."""
        place, was_training = to_device(network), network.training
        network.eval()
        try:
            with torch.no_grad():
                return [
                    self.answer(network, place(batch)) for batch in self.batches(codec, records, train=False)
                ]
        finally:
            network.train(was_training)

    def codec_of(self) -> Any:
        """The codec learnt, or an error before `fit`."""
        if not hasattr(self, "codec_"):
            kind = type(self).__name__
            raise errors.value_error(kind, "a fitted one", "one before fit", "call fit(source) first")
        return self.codec_

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
        """Search options by what the held-out part says, then fit with the best; needs optuna.

        Args:
            source, y, validation_data: as for `fit`.
            space: option -> a list of values, or (low, high); None for the task's own.
            trials, minutes: stop after so many trials or so much time, whichever comes first.
            verbose: 0 for nothing, else a line a trial.

        Returns:
            Itself, its options set to the best and fitted; tuned_ has the trials, best first.
        """
        self.check()
        space = dict(self.space() if space is None else space)
        for name in space:
            errors.check_choice("space", name, options_of(type(self)))

        def score(found: Mapping[str, Any]) -> float:
            trial = self.clone().set_params(**found)
            trial.check()
            with warnings.catch_warnings(), seeded(trial.seed):
                warnings.simplefilter("ignore", errors.LongspanWarning)
                _, part, held = trial._dealt(source, y, validation_data)
                history = trial._learn(part, held, resume=None, callbacks=(), verbose=0)[2].history
            return min(history.get("val_loss", history["loss"]))

        now = {name: value for name, value in self.get_params().items() if name in space}
        found = tune.search(
            score, space, first=now, trials=trials, minutes=minutes, seed=self.seed, verbose=verbose
        )
        self.set_params(**found[0][1])
        self.fit(source, y, validation_data=validation_data, verbose=0)
        self.tuned_ = found
        return self

    # ---- saved and loaded

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted task into one file, beside and renamed; `longspan.load` reads it."""
        learned = {"codec": self.codec_of().state(), "stream": self.stream()}
        tree, tensors = artifact.flatten(learned)
        options, _ = artifact.flatten({name: _held(value) for name, value in self.get_params().items()})
        history = self.history_
        config = {
            "kind": KIND,
            "task": self.name,
            "options": options,
            "learned": tree,
            "history": [history.history, history.epoch, history.stopped],
            "notes": self.notes_,
        }
        weights = {f"network.{name}": value for name, value in self.network_.state_dict().items()}
        artifact.save(path, config, {**tensors, **weights})

    def restore(self, saved: artifact.Artifact) -> Self:
        """Take what `save` wrote, into a fresh task with the same options."""
        config, tensors = saved
        learned = artifact.unflatten(config["learned"], tensors)
        codec = self.codec().restore(learned["codec"])
        network = self.network(codec.sizes)
        prefix = "network."
        network.load_state_dict(
            {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        )
        numbers, epochs, stopped = config["history"]
        self.codec_, self.network_ = codec, network.to(self._device()).eval()
        self.history_ = History(numbers, epochs, {}, stopped)
        self.notes_ = config["notes"]
        self.resume_stream(learned["stream"])
        return self

    def stream(self) -> Tree:
        """What goes on from reading to reading and is saved with the model; None for nothing."""
        return None

    def resume_stream(self, stream: Tree) -> None:  # noqa: B027 a hook
        """Take what `stream` gave; called last in `restore`."""

    # ---- options

    def check(self) -> None:
        """Refuse options that cannot be; a task adds to it what only it knows.

        Raises:
            ValueError, TypeError: one sentence that names the option.
        """
        for name, one in options_of(type(self)).items():
            one.check(getattr(self, name))
        for name in ("hidden_size", "num_layers", "epochs", "batch_size"):
            errors.check_int(name, getattr(self, name), 1, "look at its help")
        errors.check_fraction("dropout", self.dropout, below_one=True)
        errors.check_fraction("validation_fraction", self.validation_fraction, below_one=True)
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise errors.value_error(
                "learning_rate", "a number above 0", self.learning_rate, "0.001 is usual"
            )
        if self.patience is not None:
            errors.check_int(
                "patience", self.patience, 1, "give a number of epochs, or None to never stop early"
            )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Every option by name (scikit-learn's convention)."""
        return {name: getattr(self, name) for name in options_of(type(self))}

    def set_params(self, **options: Any) -> Self:
        """Set options by name; returns itself."""
        known = options_of(type(self))
        for name, value in options.items():
            if name not in known:
                expected = f"one of the options of {type(self).__name__}"
                raise TypeError(
                    errors.message("option", expected, repr(name), errors.did_you_mean(name, known))
                )
            setattr(self, name, value)
        return self

    def clone(self) -> Self:
        """A task with the same options, not fitted."""
        return type(self)(**self.get_params())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in self._changed().items())})"

    def _changed(self) -> dict[str, Any]:
        usual = options_of(type(self))
        return {n: v for n, v in self.get_params().items() if v != usual[n].default}

    def words(self) -> str:
        """The options that are not the defaults as text, which `from_words` takes: `seed=1 id=shop`."""
        return shlex.join(f"{name}={_text(value)}" for name, value in self._changed().items())

    @classmethod
    def from_words(cls, text: str) -> Self:
        """A task out of its options as text, `name=value` with spaces between.

        Raises:
            ValueError, TypeError: an option or a value cannot be; one sentence.
        """
        options: dict[str, Any] = {}
        known = options_of(cls)
        for name, _, value in (part.partition("=") for part in _split(text)):
            options[name] = known[name].parse(value) if name in known else value
        return cls(**options)

    # ---- what a report shows

    def exhibits(self, source: Any = None) -> list[Section]:
        """What a report shows, as plain data; a task puts its own sections before these.

        Args:
            source: what to evaluate on and to show; None for what the model itself remembers.
        """
        self.codec_of()
        return [Section("Training", self._training()), Section("How to reproduce", self._recipe())]

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
        sections = self.exhibits(source)
        return write_report(sections, path, title=title or type(self).__name__, lead=lead or repr(self))

    def _training(self) -> list[Exhibit]:
        history = self.history_
        x = [epoch + 1 for epoch in history.epoch]
        lines = [Line(name, x, values) for name, values in history.history.items() if "loss" in name]
        count = sum(p.numel() for p in self.network_.parameters())
        shown: list[Exhibit] = [Curves("Training curve", "epoch", "loss", lines, note=history.stopped or "")]
        shown.append(Words("Network", f"{count:,} weights.\n{self.network_}", code=True))
        return [*shown, Words("Notes", "\n".join(self.notes_))] if self.notes_ else shown

    def _recipe(self) -> list[Exhibit]:
        usual = options_of(type(self))
        rows = [
            [n, _text(v), one.help]
            for (n, v), one in zip(self.get_params().items(), usual.values(), strict=True)
        ]
        flags = [f"{usual[n].flag} {shlex.quote(_text(v))}" for n, v in self._changed().items()]
        command = " ".join([f"longspan fit {self.name} SOURCE -o MODEL", *flags])
        code = f"import longspan\n\nlongspan.{self!r}.fit(SOURCE)"
        return [
            Words("Command", command, code=True),
            Words("Python", code, code=True),
            Table("Options", ["option", "value", "meaning"], rows),
        ]


def _ways(near: str, known: Mapping[str, Any]) -> str:
    return near if "nearest" in near else f"choose one of {', '.join(known)}"


def _split(text: str) -> list[str]:
    """Words, those in quotes as one."""
    try:
        return shlex.split(text)
    except ValueError as error:
        expected = "options such as 'season_length=24 past_covariates=a,b'"
        raise errors.value_error("options", expected, repr(text), "close the quotes") from error


def _held(value: Any) -> Any:
    """An option's value as it is saved: a task held as an option by its name and options."""
    return {"task": value.name, "options": value.get_params()} if isinstance(value, Estimator) else value


def _text(value: Any) -> str:
    """An option's value as the command line takes it."""
    if isinstance(value, Estimator):
        return value.words()
    if isinstance(value, (tuple, list)):
        return ",".join(str(part) for part in value)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _count(batches: Any) -> int:
    """Batches an epoch."""
    return len(batches) if hasattr(batches, "__len__") else sum(1 for _ in batches)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Everything that torch draws inside comes from the seed; outside nothing has been drawn."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
