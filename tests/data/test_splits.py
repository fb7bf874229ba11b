"""Parts of data: in the order of time unless told otherwise, the same fraction of each class, Keras' rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from longspan.data.splits import rows_of_fraction, split_for_validation, stratified, validation_boundary


def test_every_class_stays_in_training() -> None:
    labels = ["a"] * 400 + ["b"] * 199 + ["rare"]
    rows = stratified(labels, 0.1, seed=3)
    assert [sum(labels[row] == name for row in rows) for name in ("a", "b", "rare")] == [40, 20, 0]
    assert rows == sorted(rows) == stratified(labels, 0.1, seed=3) != stratified(labels, 0.1, seed=4)


def test_labels_a_step_are_drawn_as_one_class() -> None:
    assert len(stratified([["a"], ["b"], ["c"], ["d"]], 0.5, seed=0)) == 2


@pytest.mark.parametrize(("rows", "fraction", "count"), [(10, 0.25, 2), (10, 0.35, 4), (3, 0.1, 0)])
def test_a_fraction_is_rounded(rows: int, fraction: float, count: int) -> None:
    assert rows_of_fraction(rows, fraction) == count


def test_the_validation_part_is_the_last_rows_of_every_column() -> None:
    x, y = np.arange(20.0).reshape(10, 2), torch.arange(10)
    train, valid = split_for_validation(0.25, x, y, None)
    assert train[1].tolist() == list(range(7)) and valid[1].tolist() == [7, 8, 9]
    assert valid[0].tolist() == x[7:].tolist() and train[2] is valid[2] is None


@pytest.mark.parametrize(("rows", "fraction"), [(1, 0.5), (10, 0.0), (3, 0.99), (10, 1.0)])
def test_an_empty_part_is_refused(rows: int, fraction: float) -> None:
    with pytest.raises(ValueError, match="validation_split: expected a "):
        validation_boundary(rows, fraction)
