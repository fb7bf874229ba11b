"""Translators learn toys, answer whatever they are asked, and refuse what cannot be in one sentence."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import longspan as ls
from longspan.data.tokenizers import SPECIAL
from longspan.errors import LongspanWarning
from longspan.report.elements import HeatMap, Table, Tabs
from longspan.tasks.pair_codec import IGNORED, PairBatches
from longspan.tasks.pair_reading import Pair
from longspan.tasks.translate.codec import TranslationCodec
from longspan.tasks.translate.network import TranslationNetwork

SMALL: dict[str, Any] = {
    "hidden_size": 32, "embedding_size": 16, "epochs": 9, "learning_rate": 0.01, "batch_size": 8,
    "dropout": 0.0, "beam_size": 3,
}  # fmt: skip
WORDS = {"one": "uno", "two": "due", "three": "tre", "four": "quattro", "five": "cinque"}


def pairs(count: int, seed: int) -> tuple[list[str], list[str]]:
    draw = np.random.default_rng(seed)
    rows = [[str(word) for word in draw.choice(list(WORDS), draw.integers(3, 7))] for _ in range(count)]
    return [" ".join(row) for row in rows], [" ".join(WORDS[word] for word in row[::-1]) for row in rows]


@cache
def fitted() -> ls.Translator:
    return ls.Translator(**SMALL).fit(*pairs(320, 0), verbose=0)


def test_it_learns_to_translate_and_to_reverse() -> None:
    scores = fitted().evaluate(*pairs(30, 1))
    assert list(scores) == [
        f"{rival}{name}"
        for rival in ("", "copy_")
        for name in ("bleu", "chrf", "exact_match", "edit_distance")
    ]
    assert scores["edit_distance"] < 0.2 < 0.5 < scores["copy_edit_distance"]
    assert scores["bleu"] > 60.0 > scores["copy_bleu"]
    assert fitted().score(*pairs(30, 1)) == scores["bleu"]
    assert fitted().codec_.held_out["rows"] == 16


def test_beam_and_n_best_are_options_of_a_call() -> None:
    texts = pairs(4, 2)[0]
    best, several = fitted().predict(texts), fitted().predict(texts, n_best=2)
    assert [row[0] for row in several] == best and all(len(set(row)) == 2 for row in several)
    assert fitted().predict(texts, beam_size=None, n_best=1) == best
    table = fitted().predict_table(texts, n_best=2)
    assert table.columns == ["row", "source", "rank", "answer", "score"] and table.height == 8
    assert fitted().predict_table(texts).columns == ["row", "source", "answer", "score"]
    for wrong in ({"beam_size": 0}, {"n_best": 4}, {"n_best": 0}, {"beam_size": True}):
        with pytest.raises((ValueError, TypeError), match=f"{next(iter(wrong))}: expected"):
            fitted().predict(texts, **wrong)


def test_whatever_it_is_asked_it_answers() -> None:
    long = " ".join(["one", "two", "three"] * 40)
    assert fitted().predict(["", "  ", long])[:2] == ["", ""]
    assert len(fitted().predict([long])[0].split()) > 6, "longer than any target in training"
    with pytest.warns(LongspanWarning, match=r"1 of 2 sources have words that .*\('ßone'\), first in row 1"):
        answer = fitted().predict(["one two", "ßone"])
    assert len(answer) == 2 and not any(token in " ".join(answer) for token in SPECIAL)
    with pytest.raises(ValueError, match="source: expected at least one text"):
        fitted().predict([])


def test_an_answer_does_not_depend_on_the_texts_beside_it() -> None:
    texts = [*pairs(12, 3)[0], "one", " ".join(["two"] * 30)]
    together = fitted().predict(texts, n_best=3)
    assert together == [fitted().predict([text], n_best=3)[0] for text in texts]


def test_attention_is_shown_for_each_token(tmp_path: Path) -> None:
    sources, targets = pairs(12, 4)
    sections = {
        section.title: section for section in fitted().sections(list(zip(sources, targets, strict=True)))
    }
    assert {"How good it is", "Worst cases", "Answers", "Attention", "Short and long texts"} <= set(sections)
    maps = sections["Attention"].elements[0]
    assert isinstance(maps, Tabs)
    for chart, source in zip(maps.options.values(), sources, strict=False):
        assert isinstance(chart, HeatMap) and list(chart.x) == [*source.split(), "<end>"]
        weights = np.array(chart.values)
        assert weights.shape == (len(chart.y), len(chart.x))
        np.testing.assert_allclose(weights.sum(1), 1.0, rtol=1e-4)
    assert [section.title for section in fitted().sections()][:2] == ["Summary", "How good it is"]
    titles = [section.title for section in fitted().sections(sources)]
    assert "Answers" in titles and "Worst cases" not in titles


def test_the_worst_answers_are_shown_with_their_truths() -> None:
    sources, targets = pairs(12, 4)
    wrong = [f"{target} and more" if row == 5 else target for row, target in enumerate(targets)]
    section = next(
        one for one in fitted().sections(list(zip(sources, wrong, strict=True))) if one.title == "Worst cases"
    )
    (table,) = section.elements
    assert isinstance(table, Table)
    answers = fitted().predict(sources)
    assert table.note.startswith(f"{sum(map(str.__ne__, answers, wrong))} of 12 answers differ")
    listed = {row[0]: row[1:4] for row in table.rows}
    assert listed[5] == [sources[5], answers[5], wrong[5]]
    by = [row[-1] if table.columns[-1] != "edit_distance" else -row[-1] for row in table.rows]
    assert by == sorted(by)


@pytest.mark.parametrize(
    "options", [{"copy": True}, {"shared_vocabulary": True}, {"coverage": True}], ids=str
)
def test_other_networks_learn_too(options: dict[str, Any]) -> None:
    task = ls.Translator(**{**SMALL, "epochs": 3}, **options).fit(*pairs(120, 0), verbose=0)
    history = task.history_.history["loss"]
    assert history[-1] < history[0] and len(task.predict(["one two three"])) == 1
    shared = task.network_.embedding is task.network_.decoder.embedding
    assert shared == ("coverage" not in options)


def network(**options: Any) -> TranslationNetwork:
    torch.manual_seed(0)
    return TranslationNetwork(12, 14, 6, 8, **options).double()


def batch(codec: TranslationCodec, records: list[Pair]) -> Any:
    return next(iter(PairBatches(codec, records, 8, train=False)))


def test_scheduled_sampling_puts_the_decoders_own_answers_in() -> None:
    codec = TranslationCodec("words").fit([Pair(*pair) for pair in zip(*pairs(40, 0), strict=True)])
    one, true = network(scheduled_sampling=0.9, steps=2).train(), []
    first = batch(codec, [Pair("one two three", "tre due uno"), Pair("four", "quattro")])
    seen: list[torch.Tensor] = []
    one.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for _ in range(20):
        one(first)
    assert int(one.updates) == 20 and all(torch.equal(tokens, first.x.previous) for tokens in seen[::2])
    sampled = torch.stack(seen[1::2])
    assert (sampled[:, :, 0] == first.x.previous[:, 0]).all(), "the start stays"
    share = float((sampled[2:, 0, 1:] != first.x.previous[0, 1:]).double().mean())
    assert share > 0.5, "most true tokens are replaced"
    one.eval()(first)
    assert torch.equal(seen[-1], first.x.previous) and not true


def test_loss_is_smoothed_in_training_only_and_ignores_what_cannot_be_written() -> None:
    records = [Pair(*pair) for pair in zip(*pairs(40, 0), strict=True)]
    codec = TranslationCodec("words").fit(records)
    first = batch(codec, [Pair("one", "uno nove"), Pair("one two three", "tre due uno")])
    assert first.y[0].tolist() == [codec.target.encode("uno")[0], IGNORED, SPECIAL.index("<end>"), IGNORED]
    one = network(label_smoothing=0.2)
    with torch.no_grad():
        output, _ = one.eval()(first)
        plain = one.loss(output, first)
        torch.testing.assert_close(plain, one.decoder.loss(output, first.y))
        assert float(one.train().loss(output, first)) != pytest.approx(float(plain))


def test_training_batches_have_pairs_of_similar_length() -> None:
    records = [Pair(*pair) for pair in zip(*pairs(256, 0), strict=True)]
    codec = TranslationCodec("words").fit(records)
    loader = PairBatches(codec, records, 8, train=True)
    torch.manual_seed(0)
    spread = [int(one.x.lengths.max() - one.x.lengths.min()) for one in loader]
    assert len(spread) == len(loader) == 32 and np.mean(spread) < 1
    torch.manual_seed(0)
    first = [one.x.source.tolist() for one in loader]
    assert first != [one.x.source.tolist() for one in loader], "a new order"


def test_spellings_become_sounds() -> None:
    sounds = {"a": "AH", "b": "B", "c": "K", "d": "D"}
    draw = np.random.default_rng(0)
    words = ["".join(draw.choice(list("abcd"), draw.integers(2, 6))) for _ in range(240)]
    spoken = [" ".join(sounds[letter] for letter in word) for word in words]
    task = ls.Translator(**SMALL).fit(words, spoken, verbose=0)
    assert task.codec_.source.level == "characters" and task.codec_.target.level == "words"
    with pytest.warns(LongspanWarning, match=r"1 of 1 sources have characters that .*\('é'\)"):
        assert len(task.predict(["abéd"])) == 1
    assert task.evaluate(["abcd", "dcba"], ["AH B K D", "D K B AH"])["edit_distance"] < 0.2
