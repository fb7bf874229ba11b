"""The part of a summarizer's report that shows how many words of the summaries come from their texts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from longspan.report.elements import BarChart, Section, Values
from longspan.tasks.pair_report import Evaluated

_WORD = re.compile(r"\w+")


def novelty(evaluated: Evaluated | None) -> list[Section]:
    """Shares of words and of pairs of words that stand in the source, of answers and of true summaries."""
    if evaluated is None:
        return []
    sources = [pair.source for pair in evaluated.pairs]
    bars: dict[str, Values] = {"answers": _shares(evaluated.answers.best, sources)}
    truths = [pair.target for pair in evaluated.pairs if pair.target is not None]
    if len(truths) == len(sources):
        bars["truth"] = _shares(truths, sources)
    chart = BarChart("Words that stand in the source", ["words", "pairs of words"], bars, "share")
    return [Section("How much is copied", [chart])]


def _shares(summaries: Sequence[str], sources: Sequence[str]) -> list[float]:
    """Of single words and of pairs."""
    shares = []
    for size in (1, 2):
        within = total = 0
        for summary, source in zip(summaries, sources, strict=True):
            there, grams = set(_grams(source, size)), _grams(summary, size)
            within, total = within + sum(gram in there for gram in grams), total + len(grams)
        shares.append(within / max(1, total))
    return shares


def _grams(text: str, size: int) -> list[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    return list(zip(*(words[place:] for place in range(size)), strict=False))
