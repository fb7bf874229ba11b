"""Turns probabilities into answers: classes, several labels, labels per token, and a table of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from longspan.data.labels import Labels
from longspan.tasks.codec import Metrics

from .reading import Example, Examples


def classes_of(labels: Labels) -> np.ndarray:
    """The classes (C,), in the order of the scores."""
    names = labels.classes
    return np.array(names, dtype=None if len({type(name) for name in names}) == 1 else object)


def most_probable(labels: Labels, probabilities: Any) -> Any:
    """The most probable classes: (N,), for multilabel a list of tuples, for labels per token of lists."""
    classes = classes_of(labels)
    if labels.kind == "token":
        return [classes[row.argmax(-1)].tolist() for row in probabilities]
    if labels.kind == "multilabel":
        return [tuple(classes[row >= 0.5].tolist()) for row in probabilities]
    return classes[probabilities.argmax(-1)]


def answer_table(labels: Labels, probabilities: Any, records: Sequence[Example]) -> pl.DataFrame:
    """Row, answer, its probability (several where there are several labels), and the text or id."""
    columns: dict[str, Any] = {
        "row": range(len(records)),
        "answer": list(most_probable(labels, probabilities)),
        "probability": _probabilities_of_answers(labels, probabilities),
    }
    if records and all(isinstance(record.input, str) for record in records):
        columns["text"] = [record.input for record in records]
    if isinstance(records, Examples) and records.ids is not None:
        columns["id"] = records.ids
    return pl.DataFrame(columns)


def beside_frequencies(
    labels: Labels, records: int, probabilities: Any, truth: Any, metrics: Metrics
) -> dict[str, dict[str, float]]:
    """The metrics of probabilities ("scores"), and of the class frequencies in their place.

    Args:
        labels: fitted; records: the number of records that they were fitted to.
    """
    counts = np.array(labels.counts, dtype=float)
    frequencies = counts / (records if labels.kind == "multilabel" else counts.sum())
    rows = probabilities if isinstance(probabilities, list) else [probabilities]
    constant: Any = [np.broadcast_to(frequencies, row.shape) for row in rows]
    constant = constant if isinstance(probabilities, list) else constant[0]
    return {
        name: {key: float(metric(answers, truth)) for key, metric in metrics.items()}
        for name, answers in (("scores", probabilities), ("scores_of_frequencies", constant))
    }


def _probabilities_of_answers(labels: Labels, probabilities: Any) -> list[Any]:
    if labels.kind == "multilabel":
        return [row[row >= 0.5].tolist() for row in probabilities]
    return [row.max(-1).tolist() for row in probabilities]
