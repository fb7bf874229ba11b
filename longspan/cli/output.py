"""Prints tables and results, and turns a frame of predictions into the content of a file."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from longspan import errors

from .messages import is_quiet

if TYPE_CHECKING:
    import polars

    from longspan.tasks.estimator import Estimator

Writer = Callable[["polars.DataFrame"], bytes]


def say(text: str) -> None:
    """Print one line about what the command did, unless it was given --quiet."""
    if not is_quiet():
        click.echo(text)


def print_training(model: Estimator) -> None:
    """Print what the model remembers of its training: its headline numbers and its tables of comparison."""
    from longspan.report.elements import Stats, Table

    if is_quiet():
        return
    for section in model.sections():
        for element in section.elements:
            if isinstance(element, Stats):
                rows = [[number.name, number.value, number.remark] for number in element.stats]
                print_table("", ["", "", ""], rows)
            elif isinstance(element, Table) and element.emphasis is not None:
                print_table(element.title, element.columns, element.rows, element.emphasis, element.note)


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    emphasis: int | None = None,
    note: str = "",
) -> None:
    """Print rows under headings.

    Args:
        title: the line above the table, "" for none.
        columns: the headings; "" in all of them for no headings.
        rows: text and numbers; a column with a number is set to the right.
        emphasis: the row in bold type, counted from 0.
        note: the line below the table, "" for none.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from longspan.report import format_value

    rows = [list(row) for row in rows]
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_header=any(columns),
    )
    for index, name in enumerate(columns):
        is_numeric = any(isinstance(row[index], (int, float)) for row in rows)
        table.add_column(Text(name), justify="right" if is_numeric else "left")
    for index, row in enumerate(rows):
        table.add_row(
            *(Text(format_value(value)) for value in row), style="bold" if index == emphasis else None
        )
    console = Console(highlight=False)
    console.print(table)
    if note:  # not the table's caption, which would be folded to the table's width
        console.print(Text(note, style="dim"), soft_wrap=True)


def file_writer(path: str) -> Writer:
    """The function from a frame to the content of a file, by the file's ending; `-` is CSV.

    Raises:
        ValueError: the ending is not known.
    """
    if path == "-":
        return _csv
    writers: dict[str, Writer] = {
        ".csv": _csv, ".parquet": _parquet, ".jsonl": _json_lines, ".txt": _lines
    }  # fmt: skip
    suffix = Path(path).suffix.lower()
    if suffix not in writers:
        expected = f"a file that ends in {', '.join(writers)}"
        raise errors.value_error("-o", expected, repr(path), "change its ending")
    return writers[suffix]


def write_file(path: str, content: bytes) -> None:
    """Write the content to a file at once, or to standard output where the path is `-`."""
    from longspan.atomic_file import atomic_write

    if path == "-":
        click.echo(content, nl=False)
        return
    with atomic_write(path) as file:
        file.write(content)


def _csv(frame: polars.DataFrame) -> bytes:
    """As CSV, which has no lists: values of a cell are one text with `|` between, records are JSON."""
    from polars import List, String, Struct, col, element, format

    for name, kind in frame.schema.items():
        if isinstance(kind, List) and kind.inner == Struct:
            texts = col(name).list.eval(element().struct.json_encode()).list.join(",")
            frame = frame.with_columns(format("[{}]", texts).alias(name))
    frame = frame.with_columns(col(List).cast(List(String)).list.join("|"))
    return frame.write_csv(datetime_format=_datetime_format(frame)).encode()


def _datetime_format(frame: polars.DataFrame) -> str | None:
    """Times without a fraction of a second where none has one; None for polars' own form."""
    from polars import Datetime

    kinds = [kind for kind in frame.schema.values() if isinstance(kind, Datetime)]
    if any(kind.time_zone for kind in kinds):
        return None
    times = [column for column in frame.get_columns() if isinstance(column.dtype, Datetime)]
    whole = all((column.dt.nanosecond() == 0).all() for column in times)
    return "%Y-%m-%dT%H:%M:%S" if times and whole else None


def _json_lines(frame: polars.DataFrame) -> bytes:
    return frame.write_ndjson().encode()


def _lines(frame: polars.DataFrame) -> bytes:
    """The answers alone, a line for each text that was read; line breaks within an answer become blanks."""
    if "answer" not in frame.columns or "rank" in frame.columns:
        received = (
            "several answers a text" if "rank" in frame.columns else f"columns {', '.join(frame.columns)}"
        )
        way_out = "write a .csv file"
        raise errors.value_error("-o", "one text for each row in a .txt file", received, way_out)
    lines = frame["answer"].fill_null("").str.replace_all(r"\s*[\r\n]+\s*", " ")
    return "".join(f"{line}\n" for line in lines).encode()


def _parquet(frame: polars.DataFrame) -> bytes:
    content = io.BytesIO()
    frame.write_parquet(content)
    return content.getvalue()
