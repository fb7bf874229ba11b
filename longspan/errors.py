"""Errors, checks and notices in one form: the argument, what was expected, what was received, the way out."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from numbers import Integral, Real


def message(argument: str, expected: str, received: object, way_out: str) -> str:
    """The one form of every error.

    >>> message("hidden_size", "a whole number of at least 1", 0, "give the number of units")
    'hidden_size: expected a whole number of at least 1, received 0; give the number of units.'
    """
    return " ".join(f"{argument}: expected {expected}, received {received}; {way_out}.".splitlines())


def value_error(argument: str, expected: str, received: object, way_out: str) -> ValueError:
    """The error for a value of the right kind that cannot be used."""
    return ValueError(message(argument, expected, received, way_out))


class UnsetError(ValueError, AttributeError):
    """An attribute has no value yet: `hasattr`, and tools that look at every attribute, pass over it."""


def unset_error(argument: str, expected: str, received: object, way_out: str) -> UnsetError:
    """The error for an attribute that has no value yet."""
    return UnsetError(message(argument, expected, received, way_out))


def type_error(argument: str, expected: str, received: object, way_out: str) -> TypeError:
    """The error for a value of the wrong kind; `received` is the value itself, its type is named."""
    return TypeError(message(argument, expected, type(received).__name__, way_out))


def did_you_mean(word: str, options: Collection[str]) -> str:
    """The way out for an unknown name: the nearest option, or all of them."""
    near = get_close_matches(word, sorted(options), n=1)
    return f"the nearest is {near[0]!r}" if near else "choose one of these"


def check_int(argument: str, value: object, least: int, way_out: str) -> int:
    """`value` as an int, or an error unless it is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise type_error(argument, f"a whole number of at least {least}", value, way_out)
    if value < least:
        raise value_error(argument, f"a whole number of at least {least}", value, way_out)
    return int(value)


def check_bool(argument: str, value: object) -> bool:
    """`value` itself, or an error unless it is True or False."""
    if not isinstance(value, bool):
        raise type_error(argument, "True or False", value, "pass it by its keyword")
    return value


def check_fraction(argument: str, value: object, *, below_one: bool = False) -> float:
    """`value` as a float, or an error unless it lies in [0, 1], or in [0, 1) with `below_one`."""
    span = "a number in [0, 1)" if below_one else "a number in [0, 1]"
    way_out = "give the share of values to act on, such as 0.2"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise type_error(argument, span, value, way_out)
    number = float(value)
    if not 0.0 <= number <= 1.0 or (below_one and number == 1.0):
        raise value_error(argument, span, value, way_out)
    return number


def check_non_negative(argument: str, value: object, way_out: str) -> float:
    """`value` as a float, or an error unless it is a number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise type_error(argument, "a number of at least 0", value, way_out)
    if not float(value) >= 0.0:
        raise value_error(argument, "a number of at least 0", value, way_out)
    return float(value)


def check_choice(argument: str, value: object, options: Collection[str]) -> str:
    """`value` itself, or an error with the nearest of `options`."""
    names = ", ".join(repr(option) for option in options)
    if not isinstance(value, str):
        raise type_error(argument, f"one of {names}", value, "choose one of these")
    if value not in options:
        raise value_error(argument, f"one of {names}", repr(value), did_you_mean(value, options))
    return value


class LongspanWarning(UserWarning):
    """Something that went well but is worth knowing, such as times that had to be sorted."""


_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)  # whether notes are collected alone


def notice(text: str) -> None:
    """Tell the user, as a warning of the kind `LongspanWarning`, and whoever collects notes."""
    held = _collected.get()
    if held is not None and text not in held:
        held.append(text)
    if not _quiet.get():
        warnings.warn(text, LongspanWarning, stacklevel=3)


@contextmanager
def collect_notices(*, quiet: bool = False, apart: bool = False) -> Generator[list[str], None, None]:
    """Collects the notes that come while it is open, in order, each once; so does one around it.

    Args:
        quiet: whether they are no warnings besides, nor those of collectors inside.
        apart: whether collectors around it do not get them.
    """
    held: list[str] = []
    outer = _collected.get()
    token = _collected.set(held)
    quiet_token = _quiet.set(quiet or _quiet.get())
    try:
        yield held
    finally:
        _collected.reset(token)
        _quiet.reset(quiet_token)
        if outer is not None and not apart:
            outer += [text for text in held if text not in outer]
