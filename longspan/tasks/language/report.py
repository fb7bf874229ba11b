"""Makes the sections of a language model's report: scores, samples, the least expected places of a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from longspan.report.elements import Element, HighlightedText, Section, Stat, Stats, Table, Text
from longspan.tasks.parts import Fitted

from .codec import LanguageCodec, TokenScores
from .generation import generate
from .network import LanguageNetwork
from .reading import Document
from .tokens import encode

_SAMPLES = {"temperature 1": 1.0, "temperature 0.7": 0.7}
_LENGTH = {"characters": 400, "bytes": 400, "words": 100, "bpe": 120}  # tokens of a sample
_PARTS = {"longspan": "", "its network alone": "network_", "Kneser-Ney n-gram alone": "ngram_"}
_PLACES = 6  # least expected places that are shown
_AROUND = {"characters": 40, "bytes": 40, "words": 10, "bpe": 14}  # tokens shown on both sides of a place


def sections(
    fitted: Fitted[LanguageCodec, LanguageNetwork, Any],
    scores: Mapping[str, float],
    records: list[Document] | None,
    answers: Sequence[TokenScores] | None,
) -> list[Section]:
    """The sections of a report.

    Args:
        scores: the metrics, of a source or of the held-out part; empty where nothing was held out.
        records, answers: the source and its log-probabilities; None for no source.
    """
    codec = fitted.codec
    shown = [Section("Summary", [_summary(codec, scores), *_comparison(scores)])]
    if records is not None and answers is not None:
        shown.append(
            Section("Least expected places", [_places(codec, records, [scores.mixed for scores in answers])])
        )
    shown.append(Section("Samples", _samples(fitted)))
    return shown


def _summary(codec: LanguageCodec, scores: Mapping[str, float]) -> Stats:
    stats = [Stat("tokens", codec.token_level or "", f"{codec.tokenizer.size:,} different ones")]
    if scores:
        better = scores["perplexity"] < scores["ngram_perplexity"]
        rival = f"n-gram: {scores['ngram_perplexity']:.2f}"
        stats += [
            Stat("perplexity", f"{scores['perplexity']:.2f}", rival, "good" if better else "bad"),
            Stat("nats per token", f"{scores['nats_per_token']:.4f}"),
            Stat("bits per character", f"{scores['bits_per_character']:.3f}"),
        ]
    return Stats("Language model", stats)


def _comparison(scores: Mapping[str, float]) -> list[Element]:
    if not scores:
        return []
    names: list[str] = ["perplexity", "nats_per_token", "bits_per_character"]
    rows = [[label, *(scores[prefix + name] for name in names)] for label, prefix in _PARTS.items()]
    best = dict.fromkeys(names, "low")
    note = "All have learned the same text; bits per character compare models with unlike tokens."
    table: Element = Table("Beside an n-gram model", ["", *names], rows, note=note, best=best, emphasis=0)
    return [table]


def _samples(fitted: Fitted[LanguageCodec, LanguageNetwork, Any]) -> list[Element]:
    length = _LENGTH[fitted.codec.token_level or "characters"]
    return [
        Text(
            f"A sample, {name}",
            "".join(generate(fitted.network, fitted.codec, "", length, temperature=heat, seed=0)) or " ",
            code=True,
        )
        for name, heat in _SAMPLES.items()
    ]


def _places(codec: LanguageCodec, records: list[Document], answers: Sequence[np.ndarray]) -> HighlightedText:
    """The tokens that were least expected, with those around them."""
    around = _AROUND[codec.token_level or "characters"]
    candidates = sorted(
        (float(row[at]), number, int(at))
        for number, row in enumerate(answers)
        for at in np.argsort(row[: len(row) - codec.ends])[: 4 * _PLACES]
    )
    apart: list[tuple[float, int, int]] = []
    for value, number, at in candidates:
        if all(number != other or abs(at - near) > around for _, other, near in apart):
            apart.append((value, number, at))
    texts = [_place(codec, records[number], answers[number], at, around) for _, number, at in apart[:_PLACES]]
    note = "Colour: the nats of a token, as a share of the largest in its row."
    return HighlightedText("Least expected places", texts, note=note)


def _place(
    codec: LanguageCodec, document: Document, scores: np.ndarray, at: int, around: int
) -> tuple[str, list[tuple[str, float]]]:
    begin, end = max(0, at - around), at + around + 1
    numbers = encode(document, codec.tokenizer)[begin:end].tolist()
    nats = -scores[begin:end][: len(numbers)]
    pieces = [codec.tokenizer.decode([number]) for number in numbers]
    heading = f"{-scores[at]:.1f} nats at token {at + 1:,}"
    return heading, list(zip(pieces, (-nats / max(1e-6, float(nats.max()))).tolist(), strict=True))
