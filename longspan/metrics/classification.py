"""Knows how good probabilities of classes are: accuracy, F1, AUC, likelihood, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np

from longspan.optional import require

BINS = 10


def _tools() -> Any:
    return require("sklearn.metrics", "classify", "the scores of a classifier")


def flat(answers: Any, truths: Any) -> tuple[np.ndarray, np.ndarray]:
    """Per-step answers end to end."""
    if isinstance(answers, list):
        return np.concatenate(answers), np.concatenate(truths)
    return answers, truths


def chosen(answers: np.ndarray) -> np.ndarray:
    """Class numbers (N,) of probabilities (N, C)."""
    return answers.argmax(-1)


def _hard(answers: Any, truths: Any) -> tuple[np.ndarray, np.ndarray]:
    answers, truths = flat(answers, truths)
    return (answers >= 0.5 if truths.ndim == 2 else chosen(answers)), truths


def accuracy(answers: Any, truths: Any) -> float:
    """The share of records (of steps, for labels a step) whose answer is right, all its labels for "many"."""
    found, truths = _hard(answers, truths)
    return float((found == truths).all(1).mean() if truths.ndim == 2 else (found == truths).mean())


def f1(answers: Any, truths: Any) -> float:
    """The mean over classes of the harmonic mean of precision and recall; 0 for a class never right."""
    found, truths = _hard(answers, truths)
    return float(_tools().f1_score(truths, found, average="macro", zero_division=0))


def auc(answers: Any, truths: Any) -> float:
    """The area under the ROC curve, each class against the others, mean over those with and without a row."""
    answers, truths = flat(answers, truths)
    hot = truths if truths.ndim == 2 else np.eye(answers.shape[1])[truths]
    both = [c for c in range(hot.shape[1]) if 0 < hot[:, c].sum() < len(hot)]
    if not both:
        return float("nan")
    return float(np.mean([_tools().roc_auc_score(hot[:, c], answers[:, c]) for c in both]))


def log_loss(answers: Any, truths: Any) -> float:
    """The mean negative log likelihood of the right answers."""
    answers, truths = flat(answers, truths)
    answers = answers.clip(1e-12, 1 - 1e-12)
    if truths.ndim == 2:
        return float(-np.where(truths > 0, np.log(answers), np.log1p(-answers)).mean())
    return float(-np.log(answers[np.arange(len(truths)), truths]).mean())


def bins(answers: Any, truths: Any) -> list[tuple[float, float, int]]:
    """How sure the answers are beside how often they are right: (confidence, accuracy, count), ten bins."""
    answers, truths = flat(answers, truths)
    if truths.ndim == 2:
        right = (answers >= 0.5) == (truths > 0)
        sure = np.maximum(answers, 1 - answers)
    else:
        right, sure = chosen(answers) == truths, answers.max(-1)
    right, sure = right.ravel(), sure.ravel()
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    return [
        (float(sure[place == b].mean()), float(right[place == b].mean()), int((place == b).sum()))
        for b in range(BINS)
        if (place == b).any()
    ]


def calibration_error(answers: Any, truths: Any) -> float:
    """The expected calibration error: the mean gap of confidence and accuracy, ten bins (Guo et al. 2017)."""
    found = bins(answers, truths)
    return sum(count * abs(sure - right) for sure, right, count in found) / sum(count for *_, count in found)
