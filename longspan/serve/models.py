"""Holds the models that a server answers with, by name, and answers requests that wait together at once."""

from __future__ import annotations

import asyncio
import re
import threading
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from longspan import errors
from longspan.tasks import load
from longspan.tasks.estimator import Estimator
from longspan.tasks.persistence import is_task_file

from .limits import Deadline, Limits, Refused, refused
from .schema import search_options
from .sequential import ServedSequential

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Answer(NamedTuple):
    """The predictions for one source, and what the library noted about it."""

    frame: pl.DataFrame
    notes: list[str]


class _Waiting(NamedTuple):
    """A request that waits: its source, its options, and where its answer goes."""

    source: Any
    options: dict[str, Any]
    future: asyncio.Future[Answer]


class ServedModel:
    """One model under a name. Requests that wait for it together are answered by one call of its network.

    Args:
        name: in addresses; model: fitted; limits: of the server; pool: the threads that compute.

    Attributes:
        options: of a request for predictions, by name.
    """

    def __init__(
        self, name: str, model: Estimator | ServedSequential, limits: Limits, pool: ThreadPoolExecutor
    ) -> None:
        self.name, self.model, self.limits = name, model, limits
        self.lock = threading.Lock()  # of the thread that computes with the model
        self.options = {} if isinstance(model, ServedSequential) else search_options(model)
        self._pool, self._waiting, self._running = pool, list[_Waiting](), False

    async def predict(self, source: Any, options: Mapping[str, Any]) -> Answer:
        """The answer to one request, with others that wait or alone.

        Raises:
            Refused: too many wait, or the answer takes too long. ValueError, TypeError, OSError: of the task.
        """
        if len(self._waiting) >= self.limits.waiting:
            received = f"{self.limits.waiting} waiting requests"
            raise refused(503, "server", "fewer requests at once", received, "try again in a moment")
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(source, dict(options), future))
        if not self._running:
            self._running = True
            task = asyncio.get_running_loop().create_task(self._answer_waiting())
            task.add_done_callback(lambda done: done.exception())
        try:
            async with Deadline(self.limits.seconds):
                return await future
        except asyncio.TimeoutError:
            received = "a longer one"
            expected = f"an answer within {self.limits.seconds:g} seconds"
            raise refused(503, "request", expected, received, "send fewer rows") from None

    async def _answer_waiting(self) -> None:
        """Answer all requests, those with like options together, until none waits."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                first = self._waiting[0]
                places = [at for at, one in enumerate(self._waiting) if one.options == first.options]
                alike = [self._waiting[at] for at in places[: self.limits.batch]]
                for at in reversed(places[: self.limits.batch]):
                    del self._waiting[at]
                asked = [one for one in alike if not one.future.done()]  # one may have been given up
                sources = [one.source for one in asked]
                try:
                    answers = await loop.run_in_executor(self._pool, self._predict, sources, first.options)
                except Exception as error:  # the threads have ended
                    answers = [error] * len(asked)
                for one, answer in zip(asked, answers, strict=True):
                    if one.future.done():
                        continue
                    if isinstance(answer, Exception):
                        one.future.set_exception(answer)
                    else:
                        one.future.set_result(answer)
        finally:
            self._running = False

    def _predict(self, sources: list[Any], options: dict[str, Any]) -> list[Answer | Exception]:
        """The answers for several sources; an error in one of them is that one's alone."""
        notes_of: list[list[str]] = []
        with self.lock, warnings.catch_warnings(), errors.collect_notices(quiet=True) as notes:
            warnings.simplefilter("ignore")  # odd numbers give null
            try:
                answers = self.model.predict_tables(sources, notes=notes_of, **options)
            except Exception as error:
                if len(sources) == 1:
                    return [error]
                answers = []
        if len(sources) == 1:
            notes_of = [list(notes)]
        elif not answers or not set(notes) <= {note for part in notes_of for note in part}:
            return [part for source in sources for part in self._predict([source], options)]  # whose it was
        return [
            answer if isinstance(answer, Exception) else Answer(answer, part)
            for answer, part in zip(answers, notes_of, strict=True)
        ]


def load_models(paths: Iterable[str | Path]) -> dict[str, Estimator | ServedSequential]:
    """The models of files by name, which is the file's without its ending.

    Raises:
        FileNotFoundError, ValueError: a file cannot be read, or two have one name; one sentence.
    """
    models: dict[str, Estimator | ServedSequential] = {}
    for path in map(Path, paths):
        name = path.name.removesuffix(path.suffix) or path.name
        if not _NAME.fullmatch(name):
            expected = "a file name of letters, digits, '.', '_' and '-'"
            raise errors.value_error("MODEL", expected, repr(path.name), "rename the file")
        if name in models:
            raise errors.value_error("MODEL", "files of different names", f"{name} twice", "rename one")
        models[name] = _load(path)
    if not models:
        raise errors.value_error("MODEL", "a saved model or several", "none", "name their files")
    return models


def _load(path: Path) -> Estimator | ServedSequential:
    return load(path) if is_task_file(path) else ServedSequential.load(path)


def model_of(models: Mapping[str, ServedModel], name: str) -> ServedModel:
    """The model of a name; raises `Refused` with status 404 where there is none."""
    if name not in models:
        raise Refused(404, errors.message("model", f"one of {', '.join(models)}", repr(name), "see /models"))
    return models[name]
