"""The sections of a recognizer's report: scores, sounds with what was heard in them, errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from longspan.data.tokenizers import SPECIAL
from longspan.metrics.text import edit_distance
from longspan.optional import require
from longspan.report.elements import Element, HeatMap, Section, Stat, Stats, Table, tabs
from longspan.tasks.sections import held_out_sections

from .codec import SpeechCodec
from .decoding import Transcription
from .features import FRAME_SHIFT, LogMel
from .reading import Recording

_LEVELS = {"commands": "commands", "words": "words", "bpe": "byte pairs", "characters": "characters"}
_SOUNDS = 4  # sounds whose spectrograms are shown
_LONGEST = 400  # frames of a sound that are shown
_LABELS = 30  # labels that a map over time has room for
_WORST = 10  # files that are listed
_CONFUSIONS = 20  # pairs that are listed; commands up to which there is a matrix
_NONE = "∅"  # stands for a word that is missing on one side


class Evaluated(NamedTuple):
    """Recordings with what was heard; scores: metrics by name, {} where a text is not known."""

    records: Sequence[Recording]
    answers: Sequence[Transcription]
    scores: Mapping[str, float]


def speech_sections(codec: SpeechCodec, evaluated: Evaluated | None) -> list[Section]:
    """The task's sections; evaluated: on a source; None for what was held out in training."""
    held_out: Mapping[str, Any] = codec.held_out.get("scores", {})
    scores = held_out if evaluated is None else evaluated.scores
    sections = [Section("Summary", [_facts(codec, scores)])]
    if evaluated is None:
        names = {"wer": "WER", "cer": "CER", "accuracy": "accuracy"}
        rival = "the most frequent text"
        return [*sections, *held_out_sections(codec.held_out, names, rival, low=("wer", "cer"))]
    sections.append(Section("Sounds", _sounds(codec, evaluated)))
    if evaluated.scores:
        sections.append(Section("Errors", [_worst(evaluated), *_confusions(codec, evaluated)]))
    return sections


def _facts(codec: SpeechCodec, scores: Mapping[str, float]) -> Stats:
    tokens = codec.tokens
    stats = [
        Stat(name.upper() if name != "accuracy" else name, f"{100 * value:.4g} %")
        for name, value in scores.items()
    ]
    labels = tokens.size - len(SPECIAL)
    stats += [
        Stat("labels", f"{labels:,}", _LEVELS[tokens.level]),
        Stat(
            "sound",
            f"{codec.rate / 1000:g} kHz",
            f"{codec.bins} mel bins, a step every {1000 * codec.step_seconds:g} ms",
        ),
        Stat("learned from", f"{codec.seconds / 60:.3g} minutes"),
    ]
    return Stats("Speech", stats)


def _sounds(codec: SpeechCodec, evaluated: Evaluated) -> list[Element]:
    """Spectrograms, and the labels' probabilities over time, of the first sounds."""
    maps: dict[str, Any] = {}
    for row, (record, answer) in enumerate(zip(evaluated.records, evaluated.answers, strict=True)):
        if len(maps) == _SOUNDS or not len(answer.log_probs):
            continue
        title = f"{_name(record, row)}: {answer.text[:40]}"
        maps[title] = [_spectrogram(codec, record), _over_time(codec, answer)]
    return [_heard(evaluated), *([tabs("Sounds over time", maps)] if len(maps) > 1 else _only(maps))]


def _only(maps: Mapping[str, Sequence[Element]]) -> list[Element]:
    return [element for elements in maps.values() for element in elements]


def _name(record: Recording, row: int) -> str:
    return Path(record.file).name if record.file else f"sound {row}"


def _heard(evaluated: Evaluated) -> Table:
    rows = [
        [_name(record, row), answer.text, answer.confidence, _times(answer), record.text or ""]
        for row, (record, answer) in enumerate(zip(evaluated.records, evaluated.answers, strict=True))
    ]
    note = f"The first {_WORST} of {len(rows):,}." if len(rows) > _WORST else ""
    return Table("Heard", ["sound", "text", "confidence", "seconds", "truth"], rows[:_WORST], note)


def _times(answer: Transcription) -> str:
    return " ".join(f"{word.start:.2f}–{word.end:.2f}" for word in answer.words[:8])


def _spectrogram(codec: SpeechCodec, record: Recording) -> HeatMap:
    """The normalized features of a sound, as the network hears them, high frequencies on top."""
    log_mel = LogMel(codec.rate, codec.bins)(record.sound, record.rate)[:_LONGEST]
    x = [round(frame * FRAME_SHIFT, 2) for frame in range(len(log_mel))]
    y = [str(number) for number in reversed(range(codec.bins))]
    values = codec.normalizer(log_mel).T.flip(0).tolist()
    return HeatMap("Log-mel spectrogram", "seconds", "mel bin", x, values, low=-3.0, high=3.0, y=y)


def _over_time(codec: SpeechCodec, answer: Transcription) -> HeatMap:
    """The probabilities of the labels that are likely at some step, the blank first."""
    shares = answer.log_probs[: _LONGEST // codec.stride].exp()
    highest = shares.max(0).values
    highest[0] = 2.0  # the blank is always shown
    kept = sorted(highest.topk(min(_LABELS, len(highest))).indices.tolist())
    kept = [number for number in kept if highest[number] > 0.05]
    names = codec.tokens.names()
    x = [round(step * codec.step_seconds, 2) for step in range(len(shares))]
    title = {"characters": "Characters"}.get(codec.tokens.level, "Labels")
    return HeatMap(
        f"{title} over time", "seconds", "label", x, shares[:, kept].T.tolist(), low=0.0, high=1.0,
        y=[names[number] for number in kept],
    )  # fmt: skip


def _worst(evaluated: Evaluated) -> Table:
    """The sounds with the most edits for a character of their texts."""
    rows = []
    for row, (record, answer) in enumerate(zip(evaluated.records, evaluated.answers, strict=True)):
        truth = record.text or ""
        edits = edit_distance(answer.text, truth)
        if edits:
            rows.append(
                [_name(record, row), truth, answer.text, edits / max(1, len(truth)), answer.confidence]
            )
    rows.sort(key=lambda cells: -cells[3])
    note = f"{len(rows):,} of {len(evaluated.records):,} sounds have an error."
    return Table("Worst sounds", ["sound", "truth", "text", "CER", "confidence"], rows[:_WORST], note)


def _confusions(codec: SpeechCodec, evaluated: Evaluated) -> list[Element]:
    truths = [record.text or "" for record in evaluated.records]
    texts = [answer.text for answer in evaluated.answers]
    names = codec.tokens.commands
    if 0 < len(names) <= _CONFUSIONS:
        counts = np.zeros((len(names), len(names)), dtype=int)
        for truth, text in zip(truths, texts, strict=True):
            if truth in names and text in names:
                counts[names.index(truth), names.index(text)] += 1
        return [
            HeatMap("Confusions", "heard", "said", names, counts.tolist(), y=names, low=0.0, figures=True)
        ]
    pairs = Counter(pair for truth, text in zip(truths, texts, strict=True) for pair in _edits(truth, text))
    rows = [[said, heard, count] for (said, heard), count in pairs.most_common(_CONFUSIONS)]
    return [Table("Most frequent confusions", ["said", "heard", "times"], rows)] if rows else []


def _edits(truth: str, text: str) -> list[tuple[str, str]]:
    """The words that differ in jiwer's alignment, each with what was heard for it."""
    if not truth:
        return []
    said, heard = truth.split(), text.split()
    chunks = require("jiwer", "speech", "confusions").process_words(truth, text).alignments[0]
    pairs = []
    for chunk in (chunk for chunk in chunks if chunk.type != "equal"):
        left = said[chunk.ref_start_idx : chunk.ref_end_idx] or [_NONE]
        right = heard[chunk.hyp_start_idx : chunk.hyp_end_idx] or [_NONE]
        width = max(len(left), len(right))
        pairs += zip(
            left + [_NONE] * (width - len(left)), right + [_NONE] * (width - len(right)), strict=True
        )
    return pairs
