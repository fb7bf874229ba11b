"""What sessions read: one kind of stream for each task that reads step by step, and how it is saved."""

from __future__ import annotations

import copy
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast, final

import numpy as np
import polars as pl

from longspan.data.frames import read_picture
from longspan.tasks.codec import Tree
from longspan.tasks.language import LanguageModel
from longspan.tasks.language.generation import continuation
from longspan.tasks.language.streaming import LanguageStream
from longspan.tasks.options import Option, arguments_of
from longspan.tasks.speech import SpeechRecognizer

from . import files
from .limits import refused
from .models import ServedModel
from .schema import search_options

_PCM = np.dtype("<i2")  # samples of sound in a message of bytes: 16 bit, little-endian, one channel
_BITS = 2.0**15
_RATE = Option("rate", int, False, False, True, None, "samples a second", (), "predict", minimum=1)


class SessionStream(ABC):
    """One stream of a session. Abstract.

    options: those that a session begins with, by name.
    follows: the options of what comes after the readings, by name; None where nothing is asked so.
    """

    @property
    def saved(self) -> bool:
        """Whether its state outlives the server."""
        return True

    @staticmethod
    def options(served: ServedModel) -> dict[str, Option]:
        """The options that a session begins with."""
        return {}

    @abstractmethod
    def read(self, reading: Any) -> Any:
        """Read one more reading, as JSON has it; returns the answer to it."""

    def read_bytes(self, content: bytes) -> Any:
        """Read a chunk of sound or a picture; refused by streams of other readings."""
        raise refused(422, "reading", "JSON", "bytes", 'send {"reading": ...}')

    def follows(self) -> Mapping[str, Option] | None:
        """The options of `follow`; None for a stream after which nothing can be asked."""
        return None

    def follow(self, options: Mapping[str, Any]) -> pl.DataFrame:
        """What comes after the readings so far."""
        expected = "a session of a forecaster, a detector, a recommender or a language model"
        raise refused(422, "session", expected, "another", "send a reading, which is answered")

    def finish(self) -> Any:
        """The answer to everything that was read; None for a stream that has answered already."""
        return None

    @abstractmethod
    def state(self) -> Tree:
        """Plain values and tensors that `restore` takes, where `saved`."""

    @abstractmethod
    def restore(self, state: Tree) -> None:
        """Take what `state` returned."""


@final
class TaskStream(SessionStream):
    """A copy of a task whose stream, and for a recommender whose users' past, is the session's own."""

    def __init__(self, served: ServedModel, options: Mapping[str, Any]) -> None:
        self._model: Any = served.model
        self._options, self._task = search_options(self._model), copy.copy(self._model)
        self._is_recommender = self._task.name == "recommend"
        with served.lock:
            codec = self._task.fitted_.codec
            self._start(codec.state() if self._is_recommender else None)
            self._task.fitted_.running.restore(copy.deepcopy(self._model.fitted_.running.state()))

    def _start(self, codec_state: Tree) -> None:
        """Begin the stream anew; codec_state: with the users' past, None for the model's own codec."""
        fitted = self._model.fitted_
        codec = fitted.codec if codec_state is None else self._task.codec().restore(codec_state)
        self._task.fitted_ = replace(fitted, codec=codec, stream=None)
        self._task.fitted_.stream = self._task.start_stream(self._task.fitted_, None)

    def read(self, reading: Any) -> Any:
        if self._is_recommender:
            event = _event(reading)
            self._task.update(event.user, event.item, context=event.context)
            return None
        answer = self._task.update(_row(reading))
        return None if answer is self._task else answer

    def follows(self) -> Mapping[str, Option] | None:
        return self._options

    def follow(self, options: Mapping[str, Any]) -> pl.DataFrame:
        return self._task.predict_table(None, **options)

    def state(self) -> Tree:
        codec = self._task.fitted_.codec.state() if self._is_recommender else None
        return {"stream": self._task.fitted_.running.state(), "codec": codec}

    def restore(self, state: Tree) -> None:
        self._start(state["codec"])
        self._task.fitted_.running.restore(state["stream"])


class _Event(NamedTuple):
    """A user took an item; context: the values of the context's columns by name."""

    user: Any
    item: Any
    context: Mapping[str, Any]


def _event(reading: Any) -> _Event:
    """A reading of a recommender: an object with user, item and perhaps context, or a list of two."""
    if isinstance(reading, list) and len(reading) == 2:
        reading = {"user": reading[0], "item": reading[1]}
    if not isinstance(reading, dict) or not {"user", "item"} <= set(reading) <= {"user", "item", "context"}:
        received = sorted(reading) if isinstance(reading, dict) else f"a {type(reading).__name__}"
        expected = "an object with user and item, and perhaps context"
        raise refused(422, "reading", expected, received, 'send {"user": ..., "item": ...}')
    event = _Event(reading["user"], reading["item"], reading.get("context") or {})
    if isinstance(event.user, (dict, list)) or isinstance(event.item, (dict, list)):
        raise refused(422, "reading", "a user and an item of text or number", "a list or object", "send ids")
    if not isinstance(event.context, dict):
        raise refused(422, "context", "an object", "something else", "send values by column")
    return event


def _row(reading: Any) -> Any:
    """A reading of a row: a value, a list or an object of values, or a list of several rows.

    A text alone is refused: tasks would read it as the path of a file.
    """
    if isinstance(reading, str):
        raise refused(422, "reading", "a number, a list or an object", "a text", "send the values")
    rows = reading if isinstance(reading, list) and any(map(_is_nested, reading)) else [reading]
    for row in rows:
        values = row.values() if isinstance(row, dict) else row if isinstance(row, list) else [row]
        if any(map(_is_nested, values)) or len({type(one) for one in rows}) > 1:
            received = "lists or objects in a row"
            raise refused(422, "reading", "values in a row", received, "send rows of one kind, of values")
    return reading


def _is_nested(value: Any) -> bool:
    return isinstance(value, (dict, list))


@final
class TextStream(SessionStream):
    """A text that comes in pieces; the answer to each is the list of the likeliest next tokens."""

    def __init__(self, served: ServedModel, options: Mapping[str, Any]) -> None:
        fitted = cast(LanguageModel, served.model).fitted_
        self._codec, self._limits = fitted.codec, served.limits
        self._stream = LanguageStream(fitted.codec, fitted.network)

    def read(self, reading: Any) -> Any:
        if isinstance(reading, str) and len(reading) > self._limits.rows:
            received = f"{len(reading):,}"
            expected = f"at most {self._limits.rows:,} characters"
            raise refused(413, "reading", expected, received, "send it in parts")
        return self._stream.step(reading)

    def follows(self) -> Mapping[str, Option] | None:
        return {name: one for name, one in arguments_of(LanguageModel.generate).items() if name != "prompt"}

    def pieces(self, options: Mapping[str, Any]) -> Iterator[str]:
        """Text that goes on from what was read, as it is drawn; the session itself stays where it is."""
        length = options.get("length", 200)
        if length > self._limits.rows:
            raise refused(413, "length", f"at most {self._limits.rows:,}", length, "ask for less at once")
        return continuation(self._stream, self._codec, **{"length": 200, **options})

    def follow(self, options: Mapping[str, Any]) -> pl.DataFrame:
        return pl.DataFrame({"text": ["".join(self.pieces(options))]})

    def state(self) -> Tree:
        return self._stream.state()

    def restore(self, state: Tree) -> None:
        self._stream.restore(state)


@final
class SoundStream(SessionStream):
    """A sound that comes in chunks; the answer to each is the text so far.

    It is saved where the chunks have the model's own rate: a resampler's state is kept by its library.
    """

    def __init__(self, served: ServedModel, options: Mapping[str, Any]) -> None:
        self._model, self._options = cast(SpeechRecognizer, served.model), dict(options)
        self._stream = self._model.stream(**options)

    @property
    def saved(self) -> bool:
        return self._stream.has_state

    @staticmethod
    def options(served: ServedModel) -> dict[str, Option]:
        return {"rate": _RATE, **search_options(cast(Any, served.model))}

    def read(self, reading: Any) -> Any:
        return self._stream.step(_numbers(reading, "samples between -1 and 1").astype(np.float32))

    def read_bytes(self, content: bytes) -> Any:
        if len(content) % _PCM.itemsize:
            expected = "samples of 16 bit, little-endian, one channel"
            raise refused(422, "reading", expected, f"{len(content)} bytes", "send whole samples")
        return self._stream.step(np.frombuffer(content, _PCM).astype(np.float32) / np.float32(_BITS))

    def finish(self) -> Any:
        return self._stream.finish()

    def state(self) -> Tree:
        return {"options": self._options, "stream": self._stream.state()}

    def restore(self, state: Tree) -> None:
        self._options = state["options"]
        self._stream = self._model.stream(**self._options)
        self._stream.restore(state["stream"])


@final
class FrameStream(SessionStream):
    """A clip that comes frame by frame; the answer to each is the class of the clip so far."""

    def __init__(self, served: ServedModel, options: Mapping[str, Any]) -> None:
        self._stream = cast(Any, served.model).stream()
        self._limits = served.limits

    def read(self, reading: Any) -> Any:
        return self._stream.step(_numbers(reading, "a frame of numbers, or joints"))

    def read_bytes(self, content: bytes) -> Any:
        with tempfile.TemporaryDirectory(prefix="longspan-") as folder:
            path = Path(folder, "frame" + files.picture_ending(content))
            path.write_bytes(content)
            files.check_file(path, self._limits)
            return self._stream.step(read_picture(path))

    def state(self) -> Tree:
        return self._stream.state()

    def restore(self, state: Tree) -> None:
        self._stream.restore(state)


def _numbers(reading: Any, expected: str) -> np.ndarray:
    """Nested lists of numbers as an array."""
    array = files.number_array(reading)
    if array is None:
        raise refused(422, "reading", expected, "something else", "send a list of numbers")
    return array


_KINDS: dict[str, type[SessionStream]] = {
    "language": TextStream,
    "speech": SoundStream,
    "video": FrameStream,
}


def kind_of(served: ServedModel) -> Any:
    """The class of a model's streams: `kind_of(served)(served, options)`; None where it has none."""
    return TaskStream if served.model.stream_ is not None else _KINDS.get(served.model.name)
