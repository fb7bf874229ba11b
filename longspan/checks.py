"""Knows how to say in one sentence what was expected, what came and the way out."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from numbers import Integral, Real


def sentence(argument: str, expected: str, received: object, way_out: str) -> str:
    """The one form of every error.

    >>> sentence("hidden_size", "a whole number of at least 1", 0, "give the number of units")
    'hidden_size: expected a whole number of at least 1, received 0; give the number of units.'
    """
    return f"{argument}: expected {expected}, received {received}; {way_out}."


def wrong(argument: str, expected: str, received: object, way_out: str) -> ValueError:
    """The error for a value of the right kind that cannot be used."""
    return ValueError(sentence(argument, expected, received, way_out))


def wrong_type(argument: str, expected: str, received: object, way_out: str) -> TypeError:
    """The error for a value of the wrong kind; `received` is the value itself, its type is named."""
    return TypeError(sentence(argument, expected, type(received).__name__, way_out))


def guess(word: str, options: Collection[str]) -> str:
    """The way out for an unknown name: the nearest option, or all of them."""
    near = get_close_matches(word, sorted(options), n=1)
    return f"the nearest is {near[0]!r}" if near else "choose one of these"


def whole(argument: str, value: object, least: int, way_out: str) -> int:
    """`value` as an int, or an error unless it is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise wrong_type(argument, f"a whole number of at least {least}", value, way_out)
    if value < least:
        raise wrong(argument, f"a whole number of at least {least}", value, way_out)
    return int(value)


def flag(argument: str, value: object) -> bool:
    """`value` itself, or an error unless it is True or False."""
    if not isinstance(value, bool):
        raise wrong_type(argument, "True or False", value, "pass it by its keyword")
    return value


def rate(argument: str, value: object, *, below_one: bool = False) -> float:
    """`value` as a float, or an error unless it lies in [0, 1], or in [0, 1) with `below_one`."""
    span = "a number in [0, 1)" if below_one else "a number in [0, 1]"
    way_out = "give the share of values to act on, such as 0.2"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise wrong_type(argument, span, value, way_out)
    number = float(value)
    if not 0.0 <= number <= 1.0 or (below_one and number == 1.0):
        raise wrong(argument, span, value, way_out)
    return number


def one_of(argument: str, value: object, options: Collection[str]) -> str:
    """`value` itself, or an error with the nearest of `options`."""
    names = ", ".join(repr(option) for option in options)
    if not isinstance(value, str):
        raise wrong_type(argument, f"one of {names}", value, "choose one of these")
    if value not in options:
        raise wrong(argument, f"one of {names}", repr(value), guess(value, options))
    return value


class Note(UserWarning):
    """Something that went well but is worth knowing, such as times that had to be sorted."""


_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)


def note(text: str) -> None:
    """Tell the user, as a warning of the kind `Note`, and whoever collects notes."""
    held = _collected.get()
    if held is not None and text not in held:
        held.append(text)
    warnings.warn(text, Note, stacklevel=3)


@contextmanager
def notes() -> Generator[list[str], None, None]:
    """Collects the notes that come while it is open, in order, each once; so does one around it."""
    held: list[str] = []
    outer = _collected.get()
    token = _collected.set(held)
    try:
        yield held
    finally:
        _collected.reset(token)
        if outer is not None:
            outer += [text for text in held if text not in outer]
