"""What the LanguageModel alone promises: scores, generated text, budgets, fine-tuning, errors."""

from __future__ import annotations

import math
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import longspan as ls
from longspan import cli, errors
from longspan.tasks.language.codec import LanguageCodec, TokenScores
from longspan.tasks.language.training import AveragedWeights, Budget
from longspan.training import CheckpointConfig, LambdaCallback

pytestmark = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
SMALL: dict[str, Any] = {"hidden_size": 16, "embedding_size": 8, "batch_size": 8, "chunk_length": 24}
TEXT = (
    "".join(f"the {a} {b} the {c}.\n" for a in ("cat", "dog") for b in ("sees", "bites") for c in "abc") * 12
)


@cache
def model() -> ls.LanguageModel:
    return ls.LanguageModel(**SMALL, epochs=12, learning_rate=0.01).fit([TEXT], verbose=0)


@cache
def of_documents() -> ls.LanguageModel:
    return ls.LanguageModel(**SMALL, epochs=8, learning_rate=0.01).fit(TEXT.splitlines(), verbose=0)


def test_it_learns_and_is_beside_an_ngram() -> None:
    found = model().evaluate([TEXT])
    assert found["perplexity"] == pytest.approx(math.exp(found["nats_per_token"]))
    assert found["bits_per_character"] == pytest.approx(found["nats_per_token"] / math.log(2))
    assert (
        found["nats_per_token"] <= min(found["network_nats_per_token"], found["ngram_nats_per_token"]) + 0.02
    )
    assert found["network_nats_per_token"] < 1.0 and 0.0 < found["ngram_nats_per_token"] < 0.6


def test_the_mixture_has_the_weight_of_the_highest_likelihood() -> None:
    draw = np.random.default_rng(0)
    network, ngram = (np.log(draw.uniform(0.05, 0.9, 400)) for _ in range(2))
    codec = LanguageCodec()
    codec.fit_weight([TokenScores(network, network, ngram)])

    def likelihood(weight: float) -> float:
        return float(np.logaddexp(network + np.log1p(-weight), ngram + np.log(weight)).sum())

    assert 0.2 < codec.ngram_weight < 0.8
    assert likelihood(codec.ngram_weight) >= max(map(likelihood, np.linspace(0.01, 0.99, 99))) - 1e-3
    codec.fit_weight([TokenScores(network, network, network - 5.0)])
    assert codec.ngram_weight == 0.0
    alone = ls.LanguageModel(**SMALL, epochs=1, ngram=False).fit([TEXT], verbose=0)
    assert alone.evaluate([TEXT])["perplexity"] == alone.evaluate([TEXT])["network_perplexity"]


def test_log_probs_are_those_of_the_network_step_by_step() -> None:
    for task in (model(), of_documents()):
        text = TEXT[:60]
        scores = task.log_prob([text])[0]
        assert len(scores) == len(text) + task.codec_.ends
        network, state = task.network_, task.network_.initial_state()
        tokens = [3, *task.codec_.tokenizer.encode(text)]
        for at, (token, following) in enumerate(zip(tokens, [*tokens[1:], 3], strict=True)):
            with torch.no_grad():
                logits, state = network.step(torch.tensor([token]), state)
            mixed = task.codec_.mixed_logits(logits, tokens[: at + 1], torch.zeros(logits.shape[1]))
            mixed = mixed.log_softmax(-1)
            if at < len(scores):
                assert float(mixed[0, following]) == pytest.approx(scores[at], abs=1e-4)


def test_probabilities_of_all_next_tokens_sum_to_one() -> None:
    start, letters = TEXT[:9], [chr(code) for code in range(32, 127)]
    task = of_documents()
    whole = task.log_prob([start])[0].sum() - task.log_prob([start])[0][-1]
    known = [one for one in ["\n", *letters] if one in task.codec_.tokenizer.tokens]
    shares = [math.exp(task.log_prob([start + one])[0][:-1].sum() - whole) for one in known]
    end = math.exp(task.log_prob([start])[0][-1])
    assert 0.98 < sum(shares) + end <= 1.0 + 1e-4, "the rest belongs to special tokens"


def test_generation() -> None:
    task = model()
    assert task.generate("the ", 20, temperature=0) == task.generate("the ", 20, temperature=0, seed=4)
    assert task.generate("the ", 40, seed=1) == task.generate("the ", 40, seed=1)
    assert len({task.generate("the ", 40, seed=seed) for seed in range(4)}) > 1
    assert task.generate("the ", 20, top_k=1, seed=1) == task.generate("the ", 20, temperature=0)
    assert len(task.generate("", 33, seed=0)) == 33
    pieces = list(task.stream("the ", 25, seed=2))
    assert len(pieces) == 25 and "".join(pieces) == task.generate("the ", 25, seed=2)
    written = of_documents().generate("", 500, seed=0)
    assert written.endswith(".") and len(written) < 60, "the end of a text ends it"


def test_a_stream_gives_each_piece_before_the_next_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    mixed = type(model().codec_).mixed_logits
    monkeypatch.setattr(
        type(model().codec_), "mixed_logits", lambda self, *given: (steps.append(1), mixed(self, *given))[1]
    )
    pieces = model().stream("", 10, seed=0)
    assert not steps
    next(pieces)
    assert len(steps) == 1


def test_a_prompt_with_unknown_characters_is_answered_with_a_note() -> None:
    with pytest.warns(errors.LongspanWarning, match="has not seen 'Ж', '!' of the prompt"):
        assert model().generate("the Ж!", 5, seed=0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"temperature": -1.0}, "temperature: expected a number of at least 0, received -1.0"),
        ({"top_k": 0}, "top_k: expected"),
        ({"top_p": 0.0}, "top_p: expected"),
        ({"length": 0}, "length: expected a whole number of at least 1"),
    ],
)
def test_generation_refuses(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        model().stream("the ", **options)
    with pytest.raises(TypeError, match="prompt: expected a string"):
        model().generate(3)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("level", ["words", "characters", "bytes", "bpe"])
def test_every_token_level_and_its_stream(level: str) -> None:
    if level == "bpe":
        pytest.importorskip("tokenizers", reason="needs tokenizers, which the text extra installs")
    text = TEXT.replace("cat", "Käfer") * 2
    task = ls.LanguageModel(**SMALL, token_level=level, epochs=3, learning_rate=0.01)
    task.set_params(max_tokens=280 if level == "bpe" else None).fit([text], verbose=0)
    assert task.codec_.token_level == level
    for seed in range(3):
        assert "".join(task.stream("the Käfer", 30, seed=seed)) == task.generate("the Käfer", 30, seed=seed)
    found = task.evaluate([text])
    assert found["unknown_tokens"] == 0.0
    assert found["bits_per_byte"] < found["bits_per_character"] < 4.0
    assert len(task.tokens("the Käfer")) == len(task.log_prob(["the Käfer"])[0])


def test_composed_and_decomposed_letters_are_one() -> None:
    task = ls.LanguageModel(**SMALL, epochs=1).fit(["café " * 60], verbose=0)
    composed, decomposed = (task.log_prob([text])[0] for text in ("café", "cafe\N{COMBINING ACUTE ACCENT}"))
    assert np.array_equal(composed, decomposed) and len(composed) == 4


def test_budget_of_steps() -> None:
    counted: list[int] = []
    rates: list[float] = []
    task = ls.LanguageModel(**SMALL, epochs=50, max_steps=17, learning_rate=0.01)

    def count(batch: int, logs: Any) -> None:
        counted.append(batch)
        rates.append(callback.trainer.learning_rate)

    callback = LambdaCallback(on_train_batch_end=count)
    task.fit([TEXT], callbacks=[callback], verbose=0)
    assert len(counted) == 17 and task.history_.stopped == "17 steps were taken"
    assert max(rates) > 0.008 and rates[-1] < 0.001 and "val_loss" in task.history_.history


class Killed(Exception):
    pass


@pytest.mark.parametrize("steps", [5, 17, 18, 30])
def test_killed_within_a_budget_it_ends_the_same(steps: int, tmp_path: Path) -> None:
    options: dict[str, Any] = {**SMALL, "epochs": 50, "max_steps": 30, "averaging": 0.5}
    whole = ls.LanguageModel(**options).fit([TEXT], verbose=0)
    left = [steps]

    def count(batch: int, logs: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    callback = LambdaCallback(on_train_batch_begin=count)
    if steps == 30:  # after the last step, before its validation
        left[0] = 0
        last = LambdaCallback(on_test_begin=lambda logs: count(0, logs) if last.trainer.steps == 30 else None)
        callback = last
    config = CheckpointConfig(tmp_path / "checkpoint", steps=1, seconds=None)
    with pytest.raises(Killed):
        ls.LanguageModel(**options).fit([TEXT], resume=config, callbacks=[callback], verbose=0)
    resumed = ls.LanguageModel(**options).fit([TEXT], resume=tmp_path / "checkpoint", verbose=0)
    weights = resumed.network_.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in whole.network_.state_dict().items())
    assert resumed.history_.history == whole.history_.history


def test_budget_of_minutes() -> None:
    task = ls.LanguageModel(**SMALL, epochs=100_000, max_minutes=0.01, patience=None)
    start = time.monotonic()
    task.fit([TEXT], verbose=0)
    assert time.monotonic() - start < 60.0
    assert "minutes were spent" in (task.history_.stopped or "")


def test_the_rate_follows_whichever_budget_ends_first() -> None:
    budget = Budget(1000, 1.0, 0.1)
    budget.steps = 500
    half = budget.rate
    assert half == pytest.approx(0.1 * 0.51)
    budget.seconds = 54.0
    assert budget.rate < 0.1 * half and budget.spent == pytest.approx(0.9)


def test_averaged_weights_are_the_mean_of_the_last() -> None:
    budget = Budget(40, None, 0.1)
    network = torch.nn.Linear(1, 1, bias=False)
    averaged = AveragedWeights(budget, 0.5, stopping=False)
    averaged.trainer = type("State", (), {"network": network})()  # pyright: ignore[reportAttributeAccessIssue]
    averaged.on_train_begin()
    for step in range(1, 41):
        budget.steps = step
        network.weight.data.fill_(float(step))
        averaged.on_train_batch_end(step)
    averaged.on_test_begin()
    assert network.weight.item() == pytest.approx(np.mean([20, 25, 30, 35, 40]))
    averaged.on_epoch_end(0, {"val_loss": 1.0})
    assert network.weight.item() == 40.0
    averaged.on_train_end()
    assert network.weight.item() == pytest.approx(30.0)


def test_fine_tuning_starts_from_the_saved_weights(tmp_path: Path) -> None:
    model().save(tmp_path / "model")
    other = TEXT.replace("sees", "bites")
    options: dict[str, Any] = {"pretrained": str(tmp_path / "model"), "epochs": 1, "max_steps": 2}
    tuned = ls.LanguageModel(**options, learning_rate=1e-6).fit([other], verbose=0)
    assert (
        tuned.codec_.sizes.hidden_size == 16
        and tuned.codec_.tokenizer.tokens == model().codec_.tokenizer.tokens
    )
    perplexity = model().evaluate([TEXT])["network_perplexity"]
    assert tuned.evaluate([TEXT])["network_perplexity"] == pytest.approx(perplexity, rel=0.01)
    tuned.save(tmp_path / "tuned")
    (tmp_path / "model").unlink()
    assert ls.load(tmp_path / "tuned").evaluate([other]) == tuned.evaluate([other])
    same = ls.LanguageModel(**{**options, "pretrained": model()}, learning_rate=1e-6)
    assert same.fit([other], verbose=0).evaluate([other]) == tuned.evaluate([other])
    forecaster = tmp_path / "forecaster"
    ls.Forecaster(horizon=1, hidden_size=2, context_length=4, epochs=1).fit(np.arange(60.0), verbose=0).save(
        forecaster
    )
    with pytest.raises(
        ValueError, match="pretrained: expected a saved language model, received a Forecaster"
    ):
        ls.LanguageModel(pretrained=str(forecaster)).fit([TEXT], verbose=0)


def test_large_vocabularies_train_by_samples_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert model().network_.sampled is None
    monkeypatch.setattr("longspan.tasks.language.language_model._SAMPLED_FROM", 10)
    options: dict[str, Any] = {**SMALL, "epochs": 1, "max_steps": 2}
    task = ls.LanguageModel(**options).fit([TEXT], verbose=0)
    assert task.network_.sampled is not None
    assert any("drawn ones a step (softmax='full' for all)" in note for note in task.notes_)
    full = ls.LanguageModel(**options, softmax="full").fit([TEXT], verbose=0)
    assert full.network_.sampled is None and not any("softmax" in note for note in full.notes_)


def test_scores_and_text_of_a_sampled_softmax_are_those_of_the_plain_one(tmp_path: Path) -> None:
    options: dict[str, Any] = {**SMALL, "epochs": 12, "learning_rate": 0.01, "ngram": False}
    task = ls.LanguageModel(**options, softmax="sampled").fit([TEXT], verbose=0)
    assert task.network_.sampled is not None and task.network_.sampled.num_samples < 10
    text = TEXT[:50]
    tokens = torch.tensor([[3, *task.codec_.tokenizer.encode(text)]])
    decoder = task.network_.decoder
    with torch.no_grad():
        hidden = decoder(tokens[:, :-1])[0].hidden
        plain = (hidden @ decoder.output.weight.T + decoder.output.bias).log_softmax(-1)[0]
    scores = task.log_prob([text])[0]
    torch.testing.assert_close(plain.exp().sum(-1), torch.ones(len(scores)))
    expected = plain.gather(1, tokens[0, 1:].unsqueeze(1)).squeeze(1)
    np.testing.assert_allclose(scores, expected.numpy(), atol=1e-4)
    perplexity = task.evaluate([text])["perplexity"]
    assert perplexity == pytest.approx(math.exp(-float(scores.mean())), rel=1e-4) and perplexity < 8.0
    task.save(tmp_path / "model")
    loaded = ls.load(tmp_path / "model")
    assert isinstance(loaded, ls.LanguageModel) and loaded.generate("the ", 30, seed=0) == task.generate(
        "the ", 30, seed=0
    )


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ([], "source: expected at least one text, received none"),
        (["", ""], "source: expected text to learn from, received none"),
        (["x"], "source: expected at least two tokens to learn from, received one"),
        ([1, 2], "source: expected a list of texts, received int in row 0"),
        (7, "source: expected a path, a frame or a list of texts, received int"),
    ],
)
def test_fit_refuses(source: Any, sentence: str) -> None:
    with pytest.raises((ValueError, TypeError), match=sentence):
        ls.LanguageModel(**SMALL).fit(source, verbose=0)


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, saved = tmp_path / "text.txt", str(tmp_path / "model")
    source.write_text(TEXT)
    sizes = ["--hidden-size", "8", "--embedding-size", "4", "--epochs", "2", "--chunk-length", "24"]
    assert cli.main(["fit", "language", str(source), "-o", saved, *sizes]) == 0
    assert "Kneser-Ney n-gram" in capsys.readouterr().out
    assert cli.main(["evaluate", saved, str(source)]) == 0
    assert "bits_per_character" in capsys.readouterr().out
    assert cli.main(["predict", saved, str(source), "-o", str(tmp_path / "scores.csv")]) == 0
    assert (tmp_path / "scores.csv").read_text().startswith("row,tokens,log_prob,perplexity\n")
    pytest.importorskip("jinja2", reason="needs the report extra")
    assert cli.main(["report", saved, str(source), "-o", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text()
    for heading in ("Least expected places", "Samples", "Training", "How to reproduce"):
        assert f">{heading}</h2>" in page
    source.write_bytes(b"fine\nna\xefve\n")
    capsys.readouterr()
    assert cli.main(["evaluate", saved, str(source)]) == 2
    assert "the byte 0xef in line 2 of" in capsys.readouterr().err


def test_before_training_tokens_are_as_likely_as_they_are_frequent() -> None:
    task = ls.LanguageModel(**SMALL, max_steps=1, learning_rate=1e-9, ngram=False).fit([TEXT], verbose=0)
    letters = task.codec_.tokenizer
    bias = task.network_.decoder.output.bias.softmax(-1).detach()
    assert float(bias[letters.encode("t")[0]]) == pytest.approx(TEXT.count("t") / len(TEXT), rel=0.1)
    assert 0.0 < float(bias[0]) < 0.001
