"""Knows that transforms are undone, keep the order, and are not offered where they cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from longspan.data.transforms import TRANSFORMS, bent, straight, usable


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_what_is_bent_is_straightened(transform: str):
    values = np.array([0.5, 1.0, 20.0, 3e6])
    assert np.allclose(straight(bent(values, transform, 0.1), transform), values)
    assert (np.diff(bent(values, transform, 0.1)) > 0).all()


def test_values_below_the_floor_are_the_floor():
    assert np.allclose(bent(np.array([-1.0, 0.0, np.nan]), "log", 0.5)[:2], np.log(0.5))
    assert np.isnan(bent(np.array([np.nan]), "log", 0.5)).all()
    assert bent(np.array([-4.0]), "sqrt").tolist() == [0.0] and straight(np.array([-4.0]), "sqrt") == 0.0
    assert np.isfinite(straight(np.array([1e9]), "log")).all()


def test_only_what_the_data_allow():
    assert usable(1.0) == ("none", "log", "sqrt")
    assert usable(0.0) == ("none", "sqrt")
    assert usable(-1.0) == usable(float("nan")) == ("none",)
