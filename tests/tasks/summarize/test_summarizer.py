"""Summarizers copy what training never had, beat trivial answers on a toy, and name these answers right."""

from __future__ import annotations

import runpy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import longspan as ls
from longspan.errors import LongspanWarning
from longspan.report.elements import BarChart
from longspan.tasks.pair_reading import Pair
from longspan.tasks.summarize.codec import SummaryCodec, first_sentence

TOYS = runpy.run_path(str(Path(__file__).parents[1] / "toys.py"))["TOYS"]


@cache
def toy() -> Any:
    return TOYS["summarize"]()


@cache
def fitted() -> ls.Summarizer:
    return ls.Summarizer(**toy().options).fit(toy().source, toy().y, verbose=0)


@pytest.mark.slow
def test_names_that_training_never_had_are_copied() -> None:
    scores = fitted().evaluate(toy().test, toy().test_y)
    assert list(scores)[:5] == ["rouge1", "rouge2", "rougeL", "exact_match", "edit_distance"]
    assert scores["rouge1"] > 70 > max(scores["lead_rouge1"], scores["tfidf_rouge1"])
    with pytest.warns(LongspanWarning, match="sources have characters that no source in training had"):
        answer = fitted().predict(["It was said today . So Xylo went again to Quebec ."])[0]
    assert "Xylo" in answer or "Quebec" in answer


def test_only_the_beginning_of_a_long_text_is_read() -> None:
    options = {**toy().options, "epochs": 1, "max_source_length": 4}
    task = ls.Summarizer(**options).fit(toy().source[:60], toy().y[:60], verbose=0)
    assert task.predict(["So Anna went to Ode"]) == task.predict(["So Anna went to Berta again"])


def test_the_report_shows_how_much_is_copied() -> None:
    sections = {
        section.title: section
        for section in fitted().sections(list(zip(toy().test, toy().test_y, strict=True)))
    }
    assert "Worst cases" in sections
    chart = sections["How much is copied"].elements[0]
    assert isinstance(chart, BarChart)
    np.testing.assert_allclose(chart.values["truth"], [2 / 3, 0.0])


def test_trivial_answers() -> None:
    assert first_sentence("Dear Mr. Smith") == "Dear Mr."
    assert first_sentence("one line\nanother one.") == "one line" and first_sentence(" ") == ""
    train = [
        Pair("the cat sat on the mat", "cat sat"),
        Pair("the dog saw the cat", "dog seen"),
        Pair("the end", "so"),
    ]
    codec = SummaryCodec("words", copied=True).fit(train)
    rivals = codec.rivals(["the zebra saw the cat", ""])
    assert rivals == {"lead": ["the zebra saw the cat", ""], "tfidf": ["zebra saw", ""]}
    again = SummaryCodec("words", copied=True).restore(codec.state())
    assert again.rivals(["the zebra saw the cat"])["tfidf"] == ["zebra saw"]


def test_an_answer_does_not_depend_on_the_texts_beside_it() -> None:
    texts = [*toy().test[:6], "So Ada went today to Oslo ."]
    assert fitted().predict(texts, n_best=2) == [fitted().predict([text], n_best=2)[0] for text in texts]


def test_bad_beams_are_refused() -> None:
    with pytest.raises(ValueError, match="beam_size: expected a whole number of at least 1, received 0"):
        ls.Summarizer(beam_size=0).fit(["a"], ["b"])
