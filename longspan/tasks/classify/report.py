"""Charts of a classifier's report: confusion, scores by class, calibration, what mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from longspan.report.elements import HeatMap, HighlightedText, Line, LineChart, Table


def confusion(classes: Sequence[Any], answers: np.ndarray, truths: np.ndarray) -> HeatMap:
    """How often each class was answered where each was true; answers, truths: (N,) class numbers."""
    matrix = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(matrix, (truths, answers), 1)
    names = [str(one) for one in classes]
    return HeatMap("Confusion matrix", "answered", "true", names, matrix.tolist(), y=names, figures=True)


def by_class(classes: Sequence[Any], answers: np.ndarray, truths: np.ndarray) -> Table:
    """Precision, recall and F1 of each class; answers, truths: (N, C) bool."""
    rows = []
    for number, name in enumerate(classes):
        said, there = answers[:, number], truths[:, number]
        right, both = int((said & there).sum()), int(said.sum() + there.sum())
        precision, recall = (right / int(one.sum()) if one.any() else None for one in (said, there))
        rows.append([name, int(there.sum()), precision, recall, 2 * right / both if both else None])
    return Table("Per class", ["class", "records", "precision", "recall", "f1"], rows)


def against_shares(calibration: Mapping[str, Any]) -> Table:
    """The validation metrics of a classifier beside those of the class shares; see `ClassifierCodec`."""
    names = {"classifier": "scores", "class shares": "scores_of_shares"}
    metrics = list(calibration["scores"])
    rows = [[name, *(calibration[key][metric] for metric in metrics)] for name, key in names.items()]
    best = {"accuracy": "high", "f1": "high", "auc": "high", "log_loss": "low"}
    note = (
        f"{calibration['rows']:,} records held out of the training; shares: of the classes, for every record."
    )
    return Table("Held-out part", ["", *metrics], rows, note=note, best=best, emphasis=0)


def reliability(bins: Sequence[tuple[float, float, int]]) -> LineChart:
    """Accuracy by confidence; `bins` as `classification.calibration_curve` gives them."""
    sure, right = [one[0] for one in bins], [one[1] for one in bins]
    lines = [Line("answers", sure, right), Line("perfect", [0.0, 1.0], [0.0, 1.0], "dash")]
    return LineChart("Reliability", "confidence", "share right", lines, note="Ten bins by confidence.")


def mattered(
    names: Sequence[str], weights: Sequence[Sequence[tuple[Any, float]]], *, words: bool
) -> HighlightedText | LineChart:
    """Which words or steps of some records mattered.

    Args:
        names: the record's answers; weights: their units (steps: the number) with their weights.
        words: whether the units are words.
    """
    note = "Gradient of the answer's score times the input, by record 1 at its strongest; below 0 against it."
    records = list(zip(names, weights, strict=True))
    if words:
        texts = [(name, [(str(word), weight) for word, weight in one]) for name, one in records]
        return HighlightedText("Which words mattered", texts, note=note)
    lines = [
        Line(f"record {place}: {name}", [step for step, _ in one], [weight for _, weight in one])
        for place, (name, one) in enumerate(records)
    ]
    return LineChart("Which steps mattered", "step", "weight", lines, note=note)
