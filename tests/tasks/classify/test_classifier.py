"""Classifier: multiclass, multilabel and token labels, choices from the data, n-grams, errors."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import longspan as ls
from longspan import errors

pytestmark = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
SMALL = {
    "hidden_size": 6,
    "embedding_size": 6,
    "subword_buckets": 20,
    "ensemble_size": 1,
    "filters": (6,),
    "kernel_sizes": (3,),
}


def waves(count: int = 40, seed: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Series of unequal length, fast or slow, of two channels."""
    draw = np.random.default_rng(seed)
    x, y = [], []
    for row in range(count):
        time = np.arange(draw.integers(12, 30)) + draw.uniform(0, 9)
        speed = (0.4, 1.2)[row % 2]
        x.append(np.stack([np.sin(speed * time), draw.normal(size=len(time))], 1))
        y.append(("slow", "fast")[row % 2])
    return x, y


@cache
def of_series() -> Any:
    return ls.Classifier(**SMALL, epochs=4, learning_rate=0.01).fit(*waves(), verbose=0)


def test_series_of_unequal_length():
    x, y = waves(30, 1)
    assert of_series().evaluate(x, y)["accuracy"] > 0.9
    assert list(of_series().classes_) == ["fast", "slow"]
    assert of_series().predict_proba(x).sum(1) == pytest.approx(1.0)


def test_attributions_have_one_value_for_each_step():
    x, _ = waves(3)
    found = of_series().explain(x)
    assert [len(one) for one in found] == [len(one) for one in x]
    assert all(max(abs(weight) for _, weight in one) == pytest.approx(1.0) for one in found)


def test_multilabel_fit_and_saving(tmp_path: Path):
    x = np.random.default_rng(0).normal(size=(60, 6, 2)).cumsum(1)
    y = [tuple(n for n, up in (("a", row[-1, 0] > 0), ("b", row[-1, 1] > 0)) if up) for row in x]
    task = ls.Classifier(**SMALL, epochs=6, learning_rate=0.01).fit(x, y, verbose=0)
    assert task.evaluate(x, y)["accuracy"] > 0.6
    assert isinstance(task.predict(x[:1])[0], tuple)
    assert (task.predict_proba(x) > 0.5).sum(1).max() == 2, "they are not exclusive"
    task.save(tmp_path / "m")
    loaded: Any = ls.load(tmp_path / "m")
    assert np.array_equal(loaded.predict_proba(x), task.predict_proba(x))
    titles = [section.title for section in task.sections(source_of(x, y))]
    assert "Per class" in titles and "Confusion" not in titles


def source_of(x: np.ndarray, y: list[tuple[str, ...]]) -> list[dict[str, Any]]:
    return [{"values": row.tolist(), "label": list(label)} for row, label in zip(x, y, strict=True)]


def test_token_labels():
    x = np.random.default_rng(0).normal(size=(40, 9, 1))
    y = [["up" if one > 0 else "down" for one in row[:, 0]] for row in x]
    task = ls.Classifier(**SMALL, labels="token", epochs=5, learning_rate=0.02).fit(x, y, verbose=0)
    assert task.evaluate(x, y)["accuracy"] > 0.9
    assert [len(one) for one in task.predict([x[0][:4], x[1]])] == [4, 9]


def test_pretrained_vectors_from_a_file(tmp_path: Path):
    (tmp_path / "v.txt").write_text("cat 1 0 0\ndog 0 1 0\nother 0 0 1\n")
    task: Any = ls.Classifier(
        **{**SMALL, "pretrained_vectors": str(tmp_path / "v.txt")}, epochs=1, learning_rate=1e-9
    )
    task.fit(["the cat sat on the mat", "the dog ran to the cat"] * 8, ["a", "b"] * 8, verbose=0)
    words = task.codec_.text_encoder.tokenizer
    for own in task.network_.word_vectors:
        cat, dog = (own[words.encode(word)[0]] for word in ("cat", "dog"))
        assert own.shape[1] == 3 and cat.argmax() == 0 and dog.argmax() == 1
    assert words.encode("Cat") == words.encode("cat"), "a file's words are in lower case"
    assert any("2 of" in note for note in task.notes_)


def test_few_records_and_rare_classes_stay_in_training():
    task = ls.Classifier()
    few = task.read(["x"] * 20, [0, 1] * 10)
    assert task.split(few) == (few, None)
    many = task.read(["x"] * 600, ["a"] * 400 + ["b"] * 199 + ["rare"])
    train, held = task.split(many)
    assert held is not None and len(train) + len(held) == 600
    assert [sum(one.label == name for one in held) for name in ("a", "b", "rare")] == [40, 20, 0]


def test_balanced_training_finds_the_rare_class():
    draw = np.random.default_rng(0)
    y = (draw.random(300) < 0.06).astype(int)
    x = (y[:, None] * 0.9 + draw.normal(size=(300, 8)))[:, :, None]
    recall = []
    for balanced in (False, True):
        task = ls.Classifier(
            **SMALL,
            convolution=False,
            epochs=4,
            learning_rate=0.01,
            class_weight="balanced" if balanced else None,
        )
        found = task.fit(x[:150], y[:150], verbose=0).predict(x[150:])
        recall.append((found[y[150:] == 1] == 1).mean())
    assert recall[1] > recall[0]


def test_the_length_of_a_series_decides_the_class():
    draw = np.random.default_rng(0)
    lengths = draw.permutation(np.repeat([10, 20, 30], 20))
    x = [draw.normal(size=(length, 1)) for length in lengths]
    task: Any = ls.Classifier(**SMALL, epochs=6, learning_rate=0.02).fit(x, lengths.tolist(), verbose=0)
    assert task.evaluate(x, lengths.tolist())["accuracy"] > 0.9
    assert task.codec_.sizes["inputs"] == 2
    alone = np.concatenate([task.predict_proba([one]) for one in x[:6]])
    assert alone == pytest.approx(task.predict_proba(x[:6]), abs=1e-5)


def bad(**options: Any) -> Any:
    return ls.Classifier(**{**SMALL, "epochs": 1, **options})


def test_unusable_input_is_refused_in_one_sentence():
    texts = ["a b c", "c d e"] * 4
    cases = [
        (lambda: bad().fit(texts, ["x"] * 8), "at least two classes, received 'x' alone"),
        (lambda: bad().fit(texts), "labels to learn from"),
        (lambda: bad().fit([np.zeros((3, 2)), *texts], [0, 1] * 4 + [0]), "texts or series, received both"),
        (lambda: bad().fit([[[np.nan, 1.0]] * 3] * 4, [0, 1] * 2), "NaN only in column 0"),
        (lambda: of_series().evaluate(waves(2)[0], ["slow", "new"]), "a class of training .* 'new' in row 1"),
        (lambda: of_series().predict([np.zeros((4, 3))]), "2 channels in every series, received 3 in row 0"),
        (lambda: of_series().predict(["text"]), "series as in training, received a text"),
        (lambda: bad(kernel_sizes=(3, 3)).fit(texts, [0, 1] * 4), "one a convolution"),
    ]
    for act, said in cases:
        with pytest.raises((ValueError, TypeError), match=said) as caught:
            act()
        assert str(caught.value).count(";") == 1


def test_an_empty_text_gets_a_class():
    task = ls.Classifier(**SMALL, epochs=1).fit(["", "a b", "b c", "   "] * 4, [0, 1] * 8, verbose=0)
    assert np.shape(task.predict(["", "a b"])) == (2,)
    assert np.shape(task.predict([""])) == (1,) and task.explain([""]) == [[]]


def test_notes_state_the_choices_made_from_the_data():
    with pytest.warns(errors.LongspanWarning, match="largest class has 22 labels, the smallest 2"):
        ls.Classifier(**SMALL, epochs=1).fit(["a b c d"] * 24, ["x"] * 22 + ["y"] * 2, verbose=0)


PAIRS = {
    "words": ["it is not good at all", "it is good at all times", "a good film", "not good"] * 10,
    "characters": ["Smith", "Smolak", "Li", "Novak"] * 10,
    "bpe": ["这部电影非常好看我非常喜欢它", "这部电影不好看我不喜欢它非常"] * 20,
}


@pytest.mark.parametrize("units", PAIRS)
def test_n_grams_alone_tell_the_class_and_are_saved(units: str, tmp_path: Path):
    if units == "bpe":
        pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    x, y = PAIRS[units], [("no", "yes", "yes", "no")[n % (2 if units == "bpe" else 4)] for n in range(40)]
    options = {**SMALL, "token_level": units, "epochs": 1, "learning_rate": 1e-9}
    task: Any = ls.Classifier(**options).fit(x, y, verbose=0)
    assert task.evaluate(x, y)["accuracy"] == 1.0
    assert ls.Classifier(**options, max_ngram=0).fit(x, y, verbose=0).evaluate(x, y)["accuracy"] < 0.9
    task.save(tmp_path / "m")
    loaded: Any = ls.load(tmp_path / "m")
    assert np.array_equal(loaded.predict_proba(x), task.predict_proba(x))
    alone = np.concatenate([task.predict_proba([one]) for one in x[:4]])
    assert alone == pytest.approx(task.predict_proba(x[:4]), abs=1e-5)
    assert [len(one) for one in loaded.explain(x[:2])] == [
        len(task.codec_.text_encoder.tokens(one)) for one in x[:2]
    ]


def test_n_grams_take_part_in_attributions():
    x = ["bad it was so so", "was it so so fine"] * 12
    task = ls.Classifier(**SMALL, epochs=1, learning_rate=1e-9).fit(x, ["no", "yes"] * 12, verbose=0)
    for pieces, word in zip(task.explain(x[:2]), ("bad", "fine"), strict=True):
        assert max(pieces, key=lambda one: one[1])[0] == word


def test_capital_letters_decide_the_class_unless_lowercased():
    names = [f"{a}{b}" for a in ("Bo", "Cy", "Di", "Fu") for b in ("ra", "li", "ton", "na", "rik", "mo")]
    x = [f"what is {name if n % 2 else name.lower()} now" for n, name in enumerate(names * 4)]
    y = [n % 2 for n in range(len(x))]
    train, new = slice(0, 72), (["what is Kevo now", "what is kevo now"], [1, 0])
    task: Any = ls.Classifier(**SMALL, token_level="words", epochs=1, learning_rate=1e-9)
    task.fit(x[:72], y[train], verbose=0)
    assert task.codec_.text_encoder.features.orders == (1, 2, 1, 2, 3)
    assert task.predict(new[0]).tolist() == new[1]
    task = task.clone().set_params(lowercase=True).fit(x[:72], y[train], verbose=0)
    assert task.codec_.text_encoder.features.orders == (1, 2)
    assert len(set(task.predict_proba(new[0])[:, 1].tolist())) == 1


def test_the_linear_model_is_refitted_with_the_held_out_part():
    x = [f"{'good' if n % 2 else 'poor'} word{n}" for n in range(520)]
    task: Any = ls.Classifier(**SMALL, token_level="words", epochs=1)
    task.fit(x, [n % 2 for n in range(520)], verbose=0)
    assert task.codec_.labels.calibration["rows"] == 52
    assert task.codec_.text_encoder.features.size == 2 + 2 * 520 + 1 == len(task.codec_.linear.table)
    assert task.evaluate(x[:50], [n % 2 for n in range(50)])["accuracy"] == 1.0


def test_few_texts_are_refitted_with_the_held_out_part():
    x = [f"{'good' if n % 2 else 'poor'} word{n // 2}" for n in range(520)]
    y = [n % 2 for n in range(520)]
    made = ls.Classifier(**{**SMALL, "subword_buckets": 0}, token_level="words", epochs=1, max_ngram=0)
    whole: Any = made.fit(x, y, verbose=0)
    once: Any = made.clone().set_params(refit=False).fit(x, y, verbose=0)
    assert once.codec_.text_encoder.tokenizer.size < whole.codec_.text_encoder.tokenizer.size == 4 + 2 + 260
    assert once.codec_.labels.temperature == whole.codec_.labels.temperature != 1.0, (
        "as the held-out part says"
    )
    assert whole.codec_.labels.calibration == once.codec_.labels.calibration and whole.codec_.records == 520
    all_at_once: Any = made.clone().set_params(validation_fraction=0.0).fit(x, y, verbose=0)
    for mine, its in zip(whole.network_.parameters(), all_at_once.network_.parameters(), strict=True):
        torch.testing.assert_close(mine, its)
    stopped: Any = made.clone().set_params(patience=1).fit(x, y, verbose=0)
    rest = pl.DataFrame({"text": x[500:], "label": y[500:]})
    held: Any = made.clone().fit(x[:500], y[:500], validation_data=rest, verbose=0)
    assert stopped.codec_.records == 468 and held.codec_.records == 500


def test_multilabel_uses_n_grams_and_token_labels_do_not():
    x, y = ["sun and rain", "sun", "rain", "wind"] * 8, [("s", "r"), ("s",), ("r",), ()] * 8
    task: Any = ls.Classifier(**SMALL, epochs=1, learning_rate=1e-9, class_weight="balanced").fit(
        x, y, verbose=0
    )
    assert task.predict(["rain", "sun"]) == [("r",), ("s",)]
    steps: Any = ls.Classifier(**SMALL, labels="token", epochs=1)
    steps.fit([["a", "b"], ["b", "a"]] * 4, [[0, 1], [1, 0]] * 4, verbose=0)
    assert steps.codec_.linear is None and of_series().codec_.linear is None


def outlines(count: int = 30, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Short waves of two speeds."""
    draw = np.random.default_rng(seed)
    y = [("slow", "fast")[row % 2] for row in range(count)]
    speeds = [{"slow": 0.5, "fast": 1.1}[label] for label in y]
    return np.stack([np.sin(speed * np.arange(20) + draw.uniform(0, 6)) for speed in speeds]), y


def test_few_series_are_cross_validated_and_train_until_the_loss_has_converged(tmp_path: Path) -> None:
    x, y = outlines()
    options: dict[str, Any] = {**SMALL, "ensemble_size": 2, "learning_rate": 0.02}
    task: Any = ls.Classifier(**options).fit(x, y, verbose=0)
    epochs = len(task.history_.epoch)
    assert epochs % 10 == 0 and (epochs == 40 or "converged" in task.history_.stopped)
    calibration = task.codec_.labels.calibration
    assert calibration["rows"] == 30 and calibration["scores"]["accuracy"] > 0.8
    assert calibration["scores_of_frequencies"]["accuracy"] == 0.5
    assert task.evaluate(*outlines(20, 1))["balanced_accuracy"] > 0.8
    tables = {element.title for section in task.sections() for element in section.elements}
    assert {"Shares of the parts", "Held-out part", "Calibration"} <= tables
    task.save(tmp_path / "m")
    loaded: Any = ls.load(tmp_path / "m")
    assert np.array_equal(loaded.predict_proba(x), task.predict_proba(x))
    alone = np.concatenate([loaded.predict_proba(row[None]) for row in x[:3]])
    assert alone == pytest.approx(task.predict_proba(x[:3]), abs=1e-4)


def test_few_texts_show_how_good_the_linear_model_is_on_others() -> None:
    task: Any = ls.Classifier(**SMALL, token_level="words", epochs=1)
    task.fit(["a good film", "a poor film", "good", "poor"] * 5, [1, 0] * 10, verbose=0)
    calibration = task.codec_.labels.calibration
    assert calibration["rows"] == 20 and calibration["scores"]["accuracy"] == 1.0
    (table,) = (
        part for section in task.sections() for part in section.elements if part.title == "Held-out part"
    )
    assert table.rows[0][0] == "linear model" and task.codec_.labels.temperature == 1.0


def records(count: int = 60, seed: int = 0) -> pl.DataFrame:
    """Numbers of a heavy tail and categories, both of which tell the class."""
    draw = np.random.default_rng(seed)
    size, kind = 10 ** draw.uniform(0, 6, count), draw.choice(["tcp", "udp", "icmp"], count)
    label = np.where((size > 1000) == (kind == "tcp"), "attack", "normal")
    return pl.DataFrame({"size": size, "kind": kind, "noise": draw.normal(size=count), "label": label})


def test_tables_of_single_records_are_classified_explained_and_saved(tmp_path: Path) -> None:
    task: Any = ls.Classifier(**{**SMALL, "hidden_size": 16}, epochs=8, learning_rate=0.03)
    task.fit(records(200), verbose=0)
    test = records(100, 1)
    assert task.evaluate(test)["accuracy"] > 0.9
    assert list(task.feature_names_in_) == ["size", "kind", "noise"]
    explained = task.explain(test[:5])
    assert [[name for name, _ in pairs] for pairs in explained] == [["size", "kind", "noise"]] * 5
    task.save(tmp_path / "m")
    loaded: Any = ls.load(tmp_path / "m")
    assert np.array_equal(loaded.predict_proba(test), task.predict_proba(test))
    unseen = test.drop("label").with_columns(kind=pl.lit("new"), size=pl.lit(None, pl.Float64))
    assert np.isfinite(loaded.predict_proba(unseen)).all()
    with pytest.raises(ValueError, match="static_covariates: expected a column of source"):
        loaded.predict(test.drop("kind"))


def test_a_series_and_static_values_together_tell_what_neither_tells_alone() -> None:
    draw = np.random.default_rng(0)
    rows = []
    for row in range(160):
        rising, sex = row % 2 == 0, "fm"[row // 2 % 2]
        values = (np.arange(10) * (1 if rising else -1) + draw.normal(size=10)).tolist()
        rows.append({"values": values, "sex": sex, "label": int(rising == (sex == "f"))})
    task = ls.Classifier(
        **{**SMALL, "hidden_size": 12}, static_covariates="sex", epochs=12, learning_rate=0.03
    ).fit(rows[:120], verbose=0)
    assert task.evaluate(rows[120:])["accuracy"] > 0.9
