"""The page that explains the LSTM says what the code does; its cells give the library's numbers."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import longspan as ls
from benchmarks import explained
from longspan import cells, learn
from longspan.learn import drawings, equations

FOLDER = Path(learn.__file__).parent
MODELS = json.loads((FOLDER / "models.json").read_text())
MEASURED = json.loads((FOLDER / "measured.json").read_text())
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for path in map(shutil.which, NAMES) if path), None)
TEXT = "the cat [sat on a big red mat"
SIZES = [(1280, "light"), (390, "dark")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page in a file of its own."""
    path = tmp_path_factory.mktemp("learn") / "page.html"
    head = "<meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
    head += f"<style>{learn.style()}</style>"
    path.write_text(f"<!doctype html>{head}{learn.body()}<script>{learn.script()}</script>", encoding="utf-8")
    return path.as_uri()


@pytest.fixture(params=SIZES, ids=["wide and light", "a phone in the dark"])
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    width, scheme = request.param
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    told: list[str] = []
    page.on("pageerror", lambda error: told.append(str(error)))
    page.goto(address)
    yield page
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "wider than the window"
    assert told == []
    page.close()


def said(page: Any) -> str:
    return page.locator("#learn-said").inner_text()


# ---- what it says


def test_equations_are_read_from_the_code() -> None:
    source = (Path(cells.__file__)).read_text()
    for name in drawings.CELLS:
        for line in equations.lines(cells.CELLS[name]):
            assert line.code in source
            assert line.code.replace("<", "&lt;") in learn.body()
    last = equations.lines(cells.CELLS["lstm"])[-2:]
    plain = [re.sub(r"</?var>", "", line.equation) for line in last]
    assert plain == [
        "c<sub>t</sub> = f ⊙ c<sub>t−1</sub> + i ⊙ g",
        "h<sub>t</sub> = o ⊙ tanh(c<sub>t</sub>)",
    ]
    gru = re.sub(r"</?var>", "", equations.lines(cells.CELLS["gru"])[-1].equation)
    assert gru == "h<sub>t</sub> = n + z ⊙ (h<sub>t−1</sub> − n)"


@pytest.mark.parametrize("name", drawings.CELLS)
def test_drawings_have_a_place_for_every_gate_and_state(name: str) -> None:
    places = set(re.findall(r'data-value="(\w)"', drawings.CELLS[name]()))
    assert places == {*cells.CELLS[name].gates, *cells.CELLS[name].states}


def test_the_page_is_small_and_reads_nothing_from_elsewhere() -> None:
    parts = [learn.body(), learn.script(), learn.style()]
    assert sum(len(part.encode()) for part in parts) < 300_000
    assert not [part for part in parts if re.search(r"https?://(?!www\.w3\.org)|<!-- insert|url\(", part)]
    ids = re.findall(r'\sid="([\w-]+)"', parts[0])
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([\w-]+)"', parts[0])) <= set(ids)


@pytest.mark.parametrize("name", explained.CELL_NAMES)
def test_the_measured_gradients_come_again(name: str) -> None:
    """In networks as they begin; RNN and LSTM differ by more than a million at 50 steps."""
    again = explained.gradient_by_lag(explained.begun(name, MEASURED["seeds"][0]))
    kept = MEASURED["gradients"][name]["before"]
    assert again[:60] == pytest.approx(kept[:60], rel=0.05)
    assert MEASURED["gradients"]["lstm"]["before"][50] > 1e3 * MEASURED["gradients"]["rnn"]["before"][50]


def test_the_adding_problem_is_learnt_as_measured() -> None:
    network = explained.train_adding("gru", 10, seed=0, steps=300)
    assert explained.adding_error(network, 10) < 0.02
    assert max(MEASURED["errors"]["gru"]["10"]) < 0.001


# ---- the live cell


def network_of(kind: str, name: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """The library's layer with the page's weights, in double precision, and all weights by name."""
    model = MODELS[kind]["cells"][name]
    weights = {
        key: torch.tensor(model[key], dtype=torch.float64) for key in ("W", "R", "bx", "br", "V", "bv")
    }
    layer = ls.nn.Recurrent(name, weights["W"].shape[1], MODELS[kind]["units"], batch_first=True).double()
    names = {"weight_ih_l0": "W", "weight_hh_l0": "R", "bias_ih_l0": "bx", "bias_hh_l0": "br"}
    layer.load_state_dict({name: weights[key] for name, key in names.items()})
    return layer, weights


@pytest.mark.parametrize("name", explained.CELL_NAMES)
@pytest.mark.parametrize("kind", ["text", "series"])
def test_a_browser_gives_the_library_s_numbers(browser: Any, address: str, kind: str, name: str) -> None:
    page = browser.new_page()
    page.goto(address)
    text = [MODELS["alphabet"].index(character) for character in TEXT]
    inputs = text if kind == "text" else [float(value) for value in np.sin(np.arange(40) / 3)]
    steps = page.evaluate("([kind, name, inputs]) => learn.run(kind, name, inputs)", [kind, name, inputs])
    page.close()
    layer, weights = network_of(kind, name)
    if kind == "text":
        x = torch.nn.functional.one_hot(torch.tensor(inputs), len(MODELS["alphabet"])).double()
    else:
        x = torch.tensor(inputs, dtype=torch.float64)[:, None]
    with torch.no_grad():
        out, _, (values,) = layer(x[None], return_gates=True)
    wanted = {"outputs": out[0] @ weights["V"].T + weights["bv"]}
    wanted |= {letter: value[0] for letter, value in values.items()}
    for letter, value in wanted.items():
        parts = [
            step["outputs"] if letter == "outputs" else {**step["gates"], **step["states"]}[letter]
            for step in steps
        ]
        torch.testing.assert_close(torch.tensor(parts, dtype=torch.float64), value, rtol=0, atol=1e-6)


def brackets(page: Any, cell: str = "lstm", by_hand: str = "undefined") -> dict[str, float]:
    """The probabilities of closing brackets after the text, in percent."""
    last = f"learn.run('text', '{cell}', learn.codes(text), {by_hand}).at(-1).outputs"
    shares = page.evaluate(f"(text) => learn.softmax({last})", TEXT)
    return {bracket: 100 * shares[MODELS["alphabet"].index(bracket)] for bracket in "])}"}


def test_what_the_page_says_to_try_comes_true(page: Any) -> None:
    assert page.locator("#learn-text").input_value() == TEXT
    known = brackets(page)
    assert known["]"] > 70
    assert known[")"] + known["}"] == pytest.approx(6, abs=0.5)
    plain = brackets(page, "rnn")
    assert plain[")"] > plain["]"]
    assert max(brackets(page, by_hand="(t) => (t === 18 ? { f: 0 } : {})").values()) < 0.1
    one = brackets(page, by_hand="(t, unit) => (t === 15 && unit === 12 ? { f: 0 } : {})")
    assert one["}"] > one["]"]
    shut = "(text) => learn.run('text', 'lstm', learn.codes(text), () => ({ i: 0 })).at(-1).outputs"
    closed = [page.evaluate(shut, text) for text in ("a", "the dog")]
    assert closed[0] == closed[1]


def test_a_unit_alone_is_set_by_hand(page: Any) -> None:
    page.get_by_label("unit", exact=True).fill("13")
    page.get_by_label("the chosen unit alone").check()
    for _ in range(13):
        page.get_by_role("button", name="One step back").click()
    page.locator("#learn-gates select[name=f]").select_option("0")
    page.get_by_role("button", name="Last step").click()
    assert "f is held at 0 at step 16 in unit 13." in said(page)
    assert "Expected next: “}”" in said(page)


def test_steps_go_forwards_and_back(page: Any) -> None:
    page.locator("#learn-text").fill("the cat")
    assert said(page).startswith("Step 7 of 7 reads “t”.")
    page.get_by_role("button", name="One step back").click()
    assert said(page).startswith("Step 6 of 7 reads “a”.")
    page.get_by_role("button", name="First step").press("Enter")
    assert said(page).startswith("Step 1 of 7 reads “t”.")
    page.get_by_label("Step", exact=True).press("ArrowRight")
    assert said(page).startswith("Step 2 of 7 reads “h”.")
    page.get_by_role("button", name="Last step").click()
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('#learn-said').textContent.startsWith('Step 2 of 7')")
    page.get_by_role("button", name="Pause").click()


def test_gates_are_set_by_hand_and_cells_are_switched(page: Any) -> None:
    before = page.locator("#learn-prediction").inner_text()
    page.locator("#learn-gates select[name=f]").select_option("0")
    assert "f is held at 0 at step 29." in said(page)
    assert page.locator("#learn-prediction").inner_text() != before
    page.locator("#learn-gates select[name=f]").select_option("")
    assert page.locator("#learn-prediction").inner_text() == before
    page.locator("#learn-scope").select_option("all")
    page.locator("#learn-gates select[name=i]").select_option("0")
    assert "i is held at 0 at every step." in said(page)
    page.get_by_role("radio", name="GRU").check()
    assert page.locator("#learn-gates select").count() == 2
    assert page.locator(".map canvas").count() == 4
    page.get_by_role("radio", name="RNN").check()
    assert page.locator("#learn-hand").is_hidden()
    values = page.locator("[data-cell=rnn] .value").all_inner_texts()
    assert len(set(values)) == 1, "n is h"


def test_a_line_is_drawn(page: Any) -> None:
    page.get_by_label("a drawn line").check()
    pad = page.locator("#learn-pad")
    pad.focus()
    pad.press("ArrowLeft")
    step = int(re.findall(r"Step (\d+)", said(page))[0])
    value = float(re.findall(r"reads (-?[\d.]+\d)", said(page))[0])
    pad.press("ArrowUp")
    assert float(re.findall(r"reads (-?[\d.]+\d)", said(page))[0]) == pytest.approx(
        min(1.1, value + 0.1), abs=0.011
    )
    assert step == 39
    box = pad.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 5)
    page.mouse.down()
    page.mouse.up()
    assert "Step 21 of 40 reads 1." in said(page)


def test_strange_characters_are_told_and_nothing_is_markup(page: Any) -> None:
    page.locator("#learn-text").fill("<b>é</b>")
    assert "read as a blank" in page.locator("#learn-note").inner_text()
    assert page.locator("#learn-live b").count() == 0
    page.locator("#learn-text").fill("")
    assert said(page).startswith("Step 1 of 1")
