"""Searches options by trials or minutes, with optuna."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from longspan import errors
from longspan.optional import require

ScoredOptions = tuple[float, dict[str, Any]]  # a score, less is better, and its options
_STARTUP = 10  # trials that are drawn at random, whatever the scores of the others


def search(
    score: Callable[[Mapping[str, Any]], float],
    space: Mapping[str, Any],
    *,
    first: Mapping[str, Any] | None = None,
    trials: int | None = 20,
    minutes: float | None = None,
    seed: int = 0,
    verbose: int | str = 0,
    score_at_once: Callable[[Sequence[Mapping[str, Any]]], Sequence[float]] | None = None,
) -> list[ScoredOptions]:
    """The options tried and their scores, best first.

    Args:
        score: options -> a number, less is better.
        space: option -> a list of values to choose from, or (low, high): whole numbers for whole ends, real
            ones for real ends, drawn by their logarithm where high is ten times low or more.
        first: the options tried first, so that the search never ends worse than these.
        trials, minutes: the search stops after so many trials or minutes; one of the two is needed.
        seed: of the search.
        verbose: 0 for no output, else a line per trial.
        score_at_once: the scores of several options; it is asked for the first trials, where no `minutes` end
            the search. None: `score` is asked for each.

    Raises:
        ValueError: the space is empty or nothing says when to stop; one sentence.
        ImportError: optuna is missing; the sentence names the command.

    >>> search(lambda o: (o["x"] - 2) ** 2, {"x": [1, 2, 3]}, trials=8)[0]  # doctest: +SKIP
    (0.0, {'x': 2})
    """
    if trials is None and minutes is None:
        raise errors.value_error("trials", "a number of trials or of minutes", None, "such as trials=20")
    if trials is not None:
        errors.check_int("trials", trials, 1, "give the number of trials")
    if minutes is not None and not minutes > 0:
        raise errors.value_error("minutes", "a number above 0", minutes, "or None for trials only")
    if not space:
        raise errors.value_error("space", "at least one option", "none", 'such as {"hidden_size": [32, 64]}')
    optuna = require("optuna", "tune", "tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP)
    study = optuna.create_study(sampler=sampler)
    if first is not None and all(_is_in(first[name], span) for name, span in space.items()):
        study.enqueue_trial(dict(first))

    def report(trial: Any, value: float, options: Mapping[str, Any]) -> float:
        if verbose not in (0, "auto"):
            print(f"trial {trial.number + 1}: {value:.6g} with {options}", flush=True)
        return value

    def run(trial: Any) -> float:
        options = _options(trial, space)
        return report(trial, float(score(options)), options)

    left = trials
    if score_at_once is not None and left is not None and minutes is None:
        asked = [study.ask() for _ in range(min(left, _STARTUP))]
        options = [_options(trial, space) for trial in asked]
        for trial, value, own in zip(asked, score_at_once(options), options, strict=True):
            study.tell(trial, report(trial, float(value), own))
        left -= len(asked)
    study.optimize(run, n_trials=left, timeout=None if minutes is None else 60.0 * minutes)
    finished = [trial for trial in study.trials if trial.value is not None]
    return [(trial.value, dict(trial.params)) for trial in sorted(finished, key=lambda trial: trial.value)]


def _options(trial: Any, space: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _suggest(trial, name, span) for name, span in space.items()}


def _suggest(trial: Any, name: str, values: Any) -> Any:
    if isinstance(values, list):
        return trial.suggest_categorical(name, values)
    low, high = values
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high)
    return trial.suggest_float(name, low, high, log=low > 0 and high >= 10 * low)


def _is_in(value: Any, values: Any) -> bool:
    if isinstance(values, list):
        return value in values
    return value is not None and values[0] <= value <= values[1]
