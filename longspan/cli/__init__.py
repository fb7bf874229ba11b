"""Knows the commands: their names, their options (a task's own are its fields) and what they print."""

from __future__ import annotations

import errno
import io
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from longspan import __version__, errors

if TYPE_CHECKING:
    from longspan.tasks.estimator import Estimator
    from longspan.tasks.options import Option

# Whatever takes time to import, PyTorch first of all, is imported by the command that needs it.

_USERS_FAULT = (ValueError, TypeError, OSError, ImportError, FloatingPointError)
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_GROUPS = {"task": "Task", "data": "Data", "network": "Network", "training": "Training"}
_METAVARS = {"int": "N", "float": "X", "str": "TEXT", "bool": "true|false"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; `argv` is without the program's name, None for the process's own.

    Returns:
        The exit status: 0 when all went well, 2 after one sentence about what the user can mend, 1 after one
        about what only the library can (LONGSPAN_TRACEBACK=1 shows where) and when the reader of the output
        has left, 130 when interrupted.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        with _notes():
            ended = longspan.main(args=words, prog_name="longspan", standalone_mode=False)
            sys.stdout.flush()
        return ended if isinstance(ended, int) else 0
    except BrokenPipeError:  # whoever read the output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (KeyboardInterrupt, click.Abort):
        return _say("interrupted; what is written when a command ends has not been written", 130)
    except Exception as error:
        if os.environ.get("LONGSPAN_TRACEBACK"):
            raise
        return _say(*_sentence(error))


def _say(text: str, status: int) -> int:
    print(f"longspan: {' '.join(text.split())}", file=sys.stderr)
    return status


def _sentence(error: Exception) -> tuple[str, int]:
    """What to say about an error, and the exit status."""
    if isinstance(error, click.ClickException):
        return _usage(error), 2
    if isinstance(error, OSError) and error.errno is not None:
        return _file_trouble(error), 2
    if isinstance(error, FileNotFoundError) and "expected" not in str(error):
        return errors.message("file", "one that is there", repr(str(error)), "check the path"), 2
    if isinstance(error, _USERS_FAULT):
        return str(error), 2
    way_out = "set LONGSPAN_TRACEBACK=1 to see where, and report it"
    return errors.message("longspan", "no error of its own", f"{type(error).__name__}: {error}", way_out), 1


def _file_trouble(error: OSError) -> str:
    place = f"file {error.filename}" if error.filename else "the output"
    if error.errno in _NO_ROOM:
        way_out = "free some space or name another place with -o (nothing was written)"
        return errors.message(place, "room on the disk", repr(error.strerror), way_out)
    return errors.message(place, "one that can be read or written", repr(error.strerror), "check the path")


def _usage(error: click.ClickException) -> str:
    """What is wrong with the words of the command."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "longspan"
    if isinstance(error, click.NoSuchOption):
        known = [name for one in context.command.params for name in one.opts] if context else []
        expected, name = f"one of the options of {command}", error.option_name
        return errors.message("option", expected, repr(name), _nearest(name, known, command))
    if isinstance(error, click.MissingParameter) and error.param is not None:
        name = error.param.opts[-1] if error.param.param_type_name == "option" else _metavar(error.param)
        return errors.message(name, "a value", "none", f"add it (see {command} --help)")
    if isinstance(error, click.BadParameter) and isinstance(error.__cause__, ValueError):
        return str(error.__cause__)
    return f"{error.format_message().rstrip('.')} (see {command} --help)."


def _metavar(parameter: click.Parameter) -> str:
    return parameter.metavar or str(parameter.name).upper()


def _nearest(word: str, known: Iterable[str], command: str) -> str:
    names = [name for name in known if name.startswith("--")]
    near = errors.did_you_mean(word, names)
    return near if "nearest" in near else f"see {command} --help"


@contextmanager
def _notes() -> Iterator[None]:
    """Notes of the library are lines on stderr, each said once however many steps of a command find it."""
    with warnings.catch_warnings():
        usual, said = warnings.showwarning, set[str]()

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, errors.LongspanWarning):
                usual(message, category, *where, **more)
            elif str(message) not in said:
                said.add(str(message))
                _say(f"note: {message}", 0)

        warnings.simplefilter("always", errors.LongspanWarning)
        warnings.showwarning = show
        yield


class _Group(click.Group):
    """A group whose unknown command is answered with the nearest."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            way_out = errors.did_you_mean(args[0], names)
            raise errors.value_error(_what(ctx), f"one of {', '.join(names)}", repr(args[0]), way_out)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:
            names = ", ".join(self.list_commands(ctx))
            way_out = f"add one (see {ctx.command_path} --help)"
            raise errors.value_error(_what(ctx), f"one of {names}", "none", way_out)
        return super().parse_args(ctx, args)


def _what(group: click.Context) -> str:
    """What is chosen in a group: one of the commands, or one of the tasks of a command."""
    return "command" if group.parent is None else "TASK"


class _Tasks(_Group):
    """A command for every task, made from its fields when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from longspan.tasks import TASKS

        return list(TASKS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return fit_command(cmd_name) if cmd_name in self.list_commands(ctx) else None


@click.group(cls=_Group, context_settings=_HELP)
@click.version_option(__version__, message="longspan %(version)s")
def longspan() -> None:
    """Recurrent networks for sequences: fit a model to a file, predict, evaluate, report.

    \b
    longspan demo                                     see it work on real data
    longspan fit forecast data.csv --horizon 24 -o model
    longspan predict model data.csv -o forecast.csv
    longspan report model -o report.html
    """


@longspan.group(cls=_Tasks, short_help="Learn from a file and save the model.")
def fit() -> None:
    """Learn from a file or folder and save the model: longspan fit TASK SOURCE -o MODEL."""


_source = click.argument("source", metavar="SOURCE")
_model = click.argument("model", metavar="MODEL")


class _Value(click.ParamType):
    """The value of a task's option; what it may be is the option's own business."""

    def __init__(self, option: Option) -> None:
        self.name, self.option = option.name, option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self.option.parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from error


def _joined(given: Any) -> Any:
    """An option that was given several times: its parts in order, or none of them."""
    return None if None in given else tuple(part for one in given for part in one)


class _Fit(click.Command):
    """A command whose many options are listed under headings."""

    def __init__(self, *args: Any, groups: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self._groups = groups

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        headings: dict[str, list[tuple[str, str]]] = {}
        for one in self.get_params(ctx):
            record = one.get_help_record(ctx)
            if record is not None:
                heading = self._groups.get(str(one.name), "Command")
                headings.setdefault(heading, []).append(record)
        for heading in [*_GROUPS.values(), *sorted(headings.keys() - set(_GROUPS.values()))]:
            if heading in headings:
                with formatter.section(heading):
                    formatter.write_dl(headings[heading])


def fit_command(name: str) -> click.Command:
    """`longspan fit NAME`, with the options that the task's fields are."""
    from longspan.tasks import task
    from longspan.tasks.options import options_of

    kind = task(name)
    known = options_of(kind)
    own = [_click_option(one) for one in known.values()]
    return _Fit(
        name,
        params=[*_arguments_of_fit(), *own],
        callback=lambda **given: _fit(kind, known, **given),
        help=_paragraph(kind),
        short_help=_paragraph(kind),
        context_settings=_HELP,
        groups={one.name: _GROUPS.get(one.group, one.group.title()) for one in known.values()},
    )


def _paragraph(kind: type) -> str:
    """The first paragraph of a class's docstring, on one line."""
    return " ".join((kind.__doc__ or "").strip().partition("\n\n")[0].split()).rstrip(".") + "."


def _arguments_of_fit() -> list[click.Parameter]:
    return [
        click.Argument(["its_source"], metavar="SOURCE"),
        click.Option(["-o", "its_model"], metavar="MODEL", required=True, help="Where to save the model."),
        click.Option(
            ["--resume", "its_resume"],
            metavar="FILE",
            help="Write checkpoints here, and go on from the last one there.",
        ),
        click.Option(
            ["--tune", "its_tune"],
            metavar="TRIALS",
            type=click.IntRange(1),
            help="First search the options with so many trials (needs optuna).",
        ),
    ]


def _click_option(option: Option) -> click.Option:
    """A task's option as the command line's; the default is shown, and left to the task."""
    choices = f" ({', '.join(option.choices)})" if option.choices else ""
    default = "" if option.default in (None, (), "") else f" [{_plain(option.default)}]"
    metavar = _METAVARS[option.kind.__name__] + (",..." if option.many else "")
    help = option.help[:1].upper() + option.help[1:].rstrip(".") + f"{choices}.{default}"
    kind, many = _Value(option), option.many
    return click.Option([option.flag, option.name], type=kind, multiple=many, metavar=metavar, help=help)


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _fit(
    kind: type[Estimator],
    known: Mapping[str, Option],
    its_source: str,
    its_model: str,
    its_resume: str | None,
    its_tune: int | None,
    **options: Any,
) -> None:
    """Fit and save; the command's own words are called its_..., so a task may have a field of any name."""
    given = {
        name: _joined(value) if known[name].many else value
        for name, value in options.items()
        if _was_given(name)
    }
    _writable(its_model)
    model = kind(**given)
    if its_tune is not None:
        model.tune(its_source, trials=its_tune)
    else:
        model.fit(its_source, resume=its_resume)
    model.save(its_model)
    _show(model)
    click.echo(f"Saved to {its_model}.")


def _was_given(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is not None and source is not click.core.ParameterSource.DEFAULT


def _writable(path: str) -> None:
    """Refuse an output that cannot be written before the work, not after it."""
    target = Path(path)
    folder = next(parent for parent in target.absolute().parents if parent.exists())
    if target.is_dir():
        raise errors.value_error("-o", "a file", f"the folder {path}", "add a file's name")
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        received = f"{path}, and {folder} cannot be written to"
        raise errors.value_error("-o", "a place that can be written to", received, "name another")


def _show(model: Estimator) -> None:
    """The headlines and the tables of what the model remembers of its own training."""
    from longspan.report.elements import Numbers, Table

    sections = model.exhibits()
    shown = [one for section in sections for one in section.exhibits]
    for one in shown:
        if isinstance(one, Numbers):
            _print_table(
                "", ["", "", ""], [[number.name, number.value, number.remark] for number in one.numbers]
            )
        elif isinstance(one, Table) and one.emphasis is not None:
            _print_table(one.title, one.columns, one.rows, one.emphasis, one.note)


def _print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    emphasis: int | None = None,
    note: str = "",
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from longspan.report import shown

    rows = [list(row) for row in rows]
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_header=any(columns),
        caption=note or None,
        caption_justify="left",
    )
    for place, name in enumerate(columns):
        numeric = any(isinstance(row[place], (int, float)) for row in rows)
        table.add_column(Text(name), justify="right" if numeric else "left")
    for place, row in enumerate(rows):
        table.add_row(*(Text(shown(value)) for value in row), style="bold" if place == emphasis else None)
    Console(highlight=False).print(table)


@longspan.command(short_help="Write a model's answers into a file.")
@_model
@click.argument("source", metavar="[SOURCE]", required=False)
@click.option("-o", "--output", metavar="FILE", required=True, help="A .csv, .parquet or .jsonl file.")
def predict(model: str, source: str | None, output: str) -> None:
    """Write the model's answers for SOURCE (for what it remembers, where it can, without one)."""
    write = _writer(output)
    _writable(output)
    loaded = _load(model)
    answers = _frame(loaded.predict(source) if source is not None else _predict_alone(loaded))
    from longspan.artifact import atomic_write

    with atomic_write(output) as file:
        file.write(write(answers))
    click.echo(f"{len(answers):,} rows written to {output}.")


def _predict_alone(model: Estimator) -> Any:
    """Answers of a task that needs no source."""
    from inspect import Parameter, signature

    (source, *_) = signature(model.predict).parameters.values()
    if source.default is Parameter.empty:
        raise errors.value_error("SOURCE", "a file or folder", "none", "name what to answer for")
    return model.predict()  # pyright: ignore[reportCallIssue]


def _frame(answers: Any) -> Any:
    """Answers as a polars frame: frames as they are, anything else one answer a row."""
    import narwhals
    import polars

    if isinstance(answers, polars.DataFrame):
        return answers
    if narwhals.dependencies.is_into_dataframe(answers):
        return narwhals.from_native(answers).to_polars()
    return polars.DataFrame({"row": range(len(answers)), "answer": list(answers)})


def _writer(output: str) -> Callable[[Any], bytes]:
    """What turns a frame into a file's content, by the file's suffix."""
    writers: dict[str, Callable[[Any], bytes]] = {
        ".csv": lambda frame: _without_lists(frame).write_csv().encode(),
        ".parquet": _parquet,
        ".jsonl": lambda frame: frame.write_ndjson().encode(),
    }
    suffix = Path(output).suffix.lower()
    if suffix not in writers:
        expected = f"a file that ends in {', '.join(writers)}"
        raise errors.value_error("-o", expected, repr(output), "change its ending")
    return writers[suffix]


def _without_lists(frame: Any) -> Any:
    """Cells that hold several values as one text, `|` between: a CSV file has no lists."""
    from polars import List, String, col

    return frame.with_columns(col(List).cast(List(String)).list.join("|"))


def _parquet(frame: Any) -> bytes:
    content = io.BytesIO()
    frame.write_parquet(content)
    return content.getvalue()


def _load(path: str) -> Estimator:
    from longspan.tasks import load

    return load(path)


@longspan.command(short_help="Print how good a model's answers are.")
@_model
@_source
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def evaluate(model: str, source: str, as_json: bool) -> None:
    """Print how good the model's answers for SOURCE are, whose right ones are in it."""
    metrics = _load(model).evaluate(source)
    if as_json:
        import json

        click.echo(json.dumps(metrics))
    else:
        _print_table("", ["metric", "value"], list(metrics.items()))


@longspan.command(short_help="Write an HTML page about a model.")
@_model
@click.argument("source", metavar="[SOURCE]", required=False)
@click.option("-o", "--output", metavar="HTML", default="report.html", show_default=True, help="The page.")
@click.option("--title", default="", metavar="TEXT", help="The page's heading.")
def report(model: str, source: str | None, output: str, title: str) -> None:
    """Write one HTML page about the model, evaluated on SOURCE or on what it held out in training."""
    if Path(output).suffix.lower() not in (".html", ".htm"):
        raise errors.value_error("-o", "a file that ends in .html", repr(output), "change its ending")
    _writable(output)
    _load(model).write_report(output, source, title=title)
    click.echo(f"Report written to {output}.")


@longspan.command(short_help="See it work on real data.")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("-o", "--output", metavar="FOLDER", default="demo", show_default=True, help="Where files go.")
def demo(name: str | None, output: str) -> None:
    """Show what longspan does on real data, from the data to the report (NAME: forecast)."""
    from longspan import demos

    demos.run(name or next(iter(demos.DEMOS)), Path(output))


@longspan.command()
def info() -> None:
    """Show versions, backends, instruction sets and threads."""
    import torch

    facts = {
        "longspan": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "threads": str(torch.get_num_threads()),
        **_backends(),
    }
    for name, fact in facts.items():
        click.echo(f"{name:<14}{fact}")


def _backends() -> dict[str, str]:
    """Each backend and instruction set: chosen, available, or why not, for a small float32 LSTM."""
    from longspan import kernels

    job = kernels.trial()
    chosen, _ = kernels.choose(job)
    reasons = {name: kernels.why_not(name, job) for name in kernels.names()}
    return {
        name: (f"no: {reason}" if reason else "yes, chosen" if name == chosen else "yes")
        for name, reason in reasons.items()
    }
