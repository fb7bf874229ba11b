"""Pictures of a report: the PNG holds the pixels, cells are dark where the weight is low."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest

from longspan.report.elements import Picture, Pictures, Section
from longspan.report.page import page
from longspan.report.pictures import picture_svg, png


@pytest.mark.parametrize("shape", [(5, 3, 3), (4, 7)])
def test_a_png_holds_the_pixels(shape: tuple[int, ...]) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(np.array(pillow.open(io.BytesIO(png(pixels)))), pixels)


def test_cells_with_little_weight_are_dark_and_the_heaviest_is_clear() -> None:
    weights = np.array([[0.0, 0.5], [1.0, 0.25]])
    svg = picture_svg(Picture(np.zeros((8, 8, 3), np.uint8), "a <b>", weights))
    cells = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" [^>]*fill-opacity="([\d.]+)"', svg)
    assert [tuple(map(float, cell)) for cell in cells] == [(0, 0, 0.8), (4, 0, 0.4), (4, 4, 0.6)]
    assert "a &lt;b&gt;" in svg


def test_boxes_are_drawn_with_their_names() -> None:
    svg = picture_svg(Picture(np.zeros((10, 20, 3), np.uint8), boxes=[("cat", 0.5, 0.1, 0.25, 0.5)]))
    assert '<rect x="10.00" y="1.00" width="5.00" height="5.00" fill="none"' in svg and ">cat</text>" in svg


def test_a_page_shows_pictures_without_a_script_or_a_link() -> None:
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    shown = [Picture(np.full((4, 4, 3), value, np.uint8), f"word {value}") for value in (0, 255)]
    html = page("Seen", [Section("Words", [Pictures("A caption", shown, note="bright where it looked")])])
    content = re.findall(r'href="data:image/png;base64,([^"]+)"', html)
    assert [base64.b64decode(part) for part in content] == [png(one.pixels) for one in shown]
    assert "word 255" in html and "bright where it looked" in html and "<script src" not in html
