"""Makes the sections of a classifier's report: scores, confusion, errors, calibration, attributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from longspan.metrics import classification
from longspan.optional import require
from longspan.report.elements import (
    Element,
    HeatMap,
    HighlightedText,
    Line,
    LineChart,
    Section,
    Stat,
    Stats,
    Table,
    Tabs,
)

from .codec import ClassifierCodec
from .reading import Example
from .series_encoder import MixedInput
from .series_head import SeriesHead

_WORST = 20  # wrong answers that are listed
_TEXT = 160  # characters of a text in a table
_CHANNELS = 6  # channels of a series that are drawn
_SHARES = ("accuracy", "balanced_accuracy", "f1")  # scores that are shown in percent


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
    remark = f"most frequent class {100 * frequent:.1f} %"
    return [Stat("held-out accuracy", f"{100 * accuracy:.1f} %", remark)]


def shares(head: SeriesHead) -> Table:
    """The share of the scores that each part of a classifier of series has."""
    names = ["MiniRocket", "Hydra"] if len(head.ridges) > 1 else ["ridge regression"]
    rows: list[list[Any]] = [["recurrent and convolutional networks", 1 - head.share, None, None]]
    parts = [head.share * weight / sum(head.weights) for weight in head.weights]
    for name, ridge, part in zip(names, head.ridges, parts, strict=False):
        rows.append([name, part, len(ridge.weights), ridge.alpha])
    if head.nearest is not None:
        rows.append(["nearest neighbour", parts[-1], None, None])
    note = "Weights of the mean of scores, found by records that did not train."
    return Table("Shares of the parts", ["part", "share", "features", "penalty"], rows, note=note)


def reliability(bins: Sequence[tuple[float, float, int]]) -> LineChart:
    """Accuracy by confidence; `bins` as `classification.calibration_curve` gives them."""
    confidence, accuracy = [entry[0] for entry in bins], [entry[1] for entry in bins]
    lines = [Line("answers", confidence, accuracy), Line("perfect", [0.0, 1.0], [0.0, 1.0], "dash")]
    return LineChart("Reliability", "confidence", "share right", lines, note="Ten bins by confidence.")


def attributions(
    codec: ClassifierCodec,
    records: Sequence[Example],
    answers: Any,
    weights: Sequence[Sequence[tuple[Any, float]]],
) -> HighlightedText | Tabs:
    """The attributions of some records' answers to their words, columns or steps, see `Classifier.explain`.

    Args:
        answers: probabilities of the source, whose first rows are those of the records.
        weights: (token, column or step number, weight) pairs of each record.
    """
    names = [_verdict(codec, record, answers[row]) for row, record in enumerate(records)]
    if codec.sizes["readings"]:
        charts = {
            f"{row + 1}: {name}": _steps(codec, record, pairs)
            for row, (name, record, pairs) in enumerate(zip(names, records, weights, strict=True))
        }
        note = "Gradient of the answer's score times the input; the strongest step is 1, below 0 against it."
        return Tabs("Which steps mattered", charts, note=note)
    texts = [
        (name, [(str(word), weight) for word, weight in pairs])
        for name, pairs in zip(names, weights, strict=True)
    ]
    note = "Gradient of the answer's score times the input: the stronger the colour, the more it counted."
    return HighlightedText("Which words mattered", texts, note=note, keys=("for the answer", "against it"))


def _verdict(codec: ClassifierCodec, record: Example, probabilities: np.ndarray) -> str:
    """The answer with its probability, and the true class where it is another one."""
    best = int(probabilities.argmax())
    answer = codec.labels.classes[best]
    said = f"{answer}, {100 * probabilities[best]:.0f} %"
    if record.label is None or isinstance(record.label, (list, tuple)):
        return said
    return f"{said}, right" if record.label == answer else f"{said}, truly {record.label}"


def _steps(codec: ClassifierCodec, record: Example, pairs: Sequence[tuple[Any, float]]) -> list[LineChart]:
    """The channels of a series, and below them how much each step counted."""
    values = _series_of(record)
    names = codec.series_columns if len(codec.series_columns) == values.shape[1] else ()
    steps = np.arange(len(values))
    lines = [
        Line(names[channel] if names else f"channel {channel + 1}", steps, values[:, channel])
        for channel in range(min(values.shape[1], _CHANNELS))
    ]
    if len(lines) == 1:
        lines = [Line("actual", steps, values[:, 0])]
    weights = [Line("weight", [step for step, _ in pairs], [weight for _, weight in pairs])]
    return [
        LineChart("The series", "step", "value", lines),
        LineChart("What each step counted", "step", "weight", weights, levels=[(0.0, "")]),
    ]


def _series_of(record: Example) -> np.ndarray:
    """The series (T, D) of a record, also of one with numbers and categories beside it."""
    given = record.input.series if isinstance(record.input, MixedInput) else record.input
    values = np.asarray(given, dtype=float)
    return values[:, None] if values.ndim == 1 else values


# ---- sections


def model_sections(codec: ClassifierCodec) -> list[Section]:
    """What the model stores: its scores on held-out records, its classes and its calibration."""
    labels, calibration = codec.labels, codec.labels.calibration
    input_kind = codec.text_encoder.token_level if codec.series_encoder is None else "readings"
    total = sum(labels.counts)
    numbers = [
        *held_out_stats(calibration),
        Stat("classes", str(len(labels.classes))),
        Stat("labels", f"{total:,}", f"trained on; {input_kind}"),
    ]
    rows = [[name, count, count / total] for name, count in zip(labels.classes, labels.counts, strict=True)]
    elements: list[Element] = [Table("Classes in training", ["class", "labels", "share"], rows)]
    if isinstance(codec.head, SeriesHead):
        elements.append(shares(codec.head))
    if "before" in calibration:
        row = [labels.temperature, calibration["before"], calibration["after"], calibration["rows"]]
        columns = ["temperature", "error before", "error after", "held-out records"]
        note = "Expected calibration error over ten bins."
        elements.append(Table("Calibration", columns, [row], note=note))
    sections = [Section("Summary", [Stats("Classifier", numbers)]), Section("Classes", elements)]
    if "scores" in calibration:
        sections.insert(1, Section("Held-out part", [against_frequencies(calibration)]))
    return sections


def score_sections(
    codec: ClassifierCodec,
    records: Sequence[Example],
    answers: Any,
    truths: Any,
    scores: Mapping[str, float],
) -> list[Section]:
    """Scores, confusion, the worst errors and calibration on labelled records.

    Args:
        answers, truths: as the metrics take them; scores: metric -> value.
    """
    classes = codec.labels.classes
    flat, true = classification.flatten(answers, truths)
    if true.ndim == 1:
        predicted = classification.argmax(flat)
        tables = [confusion(classes, predicted, true), by_class(classes, predicted, true)]
        middle = [Section("Confusion", tables)]
    else:
        middle = [Section("Per class", [by_class(classes, flat >= 0.5, true > 0)])]
    if codec.labels.kind == "multiclass":
        middle.append(Section("Errors", [worst_errors(codec, records, answers, true)]))
    curve = reliability(classification.calibration_curve(answers, truths))
    return [
        Section("Summary", [Stats("Scores", score_stats(scores, true))]),
        *middle,
        Section("Calibration of the answers", [curve]),
    ]


def score_stats(scores: Mapping[str, float], truths: np.ndarray) -> list[Stat]:
    """A headline for each score, shares in percent; the accuracy beside the most frequent class'."""
    stats = []
    for name, value in scores.items():
        shown, remark, mood = f"{value:.4g}", "", ""
        if name in _SHARES:
            shown = f"{100 * value:.1f} %"
        if name == "accuracy" and truths.ndim == 1 and len(truths):
            frequent = float(np.bincount(truths.astype(int)).max() / len(truths))
            remark, mood = (
                f"most frequent class {100 * frequent:.1f} %",
                "good" if value > frequent else "bad",
            )
        stats.append(Stat(name.replace("_", " "), shown, remark, mood))
    return stats


def worst_errors(
    codec: ClassifierCodec, records: Sequence[Example], answers: np.ndarray, truths: np.ndarray
) -> Table:
    """The wrong answers that the model was surest of.

    Args:
        answers: probabilities (N, C); truths: class numbers (N,).
    """
    classes, predicted = codec.labels.classes, answers.argmax(-1)
    wrong = np.flatnonzero(predicted != truths)
    order = wrong[np.argsort(-answers[wrong, predicted[wrong]], kind="stable")]
    texts = all(isinstance(record.input, str) for record in records)
    rows = [
        [
            int(row),
            classes[int(truths[row])],
            classes[int(predicted[row])],
            f"{100 * answers[row, predicted[row]]:.0f} %",
            *([_shortened(records[int(row)].input)] if texts else []),
        ]
        for row in order[:_WORST]
    ]
    columns = ["record", "true", "answered", "sure by", *(["text"] if texts else [])]
    note = f"{len(wrong):,} of {len(truths):,} answers are wrong; records are counted from 0."
    return Table("The surest of the wrong answers", columns, rows, note=note)


def _shortened(text: str) -> str:
    return text if len(text) <= _TEXT else f"{text[:_TEXT]} …"
