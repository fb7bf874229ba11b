"""Writes and prints the tables of a demonstration, and says at its end which files it has written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

from longspan.atomic_file import atomic_write


def write_tables(folder: Path, tables: Mapping[str, pl.DataFrame]) -> None:
    """Write tables as CSV; tables: file name -> table."""
    for name, table in tables.items():
        with atomic_write(folder / name) as file:
            file.write(table.write_csv().encode())


def show_written(console: Console, files: Mapping[Path, str], report: Path) -> None:
    """Print every file with what it is, and where the report is; files: path -> what it is."""
    for path, what in files.items():
        console.print(f"  {path}  {what}", soft_wrap=True)
    console.print(f"\nOpen {report} in a browser.", soft_wrap=True)


def show_table(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under headings: names on the left, the first row in bold type."""
    table = Table()
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left")
    for number, row in enumerate(rows):
        table.add_row(*row, style=None if number else "bold")
    console.print(table)
