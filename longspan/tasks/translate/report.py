"""The part of a translator's report that shows how good answers are by the length of their sources."""

from __future__ import annotations

from collections.abc import Sequence

from longspan.metrics.text import edit_rate
from longspan.report.elements import BarChart, Section, Values
from longspan.tasks.pair_codec import PairCodec
from longspan.tasks.pair_report import Evaluated

_GROUPS = 5  # groups of equally many sources


def by_length(codec: PairCodec, evaluated: Evaluated | None) -> list[Section]:
    """Edits for a character of the truth, in groups of sources of similar length; [] without truths."""
    if evaluated is None or not evaluated.scored or len(evaluated.pairs) < 2 * _GROUPS:
        return []
    lengths = [len(codec.source.encode(pair.source)) for pair in evaluated.pairs]
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    groups = [
        order[place * len(order) // _GROUPS : (place + 1) * len(order) // _GROUPS] for place in range(5)
    ]
    labels = [f"{lengths[group[0]]} to {lengths[group[-1]]}" for group in groups]
    bars: dict[str, Values] = {"model": [_rate(evaluated, group) for group in groups]}
    chart = BarChart("By tokens of the source", labels, bars, "edits for a character of the truth")
    return [Section("Short and long texts", [chart])]


def _rate(evaluated: Evaluated, rows: Sequence[int]) -> float:
    answers, truths = evaluated.answers.best, [pair.target or "" for pair in evaluated.pairs]
    return edit_rate([answers[row] for row in rows], [truths[row] for row in rows])
