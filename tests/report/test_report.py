"""A report holds all it was given, asks for nothing from outside, and odd names do no harm."""

from __future__ import annotations

import re
import sys
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from longspan.report import elements as x
from longspan.report import format_value, page
from longspan.report.figures import render
from longspan.tasks.estimator import Estimator

TIMES = [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(48)]
WAVE = np.sin(np.arange(48) / 4)
ODD = 'a <b> & $c$ "d"'
CURVES = x.LineChart(
    ODD,
    "",
    "°F",
    [x.Line("actual", TIMES, [None, *WAVE[1:]]), x.Line("model", TIMES[24:], WAVE[24:], "dash")],
    [x.Band("90 % interval", TIMES[24:], WAVE[24:] - 1, WAVE[24:] + 1)],
    spans=[(TIMES[3], TIMES[5], "alarm")],
    marks=[(TIMES[24], "origin")],
    levels=[(0.5, "threshold")],
)
DRAWN = [
    CURVES,
    x.LineChart(
        "Numbers", "steps", "error", [x.Line("one", [1, 2, 3], [1.0, np.nan, 3.0], "points")], log=True
    ),
    x.LineChart("Words below", "", "", [x.Line("one", ["a", "b"], [1.0, 2.0])]),
    x.LineChart("Nothing", "", "", []),
    x.BarChart("Bars", ["a", "b"], {"one": [1, 2], "two": [2, None]}),
    x.HeatMap("Confusion", "answer", "truth", ["a", "b"], [[3, 0], [1, np.nan]], y=["a", "b"], figures=True),
    x.HeatMap("Gate", "", "unit", TIMES, np.ones((3, 48)), 0.0, 1.0),
    x.HeatMap("State", "", "unit", TIMES, np.ones((3, 48)) * [[-1], [0], [1]]),
]
SECTIONS = [
    x.Section("Summary", [x.Stats("", [x.Stat("MAE", "1.42", "38 % below", "good")])]),
    x.Section("All", [*DRAWN, x.Tabs("Choose", {"first": CURVES, ODD: [DRAWN[1], DRAWN[4]]})], "A note."),
    x.Section(
        "Tables",
        [
            x.Table(
                "T",
                ["name", "MAE"],
                [["naive", 2.5], ["model", 1.5], [ODD, None]],
                best={"MAE": "low"},
                emphasis=1,
            ),
            x.Text("Command", "longspan fit <x>", code=True),
            x.HighlightedText("Words", [("positive", [("good", 0.9), ("but", -0.4)])]),
        ],
    ),
]


class Tags(HTMLParser):
    """Whether every tag that is opened is closed, and what the page asks for from outside."""

    EMPTY = ("meta", "link", "input", "br", "img")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.ids: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.EMPTY:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and not str(value).startswith(("#", "data:")):
                self.outside.append(f"{tag} {name}={value}")
            if name == "id":
                self.ids.append(str(value))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.EMPTY:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def html() -> str:
    return page(ODD, SECTIONS, lead="A lead.", foot="A foot.")


def test_the_page_is_whole_and_asks_for_nothing_from_outside(html: str):
    tags = Tags(html)
    assert tags.open == [] and tags.outside == []
    assert len(tags.ids) == len(set(tags.ids)), "two things of one id"
    assert "<script src" not in html and "@import" not in html and "url(http" not in html


def test_everything_given_is_on_the_page(html: str):
    for text in (
        "38 % below",
        "A lead.",
        "A foot.",
        "A note.",
        "longspan fit &lt;x&gt;",
        "threshold",
        "alarm",
    ):
        assert text in html
    assert 'class="emphasis"' in html and re.search(r'class="number best">1\.5<', html)
    assert html.count("<figure") == len(DRAWN) + 3
    assert "<b>" not in html, "a column's name became a tag"


@pytest.mark.parametrize("element", DRAWN, ids=lambda one: one.title)
def test_a_drawing_is_valid_in_the_pages_colours_and_told_in_words(element: x.LineChart):
    drawing = render(element, "name")
    for svg in (drawing.wide, drawing.narrow):
        ElementTree.fromstring(svg)
        assert "#0a0b" not in svg and "var(--" in svg
    assert drawing.description.startswith(element.title)
    assert render(element, "name") == drawing, "the same element twice gives two drawings"


def test_a_long_line_is_thinned_and_keeps_its_peaks():
    values = np.zeros(50_000)
    values[31_234] = 7.0
    drawing = render(x.LineChart("Long", "", "", [x.Line("one", np.arange(50_000), values)]), "name")
    flat = render(x.LineChart("Long", "", "", [x.Line("one", np.arange(50_000), np.zeros(50_000))]), "name")
    assert len(drawing.wide) < 100_000 and drawing.wide != flat.wide
    assert "to 7" in drawing.description


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (float("nan"), "–"), (12345.6, "12,346"), (0.51234, "0.5123"), (7, "7")]
)
def test_cells(value: float | None, text: str):
    assert format_value(value) == text


def test_a_missing_package_is_an_error_that_names_the_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"run pip install 'longspan\[report\]'"):
        page("T", SECTIONS)


def test_a_task_is_reported_and_a_failure_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    from level_task import Level  # pyright: ignore[reportMissingImports]

    (tmp_path / "data.csv").write_text("value\n1\n2\n3\n")
    with pytest.raises(ValueError, match="fit"):
        Level().write_report(tmp_path / "page.html")
    assert [one.name for one in tmp_path.iterdir()] == ["data.csv"]
    model: Estimator = Level(validation_fraction=0.0).fit(tmp_path / "data.csv", verbose=0)
    text = model.write_report(tmp_path / "page.html").read_text()
    command = f"longspan fit level {tmp_path / 'data.csv'} -o MODEL"
    for word in ("just learnt", "Training curve", command, "seed"):
        assert word in text
