"""Compares networks on the same data, budget and seeds, with confidence intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import torch

from longspan import errors, metrics
from longspan.callbacks import Callback
from longspan.data.splits import validation_boundary
from longspan.statistics import t_95
from longspan.text_table import text_table


class Trainable(Protocol):
    """A model that can be compared: a compiled Sequential, or another object with these methods."""

    stop_training: bool

    @property
    def fit(self) -> Callable[..., Any]: ...
    @property
    def evaluate(self) -> Callable[..., Any]: ...
    def count_params(self) -> int: ...


@dataclass(frozen=True)
class Entry:
    """The results of one network.

    Args:
        name: the argument of `build`.
        errors: the metric on the validation rows, one a seed.
        seconds: the time of fitting, the mean over seeds.
        parameters: the number of trained values.
    """

    name: str
    errors: tuple[float, ...]
    seconds: float
    parameters: int

    @property
    def error(self) -> float:
        """The mean over seeds."""
        return statistics.fmean(self.errors)

    @property
    def stddev(self) -> float:
        """The standard deviation over seeds, 0 for one."""
        return statistics.stdev(self.errors) if len(self.errors) > 1 else 0.0


@dataclass(frozen=True)
class Comparison:
    """The results of all networks, best first, with a verdict; prints as a table.

    Args:
        metric: the name of the metric.
        entries: best first.
        verdict: which network is best, by how much, and with what confidence.
    """

    metric: str
    entries: tuple[Entry, ...]
    verdict: str

    @property
    def best(self) -> str:
        """The name of the network whose metric is best on average."""
        return self.entries[0].name

    def __str__(self) -> str:
        heads = ("", self.metric, "± over seeds", "seconds", "parameters")
        rows = [
            (e.name, f"{e.error:.4g}", f"{e.stddev:.2g}", f"{e.seconds:.2f}", f"{e.parameters:,}")
            for e in self.entries
        ]
        return f"{text_table(heads, rows)}\n\n{self.verdict}"

    __repr__ = __str__


def compare(
    build: Callable[[str], Trainable],
    names: Sequence[str],
    data: tuple[Any, Any],
    *,
    validation_data: tuple[Any, Any] | None = None,
    validation_split: float = 0.2,
    epochs: int = 10,
    seconds: float | None = None,
    batch_size: int = 32,
    seeds: int | Sequence[int] = 5,
    metric: str = "loss",
    verbose: int = 0,
) -> Comparison:
    """Fit each network on the same rows with the same budget from several seeds, and compare their errors.

    Args:
        build: name -> a new, compiled model; called once a name and seed.
        names: the networks to compare, such as ["LSTM", "GRU", "RNN"].
        data: (x, y), rows first.
        validation_data: (x, y) to measure errors on; None holds out the last rows of data.
        validation_split: the share of rows to hold out.
        epochs: passes over the data, for every network alike.
        seconds: stop each fit after the epoch in which so much time is used up; None for no limit.
        batch_size: rows a step.
        seeds: their number (0, 1, …) or the seeds themselves; they decide the first weights and the order.
        metric: what is compared, "loss" or a metric that `build` compiled; lower is better, except for
            metrics such as "accuracy" whose direction in longspan.metrics is "up".
        verbose: 1 prints a line a fit.

    Returns:
        A Comparison: print it, or read `.entries` and `.verdict`.

    Raises:
        ValueError: there is nothing to compare, or the metric is unknown.

    >>> from longspan import layers, models
    >>> def build(kind):
    ...     row = [getattr(layers, kind)(4), layers.Dense(1)]
    ...     model = models.Sequential(row)
    ...     model.compile("adam", "mse")
    ...     return model
    >>> x = torch.randn(20, 5, 1)
    >>> comparison = compare(build, ["LSTM", "GRU"], (x, x.sum(1)), epochs=1, seeds=2)
    >>> sorted(entry.name for entry in comparison.entries)
    ['GRU', 'LSTM']
    """
    seed_list = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not names or not seed_list:
        raise errors.value_error("names" if not names else "seeds", "at least one", "none", "give some")
    training, validation = _split(data, validation_data, validation_split)
    runs_of: dict[str, list[tuple[float, float, int]]] = {name: [] for name in names}
    for seed in seed_list:  # seeds outside, so that a busy machine slows all networks alike
        for name in names:
            torch.manual_seed(seed)
            run = _fit_one(build(name), training, validation, epochs, seconds, batch_size, metric)
            runs_of[name].append(run)
            if verbose:
                print(f"{name}, seed {seed}: {metric} {run[0]:.4g} after {run[1]:.2f} s")
    entries = sorted(
        (
            Entry(name, tuple(r[0] for r in runs), statistics.fmean(r[1] for r in runs), runs[0][2])
            for name, runs in runs_of.items()
        ),
        key=lambda entry: (
            math.isnan(entry.error),
            -entry.error if higher_is_better(metric) else entry.error,
        ),
    )
    return Comparison(metric, tuple(entries), _verdict(entries, metric))


def higher_is_better(metric: str) -> bool:
    """Whether a higher value of a metric is better.

    >>> higher_is_better("accuracy"), higher_is_better("loss")
    (True, False)
    """
    return metric in metrics.NAMES and metrics.get(metric).direction == "up"


def _split(
    data: tuple[Any, Any], validation: Any, fraction: float
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise errors.type_error("data", "a pair (x, y)", data, "pass both in a tuple")
    x, y = data
    if validation is not None:
        return (x, y), validation
    boundary = validation_boundary(len(x), fraction, "change it, or pass validation_data")
    return (x[:boundary], y[:boundary]), (x[boundary:], y[boundary:])


class _TimeLimit(Callback):
    """Stops training at the end of the epoch in which the time is used up."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def on_train_begin(self, logs: Any = None) -> None:
        self._began = perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if perf_counter() - self._began >= self._seconds:
            self.model.stop_training = True


def _fit_one(
    model: Trainable,
    training: tuple[Any, Any],
    validation: tuple[Any, Any],
    epochs: int,
    seconds: float | None,
    batch_size: int,
    metric: str,
) -> tuple[float, float, int]:
    """The error on the validation rows, the seconds of fitting, the number of parameters."""
    callbacks = [] if seconds is None else [_TimeLimit(seconds)]
    start = perf_counter()
    model.fit(*training, epochs=epochs, batch_size=batch_size, verbose=0, callbacks=callbacks)
    seconds_taken = perf_counter() - start
    logs = model.evaluate(*validation, batch_size=max(batch_size, 256), verbose=0, return_dict=True)
    return float(logs[errors.check_choice("metric", metric, logs)]), seconds_taken, model.count_params()


def confidence_interval(differences: Sequence[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the mean of paired differences, by Student's t.

    >>> low, high = confidence_interval([1.0, 2.0, 3.0])
    >>> round(low, 2), round(high, 2)
    (-0.48, 4.48)
    """
    count = len(differences)
    mean = statistics.fmean(differences)
    half = t_95(count - 1) * statistics.stdev(differences) / math.sqrt(count)
    return mean - half, mean + half


def _verdict(entries: Sequence[Entry], metric: str) -> str:
    best, *others = entries
    extreme = "highest" if higher_is_better(metric) else "lowest"
    verdict = f"{best.name} has the {extreme} mean {metric}, {best.error:.4g}."
    if not others:
        return verdict
    if len(best.errors) < 2:
        return f"{verdict} One seed cannot say how sure that is: give several."
    sentences = [_against(best, other, higher_is_better(metric)) for other in others]
    return " ".join([verdict, *sentences, "The intervals tell of seeds, not of other data."])


def _against(best: Entry, other: Entry, higher_better: bool) -> str:
    """One sentence on the difference to another network, seed by seed, and whether it is significant."""
    sign, word = (-1.0, "less") if higher_better else (1.0, "more")
    pairs = [
        sign * (other_error - best_error)
        for best_error, other_error in zip(best.errors, other.errors, strict=True)
    ]
    low, high = confidence_interval(pairs)
    share = (
        f"{statistics.fmean(pairs):.3g} {word} (95 % interval {low:.3g} to {high:.3g}, {len(pairs)} seeds)"
    )
    if low > 0:
        return f"{other.name} has {share}: a real difference."
    cheaper = best.name if best.seconds <= other.seconds else other.name
    return f"{other.name} has {share}: too close to call, and {cheaper} is the quicker to fit."
