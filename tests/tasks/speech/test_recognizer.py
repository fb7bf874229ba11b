"""A recognizer learns tones from real files; what it finds, tells, refuses, reports and saves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import longspan as ls
from longspan import LanguageModel, SpeechRecognizer, errors
from longspan.report.elements import HeatMap, Table, Tabs
from longspan.tasks.speech.searcher import Search

pytest.importorskip("jiwer", reason="jiwer is not installed")
soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")
RATE = 8000
Melodies = Callable[..., tuple[list[np.ndarray], list[str]]]


# ---- what is learnt


@pytest.mark.parametrize("name", ["words", "spelled"])
def test_texts_are_heard(name: str, melodies: Melodies, request: pytest.FixtureRequest) -> None:
    task: SpeechRecognizer = request.getfixturevalue(name)
    sounds, texts = melodies(20, 1)
    scores = task.evaluate(sounds, texts, rate=RATE)
    assert list(scores) == ["wer", "cer", "accuracy"] and scores["wer"] < 0.15
    heard = task.predict(sounds, rate=RATE)
    assert scores["accuracy"] == np.mean([a == b for a, b in zip(heard, texts, strict=True)])
    assert task.score([(sound, RATE) for sound in sounds], texts) == -scores["wer"]


def test_what_is_found(
    words: SpeechRecognizer, spelled: SpeechRecognizer, commands: SpeechRecognizer
) -> None:
    assert words.codec_.tokens.level == "words" and spelled.codec_.tokens.level == "characters"
    assert commands.codec_.tokens.commands == ["high", "low", "mid"]
    assert (words.codec_.stride, spelled.codec_.stride, commands.codec_.stride) == (4, 2, 4)
    assert {task.codec_.rate for task in (words, spelled, commands)} == {RATE}


def test_commands_are_told_apart(commands: SpeechRecognizer, melodies: Melodies) -> None:
    sounds, texts = melodies(20, 5, 1)
    assert commands.evaluate(sounds, texts, rate=RATE) == {"wer": 0.0, "cer": 0.0, "accuracy": 1.0}
    nothing = 0.001 * np.random.default_rng(0).standard_normal(2000)
    assert commands.predict(nothing, rate=RATE)[0] in ("high", "low", "mid")
    found = commands.transcribe(sounds[:2])
    assert min(found["confidence"].to_list()) > 0.9


def test_a_file_of_another_rate_is_resampled(
    words: SpeechRecognizer, melodies: Melodies, tmp_path: Path
) -> None:
    soxr = pytest.importorskip("soxr", reason="soxr is not installed")
    sounds, texts = melodies(3, 1)
    for row, sound in enumerate(sounds):
        soundfile.write(tmp_path / f"{row}.flac", soxr.resample(sound, RATE, 44_100), 44_100)
    assert words.predict(tmp_path) == words.predict(sounds) == texts


def test_transcriptions_have_files_confidences_and_times(
    spelled: SpeechRecognizer, melodies: Melodies, tmp_path: Path
) -> None:
    sounds, texts = melodies(4, 1)
    for row, sound in enumerate(sounds):
        soundfile.write(tmp_path / f"{row}.wav", sound, RATE, subtype="FLOAT")
    found = spelled.transcribe(tmp_path)
    assert found.columns == ["file", "text", "confidence", "words"]
    assert found["file"].to_list() == [str(tmp_path / f"{row}.wav") for row in range(4)]
    assert found.equals(spelled.transcribe([str(tmp_path / f"{row}.wav") for row in range(4)]))
    assert spelled.transcribe(sounds[:1])["file"].to_list() == [None]
    for text, confidence, words, sound in zip(
        found["text"], found["confidence"], found["words"], sounds, strict=True
    ):
        assert 0.0 < confidence <= 1.0 and " ".join(word["word"] for word in words) == text
        times = [time for word in words for time in (word["start"], word["end"])]
        assert times == sorted(times) and times[0] >= 0.0 and times[-1] <= len(sound) / RATE
        assert all(0.0 < word["confidence"] <= 1.0 for word in words)
    assert found["text"].to_list() == texts


def test_times_are_where_the_words_are(spelled: SpeechRecognizer) -> None:
    steps, pause = {"low": 0.15, "high": 0.9, "mid": 0.4}, np.zeros(300)
    tones = [0.3 * np.sin(np.arange(1000) * step) for step in steps.values()]
    sound = np.concatenate([part for tone in tones for part in (tone, pause)])
    found = spelled.transcribe(sound + 0.01 * np.random.default_rng(0).standard_normal(len(sound)))["words"][
        0
    ]
    assert [word["word"] for word in found] == list(steps)
    for number, word in enumerate(found):
        begin, end = number * 1300 / RATE, (number * 1300 + 1000) / RATE
        assert begin - 0.02 <= word["start"] < word["end"] <= end + 0.06, (word, begin, end)


# ---- search


def test_a_beam_of_one_is_greedy_and_searches_are_for_one_call(
    spelled: SpeechRecognizer, melodies: Melodies
) -> None:
    sounds, _ = melodies(6, 7)
    greedy = spelled.predict(sounds)
    assert spelled.predict(sounds, beam_size=1) == greedy == spelled.predict(sounds)
    assert spelled.predict(sounds, beam_size=8) == greedy  # the network is sure of them
    with pytest.raises(
        TypeError, match="option of predict: expected one of beam_size, language_weight, token"
    ):
        spelled.predict(sounds, n_best=2)


def test_an_ngram_decides_where_the_network_is_unsure(words: SpeechRecognizer) -> None:
    codec = words.codec_
    low, mid, high = (codec.tokens.encode(name)[0] for name in ("low", "mid", "high"))
    scorer = codec.searcher.scorer
    assert scorer is not None
    task = SpeechRecognizer(token_level="words", ngram=2)
    searcher = task.codec().searcher
    assert searcher.scorer is not None
    searcher.scorer.fit([[low, high]] * 9 + [[mid, low]], codec.tokens)
    log_probs = torch.full((1, 3, codec.tokens.size), 1e-3)
    log_probs[0, 0, low], log_probs[0, 1, 0], log_probs[0, 2, high], log_probs[0, 2, mid] = 0.9, 0.9, 0.4, 0.5
    log_probs = log_probs.log().log_softmax(-1)
    heard = [
        searcher.transcriptions(log_probs, torch.tensor([3]), Search(8, weight, 0.0), codec.tokens, 1.0)[
            0
        ].text
        for weight in (0.0, 1.0)
    ]
    assert heard == ["low mid", "low high"]


def test_weight_and_bonus_are_found_on_the_held_out_part(words: SpeechRecognizer) -> None:
    searches = list(words.codec_.searcher.candidates())
    chosen = (words.codec_.searcher.language_weight, words.codec_.searcher.token_bonus)
    assert chosen in [(search.language_weight, search.token_bonus) for search in searches]
    assert words.codec_.held_out["rows"] == 6 and words.codec_.held_out["scores"]["wer"] < 0.3


def test_a_language_model_is_weighed_in_and_saved(
    options: dict[str, Any], melodies: Melodies, tmp_path: Path
) -> None:
    sounds, texts = melodies(60, 0)
    model = LanguageModel(
        token_level="characters", hidden_size=8, embedding_size=4, epochs=1, validation_fraction=0.0
    ).fit(texts, verbose=0)
    model.save(tmp_path / "language")
    task = SpeechRecognizer(
        **{**options, "epochs": 2}, token_level="characters", language_model=str(tmp_path / "language")
    )
    task.fit(sounds, texts, rate=RATE, verbose=0)
    task.save(tmp_path / "speech")
    (tmp_path / "language").unlink()
    loaded = ls.load(tmp_path / "speech")
    search: dict[str, Any] = {"beam_size": 4, "language_weight": 0.8}
    assert loaded.predict([(sounds[0], RATE)], **search) == task.predict(sounds[:1], **search)
    given = SpeechRecognizer(**{**options, "epochs": 2}, token_level="characters", language_model=model)
    given.fit(sounds, texts, rate=RATE, verbose=0)
    assert given.predict(sounds[:3], **search) == task.predict(sounds[:3], **search)
    scorer = task.codec_.searcher.scorer
    assert scorer is not None
    step, start, state, *_ = scorer.search_model(1.0, 0.0)
    numbers = task.codec_.tokens.encode(texts[0])
    total, token = 0.0, start
    for number in numbers:
        logits, state = step(torch.tensor([token]), state)
        total, token = total + float(logits[0, number]), number
    network = model.fitted_.network  # the same sum by the language model itself
    inputs = torch.tensor([[model.token_scorer().start, *model.codec_.tokenizer.encode(texts[0])[:-1]]])
    expected = network.decoder.logits(network.decoder(inputs, network.initial_state())[0]).log_softmax(-1)
    targets = torch.tensor(model.codec_.tokenizer.encode(texts[0]))
    assert total == pytest.approx(float(expected[0, range(len(targets)), targets].sum().detach()), abs=1e-3)


# ---- what is told and refused


def test_what_was_never_heard_is_told(words: SpeechRecognizer, spelled: SpeechRecognizer, melodies: Melodies):
    sounds, _ = melodies(2, 1)
    with pytest.warns(
        errors.LongspanWarning, match=r"1 of 2 texts have characters never heard .*\('q', 'u'\)"
    ):
        scores = spelled.evaluate(sounds, ["low", "qu"], rate=RATE)
    assert scores["wer"] > 0
    with pytest.warns(errors.LongspanWarning, match="1 of 2 texts have words never heard in training"):
        words.evaluate(sounds, ["low", "blue"], rate=RATE)


def test_sounds_too_short_for_their_texts_are_told(options: dict[str, Any], melodies: Melodies) -> None:
    sounds, texts = melodies(20, 0)
    task = SpeechRecognizer(**{**options, "epochs": 1}, token_level="characters", stride=8)
    with pytest.warns(errors.LongspanWarning, match=r"\d+ of \d+ sounds are too short for their texts"):
        task.fit(sounds, [f"{text} {text}" for text in texts], rate=RATE, verbose=0)


def test_a_sound_without_a_frame_has_the_empty_text(spelled: SpeechRecognizer) -> None:
    assert spelled.predict([np.full(100, 0.1, np.float32)]) == [""]
    assert spelled.transcribe(np.full(100, 0.1, np.float32))["words"].to_list() == [[]]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"stride": 3}, "stride: expected one of 1, 2, 4, 8, received 3"),
        ({"speed_perturbation": (9.0,)}, "speed_perturbation: expected factors from 0.5 to 2, received 9.0"),
        ({"sample_rate": 16}, "rate: expected a whole number of at least 1000, received 16"),
        ({"token_level": "letters"}, "token_level: expected one of 'commands', 'words', 'bpe', 'characters'"),
        (
            {"ngram": 2, "language_model": "model"},
            "language_model: expected one language model, received ngram",
        ),
        ({"ngram": 2}, "language_model: expected none for commands"),
        ({"token_level": "characters", "language_model": "nowhere"}, "nowhere"),
    ],
)
def test_options_that_cannot_be_used(
    options: dict[str, Any], sentence: str, melodies: Melodies, tmp_path: Path
) -> None:
    sounds, texts = melodies(20, 0, 1)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        SpeechRecognizer(**{"epochs": 1, **options}).fit(sounds, texts, rate=RATE, verbose=0)


def test_searches_and_sounds_that_cannot_be_used(
    words: SpeechRecognizer,
    spelled: SpeechRecognizer,
    options: dict[str, Any],
    melodies: Melodies,
    tmp_path: Path,
) -> None:
    sounds, texts = melodies(4, 1)
    with pytest.raises(ValueError, match="beam_size: expected at least 2 with a language model, received 1"):
        words.predict(sounds, beam_size=1)
    with pytest.raises(ValueError, match="stream: expected a network of one direction"):
        spelled.stream()
    with pytest.raises(ValueError, match="rate: expected the samples a second of the arrays, received None"):
        SpeechRecognizer(**options).fit(sounds, texts)
    with pytest.raises(
        ValueError, match=r"sound: expected at least 0.025 seconds to learn from, received 0.013"
    ):
        SpeechRecognizer(**options).fit([*sounds, sounds[0][:100]], [*texts, "low"], rate=RATE)
    words.save(tmp_path / "model")
    task = SpeechRecognizer(**options, language_model=str(tmp_path / "model"), token_level="words")
    with pytest.raises(ValueError, match="language_model: expected a saved language model"):
        task.fit(sounds, texts, rate=RATE)


def test_a_language_model_of_other_tokens_is_refused(options: dict[str, Any], melodies: Melodies) -> None:
    sounds, texts = melodies(20, 0)
    small: dict[str, Any] = {"hidden_size": 4, "embedding_size": 4, "epochs": 1, "validation_fraction": 0.0}
    model = LanguageModel(token_level="words", **small).fit(texts, verbose=0)
    task = SpeechRecognizer(**options, token_level="characters", language_model=model)
    with pytest.raises(ValueError, match=r"expected a model over characters, .* received one over words"):
        task.fit(sounds, texts, rate=RATE)


# ---- training


def test_speeds_and_noise_change_the_training_and_draw_by_the_seed(
    options: dict[str, Any], melodies: Melodies
) -> None:
    sounds, texts = melodies(24, 0)

    def weight(**changed: Any) -> torch.Tensor:
        task = SpeechRecognizer(**{**options, "epochs": 1, **changed}).fit(
            sounds, texts, rate=RATE, verbose=0
        )
        return task.network_.state_dict()["output.weight"]

    plain = weight()
    for changed in ({"speed_perturbation": (0.9, 1.1)}, {"noise_perturbation": 0.9}, {"time_masks": 3}):
        assert not torch.equal(weight(**changed), plain)
        assert torch.equal(weight(**changed), weight(**changed))


def test_validation_sounds_come_with_their_texts(options: dict[str, Any], melodies: Melodies) -> None:
    sounds, texts = melodies(24, 0)
    valid = [(sound, RATE, text) for sound, text in zip(*melodies(6, 1), strict=True)]
    task = SpeechRecognizer(**{**options, "epochs": 1})
    task.fit(sounds, texts, rate=RATE, validation_data=valid, verbose=0)
    assert task.codec_.held_out["rows"] == 6 and "val_loss" in task.history_.history


def test_tuning_searches_the_options(options: dict[str, Any], melodies: Melodies) -> None:
    pytest.importorskip("optuna", reason="optuna is not installed")
    sounds, texts = melodies(24, 0)
    task = SpeechRecognizer(**{**options, "epochs": 1})
    task.tune([(sound, RATE) for sound in sounds], texts, space={"hidden_size": [4, 6]}, trials=2, verbose=0)
    assert len(task.tuned_) == 2 and task.hidden_size in (4, 6, 16)


# ---- the report


def test_the_report_shows_sounds(spelled: SpeechRecognizer, melodies: Melodies) -> None:
    sounds, _ = melodies(8, 1)
    sections = {section.title: section for section in spelled.sections([(one, RATE) for one in sounds])}
    assert {"Summary", "Sounds"} <= set(sections) and "Errors" not in sections
    maps = next(element for element in sections["Sounds"].elements if isinstance(element, Tabs))
    shown = next(iter(maps.options.values()))
    assert isinstance(shown, list) and [element.title for element in shown] == [
        "Log-mel spectrogram", "Characters over time",
    ]  # fmt: skip
    assert {section.title for section in spelled.sections()} >= {"Summary"}


def test_the_report_lists_the_worst_files_and_confusions(
    spelled: SpeechRecognizer, commands: SpeechRecognizer, melodies: Melodies, tmp_path: Path
) -> None:
    sounds, texts = melodies(4, 1, 1)
    for row, sound in enumerate(sounds):
        soundfile.write(tmp_path / f"{row}.wav", sound, RATE)
    said = ["high low" if row == 2 else text for row, text in enumerate(texts)]
    pl.DataFrame({"file": [f"{row}.wav" for row in range(4)], "text": said}).write_csv(
        tmp_path / "transcripts.csv"
    )
    found = {section.title: section for section in spelled.sections(tmp_path)}["Errors"].elements
    worst, pairs = found
    assert isinstance(worst, Table) and worst.rows[0][:3] == ["2.wav", "high low", texts[2]]
    assert isinstance(pairs, Table) and sum(row[2] for row in pairs.rows) >= 1
    matrix = {section.title: section for section in commands.sections(tmp_path)}["Errors"].elements[1]
    assert isinstance(matrix, HeatMap) and np.sum(matrix.values) == 3
