"""Writes errors and notices to stderr, one line each, and decides the exit status of an error."""

from __future__ import annotations

import errno
import re
import shlex
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from longspan import errors

# Errors that the user can mend: their own text is the sentence.
_USER_ERRORS = (ValueError, TypeError, OSError, ImportError, FloatingPointError)
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_QUIET = "longspan.quiet"  # the key of a command's --quiet in click's context
# Text in quotes, or a word such as `time_format` with a value behind it or none: `missing=('-',)`, `id=`.
_ARGUMENT = re.compile(
    r"""(?<!\w)'[^']*'|"[^"]*"|\b(?P<name>[a-z]+(?:_[a-z]+)*)"""
    r"""(?P<value>=(?:\('[^']*',?\)|'[^']*'|"[^"]*"|[\w.%+-]+(?:,[\w.%+-]+)*\b)?)?"""
)
_STANDARD_INPUT = re.compile(r"[^\s']*standard-input(?:\.\w+)+")  # its file
# Beginnings of what PyTorch and Python say when memory cannot be had.
_NO_MEMORY = ("not enough memory", "out of memory", "storage size calculation overflowed")


def on_stderr(text: str) -> None:
    """Write one line to stderr."""
    print(f"longspan: {' '.join(text.split())}", file=sys.stderr, flush=True)


def set_quiet(context: click.Context) -> None:
    """Leave out notices and results for the rest of the command; errors are still written."""
    context.meta[_QUIET] = True


def is_quiet() -> bool:
    """Whether the running command was given --quiet."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_QUIET))


@contextmanager
def notices_on_stderr() -> Iterator[None]:
    """Writes the library's notices to stderr, each text once a command."""
    with warnings.catch_warnings():
        show_other, written = warnings.showwarning, set[str]()

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, errors.LongspanWarning):
                show_other(message, category, *where, **more)
            elif str(message) not in written and not is_quiet():
                written.add(str(message))
                on_stderr(f"note: {with_flags(str(message))}")

        warnings.simplefilter("always", errors.LongspanWarning)
        warnings.showwarning = show
        yield


def explain(error: Exception) -> tuple[str, int]:
    """The sentence about an error, and the exit status: 2 where the user can mend it, else 1."""
    if isinstance(error, click.ClickException):
        return _usage_error(error), 2
    if isinstance(error, OSError) and error.errno is not None:
        return _file_error(error), 2
    if isinstance(error, FileNotFoundError) and "expected" not in str(error):
        return errors.message("file", "one that is there", repr(str(error)), "check the path"), 2
    if _is_out_of_memory(error):
        way_out = "make the network, the batches or the data smaller"
        return errors.message("memory", "enough for the network and its data", "too little", way_out), 2
    is_slip = isinstance(error, TypeError) and ": expected " not in str(error)  # of the library's own code
    if isinstance(error, _USER_ERRORS) and not is_slip:
        return with_flags(str(error)), 2
    way_out = "set LONGSPAN_TRACEBACK=1 to see where, and report it"
    return errors.message("longspan", "no error of its own", f"{type(error).__name__}: {error}", way_out), 1


def with_flags(sentence: str) -> str:
    """A sentence of the library with options and standard input as the command line writes them.

    >>> with_flags("name it by text=, such as time_format='%d/%m/%Y'")
    'name it by --text, such as --time-format %d/%m/%Y'
    """
    sentence = _STANDARD_INPUT.sub("standard input", sentence)
    written = {
        match["name"]
        for match in _ARGUMENT.finditer(sentence)
        if match["name"] and (match["value"] or "_" in match["name"])
    }
    flags = _flags() if written else {}

    def as_flag(match: re.Match[str]) -> str:
        flag, value = flags.get(match["name"] or ""), match["value"]
        if flag is None or not (value or "_" in match["name"]):
            return match.group()
        text = (
            shlex.quote((value or "").lstrip("=").strip("(),").strip("'\"")) if len(value or "") > 1 else ""
        )
        return f"{flag}{'=' if text.startswith('-') else ' ' if text else ''}{text}"

    return _ARGUMENT.sub(as_flag, sentence) if written & flags.keys() else sentence


def _flags() -> dict[str, str]:
    """The flag of every option that some task has, by the option's name."""
    from longspan.tasks import TASKS, task
    from longspan.tasks.options import options_of

    return {option.name: option.flag for name in TASKS for option in options_of(task(name)).values()}


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)
    )


def _file_error(error: OSError) -> str:
    file = f"file {error.filename}" if error.filename else "the output"
    if error.errno in _NO_ROOM:
        way_out = "free some space or name another place with -o (nothing was written)"
        return errors.message(file, "room on the disk", repr(error.strerror), way_out)
    return errors.message(file, "one that can be read or written", repr(error.strerror), "check the path")


def _usage_error(error: click.ClickException) -> str:
    """The sentence about the arguments of a command."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "longspan"
    if isinstance(error, click.NoSuchOption):
        options = [flag for option in context.command.params for flag in option.opts] if context else []
        expected, name = f"one of the options of {command}", error.option_name
        return errors.message("option", expected, repr(name), _nearest(name, options, command))
    if isinstance(error, click.MissingParameter) and error.param is not None:
        name = error.param.opts[-1] if error.param.param_type_name == "option" else _metavar(error.param)
        return errors.message(name, "a value", "none", f"add it (see {command} --help)")
    if isinstance(error, click.BadParameter) and isinstance(error.__cause__, ValueError):
        return str(error.__cause__)
    return f"{error.format_message().rstrip('.')} (see {command} --help)."


def _metavar(parameter: click.Parameter) -> str:
    return parameter.metavar or str(parameter.name).upper()


def _nearest(word: str, options: Iterable[str], command: str) -> str:
    flags = [name for name in options if name.startswith("--")]
    near = errors.did_you_mean(word, flags)
    return near if "nearest" in near else f"see {command} --help"
