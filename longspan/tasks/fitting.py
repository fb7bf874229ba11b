"""Trains the network of a task: learning rate schedule, early stopping, validation, device and seed."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from longspan import errors, optimizers
from longspan.callbacks import Callback, EarlyStopping, History
from longspan.data.batches import Batch, Batches
from longspan.training import CheckpointConfig, TrainingRuns, evaluate, train, train_many
from longspan.training.evaluation import to_device

from .codec import Codec
from .fine_tuning import FineTuning
from .network import TaskNetwork
from .schedule import TrainingOptions

_SEEDED = threading.RLock()  # held by the fit that draws from torch's random generator


class Run(NamedTuple):
    """The arguments of a call of `fit` that concern its training.

    resume: where checkpoints are written and read, None for no checkpoints.
    callbacks: `longspan.training.Callback` objects.
    verbose: 0 for no output, 1 or "auto" for a progress bar in a terminal, 2 for a line per epoch.
    model: the callbacks' `model`, None for the network.
    processes: how many share every batch, None for this one alone.
    """

    resume: CheckpointConfig | None = None
    callbacks: Sequence[Callback] = ()
    verbose: int | str = "auto"
    model: Any = None
    processes: int | None = None


class NetworkLoss:
    """The loss of a network with its terms, by which several processes share a batch."""

    def __init__(self, network: TaskNetwork) -> None:
        self._network, self.loss_terms = network, network.loss_terms

    def __call__(self, output: Any, batch: Batch) -> Tensor:
        return self._network.loss(output, batch)


def fit_network(
    network: TaskNetwork,
    batches: Iterable[Batch],
    validate: Iterable[Batch] | Callable[[], Mapping[str, float]] | None,
    options: TrainingOptions,
    run: Run,
) -> History:
    """Train a network in place with its own loss.

    Args:
        network: on the device to train on.
        batches: of the training part.
        validate: batches of the validation part, or a function that returns the validation loss and metrics
            by name; None for no validation.

    Returns:
        Loss and metrics of every epoch. The network is in evaluation mode, with the best epoch's weights.
    """
    callbacks = list(run.callbacks)
    if validate is not None and options.patience is not None:
        stopping = EarlyStopping("val_loss", patience=options.patience, restore_best_weights=True)
        callbacks.insert(0, stopping)
    if options.stopping is not None:
        callbacks.insert(0, options.stopping)
    groups = network.parameter_groups()
    if len(groups) > 1:
        callbacks.insert(0, FineTuning())
    history = train(
        network,
        batches,
        network.loss if run.processes is None else NetworkLoss(network),
        optimizers.Adam(options.learning_rate).build(groups),
        epochs=options.epochs,
        validate=validate,
        callbacks=callbacks,
        clip_norm=1.0,
        schedule=_schedule(options, batches),
        verbose=run.verbose,
        resume=run.resume,
        model=run.model,
        processes=run.processes,
    )
    network.eval()
    return history


def _schedule(options: TrainingOptions, batches: Iterable[Batch]) -> Callable[[int], float] | None:
    """The learning rate as a function of the step, None for a constant one."""
    steps = options.epochs * (len(batches) if isinstance(batches, Sized) else sum(1 for _ in batches))
    return options.schedule.rates(options.learning_rate, steps)


class _LossOf(nn.Module):
    """A network whose output is its training loss, since a loss may read weights."""

    def __init__(self, network: TaskNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch, state: Any) -> tuple[Tensor, None]:
        return self.network.loss(self.network(batch)[0], batch), None


def fit_networks(
    networks: Sequence[TaskNetwork],
    batches: Iterable[Batch],
    validate: Iterable[Batch] | None,
    options: Sequence[TrainingOptions],
) -> TrainingRuns | None:
    """Train networks of one shape at once on the same batches, each with the numbers of `fit_network`.

    Args:
        networks: on the CPU; options: of each, whose epochs and patience are the same.
        batches, validate: as for `fit_network`.

    Returns:
        None where a network would get other numbers alone: it draws random masks, stops by a callback of its
        own, or learns in groups. Nothing is trained then.
    """
    first, network = options[0], networks[0]
    if first.stopping is not None or len(network.parameter_groups()) > 1 or _draws_masks(network, batches):
        return None
    count = len(networks)
    return train_many(
        [_LossOf(network) for network in networks],
        [batches] * count,
        lambda loss, batch: loss,
        epochs=first.epochs,
        learning_rates=[_schedule(own, batches) or own.learning_rate for own in options],
        validate=None if validate is None else [validate] * count,
        patience=first.patience,
        clip_norm=1.0,
    )


def _draws_masks(network: TaskNetwork, batches: Iterable[Batch]) -> bool:
    """Whether the network reads PyTorch's random generator in training."""
    network, order = copy.deepcopy(network).train(), batches.state() if isinstance(batches, Batches) else None
    with torch.random.fork_rng([]), torch.no_grad():
        batch = next(iter(batches))
        before = torch.get_rng_state()
        network.loss(network(batch)[0], batch)
        drawn = not torch.equal(before, torch.get_rng_state())
    if isinstance(batches, Batches) and order is not None:
        batches.restore(order)
    return drawn


def predictions(network: TaskNetwork, batches: Iterable[Batch], search: Mapping[str, Any]) -> list[Any]:
    """The network's predictions for every batch, without gradients; search: keywords of `network.predict`."""
    move, was_training = to_device(network), network.training
    network.eval()
    try:
        with torch.no_grad():
            return [network.predict(move(batch), **search) for batch in batches]
    finally:
        if was_training:
            network.train()


def decoded_validation(
    codec: Codec[Any], network: TaskNetwork, records: Any, batches: Iterable[Batch], search: Mapping[str, Any]
) -> Callable[[], dict[str, float]]:
    """A function that gives the validation loss and every metric of the codec, in one pass over the batches.

    Args:
        codec: fitted; records: of the validation part; batches: of these records, in their order.
        search: keywords of the network's `predict`.
    """
    truth, metrics = codec.truth(records), codec.metrics()

    def validate() -> dict[str, float]:
        predicted: list[Any] = []

        def predict_and_score(output: Any, batch: Batch) -> Tensor:
            predicted.append(network.predict(batch, **search))
            return network.loss(output, batch)

        logs = evaluate(network, batches, predict_and_score)
        answers = codec.decode(predicted, records)
        return logs | {name: float(metric(answers, truth)) for name, metric in metrics.items()}

    return validate


def device_of(name: str | None) -> torch.device:
    """The device of this name; None for a GPU if there is one."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def check_device(argument: str, name: str) -> None:
    """Refuse a device that PyTorch cannot use here.

    Raises:
        ValueError: the sentence names the devices that can be used.
    """
    try:
        usable = torch.ones(1, device=name).sum().item() == 1.0
    # Each kind of device that is missing raises another error: AssertionError, RuntimeError, and so on.
    except Exception:
        usable = False
    if not usable:
        names = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        names += ["mps"] if torch.backends.mps.is_available() else []
        raise errors.value_error(argument, f"one of {', '.join(names)}", repr(name), "choose one or none")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's random generators inside the context, and restore their states after it.

    Torch has one generator for all threads, so a second thread waits until the first one has left.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with _SEEDED, torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
