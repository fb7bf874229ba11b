"""A captioner learns small pictures, writes formulas, takes features of a model, keeps its model file."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import longspan as ls
from longspan.errors import LongspanWarning

Drawn = Callable[[int, int], tuple[np.ndarray, list[list[str]]]]

OPTIONS: dict[str, Any] = {
    "hidden_size": 24,
    "embedding_size": 12,
    "filters": (8, 16),
    "epochs": 12,
    "batch_size": 8,
    "learning_rate": 0.015,
    "dropout": 0.1,
}


@pytest.fixture(scope="module")
def fitted(drawn: Drawn) -> ls.Captioner:
    return ls.Captioner(**OPTIONS).fit(*drawn(136, 0), verbose=0)


def test_it_describes_new_pictures(fitted: ls.Captioner, drawn: Drawn) -> None:
    pictures, captions = drawn(24, 1)
    answers = fitted.predict(pictures)
    assert np.mean([answer in row for answer, row in zip(answers, captions, strict=True)]) > 0.8
    scores = fitted.evaluate(pictures, captions)
    assert scores["cider"] > 5 and scores["bleu4"] > 0.7 and scores["vocabulary"] >= 6
    assert fitted.evaluate(pictures, captions, beam_size=3)["cider"] > 5
    assert fitted.score(pictures, captions) == scores["cider"]


def test_a_row_for_every_picture(fitted: ls.Captioner, drawn: Drawn) -> None:
    pictures, _ = drawn(3, 1)
    table = fitted.predict_table(pictures)
    assert table.columns == ["row", "image", "caption", "score"]
    assert table["caption"].to_list() == fitted.predict(pictures)
    assert table["image"].to_list() == [None] * 3 and (table["score"] < 0).all()


def test_the_same_picture_has_the_same_caption(fitted: ls.Captioner, drawn: Drawn) -> None:
    pictures, _ = drawn(6, 2)
    together = fitted.predict(pictures)
    assert [fitted.predict(pictures[row : row + 1])[0] for row in range(6)] == together
    assert fitted.predict(pictures[::-1])[::-1] == together


def test_attention_lies_on_the_grid(fitted: ls.Captioner, drawn: Drawn, tmp_path: Path) -> None:
    assert fitted.network_.grid == (4, 4)
    pictures, captions = drawn(4, 3)
    sections = {
        section.title: section for section in fitted.sections(list(zip(pictures, captions, strict=True)))
    }
    assert list(sections)[:4] == ["Summary", "Captions", "Attention", "Worst captions"]
    shown: Any = next(iter(sections["Attention"].elements))
    words = next(iter(shown.options.values()))
    assert [one.heading for one in words.pictures] == words.title.split()
    assert all(one.weights.shape == (4, 4) for one in words.pictures)
    assert sum(one.weights.sum() for one in words.pictures) == pytest.approx(len(words.pictures), rel=1e-3)
    page = fitted.write_report(tmp_path / "report.html", list(zip(pictures, captions, strict=True)))
    html = page.read_text()
    assert html.count("data:image/png;base64,") > 4 and "different captions for 4 pictures" in html


def test_unknown_words_are_told(fitted: ls.Captioner, drawn: Drawn) -> None:
    pictures, _ = drawn(2, 1)
    with pytest.warns(LongspanWarning, match=r"2 words of the captions .* \('purple', 'yak'\)"):
        fitted.evaluate(pictures, ["a purple square", ["a yak", "a red square"]])


def test_pictures_of_other_sizes_are_resized_and_told(drawn: Drawn) -> None:
    pictures, captions = drawn(12, 0)
    mixed = [picture if row % 2 else picture[:12] for row, picture in enumerate(pictures)]
    with pytest.warns(LongspanWarning, match="Pictures of 2 sizes are resized to 16 x 16 pixels"):
        task = ls.Captioner(**{**OPTIONS, "epochs": 1}).fit(mixed, captions, verbose=0)
    assert len(task.predict([np.zeros((40, 30), np.uint8)])) == 1


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="image_size: expected height,width, received"):
        ls.Captioner(image_size=(3,)).fit([], [])
    with pytest.raises(ValueError, match="image_size: expected height,width in pixels"):
        ls.Captioner(image_size=(3, 0)).fit([], [])
    with pytest.raises(ValueError, match="features_cache: expected features beside it"):
        ls.Captioner(features_cache="here").fit([], [])


@cache
def font() -> Any:
    return pytest.importorskip("PIL.ImageFont", reason="Pillow is not installed").load_default(size=12)


def formula(draw: np.random.Generator) -> tuple[np.ndarray, str]:
    """A drawn power or fraction of two letters, and its LaTeX with blanks between the symbols."""
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pencil = pytest.importorskip("PIL.ImageDraw", reason="Pillow is not installed")
    page = pillow.new("L", (24, 32), 255)
    a, b = (str(letter) for letter in draw.choice(list("axz"), 2))
    ink = pencil.Draw(page)
    if draw.random() < 0.5:
        ink.text((4, 8), a, font=font(), fill=0)
        ink.text((13, 1), b, font=font(), fill=0)
        return np.array(page), f"{a} ^ {{ {b} }}"
    ink.text((7, 0), a, font=font(), fill=0)
    ink.line((3, 16, 20, 16), fill=0)
    ink.text((7, 15), b, font=font(), fill=0)
    return np.array(page), f"\\frac {{ {a} }} {{ {b} }}"


@pytest.mark.slow
def test_formulas_become_latex() -> None:
    draw = np.random.default_rng(0)
    pictures, captions = zip(*(formula(draw) for _ in range(260)), strict=True)
    options = {**OPTIONS, "hidden_size": 32, "filters": (8, 16, 24), "batch_size": 12}
    options |= {"shift": 0.03}
    task = ls.Captioner(**options).fit(list(pictures[:240]), list(captions[:240]), verbose=0)
    assert task.codec_.tokens.level == "symbols" and task.codec_.shape.channels == 1
    assert task.evaluate(list(pictures[240:]), list(captions[240:]))["exact_match"] >= 0.8


def mean_colors(frames: Tensor) -> Tensor:
    """A grid of 2 x 2 cells with the mean of each channel."""
    return torch.nn.functional.adaptive_avg_pool2d(frames, 2)


def test_features_of_the_users_model(drawn: Drawn, tmp_path: Path) -> None:
    pictures, captions = drawn(150, 0)
    cache_folder = tmp_path / "cache"
    options = {**OPTIONS, "epochs": 24, "learning_rate": 0.03, "dropout": 0.0, "features": mean_colors}
    task = ls.Captioner(**options, features_cache=str(cache_folder))
    task.fit(pictures, captions, verbose=0)
    assert task.network_.grid == (2, 2) and task.codec_.shape == (3, 2, 2, True)
    assert len(list(cache_folder.iterdir())) > 0
    answers = task.predict(pictures[:40])
    assert np.mean([answer in row for answer, row in zip(answers, captions, strict=False)]) > 0.8


def test_turned_pictures_keep_their_captions(drawn: Drawn) -> None:
    pictures, _ = drawn(80, 0)
    colors = ["red" if picture[..., 0].max() > 100 else "blue" for picture in pictures]
    task = ls.Captioner(**{**OPTIONS, "rotations": True, "flips": True, "token_level": "words"})
    task.fit(pictures, colors, verbose=0)
    turned = np.ascontiguousarray(np.rot90(pictures, axes=(1, 2)))
    assert np.mean([a == b for a, b in zip(task.predict(turned, beam_size=2), colors, strict=True)]) > 0.9


def test_tune_searches_the_options(drawn: Drawn) -> None:
    pytest.importorskip("optuna", reason="optuna is not installed")
    pictures, captions = drawn(24, 0)
    task = ls.Captioner(**{**OPTIONS, "epochs": 1})
    task.tune(pictures, captions, space={"hidden_size": [8, 12]}, trials=2, verbose=0)
    assert len(task.tuned_) == 2 and task.hidden_size in (8, 12)
