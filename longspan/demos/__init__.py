"""Runs the demonstrations: each goes from the data to the report."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from longspan import errors

# name -> the module whose `run(folder)` is the demonstration
DEMOS = {
    "forecast": "longspan.demos.forecast",
    "language": "longspan.demos.language",
    "translate": "longspan.demos.translate",
    "summarize": "longspan.demos.summarize",
    "recommend": "longspan.demos.recommend",
    "speech": "longspan.demos.speech",
    "video": "longspan.demos.video",
    "caption": "longspan.demos.caption",
}


def run(name: str, folder: Path) -> None:
    """Run one demonstration; what it writes goes into the folder.

    Raises:
        ValueError: there is no such demonstration; the sentence has the nearest.
        ImportError: the package that its data come with is missing; the sentence names the command.
    """
    import_module(DEMOS[errors.check_choice("demo", name, DEMOS)]).run(folder)
