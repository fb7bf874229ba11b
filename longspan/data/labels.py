"""Knows labels as numbers, how much each counts, and scores as calibrated probabilities of classes."""

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
_TEMPERATURES = [round(one, 6) for one in np.logspace(-1.3, 1.3, 131).tolist()]  # that are tried
_SHOWN = 10  # classes named in an error


class Labels:
    """Labels to numbers and scores to probabilities.

    Attributes after fit: kind ("one" label a record, "many" as a tuple, or a list of one a step, "steps"),
    classes in order, counts (labels of each); after `cool`: temperature, that scores are divided by, and
    calibration, what it changed.

    >>> labels = Labels().fit(["no", "yes", "no"])
    >>> labels.classes, labels.counts, labels.numbers(["yes"])
    (['no', 'yes'], [2, 1], [tensor(1)])
    """

    def __init__(self) -> None:
        self.kind, self.classes, self.counts = "one", list[Any](), list[int]()
        self.temperature, self.calibration = 1.0, dict[str, Any]()

    def fit(self, labels: Sequence[Any]) -> Self:
        """Which form they have and which classes there are.

        Raises:
            ValueError: there is one class only, or labels of several forms; one sentence.
        """
        first = labels[0]
        self.kind = "many" if isinstance(first, tuple) else "steps" if isinstance(first, list) else "one"
        counted = Counter(one for label in labels for one in self._each(label))
        self.classes = sorted(counted, key=sort_key)
        self.counts = [counted[one] for one in self.classes]
        if len(self.classes) < (1 if self.kind == "many" else 2):
            received = f"{self.classes[0]!r} alone" if self.classes else "none"
            raise errors.value_error(
                "label", "at least two classes", received, "add records of another class"
            )
        return self

    def _each(self, label: Any) -> Sequence[Any]:
        if isinstance(label, (tuple, list)) == (self.kind == "one"):
            raise errors.value_error(
                "label", "labels of one form in all rows", repr(label), "correct the row"
            )
        return (label,) if self.kind == "one" else label

    def numbers(self, labels: Sequence[Any], length: int | None = None) -> list[Tensor]:
        """One tensor a record: a class number, C zeros and ones, or a number for each step up to `length`.

        Raises:
            ValueError: training has not seen a class; one sentence that names the row.
        """
        known = {label: number for number, label in enumerate(self.classes)}
        found: list[Tensor] = []
        for row, label in enumerate(labels):
            each = self._each(label)
            for one in each:
                if one not in known:
                    raise self._unknown(one, row)
            numbers = torch.tensor([known[one] for one in each], dtype=torch.int64)
            if self.kind == "many":
                found.append(torch.zeros(len(self.classes)).index_fill_(0, numbers, 1.0))
            else:
                found.append(numbers[0] if self.kind == "one" else numbers[:length])
        return found

    def _unknown(self, label: Any, row: int) -> ValueError:
        more = ", …" if len(self.classes) > _SHOWN else ""
        shown = ", ".join(map(repr, self.classes[:_SHOWN])) + more
        received = f"{label!r} in row {row}"
        return errors.value_error(
            "label", f"a class of training ({shown})", received, "train with rows of it"
        )

    def importance(self, y: Tensor, rows: int) -> Tensor:
        """How much each answer counts so that classes weigh alike, 1 in the mean; of many labels the ones and
        the zeros of each are alike in sum.

        Args:
            y: answers in numbers; rows: records that were counted.
        """
        counts = torch.tensor(self.counts, dtype=torch.float32)
        if y.is_floating_point():
            share = counts / rows
            return 0.5 / torch.where(y > 0, share, 1 - share).clamp_min(1e-6)
        return (counts.sum() / (len(counts) * counts))[y.clamp_min(0)]

    # ---- probabilities

    def shares(self, scores: Tensor) -> np.ndarray:
        """Probabilities (..., C) of scores (..., C), calibrated."""
        cooled = scores.double() / self.temperature
        return (cooled.sigmoid() if self.kind == "many" else cooled.softmax(-1)).cpu().numpy()

    def cool(self, scores: Tensor, truth: Tensor, rows: int) -> None:
        """Learn one number that all scores are divided by, so that held-out labels are likeliest.

        Guo et al. 2017 (arXiv 1706.04599); what it changed is kept in `calibration`.

        Args:
            scores: (N, C); truth: (N,) class numbers, or (N, C) zeros and ones; rows: records these are of.
        """
        before = calibration_error(self.shares(scores), truth.numpy())
        self.temperature = self.coolest(scores, truth)[1]
        after = calibration_error(self.shares(scores), truth.numpy())
        self.calibration = {"before": before, "after": after, "rows": rows}

    def coolest(self, scores: Tensor, truth: Tensor) -> tuple[float, float]:
        """The least mean loss that a temperature gives, and the temperature."""
        loss = F.binary_cross_entropy_with_logits if self.kind == "many" else F.cross_entropy
        return min((float(loss(scores / one, truth)), one) for one in _TEMPERATURES)

    # ---- kept

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
