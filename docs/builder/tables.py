"""Writes tables of options and of demonstrations from their declarations."""

from __future__ import annotations

from collections.abc import Sequence

from longspan.demos import DEMOS
from longspan.tasks import task
from longspan.tasks.options import options_of


def options_table(name: str, chosen: Sequence[str] = ()) -> str:
    """A Markdown table of a task's options: name, default, meaning and values.

    Args:
        name: the task on the command line; chosen: the options to show, in this order, none for all.
    """
    options = options_of(task(name))
    rows = ["| option | default | meaning | values |", "|---|---|---|---|"]
    for key in chosen or options:
        option = options[key]
        default = "none" if option.default in (None, ()) else str(option.default)
        cells = (f"`{option.name}`", f"`{default}`", option.help, option.form)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def demos_table() -> str:
    """A Markdown table of the demonstrations: command, task, and data."""
    rows = ["| command | guide | data |", "|---|---|---|"]
    rows += [
        f"| `longspan demo {name}` | [{demo.task}](guides/{demo.task}.md) | {demo.data} |"
        for name, demo in DEMOS.items()
    ]
    return "\n".join(rows)
