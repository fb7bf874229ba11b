"""Scores of predicted class probabilities: accuracy, F1, AUC, log loss, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np

from longspan.optional import require

BINS = 10  # equal intervals of confidence in a calibration curve


def _sklearn_metrics() -> Any:
    return require("sklearn.metrics", "classify", "the scores of a classifier")


def flatten(probabilities: Any, truths: Any) -> tuple[np.ndarray, np.ndarray]:
    """Lists of per-step arrays, one a sequence, concatenated; arrays as they are."""
    if isinstance(probabilities, list):
        return np.concatenate(probabilities), np.concatenate(truths)
    return probabilities, truths


def argmax(probabilities: np.ndarray) -> np.ndarray:
    """Class numbers (N,) of probabilities (N, C)."""
    return probabilities.argmax(-1)


def _predicted(probabilities: Any, truths: Any) -> tuple[np.ndarray, np.ndarray]:
    probabilities, truths = flatten(probabilities, truths)
    return (probabilities >= 0.5 if truths.ndim == 2 else argmax(probabilities)), truths


def accuracy(probabilities: Any, truths: Any) -> float:
    """The share of records or steps predicted right; a multilabel record is right if all its labels are."""
    predicted, truths = _predicted(probabilities, truths)
    return float((predicted == truths).all(1).mean() if truths.ndim == 2 else (predicted == truths).mean())


def balanced_accuracy(probabilities: Any, truths: Any) -> float:
    """The mean over classes of the share of their records or steps predicted right (recall).

    For multilabel, the mean over classes of the mean share of right answers with and without the label.
    """
    predicted, truths = _predicted(probabilities, truths)
    if truths.ndim == 1:
        return float(np.mean([(predicted[truths == c] == c).mean() for c in np.unique(truths)]))
    right, true = predicted == (truths > 0), truths > 0
    shares = [right[rows, c].mean() for c, t in enumerate(true.T) for rows in (t, ~t) if rows.any()]
    return float(np.mean(shares))


def f1(probabilities: Any, truths: Any) -> float:
    """The mean over classes of the harmonic mean of precision and recall; 0 for a class never right."""
    predicted, truths = _predicted(probabilities, truths)
    return float(_sklearn_metrics().f1_score(truths, predicted, average="macro", zero_division=0))


def auc(probabilities: Any, truths: Any) -> float:
    """The area under the ROC curve, each class against the rest; the mean over classes that have both."""
    probabilities, truths = flatten(probabilities, truths)
    one_hot = truths if truths.ndim == 2 else np.eye(probabilities.shape[1])[truths]
    usable = [c for c in range(one_hot.shape[1]) if 0 < one_hot[:, c].sum() < len(one_hot)]
    if not usable:
        return float("nan")
    return float(
        np.mean([_sklearn_metrics().roc_auc_score(one_hot[:, c], probabilities[:, c]) for c in usable])
    )


def log_loss(probabilities: Any, truths: Any) -> float:
    """The mean negative log likelihood of the true labels."""
    probabilities, truths = flatten(probabilities, truths)
    probabilities = probabilities.clip(1e-12, 1 - 1e-12)
    if truths.ndim == 2:
        return float(-np.where(truths > 0, np.log(probabilities), np.log1p(-probabilities)).mean())
    return float(-np.log(probabilities[np.arange(len(truths)), truths]).mean())


def calibration_curve(probabilities: Any, truths: Any) -> list[tuple[float, float, int]]:
    """(mean confidence, accuracy, count) of the predictions in each of ten equal bins of confidence."""
    probabilities, truths = flatten(probabilities, truths)
    if truths.ndim == 2:
        correct = (probabilities >= 0.5) == (truths > 0)
        confidence = np.maximum(probabilities, 1 - probabilities)
    else:
        correct, confidence = argmax(probabilities) == truths, probabilities.max(-1)
    correct, confidence = correct.ravel(), confidence.ravel()
    bin_of = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        (float(confidence[bin_of == b].mean()), float(correct[bin_of == b].mean()), int((bin_of == b).sum()))
        for b in range(BINS)
        if (bin_of == b).any()
    ]


def calibration_error(probabilities: Any, truths: Any) -> float:
    """The expected calibration error: the mean gap of confidence and accuracy, ten bins (Guo et al. 2017)."""
    curve = calibration_curve(probabilities, truths)
    gaps = sum(count * abs(confidence - accuracy) for confidence, accuracy, count in curve)
    return gaps / sum(count for *_, count in curve)
