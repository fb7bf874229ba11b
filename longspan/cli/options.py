"""Turns a task's options into options of the command line, and what was given there into values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from .messages import set_quiet

if TYPE_CHECKING:
    from longspan.tasks.options import Option

COMMAND = "Command"  # the heading of options that belong to the command itself
_FOUND = "longspan.options"  # the key of a command's further options in click's context
ADVANCED = "Advanced"  # the heading of options that are rarely changed
_HEADINGS = {
    "task": "Task",
    "data": "Data",
    "network": "Network",
    "training": "Training",
    "predict": "Search",
}
_METAVARS = {"int": "N", "float": "X", "str": "TEXT", "bool": "true|false"}


def _set_quiet(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        set_quiet(context)


def _set_threads(context: click.Context, parameter: click.Parameter, value: int | None) -> None:
    """Let PyTorch and the kernels use so many threads until the command ends."""
    if value is None:
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(value)
    context.call_on_close(lambda: torch.set_num_threads(before))


def _set_backend(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Let one backend compute until the command ends."""
    if value is None:
        return
    from longspan import kernels

    context.with_resource(kernels.use_backend(value))


# Options of every command that works with a model: click's keywords, for a decorator or an Option.
QUIET: dict[str, Any] = {
    "is_flag": True,
    "expose_value": False,
    "callback": _set_quiet,
    "help": "Print nothing but errors and what was asked for.",
}
THREADS: dict[str, Any] = {
    "type": click.IntRange(1, 1024),
    "metavar": "N",
    "expose_value": False,
    "callback": _set_threads,
    "help": "Processor threads to compute with; all by default.",
}
BACKEND: dict[str, Any] = {
    "metavar": "NAME",
    "expose_value": False,
    "callback": _set_backend,
    "help": "What computes recurrent layers, as longspan info lists them; the fastest by default.",
}


class GroupedCommand(click.Command):
    """A command whose options stand under headings in its help."""

    def __init__(self, *args: Any, headings: Mapping[str, str], **options: Any) -> None:
        """Args: headings: parameter name -> heading; a parameter that is not in it belongs to the command."""
        super().__init__(*args, **options)
        self._headings = headings

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                records.setdefault(self._headings.get(str(parameter.name), COMMAND), []).append(record)
        order = [*_HEADINGS.values(), *sorted(records.keys() - {*_HEADINGS.values(), ADVANCED}), ADVANCED]
        for heading in order:
            if heading in records:
                with formatter.section(heading):
                    formatter.write_dl(records[heading])


class LazyCommand(GroupedCommand):
    """A command with options that are found when they are needed, since finding them imports PyTorch."""

    def __init__(self, *args: Any, options: Callable[[], Mapping[str, Option]], **more: Any) -> None:
        """Args: options: the function that gives the further options by name."""
        super().__init__(*args, headings={}, **more)
        self._options = options

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if _FOUND not in ctx.meta:
            options = self._options()
            self._headings = {name: heading_of(option) for name, option in options.items()}
            ctx.meta[_FOUND] = [click_option(option) for option in options.values()]
        *first, help = super().get_params(ctx)
        return [*first, *ctx.meta[_FOUND], help]


def search_options() -> dict[str, Option]:
    """The options of every task that `predict` takes for one call, by name."""
    from longspan.tasks import TASKS, task
    from longspan.tasks.options import options_of

    tasks = [options_of(task(name)) for name in reversed(TASKS)]
    return {o.name: o for options in tasks for o in options.values() if o.group == "predict"}


def source_options() -> dict[str, Option]:
    """The options of every task that say how one source is read, by name."""
    from longspan.tasks import TASKS, task
    from longspan.tasks.options import options_of

    tasks = [options_of(task(name)) for name in reversed(TASKS)]
    return {o.name: o for options in tasks for o in options.values() if o.per_source}


def answer_options() -> dict[str, Option]:
    """The options of `predict` and `evaluate` by name: of the search, and of the source."""
    return {**search_options(), **source_options()}


def generation_options() -> Mapping[str, Option]:
    """The arguments of `LanguageModel.generate`, by name."""
    from longspan.tasks.language import LanguageModel
    from longspan.tasks.options import arguments_of

    return arguments_of(LanguageModel.generate)


class OptionValue(click.ParamType):
    """A value of a task's option; the option itself reads the text and refuses it."""

    def __init__(self, option: Option) -> None:
        self.name, self.option = option.name, option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self.option.parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from error


def heading_of(option: Option) -> str:
    """The heading under which an option stands in the help."""
    return ADVANCED if option.advanced else _HEADINGS.get(option.group, option.group.title())


def click_option(option: Option) -> click.Option:
    """A task's option as one of the command line; its default is shown in the help and left to the task."""
    choices = f" ({', '.join(option.choices)})" if option.choices else ""
    default = "" if option.default in (None, (), "") else f" [{_as_text(option.default)}]"
    metavar = _METAVARS[option.kind.__name__] + (",..." if option.many else "")
    help = option.help[:1].upper() + option.help[1:].rstrip(".") + f"{choices}.{default}"
    names = [option.flag, option.name]
    return click.Option(names, type=OptionValue(option), multiple=option.many, metavar=metavar, help=help)


def given_options(options: Mapping[str, Option], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some options that the user gave: name -> value; the others keep the task's default."""
    return {
        name: _joined(value) if options[name].many else value
        for name, value in values.items()
        if name in options and _was_given(name)
    }


def _was_given(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is not None and source is not click.core.ParameterSource.DEFAULT


def _joined(values: Any) -> Any:
    """The parts of an option that was given several times, in order; None if one of them was `none`."""
    return None if None in values else tuple(part for value in values for part in value)


def _as_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
