"""A classifier that starts from a language model: what it takes, how it learns, what it is better at."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import longspan as ls
from longspan import cli
from longspan.callbacks.base import Callback
from longspan.data.batches import Batch
from longspan.tasks.classify.network import TextInputs

pytestmark = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
CHANCE = random.Random(0)
NAMES = [f"w{number:03d}" for number in CHANCE.sample(range(1000), 120)]
WORDS = {"sea": NAMES[:60], "land": NAMES[60:]}  # of two subjects; nothing in a word tells its subject
FEW: dict[str, Any] = {"epochs": 2, "max_ngram": 0}


def text(subject: str, words: int) -> str:
    return " ".join(CHANCE.choice(WORDS[subject]) for _ in range(words))


def labelled(count: int) -> tuple[list[str], list[str]]:
    subjects = ["sea", "land"] * (count // 2)
    return [text(subject, 5) for subject in subjects], subjects


@cache
def data() -> tuple[tuple[list[str], list[str]], tuple[list[str], list[str]]]:
    return labelled(6), labelled(300)


@cache
def language() -> ls.LanguageModel:
    texts = [text(CHANCE.choice(["sea", "land"]), 16) for _ in range(1000)]
    options: dict[str, Any] = {"hidden_size": 48, "embedding_size": 24, "epochs": 10, "learning_rate": 0.01}
    return ls.LanguageModel(token_level="words", dropout=0.0, ngram=False, **options).fit(texts, verbose=0)


@pytest.mark.slow
def test_few_labels_and_much_text_are_better_than_few_labels_alone() -> None:
    train, test = data()
    alone = ls.Classifier(hidden_size=32, embedding_size=16).fit(*train, verbose=0).evaluate(*test)
    tuned = ls.Classifier(pretrained=language()).fit(*train, verbose=0).evaluate(*test)
    assert alone["accuracy"] + 0.08 < tuned["accuracy"] and tuned["accuracy"] > 0.97


def test_it_reads_as_the_language_model_does() -> None:
    classifier = ls.Classifier(pretrained=language())
    codec = classifier.codec()
    codec.start_from(language().pretrained_encoder())
    records = classifier.read(*data()[0])
    codec.fit(records)
    network = classifier.network(codec, records).eval()
    tokens = codec.rows(records)[0].unsqueeze(0)
    x, member = network.embed(Batch(TextInputs(tokens)))[0], network.members[0]
    for layer in member.get_submodule("layers").children():
        x = layer(x)[0]
    reader = language().network_.decoder
    assert reader.layers[0](reader.embedding(tokens))[0].shape == x.shape
    torch.testing.assert_close(x, reader.layers[0](reader.embedding(tokens))[0])
    assert tokens[0, 0] == 3 and codec.text_encoder.tokens(records[0].input) == data()[0][0][0].split()


class _Seen(Callback):
    """Keeps the learning rates of the groups, and which of them learn, at the begin of every epoch."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self.learning: list[list[bool]] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 0:
            groups = self.trainer.optimizer.param_groups
            self.rates.append([group["lr"] for group in groups])
            self.learning.append([all(p.requires_grad for p in group["params"]) for group in groups])


def test_layers_start_one_after_the_other_and_the_lower_ones_are_slower() -> None:
    seen = _Seen()
    classifier = ls.Classifier(pretrained=language(), epochs=4, max_ngram=0)
    classifier.fit(*data()[0], verbose=0, callbacks=[seen])
    assert seen.learning == [
        [True, False, False], [True, True, False], [True, True, True], [True, True, True],
    ]  # fmt: skip
    for head, layer, embedding in seen.rates:
        assert layer == pytest.approx(head / 2.6) and embedding == pytest.approx(head / 2.6**2)
    assert all(parameter.requires_grad for parameter in classifier.network_.parameters())
    one = ls.Classifier(pretrained=language(), epochs=1, max_ngram=0).fit(*data()[0], verbose=0)
    weights = language().pretrained_encoder().weights
    assert torch.equal(one.network_.word_vectors[0], weights["embedding.weight"])


def test_an_object_and_its_file_are_one_and_the_classifier_needs_neither_later(tmp_path: Path) -> None:
    (x, y), (unseen, _) = data()
    language().save(tmp_path / "language")
    expected = ls.Classifier(pretrained=language(), **FEW).fit(x, y, verbose=0)
    fitted = ls.Classifier(pretrained=str(tmp_path / "language"), **FEW).fit(x, y, verbose=0)
    np.testing.assert_array_equal(fitted.predict_proba(unseen), expected.predict_proba(unseen))
    (tmp_path / "language").unlink()
    for model in (fitted, expected):
        model.save(tmp_path / "classifier")
        loaded = ls.load(tmp_path / "classifier")
        np.testing.assert_array_equal(loaded.predict_proba(unseen), expected.predict_proba(unseen))  # pyright: ignore[reportAttributeAccessIssue]
    weights = fitted.explain(unseen[:2])
    assert [[token for token, _ in row] for row in weights] == [one.split() for one in unseen[:2]]


class _Stop(Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.trainer.epoch == 1 and batch == 3:
            raise KeyboardInterrupt


def test_an_interrupted_fit_goes_on_to_the_same_model(tmp_path: Path) -> None:
    (x, y), (unseen, _) = data()
    whole = ls.Classifier(pretrained=language(), epochs=3, max_ngram=0).fit(x, y, verbose=0)
    resume = ls.training.CheckpointConfig(tmp_path / "checkpoint", steps=1)
    cut = ls.Classifier(pretrained=language(), epochs=3, max_ngram=0)
    with pytest.raises(KeyboardInterrupt):
        cut.fit(x, y, verbose=0, resume=resume, callbacks=[_Stop()])
    cut.fit(x, y, verbose=0, resume=resume)
    np.testing.assert_array_equal(cut.predict_proba(unseen), whole.predict_proba(unseen))


@pytest.mark.parametrize("level", ["characters", "bytes", "bpe"])
def test_every_token_level_and_an_ensemble(level: str) -> None:
    if level == "bpe":
        pytest.importorskip("tokenizers", reason="needs tokenizers, which the text extra installs")
    sizes: dict[str, Any] = {"hidden_size": 8, "embedding_size": 8, "num_layers": 2, "max_steps": 2}
    reader = ls.LanguageModel(token_level=level, ngram=False, **sizes).fit(data()[0][0] * 9, verbose=0)
    fitted = ls.Classifier(pretrained=reader, epochs=1, ensemble_size=2).fit(*data()[0], verbose=0)
    assert fitted.predict_proba(["", "w000 é"]).shape == (2, 2) and len(fitted.network_.members) == 2


def test_training_is_repeated_on_all_records_from_the_same_beginning() -> None:
    x, y = data()[1]
    fitted = ls.Classifier(pretrained=language(), epochs=1, max_ngram=0, batch_size=128)
    fitted.fit(x * 2, y * 2, verbose=0)
    weights = language().pretrained_encoder().weights
    assert torch.equal(fitted.network_.word_vectors[0], weights["embedding.weight"])


def test_what_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    (x, y), series = data()[0], np.zeros((6, 5, 1))

    def refused(sentence: str, inputs: Any = x, **options: Any) -> None:
        with pytest.raises(ValueError, match=sentence):
            ls.Classifier(**{"pretrained": language(), **options}).fit(inputs, y, verbose=0)

    refused("LanguageModel: expected a fitted one, received one before fit", pretrained=ls.LanguageModel())
    refused("source: expected texts for a language model, received series", series)
    refused("token_level: expected words, as the pretrained model has, received 'bpe'", token_level="bpe")
    refused("pretrained: expected one beginning, received a language model and", pretrained_vectors="a.txt")
    ls.Classifier(epochs=1, hidden_size=4).fit(x, y, verbose=0).save(tmp_path / "classifier")
    path = str(tmp_path / "classifier")
    refused("pretrained: expected a saved language model, received a Classifier in", pretrained=path)
    with pytest.raises(ValueError, match="source: expected whole texts for a language model, received lists"):
        ls.Classifier(pretrained=language()).fit([one.split() for one in x], [[w] * 5 for w in y], verbose=0)


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    language().save(tmp_path / "language")
    rows = "".join(f"{one}\t{subject}\n" for one, subject in zip(*data()[0], strict=True))
    (tmp_path / "rows.tsv").write_text(f"text\tlabel\n{rows}")
    words = ["--pretrained", str(tmp_path / "language"), "--epochs", "1", "--quiet"]
    source, output = str(tmp_path / "rows.tsv"), str(tmp_path / "model")
    assert cli.main(["fit", "classify", source, "-o", output, *words]) == 0, capsys.readouterr().err
    assert cli.main(["evaluate", output, source, "--json"]) == 0
