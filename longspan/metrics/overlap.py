"""Intersection over union of classes: how far predicted and true regions overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from longspan import errors
from longspan.config import epsilon

from .base import Metric


class IoU(Metric):
    """The mean over classes of TP / (TP + FP + FN), intersection over union.

    Args:
        num_classes: V; values outside [0, V) do not count.
        target_class_ids: the classes of the mean.
        ignore_class: a class whose true places do not count; None for none.
        sparse_y_true, sparse_y_pred: whether truths and predictions are class numbers; False takes the
            largest along `axis`.
        axis: of the classes where they are not numbers.

    >>> metric = IoU(num_classes=2, target_class_ids=[0])
    >>> round(metric([0, 0, 1, 1], [0, 1, 0, 1]).item(), 4)
    0.3333
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str = "io_u",
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        super().__init__(name, "up", "confusion", dtype=dtype)
        self.num_classes = errors.check_int("num_classes", num_classes, 1, "give the number of classes")
        self.target_class_ids = list(target_class_ids)
        if max(self.target_class_ids) >= num_classes:
            expected = f"numbers below {num_classes}"
            raise errors.value_error("target_class_ids", expected, self.target_class_ids, "raise num_classes")
        self.ignore_class, self.axis = ignore_class, axis
        self.sparse_y_true, self.sparse_y_pred = sparse_y_true, sparse_y_pred

    @property
    def total_cm(self) -> Tensor:
        """How often each class (row) is predicted as each (column), (V, V)."""
        return torch.zeros(self.num_classes, self.num_classes) + torch.as_tensor(self.sums["confusion"])

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        truth = (y_true if self.sparse_y_true else y_true.argmax(self.axis)).flatten().long()
        predicted = (y_pred if self.sparse_y_pred else y_pred.argmax(self.axis)).flatten().long()
        inside = (truth >= 0) & (truth < self.num_classes) & (predicted >= 0) & (predicted < self.num_classes)
        if self.ignore_class is not None:
            inside &= truth != self.ignore_class
        weight = torch.ones(()) if sample_weight is None else sample_weight.flatten()
        scale = weight.double().expand(truth.shape)[inside]
        places = truth[inside] * self.num_classes + predicted[inside]
        counts = torch.bincount(places, scale, minlength=self.num_classes**2)
        self.add(confusion=counts.reshape(self.num_classes, self.num_classes))

    def result(self) -> Tensor:
        counts = self.total_cm
        hits = counts.diagonal()[self.target_class_ids]
        unions = (counts.sum(0) + counts.sum(1) - counts.diagonal())[self.target_class_ids]
        present = unions > epsilon() * 1e-2
        ratios = torch.where(present, hits / (unions + epsilon()), 0.0)
        return ratios.sum() / (present.sum() + epsilon())


class MeanIoU(IoU):
    """`IoU` of all classes.

    Args:
        num_classes, ignore_class, sparse_y_true, sparse_y_pred, axis: as for `IoU`.
    """

    def __init__(
        self,
        num_classes: int,
        name: str = "mean_io_u",
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        every = range(num_classes)
        super().__init__(num_classes, every, name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)


class BinaryIoU(IoU):
    """`IoU` of two classes, of which 1 is predicted at probabilities from the threshold.

    Args:
        target_class_ids: the classes of the mean, of 0 and 1.
        threshold: the least probability of class 1.
    """

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str = "binary_io_u",
        dtype: Any = None,
    ) -> None:
        super().__init__(2, target_class_ids, name, dtype)
        self.threshold = threshold

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        super().update_state(y_true, (y_pred >= self.threshold).long(), sample_weight)


class OneHotIoU(IoU):
    """`IoU` of one-hot truths.

    Args:
        num_classes, target_class_ids, ignore_class, sparse_y_pred, axis: as for `IoU`.
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str = "one_hot_io_u",
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis)


class OneHotMeanIoU(IoU):
    """`IoU` of all classes and one-hot truths.

    Args:
        num_classes, ignore_class, sparse_y_pred, axis: as for `IoU`.
    """

    def __init__(
        self,
        num_classes: int,
        name: str = "one_hot_mean_io_u",
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(
            num_classes, range(num_classes), name, dtype, ignore_class, False, sparse_y_pred, axis
        )
