"""Names the tasks, and loads a saved task."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar, overload

from longspan import artifact, errors

if TYPE_CHECKING:
    from .estimator import Estimator

TaskT = TypeVar("TaskT", bound="Estimator")

# the name on the command line -> the module and the class
TASKS = {
    "forecast": ("longspan.tasks.forecast", "Forecaster"),
    "classify": ("longspan.tasks.classify", "Classifier"),
    "anomaly": ("longspan.tasks.anomaly", "AnomalyDetector"),
    "language": ("longspan.tasks.language", "LanguageModel"),
    "translate": ("longspan.tasks.translate", "Translator"),
    "summarize": ("longspan.tasks.summarize", "Summarizer"),
    "recommend": ("longspan.tasks.recommend", "Recommender"),
    "speech": ("longspan.tasks.speech", "SpeechRecognizer"),
    "video": ("longspan.tasks.video", "VideoClassifier"),
    "caption": ("longspan.tasks.caption", "Captioner"),
}


def task(name: str) -> type[Estimator]:
    """The class of a task by its name on the command line.

    Raises:
        ValueError: there is no such task; the sentence has the nearest name.

    >>> task("forecast").__name__
    'Forecaster'
    """
    module, kind = TASKS[errors.check_choice("task", name, TASKS)]
    return getattr(import_module(module), kind)


@overload
def load(path: str | os.PathLike[str]) -> Estimator: ...


@overload
def load(path: str | os.PathLike[str], kind: type[TaskT]) -> TaskT: ...


def load(path: str | os.PathLike[str], kind: type[Estimator] | None = None) -> Estimator:
    """The fitted task that `save` wrote.

    Args:
        path: of the file.
        kind: the class that the task must be of, such as `longspan.Forecaster`, by which type checkers and
            editors know its methods; None for any.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or edited, from a newer longspan, no saved task, or one of another
            class; one sentence.
    """
    from . import persistence  # it loads torch, which naming tasks does not need

    saved = artifact.load(path)
    if saved.config.get("kind") != "task":
        received = f"a file of kind {saved.config.get('kind')!r}"
        way_out = "a Sequential is read by longspan.models.load_model"
        raise errors.value_error(f"file {path}", "a saved task", received, way_out)
    with artifact.whole_model(path):
        options = artifact.unflatten(saved.config["options"], {})
        fitted = task(saved.config["task"])(**persistence.options_from_tree(options, task))
        persistence.keep_usable_device(fitted)
        fitted.check()
        fitted.fitted_, fitted.notes_ = persistence.restore(fitted, saved)
    if kind is not None and not isinstance(fitted, kind):
        way_out = f"load it as a {type(fitted).__name__}"
        raise errors.value_error(f"file {path}", f"a saved {kind.__name__}", type(fitted).__name__, way_out)
    return fitted
