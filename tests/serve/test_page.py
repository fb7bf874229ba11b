"""The server's page in a real browser: forms are sent by keyboard, answers and errors are shown."""

from __future__ import annotations

import json
import os
import shutil
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for path in map(shutil.which, NAMES) if path), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)"
)
SHOTS = os.environ.get("LONGSPAN_SCREENSHOTS")  # a folder for pictures of the page; none without it
WAVE = json.dumps([float(value) for value in np.sin(np.arange(90) / 5.0)])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        sound = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *sound])
        yield browser
        browser.close()


# Texts with a contrast below 4.5 (WCAG 2.2, 1.4.3), fields without a label, buttons below 24 pixels (2.5.8)
ILLEGIBLE = """() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = (color) => color.slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = rgb(getComputedStyle(one).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    if (!element.checkVisibility() || element.closest("svg, .words, select")) continue;
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const named = !element.matches("input, textarea, select") || element.labels.length || element.ariaLabel;
    const small = element.matches("button") && element.getBoundingClientRect().height < 24;
    const illegible = own && contrast < 4.5;
    if (illegible || !named || small) found.push(`${element.outerHTML.slice(0, 80)} ${contrast}`);
  }
  return found;
}"""
INSIDE = """(svg) => [...svg.querySelectorAll("text")].every(
  (text) => text.getBoundingClientRect().left >= svg.getBoundingClientRect().left)"""
DROPPED = """() => {
  const data = new DataTransfer();
  data.items.add(new File(["user,item,time\\na,tea,1\\n"], "dropped.csv", { type: "text/csv" }));
  return data;
}"""
SCREENS = pytest.mark.parametrize(
    "screen", [(1280, "light"), (390, "dark")], ids=["wide and light", "a phone in the dark"]
)


ONE_SCREEN = pytest.mark.parametrize(
    "screen",
    [pytest.param((1280, "light"), marks=pytest.mark.slow), (390, "dark")],
    ids=["wide and light", "a phone in the dark"],
)


@contextmanager
def opened(browser: Any, client: httpx.Client, width: int, scheme: str) -> Iterator[Any]:
    """The page of a server, which fits the window and tells no errors but those of requests."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    told: list[str] = []
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("console", lambda message: told.append(message.text) if message.type == "error" else None)
    page.goto(str(client.base_url))
    page.wait_for_selector("section")
    yield page
    if SHOTS is not None:
        page.screenshot(path=f"{SHOTS}/{width}-{len(list(Path(SHOTS).iterdir()))}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "wider than the window"
    assert not [text for text in told if "422" not in text], told
    assert page.evaluate(ILLEGIBLE) == []
    page.close()


@pytest.fixture
def page(screen: tuple[int, str], browser: Any, client: httpx.Client) -> Iterator[Any]:
    with opened(browser, client, *screen) as page:
        yield page


def ask(page: Any, model: str, source: str) -> Any:
    """The model's part of the page after a request that is typed and sent by keyboard."""
    part = page.locator(f"section[data-model={model}]")
    part.locator("textarea[name=source]").fill(source)
    part.get_by_role("button", name="Predict").focus()
    page.keyboard.press("Enter")
    part.locator("table, [role=alert]").first.wait_for()
    return part


@SCREENS
def test_every_model_answers(page: Any, fitted: dict[str, Any]) -> None:
    sales = ask(page, "sales", WAVE)
    assert sales.locator("svg circle").count() == 4 and sales.locator("tbody tr").count() == 4
    label = sales.locator("svg circle").first.get_attribute("aria-label")
    assert label.startswith("90: ") and " to " in label
    assert sales.locator("svg").first.evaluate(INSIDE), "numbers beside the chart are not cut off"
    walks = ask(page, "walks", json.dumps([[[float(step)] for step in range(12)]]))
    assert "Series as a JSON list" in walks.inner_text() and "the more a step mattered" in walks.inner_text()
    assert walks.locator("tbody td").nth(1).inner_text() in ("up", "down")
    readings = json.dumps([{"value": value} for value in json.loads(WAVE)])
    assert ask(page, "machine", readings).locator("tbody tr").count() == 90
    assert ask(page, "shop", '[["tea"]]').locator("tbody tr").count() >= 1
    assert ask(page, "letters", "the cat\na cat").locator("tbody tr").count() == 2


@SCREENS
def test_a_file_an_option_and_a_download(page: Any, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("value\n" + "\n".join(map(str, json.loads(WAVE))))
    part = page.locator("section[data-model=machine]")
    part.locator("input[type=file]").set_input_files(tmp_path / "data.csv")
    part.get_by_role("button", name="Predict").click()
    part.locator("table").wait_for()
    with page.expect_download() as started:
        part.get_by_text("Download answer.csv").click()
    assert Path(started.value.path()).read_text().count("\n") == 91
    part.get_by_text("The request as curl and Python").click()
    assert "--data-binary @data.csv" in part.locator("pre").first.inner_text()
    shop = page.locator("section[data-model=shop]")
    shop.locator("input[name=k]").fill("1")
    assert ask(page, "shop", '[["tea"]]').locator("tbody tr").count() == 1


@SCREENS
def test_text_comes_as_it_is_drawn(page: Any, fitted: dict[str, Any]) -> None:
    part = page.locator("section[data-model=letters]")
    part.locator("textarea[name=prompt]").fill("the ")
    part.locator("input[name=length]").fill("20")
    part.locator("input[name=seed]").fill("3")
    part.get_by_role("button", name="Write").click()
    part.get_by_text("Download text.txt").wait_for()
    written = fitted["letters"].generate("the ", 20, seed=3)
    assert part.locator(".text").inner_text().split() == f"the {written}".split()


@SCREENS
def test_errors_are_one_sentence(page: Any) -> None:
    for source in ("[[1,", '[{"a": {"b": 1}}]', '["<img src=x onerror=alert(1)>"]'):
        alert = ask(page, "sales", source).locator("[role=alert]").inner_text()
        assert ": expected " in alert and "Traceback" not in alert
    assert page.locator("img").count() == 0, "texts are never markup"


def test_names_notes_and_values_are_texts(browser: Any, client: httpx.Client) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    answer: dict[str, Any] = {"columns": [evil, "point", "time", "target"], "notes": [evil]}
    answer["rows"] = [{evil: evil, "point": 1.0, "time": evil, "target": evil}] * 3
    with opened(browser, client, 1280, "light") as page:
        page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
        page.route("**/models/sales/predict", lambda route: route.fulfill(json=answer))
        part = ask(page, "sales", "[1.0]")
        assert part.locator("th").first.inner_text() == evil
        assert part.locator("tbody td").first.inner_text() == evil
        assert page.locator("main img, main script").count() == 0


def test_the_page_asks_for_the_token(browser: Any, serve: Callable[..., Any], fitted: dict[str, Any]) -> None:
    with serve({"walks": fitted["walks"]}, token="a" * 20) as client:
        page = browser.new_page()
        page.goto(str(client.base_url))
        page.get_by_role("alert").wait_for()
        page.get_by_label("Token").fill("a" * 20)
        page.keyboard.press("Tab")
        page.wait_for_selector("section")
        page.close()


def test_the_page_that_explains_the_lstm_is_served(browser: Any, client: httpx.Client) -> None:
    sizes = [len(client.get(path).content) for path in ("/learn", "/learn.css", "/learn.js")]
    assert sum(sizes) < 300_000
    page = browser.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.goto(f"{client.base_url}/learn")
    page.locator("#learn-said").get_by_text("Step 29 of 29").wait_for()
    assert told == [], "the policy of contents lets the page run"
    page.close()


@ONE_SCREEN
def test_series_words_and_attention(
    screen: tuple[int, str], browser: Any, serve: Callable[..., Any], written: dict[str, Any]
) -> None:
    with serve(written) as client, opened(browser, client, *screen) as page:
        rows = [{"series": s, "time": t, "value": float(np.sin(t / 5))} for s in "ab" for t in range(80)]
        shops = ask(page, "shops", json.dumps(rows))
        assert shops.locator("path.line").count() == 2 and shops.locator("path.band").count() == 2
        chart = shops.get_by_role("img", name="Forecast")
        chart.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert shops.locator(".readout").inner_text().startswith("81: a, value ")
        shops.get_by_role("button", name="Zoom in").click()
        assert shops.locator("circle").count() == 2 * 8, "the middle of twelve steps"
        shops.get_by_label("b, value", exact=True).uncheck()
        assert shops.locator("path.line").count() == 1
        shops.get_by_role("button", name="Show all steps").click()
        box = chart.bounding_box()
        page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 50)
        page.mouse.up()
        assert 2 <= shops.locator("circle").count() < 8
        mood = ask(page, "mood", "a good day\n<b>bad</b>")
        assert mood.locator(".words").count() == 2 and mood.locator(".words b").count() == 0
        words = ask(page, "words", "one two")
        assert words.locator(".attention thead th").count() == 3, "two words and the end"


@ONE_SCREEN
def test_sound_pictures_and_items(
    screen: tuple[int, str], browser: Any, serve: Callable[..., Any], media: dict[str, Any],
    fitted: dict[str, Any], tmp_path: Path,
) -> None:  # fmt: skip
    models = {"hear": media["hear"], "watch": media["watch"], "shop": fitted["shop"]}
    with serve(models) as client, opened(browser, client, *screen) as page:
        hear = page.locator("section[data-model=hear]")
        hear.get_by_role("button", name="Record").click()
        stop = hear.get_by_role("button", name="Stop")
        assert stop.get_attribute("aria-pressed") == "true"
        page.wait_for_timeout(300)
        stop.click()
        hear.get_by_text("recording.wav").wait_for()
        assert hear.locator("audio").count() == 1
        hear.get_by_role("button", name="Predict").click()
        hear.locator("tbody tr").first.wait_for()
        shop = page.locator("section[data-model=shop]")
        shop.get_by_label("Item", exact=True).fill("tea")
        page.keyboard.press("Enter")
        shop.get_by_role("button", name="Remove tea").wait_for()
        shop.locator("tbody tr").first.wait_for()
        pillow = pytest.importorskip("PIL.Image", reason="pillow is not installed")
        frames = np.random.default_rng(0).integers(0, 255, (4, 12, 12)).astype(np.uint8)
        pictures = [pillow.fromarray(frame) for frame in frames]
        pictures[0].save(tmp_path / "clip.gif", save_all=True, append_images=pictures[1:])
        dropped = page.evaluate_handle(DROPPED)
        shop.locator("form").dispatch_event("drop", {"dataTransfer": dropped})
        shop.get_by_text("dropped.csv, 1 KiB").wait_for()
        watch = page.locator("section[data-model=watch]")
        watch.locator("input[type=file]").set_input_files(tmp_path / "clip.gif")
        assert watch.get_by_alt_text("The picture clip.gif").count() == 1
        watch.get_by_role("button", name="Predict").click()
        watch.locator("tbody tr").first.wait_for()


def media_files(folder: Path) -> dict[str, Path]:
    """A sound, a clip and a picture by the name of the model that reads them."""
    pillow = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    av = pytest.importorskip("av", reason="av is not installed")
    names = {"hear": "sound.wav", "watch": "clip.mp4", "describe": "picture.png"}
    files = {model: folder / name for model, name in names.items()}
    with wave.open(str(files["hear"]), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes((8000 * np.sin(0.15 * np.arange(2000))).astype("<i2").tobytes())
    frames = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3)).astype(np.uint8)
    with av.open(str(files["watch"]), "w") as clip:
        stream = clip.add_stream("mpeg4", rate=6)
        stream.width, stream.height = 32, 32
        for frame in frames:
            clip.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        clip.mux(stream.encode())
    pillow.fromarray(frames[0]).save(files["describe"])
    return files


@ONE_SCREEN
def test_a_sound_a_clip_and_a_picture_are_sent_as_files(
    screen: tuple[int, str], browser: Any, serve: Callable[..., Any], media: dict[str, Any], described: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    models = {"hear": media["hear"], "watch": media["watch"], "describe": described}
    with serve(models) as client, opened(browser, client, *screen) as page:
        for name, path in media_files(tmp_path).items():
            part = page.locator(f"section[data-model={name}]")
            part.locator("input[type=file]").set_input_files(path)
            assert part.locator(".preview [src]").count() == 1, "what is sent is shown"
            part.get_by_role("button", name="Predict").focus()
            page.keyboard.press("Enter")
            part.locator("tbody tr, [role=alert]").first.wait_for()
            shown = part.locator("tbody td").all_inner_texts()
            wanted = models[name].predict_table([str(path)]).to_dicts()
            assert [part.locator("tbody tr").count(), len(shown)] == [1, len(wanted[0])]
            texts = {
                value for key, value in wanted[0].items() if isinstance(value, str) and str(path) not in value
            }
            assert texts <= set(shown), "the answer of predict"
            table = part.get_by_role("region", name="Answer")
            assert table.evaluate("box => box.scrollWidth <= box.clientWidth"), f"{name}: scrolls sideways"
