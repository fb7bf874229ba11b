"""Pooling over three dimensions gives Keras' numbers, configs and copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.layers.beside_keras import VOXELS, Case, case_id, check_equals_keras

CASES: list[Case] = [
    ("MaxPooling3D", {"pool_size": (2, 1, 3), "padding": "same"}, VOXELS),
    ("MaxPooling3D", {}, VOXELS),
    ("AveragePooling3D", {"pool_size": 3, "strides": 1, "padding": "same"}, VOXELS),
    ("GlobalMaxPooling3D", {}, VOXELS),
    ("GlobalAveragePooling3D", {"keepdims": True}, VOXELS),
]


@pytest.mark.filterwarnings("ignore")  # of Keras itself
@pytest.mark.parametrize(("name", "options", "x"), CASES, ids=case_id)
def test_numbers_shapes_configs_and_copies(name: str, options: dict[str, Any], x: np.ndarray) -> None:
    check_equals_keras(name, options, x)
