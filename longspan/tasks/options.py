"""Knows what a task's options are: dataclass fields with a line of help, and how text becomes values."""

from __future__ import annotations

import types
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from longspan import errors

_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def option(default: Any, help: str, *, choices: Collection[str] = (), group: str = "task") -> Any:
    """A dataclass field that is an option of a task.

    Args:
        default: its value where the user says nothing; None is "found from the data" or "none".
        help: one sentence for the command line and the report.
        choices: the only values that text options may have.
        group: under which heading it is listed: "task", "data", "network" or "training".
    """
    return field(default=default, metadata={"help": help, "choices": tuple(choices), "group": group})


@dataclass(frozen=True)
class Option:
    """One option as the command line, the report and the errors see it.

    name: the field's; kind: int, float, bool or str; many: whether it is a tuple of them; lone: whether one
    of them may stand for a tuple of one; optional: whether None is allowed; default, help, choices, group: as
    in `option`; task: the class of tasks one of which may be given instead of its options as text.
    """

    name: str
    kind: type
    many: bool
    lone: bool
    optional: bool
    default: Any
    help: str
    choices: tuple[str, ...]
    group: str
    task: type | None = None

    @property
    def flag(self) -> str:
        """`--hidden-size`."""
        return "--" + self.name.replace("_", "-")

    @property
    def form(self) -> str:
        """What a value looks like, in words: `a whole number, or none`."""
        single = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[self.kind]
        if self.choices:
            single = f"one of {', '.join(self.choices)}"
        if self.task is not None:
            single = f"a {self.task.__name__}, or its options as text"
        form = f"{single}, or several with commas between" if self.many else single
        return f"{form}, or none" if self.optional else form

    def parse(self, text: str) -> Any:
        """The value that a text stands for: `none`, `a,b` for several, `true`, `24`, `0.1`.

        Raises:
            ValueError: the text is none of these; one sentence.

        >>> Option("quantiles", float, True, False, False, (), "", (), "task").parse("0.1,0.9")
        (0.1, 0.9)
        """
        if self.optional and text.strip().lower() == "none":
            return None
        if not self.many:
            return self._one(text)
        return tuple(self._one(part.strip()) for part in text.split(",") if part.strip())

    def _one(self, text: str) -> Any:
        if self.choices:
            return errors.check_choice(self.flag, text, self.choices)
        if self.kind is str:
            return text
        try:
            return _WORDS[text.strip().lower()] if self.kind is bool else self.kind(text)
        except (ValueError, KeyError) as error:
            way_out = f"such as {self.default}" if self.default not in (None, (), "") else "look at --help"
            raise errors.value_error(self.flag, self.form, repr(text), way_out) from error

    def check(self, value: Any) -> None:
        """Refuse a value of the wrong kind.

        Raises:
            TypeError, ValueError: one sentence that names the option.
        """
        if value is None:
            if not self.optional:
                raise errors.type_error(self.name, self.form, value, "leave it out for its default")
            return
        several = isinstance(value, (tuple, list))
        if self.many and not several and not self.lone:
            raise errors.type_error(self.name, self.form, value, f"put it in a tuple, ({value!r},)")
        for one in value if self.many and several else (value,):
            self._check_one(one)

    def _check_one(self, value: Any) -> None:
        if self.task is not None and isinstance(value, self.task):
            return
        wanted = (int, float) if self.kind is float else self.kind
        is_number = self.kind in (int, float)
        if not isinstance(value, wanted) or (is_number and isinstance(value, bool)):
            raise errors.type_error(self.name, self.form, value, "look at its help")
        if self.choices:
            errors.check_choice(self.name, value, self.choices)


@cache
def options_of(task: type) -> Mapping[str, Option]:
    """Every option of a task by name, in the order of its fields."""
    hints = get_type_hints(task)
    return {one.name: _option(one, hints[one.name]) for one in fields(task)}


def _option(one: Any, hint: Any) -> Option:
    parts = list(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else [hint]
    optional = type(None) in parts
    parts = [part for part in parts if part is not type(None)]
    task = next((part for part in parts if hasattr(part, "get_params")), None)
    parts = [part for part in parts if part is not task]
    several = [part for part in parts if get_origin(part) is tuple]
    many, lone = bool(several), bool(several) and len(parts) > 1
    hint = get_args(several[0])[0] if several else parts[0]
    if hint not in (int, float, bool, str) or one.default is MISSING:
        expected = "int, float, bool, str or a tuple of them, or None, with a default"
        raise TypeError(errors.message(f"option {one.name}", expected, hint, "change the field"))
    meta = one.metadata
    return Option(
        name=one.name,
        kind=hint,
        many=many,
        lone=lone,
        optional=optional,
        default=one.default,
        help=meta["help"],
        choices=meta["choices"],
        group=meta["group"],
        task=task,
    )
