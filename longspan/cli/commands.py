"""Defines the commands: fit, predict, evaluate, generate, inspect, report, serve, demo, docs and info."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from longspan import __version__, errors

from .messages import is_quiet, set_quiet, with_flags
from .options import (
    BACKEND,
    QUIET,
    THREADS,
    GroupedCommand,
    LazyCommand,
    answer_options,
    click_option,
    generation_options,
    given_options,
    heading_of,
    search_options,
    source_options,
)
from .output import file_writer, print_table, print_training, say, write_file
from .standard_input import FORMAT, source_file

if TYPE_CHECKING:
    import polars

    from longspan.tasks.estimator import Estimator

# Whatever takes time to import, PyTorch first of all, is imported by the command that needs it.

DOCS_PAGE = Path(__file__).parents[1] / "site" / "index.html"  # what `make docs` writes
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class NamedGroup(click.Group):
    """A group that answers an unknown command with the nearest one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            way_out = errors.did_you_mean(args[0], names)
            raise errors.value_error(_member(ctx), f"one of {', '.join(names)}", repr(args[0]), way_out)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:
            names = ", ".join(self.list_commands(ctx))
            way_out = f"add one (see {ctx.command_path} --help)"
            raise errors.value_error(_member(ctx), f"one of {names}", "none", way_out)
        return super().parse_args(ctx, args)


def _member(group: click.Context) -> str:
    """What a group's members are called: commands, or the tasks of a command."""
    return "command" if group.parent is None else "TASK"


class TaskGroup(NamedGroup):
    """A group with one command a task, made from the task's options when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from longspan.tasks import TASKS

        return list(TASKS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return fit_command(cmd_name) if cmd_name in self.list_commands(ctx) else None


@click.group(cls=NamedGroup, context_settings=_SETTINGS)
@click.version_option(__version__, message="longspan %(version)s")
def longspan() -> None:
    """Recurrent networks for sequences: fit a model to a file, predict, evaluate, report.

    \b
    longspan demo forecast                            see it work on real data
    longspan fit forecast data.csv --horizon 24 -o model
    longspan predict model data.csv -o forecast.csv
    longspan generate model --prompt "Once upon"
    longspan report model -o report.html
    """


@longspan.group(cls=TaskGroup, short_help="Learn from a file and save the model.")
def fit() -> None:
    """Learn from a file or folder and save the model: longspan fit TASK SOURCE -o MODEL."""


def fit_command(name: str) -> click.Command:
    """`longspan fit NAME`, with the task's options beside its own."""
    from longspan.tasks import task
    from longspan.tasks.options import options_of

    kind = task(name)
    options = options_of(kind)

    def run(
        source: str, output: str, format: str | None, resume: str | None, tune: int | None,
        processes: int | None, targets: str | None = None, **values: Any,
    ) -> None:  # fmt: skip
        model = kind(**given_options(options, values))
        _fit(model, source, targets, output, format=format, resume=resume, tune=tune, processes=processes)

    sources = [click.Argument(["source"], metavar="SOURCE")]
    if kind.takes_targets:
        sources.append(click.Argument(["targets"], metavar="[TARGETS]", required=False))
    return GroupedCommand(
        name,
        params=[*sources, *_fit_parameters(), *map(click_option, options.values())],
        callback=run,
        help=_first_paragraph(kind),
        short_help=_first_paragraph(kind),
        context_settings=_SETTINGS,
        headings={option.name: heading_of(option) for option in options.values()},
    )


def _first_paragraph(kind: type) -> str:
    """The first paragraph of a class's docstring, on one line."""
    return " ".join((kind.__doc__ or "").strip().partition("\n\n")[0].split()).rstrip(".") + "."


def _fit_parameters() -> list[click.Parameter]:
    return [
        click.Option(["-o", "output"], metavar="MODEL", required=True, help="Where to save the model."),
        click.Option(
            ["--resume"],
            metavar="FILE",
            help="Write checkpoints here, and go on from the last one there.",
        ),
        click.Option(
            ["--tune"],
            metavar="TRIALS",
            type=click.IntRange(1),
            help="First search the options with so many trials (needs optuna).",
        ),
        click.Option(
            ["--processes"],
            metavar="INT",
            type=click.IntRange(1),
            help="Share every batch among so many processes, with one thread each (or those of torchrun).",
        ),
        click.Option(["--format"], **FORMAT),
        click.Option(["--threads"], **THREADS),
        click.Option(["--backend"], **BACKEND),
        click.Option(["--quiet"], **QUIET),
    ]


def _fit(
    model: Estimator,
    source: str,
    targets: str | None,
    output: str,
    *,
    format: str | None,
    resume: str | None,
    tune: int | None,
    processes: int | None,
) -> None:
    """Fit a model, save it and print how good it is."""
    from longspan.training.processes import is_first, started_by_launcher

    from .heartbeat import heartbeat

    processes = started_by_launcher() if processes is None else processes
    if not is_first():
        set_quiet(click.get_current_context())
    if processes is not None and tune is not None:
        way_out = "leave out --processes, or fit the options that were found without --tune"
        raise errors.value_error("--processes", "a fit without --tune", "both", way_out)
    if resume is not None and tune is not None:
        way_out = "leave out --resume, or fit the options that were found without --tune"
        raise errors.value_error("--resume", "a fit without --tune", "both", way_out)
    _check_output(output, source, targets)
    if resume is not None:
        _check_resume(resume, output, source, targets)
    verbose = 0 if is_quiet() else "auto"
    reading = source_file(source, format, texts=model.reads_texts)
    with reading as path, heartbeat("fitting") as note:
        if tune is not None:
            model.tune(path, targets, trials=tune, verbose=verbose)
        else:
            model.fit(path, targets, resume=resume, callbacks=[note], verbose=verbose, processes=processes)
    if not is_first():
        return
    if source == "-" and model.fitted_.data is not None:  # what was read is gone
        model.fitted_.data = model.fitted_.data._replace(paths=("-",))
    model.save(output)
    print_training(model)
    say(f"Saved to {output}.")


def _check_resume(resume: str, output: str, *sources: str | None) -> None:
    """Refuse a checkpoint that cannot be written, or that is the model or the data."""
    from longspan.atomic_file import check_output

    check_output(resume, "--resume")
    replaced = [name for name in sources if name is not None and _would_replace(Path(resume), Path(name))]
    if Path(resume).absolute() == Path(output).absolute() or replaced:
        received = f"{resume}, which is the source or the model"
        raise errors.value_error("--resume", "a file of its own", received, "name another")


def _check_output(output: str, *inputs: str | None) -> None:
    """Refuse an output that cannot be written, or that would replace an input, before the work is done.

    Args:
        output: a path of the command; inputs: the values of other arguments, paths among them.
    """
    from longspan.atomic_file import check_output

    if output == "-":
        raise errors.value_error("-o", "a file", "'-'", "only predict writes to standard output")
    check_output(output, "-o")
    for name in inputs:
        if name is not None and _would_replace(Path(output), Path(name)):
            received = f"{output}, which the command reads"
            raise errors.value_error("-o", "a file that is not read", received, "name another")


def _would_replace(output: Path, source: Path) -> bool:
    """Whether the output is the source itself or a file in one of the folders of a source."""
    if not output.exists() or not source.exists():
        return False
    if output.samefile(source):
        return True
    inside = output.resolve().is_relative_to(source.resolve())
    return inside and len(output.resolve().relative_to(source.resolve()).parts) > 1


_model = click.argument("model", metavar="MODEL")
_optional_source = click.argument("source", metavar="[SOURCE]", required=False)
_format = click.option("--format", **FORMAT)
_quiet = click.option("--quiet", **QUIET)
_threads = click.option("--threads", **THREADS)
_backend = click.option("--backend", **BACKEND)


@longspan.command(cls=LazyCommand, options=answer_options, short_help="Write a model's answers into a file.")
@_model
@_optional_source
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    required=True,
    help="A .csv, .parquet or .jsonl file, .txt for written texts alone, or - for CSV on standard output.",
)
@_format
@_threads
@_backend
@_quiet
def predict(model: str, source: str | None, output: str, format: str | None, **options: Any) -> None:
    """Write the model's answers for SOURCE (for what it remembers, where it can, without one).

    A language model scores texts; `longspan generate` lets it write some.
    """
    write = file_writer(output)
    if output != "-":
        _check_output(output, model, source)
    frame = _predictions(_load_for(model, options), source, format, given_options(search_options(), options))
    write_file(output, write(frame))
    if output != "-":
        say(f"{len(frame):,} rows written to {output}.")


def _predictions(
    model: Estimator, source: str | None, format: str | None, search: Mapping[str, Any]
) -> polars.DataFrame:
    """The model's answers for a source, or for what it remembers; search: options for this call."""
    if source is None:
        if model.stream_ is None:
            raise errors.value_error("SOURCE", "a file or folder", "none", "name what to answer for")
        return model.predict_table(**search)
    with source_file(source, format, texts=model.reads_texts) as path:
        return model.predict_table(path, **search)


@longspan.command(short_help="Answer rows of standard input as they come.")
@_model
@_threads
@_backend
def stream(model: str) -> None:
    """Answer each row of standard input as it comes, as CSV; MODEL goes on from where its data ended.

    A row is a line of CSV; the first line may name the columns. A detector answers with score and alarm, a
    forecaster with the next steps, a recommender with the user's next items. The model's file stays as it is.

    \b
    tail -f readings.csv | longspan stream model
    """
    import sys

    from .streaming import answers

    is_first = True
    for frame in answers(_load(model), sys.stdin):
        click.echo(frame.write_csv(include_header=is_first), nl=False)
        is_first = False


@longspan.command(short_help="Write a saved Sequential as ONNX or for Keras.")
@_model
@click.option(
    "-o", "--output", metavar="FILE", required=True, help="A file that ends in .onnx, .keras or .h5."
)
@click.option("--states", is_flag=True, help="ONNX: states of recurrent layers as inputs and outputs.")
@_quiet
def export(model: str, output: str, states: bool) -> None:
    """Write a saved Sequential as an ONNX graph, or as a file that Keras reads.

    The models of tasks (fit forecast and so on) are not one graph: longspan serve answers for these.
    """
    from .exporting import export_file

    _check_output(output, model)
    export_file(model, output, states=states)
    say(f"Written to {output}.")


@longspan.command(short_help="Write a copy of a saved model with int8 weights.")
@_model
@click.option("-o", "--output", metavar="FILE", required=True, help="Where the copy is saved.")
@_quiet
def quantize(model: str, output: str) -> None:
    """Write a copy of a model whose recurrent layers compute with int8 weights.

    Such a model is smaller and, with many hidden units, answers faster; it cannot be trained. Compare both
    by longspan evaluate. A FILE that ends in .onnx becomes a graph of ONNX.
    """
    from .exporting import quantize_file

    _check_output(output, model)
    quantize_file(model, output)
    say(f"Written to {output}.")


@longspan.command(cls=LazyCommand, options=generation_options, short_help="Let a language model write text.")
@_model
@_threads
@_backend
def generate(model: str, **arguments: Any) -> None:
    """Write text that goes on from a prompt, as it is drawn; MODEL is a saved language model."""
    from longspan.tasks.language import LanguageModel

    loaded = _load(model)
    if not isinstance(loaded, LanguageModel):
        way_out = "its answers are written by longspan predict"
        received = f"a {type(loaded).__name__} in {model}"
        raise errors.value_error("MODEL", "a language model", received, way_out)
    for piece in loaded.stream(**given_options(generation_options(), arguments)):
        click.echo(piece, nl=False)
    click.echo()


def _load(path: str) -> Estimator:
    from longspan.tasks import load

    return load(path)


def _load_for(path: str, options: Mapping[str, Any]) -> Estimator:
    """A saved model that reads its next source by the options that were given.

    Args:
        options: of the command by name; those of the source that were given replace the model's own.
    """
    from longspan.tasks.options import options_of

    model, of_source = _load(path), source_options()
    given = given_options(of_source, options)
    for name in given:
        if name not in options_of(type(model)):
            kind = type(model).__name__
            expected = f"an option of a {kind}"
            raise errors.value_error("option", expected, of_source[name].flag, "leave it out")
    return model.set_params(**given)


@longspan.command(cls=LazyCommand, options=answer_options, short_help="Print how good a model's answers are.")
@_model
@click.argument("source", metavar="SOURCE")
@click.argument("targets", metavar="[TARGETS]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@_format
@_threads
@_backend
@_quiet
def evaluate(
    model: str, source: str, targets: str | None, as_json: bool, format: str | None, **options: Any
) -> None:
    """Print how good the model's answers for SOURCE are; the right answers are in SOURCE or in TARGETS."""
    loaded = _load_for(model, options)
    if targets is not None and not loaded.takes_targets:
        received = f"{targets} beside {source}"
        raise errors.value_error(
            "SOURCE", "one file or folder", received, "give the file with the right answers"
        )
    with source_file(source, format, texts=loaded.reads_texts) as path:
        metrics = loaded.evaluate(path, targets, **given_options(search_options(), options))
    if as_json:
        import json

        click.echo(json.dumps(metrics))
    else:
        print_table("", ["metric", "value"], list(metrics.items()))


@longspan.command(short_help="Show how a file is read, before a model is fitted to it.")
@click.argument("source", metavar="SOURCE")
@click.option("--time", metavar="TEXT,...", help="Column of the times, or those of their parts.")
@click.option("--id", metavar="TEXT", help="Column that names the series.")
@click.option("--time-format", metavar="TEXT", help="Form of times that are text, such as %d/%m/%Y.")
@click.option("--encoding", default="utf-8", metavar="TEXT", help="Of text files.", show_default=True)
@click.option("--missing", metavar="TEXT,...", help="Cells that stand for a missing value.")
@click.option("--sheet", metavar="TEXT", help="Of an Excel file.")
@_format
def inspect(source: str, time: str | None, id: str | None, format: str | None, **how: str | None) -> None:
    """Show how SOURCE is read: columns, times, step, gaps, first and last rows, and what is refused."""
    from longspan.data.time_table import TimeOptions

    from .inspection import inspect_file, readings_title, task_readings

    missing = tuple((how["missing"] or "").split(",")) if how["missing"] else ()
    options = TimeOptions(how["encoding"] or "utf-8", missing, how["sheet"], how["time_format"])
    columns = tuple(part.strip() for part in time.split(",")) if time else ()
    with source_file(source, format) as path:
        found = inspect_file(Path(path), time=columns, id=id, options=options, may_be_text=source == "-")
        readings = task_readings(Path(path), found, time=columns, id=id, options=options)
        title = readings_title(Path(path))
    print_table("", ["", ""], [list(fact) for fact in found.facts.items()])
    if found.columns:
        print_table("Columns", ["column", "type", "read as", "missing", "such as"], found.columns)
    print_table("First and last rows", found.names, [*found.first, ["…"] * len(found.names), *found.last])
    for sentence in found.refused:
        click.echo(f"A task would refuse this: {with_flags(sentence)}")
    print_table(title, ["task", "", ""], readings)


@longspan.command(cls=LazyCommand, options=source_options, short_help="Write an HTML page about a model.")
@_model
@_optional_source
@click.option("-o", "--output", metavar="HTML", default="report.html", show_default=True, help="The page.")
@click.option("--title", default="", metavar="TEXT", help="The page's heading.")
@_format
@_threads
@_backend
@_quiet
def report(
    model: str, source: str | None, output: str, title: str, format: str | None, **options: Any
) -> None:
    """Write one HTML page about the model, evaluated on SOURCE or on what it held out in training."""
    if Path(output).suffix.lower() not in (".html", ".htm"):
        raise errors.value_error("-o", "a file that ends in .html", repr(output), "change its ending")
    _check_output(output, model, source)
    loaded = _load_for(model, options)
    if source is None:
        loaded.write_report(output, title=title)
    else:
        with source_file(source, format, texts=loaded.reads_texts) as path:
            loaded.write_report(output, path, title=title)
    say(f"Report written to {output}.")


@longspan.command(short_help="See it work: one demonstration a task and use.")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("-o", "--output", metavar="FOLDER", default="demo", show_default=True, help="Where files go.")
def demo(name: str | None, output: str) -> None:
    """Show what longspan does, from data to report.

    Without NAME it lists the demonstrations.
    """
    from longspan import demos

    if name is None:
        rows = [[name, demo.task, demo.data] for name, demo in demos.DEMOS.items()]
        note = "longspan demo NAME runs one in one to three minutes and ends with a report."
        print_table("", ["name", "task", "data"], rows, note=note)
    else:
        demos.run(name, Path(output))


@longspan.command(short_help="Answer requests by HTTP with one or several models.")
@click.argument("models", metavar="MODEL...", nargs=-1)
@click.option("--host", default="127.0.0.1", metavar="HOST", help="Address to listen at. [127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, metavar="N", help="Port. [8000]")
@click.option("--token", metavar="FILE", help="File with the token that requests must carry.")
@click.option("--no-token", is_flag=True, help="Let everyone who reaches another HOST ask.")
@click.option("--sessions", metavar="FILE", help="File that keeps the sessions for the next run.")
@_threads
@_backend
@_quiet
def serve(
    models: tuple[str, ...], host: str, port: int, token: str | None, no_token: bool, sessions: str | None
) -> None:
    """Answer requests for saved models, each under the name of its file.

    \b
    longspan serve model
    curl http://127.0.0.1:8000/models/model/predict -H 'Content-Type: text/csv' --data-binary @data.csv
    """
    from longspan import serve as server

    word = None if token is None else _token(token)
    server.check_host(host, word, open_to_all=no_token)
    app = server.create_app(server.load_models(models), token=word, sessions=sessions)
    say(f"http://{host}:{port}/ answers for {', '.join(Path(name).stem for name in models)}.")
    server.run(app, host=host, port=port)


def _token(path: str) -> str:
    """The token in a file, without the line's end."""
    token = Path(path).read_text(encoding="utf-8").strip()
    if len(token) < 16:
        way_out = "write one with python -c 'import secrets; print(secrets.token_urlsafe())'"
        raise errors.value_error("--token", "a file with at least 16 characters", f"{len(token)}", way_out)
    return token


@longspan.command(short_help="Open the documentation.")
@click.option("--path", "shows_path", is_flag=True, help="Print where the pages are instead.")
def docs(shows_path: bool) -> None:
    """Open the documentation's pages, which need no other machine, in the browser."""
    if not DOCS_PAGE.exists():
        way_out = "run make docs in a checkout, which builds them there"
        raise errors.value_error("docs", f"pages in {DOCS_PAGE.parent}", "none", way_out)
    if shows_path or click.launch(DOCS_PAGE.as_uri()):
        click.echo(DOCS_PAGE)


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


def _backends() -> Mapping[str, str]:
    """Each backend and instruction set: chosen, available, or why not, for a small float32 LSTM."""
    from longspan import kernels

    job = kernels.probe_job()
    chosen, _ = kernels.choose(job)
    reasons = {name: kernels.why_not(name, job) for name in kernels.names()}
    return {
        name: (f"no: {reason}" if reason else "yes, chosen" if name == chosen else "yes")
        for name, reason in reasons.items()
    }
