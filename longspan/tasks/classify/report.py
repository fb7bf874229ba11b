"""Draws the charts of a classifier's report: confusion, scores by class, calibration, attributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from longspan.optional import require
from longspan.report.elements import HeatMap, HighlightedText, Line, LineChart, Stat, Table

from .series_head import SeriesHead


def confusion(classes: Sequence[Any], answers: np.ndarray, truths: np.ndarray) -> HeatMap:
    """The confusion matrix; answers, truths: (N,) class numbers."""
    numbers = np.arange(len(classes))
    matrix = _sklearn_metrics().confusion_matrix(truths, answers, labels=numbers)
    names = [str(name) for name in classes]
    return HeatMap("Confusion matrix", "answered", "true", names, matrix.tolist(), y=names, figures=True)


def by_class(classes: Sequence[Any], answers: np.ndarray, truths: np.ndarray) -> Table:
    """Precision, recall and F1 of each class; None where one is not defined.

    Args:
        answers, truths: (N,) class numbers, or (N, C) bool for multilabel.
    """
    numbers = np.arange(len(classes))
    answered, true = (
        values if values.ndim == 2 else values[:, None] == numbers for values in (answers, truths)
    )
    rows = []
    for number, name in enumerate(classes):
        *scores, records = _sklearn_metrics().precision_recall_fscore_support(
            true[:, number], answered[:, number], labels=[True], average=None, zero_division=np.nan
        )
        rows.append([name, int(records[0]), *(None if np.isnan(s[0]) else float(s[0]) for s in scores)])
    return Table("Per class", ["class", "records", "precision", "recall", "f1"], rows)


def _sklearn_metrics() -> Any:
    return require("sklearn.metrics", "classify", "the scores of a classifier")


def against_frequencies(calibration: Mapping[str, Any]) -> Table:
    """The validation metrics of a classifier beside those of predicting the class frequencies."""
    names = {calibration.get("part", "classifier"): "scores", "class shares": "scores_of_frequencies"}
    metrics = list(calibration["scores"])
    rows = [[name, *(calibration[key][metric] for metric in metrics)] for name, key in names.items()]
    best = {"accuracy": "high", "f1": "high", "auc": "high", "log_loss": "low"}
    note = (
        f"{calibration['rows']:,} records, each judged by parts that it did not train; "
        "class shares: the same probabilities for every record."
    )
    return Table("Held-out part", ["", *metrics], rows, note=note, best=best, emphasis=0)


def held_out_stats(calibration: Mapping[str, Any]) -> list[Stat]:
    """The accuracy on records that did not train, beside that of the most frequent class; [] without any."""
    if "scores" not in calibration:
        return []
    accuracy, frequent = (calibration[key]["accuracy"] for key in ("scores", "scores_of_frequencies"))
    return [Stat("held-out accuracy", f"{accuracy:.3f}", f"most frequent class {frequent:.3f}")]


def shares(head: SeriesHead) -> Table:
    """The share of the scores that each part of a classifier of series has."""
    names = ["MiniRocket", "Hydra"] if len(head.ridges) > 1 else ["ridge regression"]
    rows: list[list[Any]] = [["recurrent and convolutional networks", 1 - head.share, None, None]]
    for name, ridge in zip(names, head.ridges, strict=True):
        rows.append([name, head.share / len(head.ridges), len(ridge.weights), ridge.alpha])
    note = "Weights of the mean of scores, found by records that did not train."
    return Table("Shares of the parts", ["part", "share", "features", "penalty"], rows, note=note)


def reliability(bins: Sequence[tuple[float, float, int]]) -> LineChart:
    """Accuracy by confidence; `bins` as `classification.calibration_curve` gives them."""
    confidence, accuracy = [entry[0] for entry in bins], [entry[1] for entry in bins]
    lines = [Line("answers", confidence, accuracy), Line("perfect", [0.0, 1.0], [0.0, 1.0], "dash")]
    return LineChart("Reliability", "confidence", "share right", lines, note="Ten bins by confidence.")


def attributions(
    names: Sequence[str], weights: Sequence[Sequence[tuple[Any, float]]], *, words: bool
) -> HighlightedText | LineChart:
    """The attributions of some records' answers to their words or steps, see `Classifier.explain`.

    Args:
        names: the answer of each record; weights: (token or step number, weight) pairs of each record.
        words: whether the records are texts.
    """
    note = "Gradient of the answer's score times the input, by record 1 at its strongest; below 0 against it."
    records = list(zip(names, weights, strict=True))
    if words:
        texts = [(name, [(str(word), weight) for word, weight in pairs]) for name, pairs in records]
        return HighlightedText("Which words mattered", texts, note=note)
    lines = [
        Line(f"record {row}: {name}", [step for step, _ in pairs], [weight for _, weight in pairs])
        for row, (name, pairs) in enumerate(records)
    ]
    return LineChart("Which steps mattered", "step", "weight", lines, note=note)
