"""A report looks right in a real browser: pictures are painted, light and dark, and nothing overflows."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from longspan.report import page
from longspan.report.elements import Line, LineChart, Section, Table, Tabs

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for found in map(shutil.which, NAMES) if found), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)"
)
# what the browser made of the page, written into its own title
ASK = """<script>addEventListener("load", () => {
  const seen = one => getComputedStyle(one).display !== "none" && one.getBoundingClientRect().width > 0;
  const pictures = [...document.querySelectorAll("figure svg")].filter(seen);
  const ink = getComputedStyle(document.body).color;
  const wide = document.documentElement.scrollWidth > innerWidth;
  const kinds = new Set(pictures.map(one => one.getAttribute("class")));
  const plot = pictures[0].parentElement, box = plot.getBoundingClientRect();
  const point = { clientX: box.left + 0.5 * box.width, clientY: box.top + 0.5 * box.height };
  plot.dispatchEvent(new PointerEvent("pointermove", point));
  const tip = document.querySelector(".tip");
  const read = tip.hidden ? "nothing" : [...tip.children].map(line => line.textContent).join("; ");
  document.body.setAttribute("data-told", [pictures.length, [...kinds].join("+"), ink, wide, read].join("|"));
});</script>"""


def told(folder: Path, width: int, *flags: str) -> list[str]:
    """How many pictures are to be seen, of which kind, the text's colour, whether the page is too wide.

    The last is what stands under a pointer in the middle of the first picture.
    """
    x = np.arange(60)
    curves = {
        name: LineChart(name, "", "", [Line("one", x, np.sin(x / place))])
        for place, name in enumerate("abc", 2)
    }
    table = Table("Wide", [f"a long heading {i}" for i in range(12)], [[1.0] * 12])
    html = page("Waves", [Section("One", [Tabs("Which", curves), table]), Section("Two", [curves["a"]])])
    file = folder / "page.html"
    file.write_text(html.replace("</body>", ASK + "</body>"))
    command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},900"]
    command += [f"--user-data-dir={folder / 'profile'}", *flags, "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    found = re.search(r'data-told="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    return found[1].split("|")


def test_a_wide_light_page(tmp_path: Path):
    *page, read = told(tmp_path, 1200)
    assert page == ["2", "wide", "rgb(20, 24, 31)", "false"]
    place, value = read.split("; one ")
    assert 24 < int(place) < 34 and float(value) == pytest.approx(np.sin(int(place) / 2), abs=1e-4)


def test_a_phone_in_the_dark(tmp_path: Path):
    dark = "--blink-settings=preferredColorScheme=0"
    *page, read = told(tmp_path, 500, dark)
    assert page == ["2", "narrow", "rgb(232, 235, 240)", "false"] and "; one " in read
