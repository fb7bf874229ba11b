"""The sections of the reports of tasks that read a text and write another: scores, answers, attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from longspan.report.elements import Element, HeatMap, Section, Stat, Stats, Table, tabs

from .pair_codec import Answers, PairCodec, Written
from .pair_reading import Pair

_LEVELS = {"words": "words", "bpe": "byte pairs", "characters": "characters"}
SHOWN = 8  # pairs that a report shows
_MAPS = 4  # answers whose attention is shown
_WIDEST = 60  # tokens of a source that a map of attention has room for
_LOW = ("edit_distance",)  # metrics of which less is better
_WORST = 10  # pairs that are listed with their scores
_WORST_BY = (
    "chrf",
    "rougeL",
    "edit_distance",
)  # the first of these that the task has tells the worst answers
_LONGEST = 300  # characters of a text in the list of the worst


class Evaluated(NamedTuple):
    """Pairs with the answers to them; scored: what `PairCodec.scores` gave, {} where targets are missing."""

    pairs: Sequence[Pair]
    answers: Answers
    scored: Mapping[str, Any]


def pair_sections(codec: PairCodec, evaluated: Evaluated | None) -> list[Section]:
    """The sections of both tasks; evaluated: on a source; None for what was held out in training."""
    scored = codec.held_out if evaluated is None else evaluated.scored
    sections = [Section("Summary", [_facts(codec, scored)])]
    if scored:
        sections.append(Section("How good it is", [_scores(scored)]))
    if evaluated is not None:
        if evaluated.scored:
            sections.append(Section("Worst cases", [_worst(codec, evaluated)]))
        pairs = evaluated.pairs[:SHOWN]
        rows = evaluated.answers.rows[:SHOWN]
        sections.append(Section("Answers", [_answers(rows, pairs)]))
        maps = _attention(codec, rows, pairs)
        if maps:
            sections.append(Section("Attention", [tabs("What was read for each token", maps)]))
    return sections


def _facts(codec: PairCodec, scored: Mapping[str, Any]) -> Stats:
    stats = [
        Stat(side, f"{tokens.size:,}", f"{_LEVELS[tokens.level]} in the vocabulary")
        for side, tokens in (("source", codec.source), ("target", codec.target))
    ]
    best = {} if not scored else scored["scores"]["model"]
    stats += [Stat(name.replace("_", " "), f"{value:.4g}") for name, value in list(best.items())[:3]]
    return Stats("Texts", stats)


def _scores(scored: Mapping[str, Any]) -> Table:
    """The model beside answers that need no network."""
    scores = scored["scores"]
    metrics = list(scores["model"])
    rows = [[name, *values.values()] for name, values in scores.items()]
    best = {metric: "low" if metric in _LOW else "high" for metric in metrics}
    return Table("Scores", ["", *metrics], rows, note=f"{scored['rows']:,} pairs.", best=best, emphasis=0)


def _answers(rows: Sequence[Sequence[Written]], pairs: Sequence[Pair]) -> Table:
    shown = [
        [pair.source, row[0].text, *([pair.target] if pair.target is not None else [])]
        for row, pair in zip(rows, pairs, strict=True)
    ]
    known = all(pair.target is not None for pair in pairs)
    return Table("Answers", ["source", "answer", *(["truth"] if known else [])], shown)


def _worst(codec: PairCodec, evaluated: Evaluated) -> Table:
    """The answers with the worst scores by themselves, beside their sources and truths."""
    name = next(name for name in _WORST_BY if name in evaluated.scored["scores"]["model"])
    score, sign = codec.text_metrics()[name], -1.0 if name in _LOW else 1.0
    rows = [
        [row, pair.source, answer, pair.target or "", score([answer], [pair.target or ""])]
        for row, (pair, answer) in enumerate(zip(evaluated.pairs, evaluated.answers.best, strict=True))
        if answer != pair.target
    ]
    rows.sort(key=lambda cells: sign * cells[-1])
    note = (
        f"{len(rows):,} of {len(evaluated.pairs):,} answers differ from the truth; rows are counted from 0."
    )
    shown = [[cells[0], *map(_shortened, cells[1:4]), cells[4]] for cells in rows[:_WORST]]
    return Table(f"Worst {name.replace('_', ' ')}", ["row", "source", "answer", "truth", name], shown, note)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


def _attention(
    codec: PairCodec, rows: Sequence[Sequence[Written]], pairs: Sequence[Pair]
) -> dict[str, Element]:
    """Maps of the attention by the pair: a row for each token written, a column for each read."""
    maps: dict[str, Element] = {}
    for number, (row, pair) in enumerate(zip(rows, pairs, strict=True)):
        best = row[0]
        if best.attention is None or not best.numbers or len(maps) == _MAPS:
            continue
        read, written = codec.token_names(pair.source, best.numbers)
        maps[f"{number}: {best.text[:40]}"] = HeatMap(
            best.text, "read", "written", read[:_WIDEST], best.attention[:, :_WIDEST].tolist(),
            low=0.0, high=1.0, y=written,
        )  # fmt: skip
    return maps
