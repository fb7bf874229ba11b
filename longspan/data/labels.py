"""Encodes labels as class numbers, weights classes, and turns scores into calibrated probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Self

from longspan import errors
from longspan.metrics.classification import calibration_error

IGNORED = -100  # the label of a step that does not count, torch's own
_TEMPERATURES = [round(t, 6) for t in np.logspace(-1.3, 1.3, 131).tolist()]  # candidates
_SHOWN = 10  # classes named in an error


class Labels:
    """Encodes labels as numbers and decodes scores as probabilities.

    Attributes after fit:
        kind: "multiclass" (one label a record), "multilabel" (a tuple of any number) or "token" (a list with
            one label a step).
        classes: C, sorted; counts: labels of each class.
    Attributes after `fit_temperature`:
        temperature: by which scores are divided; calibration: the calibration error before and after.

    >>> labels = Labels().fit(["no", "yes", "no"])
    >>> labels.classes, labels.counts, labels.encode(["yes"])
    (['no', 'yes'], [2, 1], [tensor(1)])
    """

    def __init__(self) -> None:
        self.kind, self.classes, self.counts = "multiclass", list[Any](), list[int]()
        self.temperature, self.calibration = 1.0, dict[str, Any]()

    def fit(self, labels: Sequence[Any]) -> Self:
        """Find the kind of the labels and their classes.

        Raises:
            ValueError: there is one class only, or labels of several forms; one sentence.
        """
        first = labels[0]
        several = "multilabel" if isinstance(first, tuple) else "token"
        self.kind = several if isinstance(first, (tuple, list)) else "multiclass"
        counted = Counter(each for label in labels for each in self._each(label))
        self.classes = sorted(counted, key=sort_key)
        self.counts = [counted[name] for name in self.classes]
        if len(self.classes) < (1 if self.kind == "multilabel" else 2):
            received = f"{self.classes[0]!r} alone" if self.classes else "none"
            raise errors.value_error(
                "label", "at least two classes", received, "add records of another class"
            )
        return self

    def _each(self, label: Any) -> Sequence[Any]:
        if isinstance(label, (tuple, list)) == (self.kind == "multiclass"):
            raise errors.value_error(
                "label", "labels of one form in all rows", repr(label), "correct the row"
            )
        return (label,) if self.kind == "multiclass" else label

    def encode(self, labels: Sequence[Any], length: int | None = None) -> list[Tensor]:
        """A tensor for each record: class number (), zeros and ones (C,), or class numbers (T,) of T steps.

        Args:
            length: steps to encode at most, for labels of kind "token".

        Raises:
            ValueError: training has not seen a class; one sentence that names the row.
        """
        number_of = {label: number for number, label in enumerate(self.classes)}
        encoded: list[Tensor] = []
        for row, label in enumerate(labels):
            each = self._each(label)
            for name in each:
                if name not in number_of:
                    raise self._unknown(name, row)
            numbers = torch.tensor([number_of[name] for name in each], dtype=torch.int64)
            if self.kind == "multilabel":
                encoded.append(torch.zeros(len(self.classes)).index_fill_(0, numbers, 1.0))
            else:
                encoded.append(numbers[0] if self.kind == "multiclass" else numbers[:length])
        return encoded

    def _unknown(self, label: Any, row: int) -> ValueError:
        more = ", …" if len(self.classes) > _SHOWN else ""
        shown = ", ".join(map(repr, self.classes[:_SHOWN])) + more
        received = f"{label!r} in row {row}"
        return errors.value_error(
            "label", f"a class of training ({shown})", received, "train with rows of it"
        )

    def class_weights(self, y: Tensor, rows: int) -> Tensor:
        """Weights of the shape of y that balance the classes; their mean over the training records is 1.

        For multilabel, the ones and the zeros of each class have the same sum.

        Args:
            y: class numbers (...), or zeros and ones (..., C); rows: records that `fit` counted.
        """
        counts = torch.tensor(self.counts, dtype=torch.float32)
        if y.is_floating_point():
            frequency = counts / rows
            return 0.5 / torch.where(y > 0, frequency, 1 - frequency).clamp_min(1e-6)
        return (counts.sum() / (len(counts) * counts))[y.clamp_min(0)]

    def probabilities(self, scores: Tensor) -> np.ndarray:
        """Probabilities (..., C) of scores (..., C), calibrated."""
        scaled = scores.double() / self.temperature
        return (scaled.sigmoid() if self.kind == "multilabel" else scaled.softmax(-1)).cpu().numpy()

    def fit_temperature(self, scores: Tensor, truth: Tensor, rows: int) -> None:
        """Fit the temperature that gives validation labels the highest likelihood.

        Temperature scaling (Guo et al. 2017, arXiv 1706.04599). Every label counts as wrong with probability
        0.5 / (rows + 1), the estimate of Krichevsky and Trofimov (1981, "The performance of universal
        encoding"): rows that are all right do not show that the next one is right for certain. `calibration`
        stores the calibration error before and after.

        Args:
            scores: (N, C); truth: (N,) class numbers, or (N, C) zeros and ones; rows: the number of records.
        """
        before = calibration_error(self.probabilities(scores), truth.numpy())
        self.temperature = self.best_temperature(scores, truth, 0.5 / (rows + 1))[1]
        after = calibration_error(self.probabilities(scores), truth.numpy())
        self.calibration = {"before": before, "after": after, "rows": rows}

    def best_temperature(self, scores: Tensor, truth: Tensor, doubt: float = 0.0) -> tuple[float, float]:
        """The lowest mean cross entropy over the candidate temperatures, and its temperature.

        Args:
            doubt: the probability with which a label is taken for wrong.
        """
        if self.kind == "multilabel":
            targets = truth + doubt * (1 - 2 * truth)
            losses = [F.binary_cross_entropy_with_logits(scores / t, targets) for t in _TEMPERATURES]
        else:
            smoothing = doubt * scores.shape[1] / (scores.shape[1] - 1)
            losses = [F.cross_entropy(scores / t, truth, label_smoothing=smoothing) for t in _TEMPERATURES]
        return min(zip(map(float, losses), _TEMPERATURES, strict=True))

    def losses(self, scores: Tensor, truth: Tensor) -> Tensor:
        """The cross entropy (N,) of each row's scores (N, C); the mean over classes for multilabel."""
        if self.kind == "multilabel":
            return F.binary_cross_entropy_with_logits(scores, truth, reduction="none").mean(1)
        return F.cross_entropy(scores, truth, reduction="none")

    def state(self) -> dict[str, Any]:
        """Plain values that `restore` takes."""
        plain = {"classes": list(self.classes), "counts": list(self.counts)}
        learnt = {"temperature": self.temperature, "calibration": dict(self.calibration)}
        return {"kind": self.kind, **plain, **learnt}

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Take what `state` gave; other keys are passed over."""
        for name in self.state().keys() & state.keys():
            setattr(self, name, state[name])
        return self


def sort_key(label: Any) -> tuple[bool, Any]:
    """The key by which classes are sorted: numbers first, then text."""
    return isinstance(label, str), label
