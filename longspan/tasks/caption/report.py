"""The sections of a captioner's report: scores, where each word was read, the worst captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from longspan.data.tokenizers import SPECIAL
from longspan.metrics.captions import CiderScorer
from longspan.report.elements import Element, Picture, Pictures, Section, Stat, Stats, Table, tabs
from longspan.tasks.sections import held_out_sections

from .codec import Caption, CaptionCodec
from .reading import CaptionedPicture

_SHOWN = 24  # pictures that are shown with their captions
_READ = 6  # pictures whose attention is shown
_WORDS = 30  # tokens of a caption whose attention is shown
_WORST, _FREQUENT = 8, 10  # captions that are listed


class Evaluated(NamedTuple):
    """Pictures with their answers; scores: metrics by name, {} where captions are not known."""

    records: Sequence[CaptionedPicture]
    answers: Sequence[Caption]
    scores: Mapping[str, float]


def caption_sections(
    codec: CaptionCodec, grid: tuple[int, int], evaluated: Evaluated | None
) -> list[Section]:
    """The task's sections; evaluated: on a source; None for what was held out in training.

    Args:
        grid: rows and columns of the cells that the decoder attends to.
    """
    held_out: Mapping[str, Any] = codec.held_out.get("scores", {})
    scores = held_out if evaluated is None else evaluated.scores
    sections = [Section("Summary", [_facts(codec, scores)])]
    if evaluated is None:
        names = {"cider": "CIDEr-D", "bleu4": "BLEU-4", "rougeL": "ROUGE-L", "distinct": "distinct"}
        return [*sections, *held_out_sections(codec.held_out, names, "one caption for all")]
    pictures = Pictures("Captions", [
        Picture(_colored(record), answer.text)
        for record, answer in zip(evaluated.records[:_SHOWN], evaluated.answers, strict=False)
    ], _of(len(evaluated.records), _SHOWN, "pictures"))  # fmt: skip
    sections.append(Section("Captions", [pictures, _frequent(evaluated)]))
    read = _attention(codec, grid, evaluated)
    if read:
        note = "Bright cells are those that were read for the token."
        sections.append(Section("Attention", [tabs("What was read for each token", read)], note))
    if evaluated.scores:
        sections.append(Section("Worst captions", _worst(codec, evaluated)))
    return sections


def _facts(codec: CaptionCodec, scores: Mapping[str, float]) -> Stats:
    shown = {"cider": "CIDEr-D", "bleu4": "BLEU-4", "rougeL": "ROUGE-L"}
    stats = [Stat(title, f"{scores[name]:.3f}") for name, title in shown.items() if name in scores]
    if "distinct" in scores:
        remark = f"{scores['vocabulary']:.0f} {codec.tokens.level} used"
        stats.append(Stat("distinct captions", f"{100 * scores['distinct']:.0f} %", remark))
    size = codec.tokens.size - len(SPECIAL)
    stats.append(Stat("vocabulary", f"{size:,}", codec.tokens.level))
    stats.append(
        Stat("pictures", f"{codec.format.height} x {codec.format.width}", "pixels, as they are seen")
    )
    return Stats("Captions", stats)


def _of(rows: int, shown: int, what: str) -> str:
    return f"The first {shown} of {rows:,} {what}." if rows > shown else ""


def _colored(record: CaptionedPicture) -> np.ndarray:
    """The pixels (H, W, 3), or (H, W) of a grey picture."""
    return record.pixels[..., 0] if record.pixels.shape[2] == 1 else record.pixels


def _name(record: CaptionedPicture, row: int) -> str:
    return Path(record.file).name if record.file else f"picture {row}"


def _frequent(evaluated: Evaluated) -> Table:
    """The captions that most pictures got, so that one sentence for all is seen."""
    counts = Counter(answer.text for answer in evaluated.answers)
    rows = [[text, count] for text, count in counts.most_common(_FREQUENT)]
    note = f"{len(counts):,} different captions for {len(evaluated.answers):,} pictures."
    return Table("Most frequent captions", ["caption", "pictures"], rows, note)


def _attention(codec: CaptionCodec, grid: tuple[int, int], evaluated: Evaluated) -> dict[str, Element]:
    """For the first pictures one copy for each token, darkened where the decoder did not look."""
    shown: dict[str, Element] = {}
    for row, (record, answer) in enumerate(zip(evaluated.records, evaluated.answers, strict=True)):
        if len(shown) == _READ or answer.attention is None or grid == (1, 1):
            break
        names = codec.tokens.names(answer.numbers[:_WORDS])
        pixels = _colored(record)
        pictures = [
            Picture(pixels, name, weights.reshape(grid))
            for name, weights in zip(names, answer.attention.numpy(), strict=False)
        ]
        shown[_name(record, row)] = Pictures(answer.text, pictures, _truth(record))
    return shown


def _truth(record: CaptionedPicture) -> str:
    return "" if record.captions is None else f"Truth: {record.captions[0]}"


def _worst(codec: CaptionCodec, evaluated: Evaluated) -> list[Element]:
    """The captions with the lowest CIDEr-D, beside their pictures."""
    cut = codec.tokens.scored
    references = [[cut(text) for text in record.captions or ()] for record in evaluated.records]
    scorer = CiderScorer(references)
    scores = [
        scorer.score(cut(answer.text), row) for answer, row in zip(evaluated.answers, references, strict=True)
    ]
    order = sorted(range(len(scores)), key=scores.__getitem__)[:_WORST]
    pictures = [Picture(_colored(evaluated.records[row]), evaluated.answers[row].text) for row in order]
    rows = [
        [_name(record, row), evaluated.answers[row].text, (record.captions or ("",))[0], scores[row]]
        for row, record in ((row, evaluated.records[row]) for row in order)
    ]
    table = Table("Beside the truth", ["picture", "caption", "truth", "CIDEr-D"], rows)
    return [Pictures("Lowest CIDEr-D", pictures), table]
