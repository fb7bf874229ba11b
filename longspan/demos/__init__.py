"""Runs the demonstrations: each goes from the data to the report."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from longspan import errors


class Demo(NamedTuple):
    """A demonstration.

    task: its name on the command line; data: what it learns from, in a few words.
    module: has the function `run(folder)`.
    """

    task: str
    data: str
    module: str


DEMOS = {
    "forecast": Demo("forecast", "a year of hourly weather at three airports", "longspan.demos.forecast"),
    "stocks": Demo("forecast", "four years of a share's daily closes", "longspan.demos.stocks"),
    "energy": Demo(
        "forecast", "a town's hourly load by a stated rule, real temperatures", "longspan.demos.energy"
    ),
    "reviews": Demo("classify", "reviews of hotels, written by a stated rule", "longspan.demos.reviews"),
    "sensors": Demo("anomaly", "a pump's sensors and faults, by a stated rule", "longspan.demos.sensors"),
    "logins": Demo("anomaly", "logins and stolen accounts, by a stated rule", "longspan.demos.logins"),
    "language": Demo("language", "Python's reference manual", "longspan.demos.language"),
    "translate": Demo("translate", "numbers in English and German words", "longspan.demos.translate"),
    "summarize": Demo("summarize", "docstrings of Python's own library", "longspan.demos.summarize"),
    "recommend": Demo(
        "recommend", "the imports of Python files on this computer", "longspan.demos.recommend"
    ),
    "speech": Demo("speech", "digits, spoken by espeak-ng or dialled in tones", "longspan.demos.speech"),
    "video": Demo("video", "drawn shapes that move", "longspan.demos.video"),
    "caption": Demo("caption", "drawn scenes of two shapes", "longspan.demos.caption"),
}


def run(name: str, folder: Path) -> None:
    """Run one demonstration; what it writes goes into the folder.

    Raises:
        ValueError: there is no such demonstration; the sentence has the nearest.
        ImportError: the package that its data come with is missing; the sentence names the command.
    """
    import_module(DEMOS[errors.check_choice("demo", name, DEMOS)].module).run(folder)
