"""Trains the network of a task: the loop's arguments, early stopping, the learning rate, the seed."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from longspan import errors, optimizers
from longspan.callbacks import Callback, EarlyStopping, History
from longspan.data.batches import Batch
from longspan.optimizers.schedules import CosineDecay
from longspan.training import CheckpointConfig, evaluate, train
from longspan.training.evaluation import to_device

from .codec import Codec
from .network import TaskNetwork

_SEEDED = threading.RLock()  # held while a fit draws from torch's generator


class Run(NamedTuple):
    """What a call of `fit` says about its training.

    resume: the file to go on from and to write to, None for no checkpoints; callbacks:
    `longspan.training.Callback` objects; verbose: 0 for nothing, 1 or "auto" for a bar where there is a
    terminal, 2 for a line an epoch; model: what callbacks call their model, None for the network.
    """

    resume: CheckpointConfig | None = None
    callbacks: Sequence[Callback] = ()
    verbose: int | str = "auto"
    model: Any = None


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes over the steps of a fit.

    warmup: share of the steps in which it rises in a line to its peak; final: share of the peak that is left
    at the end of the half cosine after it, 1 for a constant rate.
    """

    warmup: float = 0.0
    final: float = 1.0

    def rates(self, peak: float, steps: int) -> Callable[[int], float] | None:
        """From the optimizer's step (0 to steps - 1) to the learning rate; None for a constant one."""
        if not self.warmup:
            return None if self.final == 1.0 else CosineDecay(peak, steps, alpha=self.final)
        rising = max(1, round(self.warmup * steps))
        falling = max(1, steps - rising)

        def rate(step: int) -> float:
            if step < rising:
                return peak * (step + 1) / rising
            half_cosine = 0.5 * (1 + math.cos(math.pi * (step - rising) / falling))
            return peak * (self.final + (1 - self.final) * half_cosine)

        return rate


class TrainingOptions(NamedTuple):
    """epochs: at most; learning_rate: Adam's peak; schedule: its course; patience: epochs, None for all."""

    epochs: int
    learning_rate: float
    schedule: Schedule
    patience: int | None


def fit_network(
    network: TaskNetwork,
    batches: Iterable[Batch],
    validate: Iterable[Batch] | Callable[[], Mapping[str, float]] | None,
    options: TrainingOptions,
    run: Run,
) -> History:
    """Train a network in place by its own loss.

    Args:
        network: on its device.
        batches: of the training part; validate: batches of the validation part, or a function that gives its
            loss and metrics by name; None for no validation.
        options, run: see there.

    Returns:
        The numbers of every epoch; the network is in evaluation mode, with the weights of the best epoch.
    """
    callbacks = list(run.callbacks)
    if validate is not None and options.patience is not None:
        stopping = EarlyStopping("val_loss", patience=options.patience, restore_best_weights=True)
        callbacks.insert(0, stopping)
    steps = options.epochs * (len(batches) if isinstance(batches, Sized) else sum(1 for _ in batches))
    history = train(
        network,
        batches,
        network.loss,
        optimizers.Adam(options.learning_rate).build(network.parameters()),
        epochs=options.epochs,
        validate=validate,
        callbacks=callbacks,
        clip_norm=1.0,
        schedule=options.schedule.rates(options.learning_rate, steps),
        verbose=run.verbose,
        resume=run.resume,
        model=run.model,
    )
    network.eval()
    return history


def predictions(network: TaskNetwork, batches: Iterable[Batch], search: Mapping[str, Any]) -> list[Any]:
    """What the network predicts for every batch, without gradients; search: keywords of its `predict`."""
    move, was_training = to_device(network), network.training
    network.eval()
    try:
        with torch.no_grad():
            return [network.predict(move(batch), **search) for batch in batches]
    finally:
        network.train(was_training)


def decoded_validation(
    codec: Codec[Any], network: TaskNetwork, records: Any, batches: Iterable[Batch], search: Mapping[str, Any]
) -> Callable[[], dict[str, float]]:
    """A validation that also decodes: gives the loss and every metric of the codec by name."""

    def validate() -> dict[str, float]:
        logs = evaluate(network, batches, network.loss)
        answers = codec.decode(predictions(network, batches, search), records)
        truth = codec.truth(records)
        return logs | {name: float(metric(answers, truth)) for name, metric in codec.metrics().items()}

    return validate


def device_of(name: str | None) -> torch.device:
    """The device of this name; None for a GPU where there is one."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def check_device(argument: str, name: str) -> None:
    """Refuse a device that PyTorch cannot compute on here.

    Raises:
        ValueError: one sentence that names the devices there are.
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
    """Inside, everything that torch draws comes from the seed; outside, nothing has been drawn.

    Torch has one generator for all threads, so one thread at a time is inside.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with _SEEDED, torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
