"""Writes the page of measured figures from `benchmarks/published.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PUBLISHED = Path(__file__).resolve().parents[2] / "benchmarks" / "published.json"
_LEAD = """\
# Measured

Every figure is printed by a command in `benchmarks/`. Times are ratios of medians from one run side by side,
after a check that both sides give the same numbers. Nothing is measured on a GPU yet.
"""


def measured_page(published: Mapping[str, Any] | None = None) -> str:
    """The Markdown of the page.

    Args:
        published: sections with title, command, machine, how, columns, rows and notes; None for the
            published ones.
    """
    content = published or json.loads(PUBLISHED.read_text(encoding="utf-8"))
    return "\n".join([_LEAD, *map(_section, content["sections"])])


def _section(section: Mapping[str, Any]) -> str:
    rows = [section["columns"], ["---"] * len(section["columns"]), *section["rows"]]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    notes = "\n".join(f"- {note}" for note in section["notes"])
    facts = f"`{section['command']}`, {section['machine']}. {section['how'][:1].upper()}{section['how'][1:]}."
    return f"## {section['title']}\n\n{facts}\n\n{table}\n\n{notes}\n"
