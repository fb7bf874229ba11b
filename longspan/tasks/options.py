"""Declares options as dataclass fields; checks their values, and converts them from and to text."""

from __future__ import annotations

import abc
import inspect
import re
import shlex
import textwrap
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from typing import Any, ClassVar, NamedTuple, Union, final, get_args, get_origin, get_type_hints

from typing_extensions import Self

from longspan import errors
from longspan.registry import name_of

Span = Sequence[Any]  # a list of values to choose from, or a tuple (low, high) with whole or real ends

_INHERITED = ("advanced", "per_source", "minimum", "maximum", "fraction", "positive", "search")
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def option(
    default: Any,
    help: str,
    *,
    choices: Collection[str] = (),
    group: str = "task",
    advanced: bool = False,
    per_source: bool = False,
    minimum: int | None = None,
    maximum: int | None = None,
    fraction: bool = False,
    positive: bool = False,
    check: Callable[[str, Any], object] | None = None,
    search: Span | None = None,
) -> Any:
    """A dataclass field that is an option of a task.

    Args:
        default: the default value; None means "found from the data" or "none".
        help: a phrase for the command line and the report.
        choices: the only values that text options may have.
        group: the heading of the option: "task", "data", "network" or "training"; options of the group
            "predict" are keywords of the network's `predict`.
        advanced: whether the option is rarely changed and listed under a heading of its own.
        per_source: whether the option says how a source is read, and may differ for one to predict for.
        minimum, maximum: the smallest and the largest whole number allowed.
        fraction: whether the value must be in [0, 1).
        positive: whether the value must be above 0.
        check: called with the option's name and value; raises an error in one sentence.
        search: the values that `tune` tries: a list of them, or (low, high); None for no search.

    An option that a subclass declares again inherits the arguments from `advanced` on that it leaves out.
    """
    metadata = {
        "help": help,
        "choices": tuple(choices),
        "group": group,
        "advanced": advanced,
        "per_source": per_source,
        "minimum": minimum,
        "maximum": maximum,
        "fraction": fraction,
        "positive": positive,
        "check": check,
        "search": search,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Option:
    """One option, as the command line, the report and the error messages need it.

    name: of the field; kind: int, float, bool or str, the type of a value.
    many: whether the value is a tuple of them; lone: whether a single one may be given for a tuple of one.
    optional: whether None is allowed; default, help, choices, group: as in `option`.
    task: a class of tasks; the value may be such a task, or text for one: its options, or its file.
    function: whether the value may be a function, or text for one: `module:name`.
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
    function: bool = False
    advanced: bool = False
    per_source: bool = False
    minimum: int | None = None
    maximum: int | None = None
    fraction: bool = False
    positive: bool = False
    extra_check: Callable[[str, Any], object] | None = None
    search: Span | None = None

    @property
    def flag(self) -> str:
        """`--hidden-size`."""
        return "--" + self.name.replace("_", "-")

    @property
    def form(self) -> str:
        """A description of the values: `a whole number, or none`."""
        single = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[self.kind]
        if self.choices:
            single = f"one of {', '.join(self.choices)}"
        if self.task is not None:
            single = f"a {self.task.__name__}, or text for one"
        if self.function:
            single = f"a function, or {single}"
        form = f"{single}, or several with commas between" if self.many else single
        return f"{form}, or none" if self.optional else form

    def parse(self, text: str) -> Any:
        """The value of a text such as `none`, `true`, `24`, `0.1`, or `a,b` for several.

        Raises:
            ValueError: the text is no value of this option; one sentence.

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
        """Refuse a value of the wrong type or outside the limits.

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
        for element in value if self.many and several else (value,):
            self._check_one(element)

    def _check_one(self, value: Any) -> None:
        if self.task is not None and isinstance(value, self.task):
            return
        if self.function and callable(value):
            return
        wanted = (int, float) if self.kind is float else self.kind
        is_number = self.kind in (int, float)
        if not isinstance(value, wanted) or (is_number and isinstance(value, bool)):
            raise errors.type_error(self.name, self.form, value, "look at its help")
        if self.choices:
            errors.check_choice(self.name, value, self.choices)
        if self.minimum is not None:
            errors.check_int(self.name, value, self.minimum, "look at its help")
        if self.fraction:
            errors.check_fraction(self.name, value, below_one=True)
        if self.positive and not value > 0:
            raise errors.value_error(self.name, "a number above 0", value, "0.001 is usual")
        if self.maximum is not None and value > self.maximum:
            expected = f"a whole number of at most {self.maximum}"
            raise errors.value_error(self.name, expected, value, "give a smaller one")
        if self.extra_check is not None:
            self.extra_check(self.name, value)


class Configurable(abc.ABC):
    """A dataclass of options, with scikit-learn's conventions and options as text. Abstract."""

    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" in cls.__dict__ and cls.__doc__:  # a task, not a part that tasks inherit from
            written = cls.__doc__.partition("\n\n    Options:\n")[0]  # the rest is for editors
            cls.__doc__ = f"{written.rstrip()}\n\n    Options:\n{_described(cls)}\n"

    def __new__(cls, *args: Any, **options: Any) -> Self:
        declared = options_of(cls)
        for name in options:
            if name not in declared:
                near = errors.did_you_mean(name, declared)
                way_out = near if "nearest" in near else f"choose one of {', '.join(declared)}"
                raise TypeError(_unknown(cls, name, way_out))
        return super().__new__(cls)

    @final
    def check(self) -> None:
        """Refuse options with values that are not allowed.

        Raises:
            ValueError, TypeError: one sentence that names the option.
        """
        for name, option in options_of(type(self)).items():
            option.check(getattr(self, name))
        conflict = self._conflict()
        if conflict is not None:
            raise conflict

    def _conflict(self) -> Exception | None:
        """The error for values that are allowed one by one and not together; None where there is none."""
        return None

    @final
    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Every option by name (scikit-learn's convention)."""
        return {name: getattr(self, name) for name in options_of(type(self))}

    @final
    def set_params(self, **options: Any) -> Self:
        """Set options by name; returns itself."""
        declared = options_of(type(self))
        for name, value in options.items():
            if name not in declared:
                raise TypeError(_unknown(type(self), name, errors.did_you_mean(name, declared)))
            setattr(self, name, value)
        return self

    @final
    def clone(self) -> Self:
        """An object with the same options, not fitted."""
        return type(self)(**self.get_params())

    @final
    def changed_params(self) -> dict[str, Any]:
        """The options that differ from their defaults, by name."""
        declared = options_of(type(self))
        return {name: value for name, value in self.get_params().items() if value != declared[name].default}

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.changed_params().items())
        return f"{type(self).__name__}({options})"

    @final
    def to_string(self) -> str:
        """The options that are not the defaults, as text for `from_string`: `horizon=24 seed=1`."""
        return shlex.join(f"{name}={as_text(value)}" for name, value in self.changed_params().items())

    @classmethod
    def from_string(cls, text: str) -> Self:
        """An object from its options as text, `name=value` with spaces between.

        Raises:
            ValueError, TypeError: there is no such option, or its value is not allowed; one sentence.
        """
        options: dict[str, Any] = {}
        declared = options_of(cls)
        for name, _, value in (part.partition("=") for part in _split(text)):
            options[name] = declared[name].parse(value) if name in declared else value
        return cls(**options)


def as_text(value: Any) -> str:
    """An option's value as text for the command line."""
    if isinstance(value, Configurable):
        return value.to_string()
    if callable(value):
        return name_of(value)
    if isinstance(value, (tuple, list)):
        return ",".join(str(part) for part in value)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def search_space(task: type[Configurable]) -> dict[str, Span]:
    """The options that `tune` searches, and the values that it tries."""
    return {name: option.search for name, option in options_of(task).items() if option.search is not None}


def _unknown(kind: type, name: str, way_out: str) -> str:
    return errors.message("option", f"one of the options of {kind.__name__}", repr(name), way_out)


def _split(text: str) -> list[str]:
    """The words of a text; several words in quotes count as one."""
    try:
        return shlex.split(text)
    except ValueError as error:
        expected = "options such as 'horizon=24 target=a,b'"
        raise errors.value_error("options", expected, repr(text), "close the quotes") from error


def _described(task: type) -> str:
    """A task's options in paragraphs: name, default, meaning."""
    declared: dict[str, Any] = {}
    for base in reversed(task.__mro__[1:]):
        declared |= base.__dict__.get("__dataclass_fields__", {})
    declared |= {name: value for name, value in task.__dict__.items() if isinstance(value, Field)}
    options = (
        f"{name} ({field.default!r}): {field.metadata['help']}{_of(field.metadata['choices'])}."
        for name, field in declared.items()
        if "help" in field.metadata  # dataclasses list class variables too
    )
    wrapper = textwrap.TextWrapper(
        100, initial_indent=" " * 8, subsequent_indent=" " * 12, break_on_hyphens=False
    )
    return "\n".join(map(wrapper.fill, options))


def _of(choices: tuple[str, ...]) -> str:
    return f" (one of {', '.join(choices)})" if choices else ""


@cache
def options_of(task: type) -> Mapping[str, Option]:
    """Every option of a task by name, in the order of its fields."""
    hints = get_type_hints(task)
    return {field.name: _option(task, field, hints[field.name]) for field in fields(task)}


def arguments_of(function: Callable[..., Any]) -> Mapping[str, Option]:
    """Every argument of a function that has a default, as an option, by name; its docstring gives the help.

    Args:
        function: with type hints, and a docstring with a section "Args:", a line `name: help` an argument.

    >>> def draw(length: int = 3) -> str:
    ...     '''Draw a text.
    ...
    ...     Args:
    ...         length: of the text.
    ...     '''
    ...     return "a" * length
    >>> arguments_of(draw)["length"].help, arguments_of(draw)["length"].parse("4")
    ('of the text', 4)
    """
    hints, help = get_type_hints(function), _argument_help(function)
    return {
        name: Option(
            name=name, **_value_type(name, hints[name], parameter.default)._asdict(),
            default=parameter.default, help=help[name], choices=(), group="predict",
        )
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not parameter.empty
    }  # fmt: skip


def _argument_help(function: Callable[..., Any]) -> dict[str, str]:
    """The help of every argument in a docstring's section "Args:"."""
    section = (inspect.getdoc(function) or "").partition("Args:\n")[2].partition("\n\n")[0]
    parts = re.split(r"^    (\w+): ", section, flags=re.MULTILINE)
    return {
        name: " ".join(text.split()).rstrip(".") for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


class _ValueType(NamedTuple):
    """What an option's values are; the fields are those of `Option`."""

    kind: type
    many: bool
    lone: bool
    optional: bool
    task: type | None
    function: bool


def _value_type(name: str, hint: Any, default: Any) -> _ValueType:
    """What the values of an option are by its type hint."""
    parts = list(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else [hint]
    optional = type(None) in parts
    parts = [part for part in parts if part is not type(None)]
    tasks = (part for part in parts if isinstance(part, type) and issubclass(part, Configurable))
    task = next(tasks, None)
    kinds = [part for part in parts if part is not task and get_origin(part) is not Callable]
    function, parts = len(kinds) + (task is not None) < len(parts), kinds
    several = [part for part in parts if get_origin(part) is tuple]
    kind = get_args(several[0])[0] if several else parts[0]
    if kind not in (int, float, bool, str) or default is MISSING:
        expected = "int, float, bool, str or a tuple of them, or None, with a default"
        raise TypeError(errors.message(f"option {name}", expected, kind, "change the field"))
    lone = bool(several) and len(parts) > 1
    return _ValueType(kind, bool(several), lone, optional, task, function)


def _option(owner: type, field: Any, hint: Any) -> Option:
    """The option of a field of a task; hint: the field's type."""
    meta = field.metadata
    return Option(
        name=field.name,
        **_value_type(field.name, hint, field.default)._asdict(),
        default=field.default,
        help=meta["help"],
        choices=meta["choices"],
        group=meta["group"],
        extra_check=_nearest(owner, field.name, "check"),
        **{name: _nearest(owner, field.name, name) for name in _INHERITED},
    )


def _nearest(owner: type, name: str, limit: str) -> Any:
    """The limit of an option in the nearest base class that sets it."""
    declared = (kind.__dict__.get("__dataclass_fields__", {}).get(name) for kind in owner.__mro__)
    limits = [field.metadata[limit] for field in declared if field is not None]
    return next((value for value in limits if value not in (None, False)), limits[-1])
