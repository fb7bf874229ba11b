"""Knows what a report shows of a classifier: scores, confusion, calibration, what mattered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import classify_score
from .exhibits import Curves, Exhibit, HeatMap, Line, Marked, Number, Numbers, Section, Table


def learned(codec: Any) -> list[Section]:
    """What the model itself remembers: its classes and its calibration."""
    total = sum(codec.counts)
    unit = "readings" if codec.words is None else codec.units
    numbers = [
        Number("classes", str(len(codec.classes))),
        Number("labels", f"{total:,}", f"trained on; {unit}"),
    ]
    rows = [[one, count, count / total] for one, count in zip(codec.classes, codec.counts, strict=True)]
    shown: list[Exhibit] = [Table("Classes in training", ["class", "labels", "share"], rows)]
    if codec.calibration:
        kept = codec.calibration
        row = [codec.temperature, kept["before"], kept["after"], kept["rows"]]
        columns = ["temperature", "error before", "error after", "held-out records"]
        shown.append(Table("Calibration", columns, [row], note="Expected calibration error over ten bins."))
    return [Section("Summary", [Numbers("Classifier", numbers)]), Section("Classes", shown)]


def found(codec: Any, answers: Any, truths: Any, scores: Mapping[str, float]) -> list[Section]:
    """How it did on labelled records.

    Args:
        answers, truths: as the metrics take them; scores: metric -> number.
    """
    headline = [Number(name.replace("_", " "), f"{value:.4g}") for name, value in scores.items()]
    sections = [
        Section(
            "Summary", [Numbers("Scores", headline), Table("Scores", list(scores), [list(scores.values())])]
        )
    ]
    flat, true = classify_score.flat(answers, truths)
    if true.ndim == 1:
        said, there = (np.eye(len(codec.classes), dtype=bool)[one] for one in (flat.argmax(-1), true))
        shown = [_confusion(codec.classes, flat, true), _by_class(codec.classes, said, there)]
        sections.append(Section("Confusion", shown))
    else:
        sections.append(Section("Per class", [_by_class(codec.classes, flat >= 0.5, true > 0)]))
    sections.append(Section("Calibration of the answers", [_reliability(answers, truths)]))
    return sections


def _confusion(classes: list[Any], answers: np.ndarray, truths: np.ndarray) -> HeatMap:
    matrix = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(matrix, (truths, answers.argmax(-1)), 1)
    names = [str(one) for one in classes]
    return HeatMap("Confusion matrix", "answered", "true", names, matrix.tolist(), y=names, figures=True)


def _by_class(classes: list[Any], answers: np.ndarray, truths: np.ndarray) -> Table:
    """answers, truths: (N, C) bool."""
    rows = []
    for number, name in enumerate(classes):
        said, there = answers[:, number], truths[:, number]
        right, both = int((said & there).sum()), int(said.sum() + there.sum())
        precision, recall = (right / int(one.sum()) if one.any() else None for one in (said, there))
        rows.append([name, int(there.sum()), precision, recall, 2 * right / both if both else None])
    return Table("Per class", ["class", "records", "precision", "recall", "f1"], rows)


def _reliability(answers: Any, truths: Any) -> Curves:
    found = classify_score.bins(answers, truths)
    sure, right = [one[0] for one in found], [one[1] for one in found]
    lines = [Line("answers", sure, right), Line("perfect", [0.0, 1.0], [0.0, 1.0], "dash")]
    return Curves("Reliability", "confidence", "share right", lines, note="Ten bins by confidence.")


def mattered(codec: Any, answers: np.ndarray, found: list[list[tuple[Any, float]]]) -> Section:
    """Which words or steps of the first records mattered: `found` has the units and weights of each."""
    return Section("What mattered", [_mattered(codec, answers, found)])


def _mattered(codec: Any, answers: np.ndarray, mattered: list[list[tuple[Any, float]]]) -> Marked | Curves:
    names = [str(codec.classes[int(row.argmax())]) for row in answers[: len(mattered)]]
    note = "Gradient of the answer's score times the input, by record 1 at its strongest; below 0 against it."
    if codec.words is None:
        lines = [
            Line(f"record {place}: {name}", [step for step, _ in one], [weight for _, weight in one])
            for place, (name, one) in enumerate(zip(names, mattered, strict=True))
        ]
        return Curves("Which steps mattered", "step", "weight", lines, note=note)
    texts = [
        (name, [(str(word), weight) for word, weight in one])
        for name, one in zip(names, mattered, strict=True)
    ]
    return Marked("Which words mattered", texts, note=note)
