"""Transforms are inverted exactly, keep the order, and are not offered where they are undefined."""

from __future__ import annotations

import numpy as np
import pytest

from longspan.data.transforms import TRANSFORMS, allowed, apply, invert


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_what_is_bent_is_straightened(transform: str):
    values = np.array([0.5, 1.0, 20.0, 3e6])
    assert np.allclose(invert(apply(values, transform, 0.1), transform), values)
    assert (np.diff(apply(values, transform, 0.1)) > 0).all()


def test_values_below_the_floor_are_the_floor():
    assert np.allclose(apply(np.array([-1.0, 0.0, np.nan]), "log", 0.5)[:2], np.log(0.5))
    assert np.isnan(apply(np.array([np.nan]), "log", 0.5)).all()
    assert apply(np.array([-4.0]), "sqrt").tolist() == [0.0] and invert(np.array([-4.0]), "sqrt") == 0.0
    assert np.isfinite(invert(np.array([1e9]), "log")).all()


def test_only_what_the_data_allow():
    assert allowed(1.0) == ("none", "log", "sqrt")
    assert allowed(0.0) == ("none", "sqrt")
    assert allowed(-1.0) == allowed(float("nan")) == ("none",)
