"""Lays out tables as plain text, by rich."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO


def text_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1, ruled: bool = False
) -> str:
    """A table as lines of text, as wide as its content.

    Args:
        heads: the heads of the columns.
        rows: the cells, as many a row as there are heads.
        left: columns that are aligned left; the others are aligned right.
        ruled: draw lines around all cells, as `summary` of Keras does.

    >>> print(text_table(["name", "size"], [["a", "10"], ["bcdef", "5"]]))
    name   size
    a        10
    bcdef     5
    """
    from rich import box  # here: most who import this module never print a table
    from rich.console import Console
    from rich.table import Table

    table = Table(
        box=box.HEAVY_HEAD if ruled else None,
        show_lines=ruled,
        pad_edge=ruled,
        padding=(0, 1) if ruled else (0, 2, 0, 0),
    )
    for index, head in enumerate(heads):
        table.add_column(head, justify="left" if index < left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(file=StringIO(), width=10_000, color_system=None, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
