"""Convolutions over three dimensions give Keras' numbers; wrong paddings, windows and formats are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from longspan import layers
from tests.layers.beside_keras import VOXELS, Case, case_id, check_equals_keras
from tests.layers.helpers import check_refusal

CASES: list[Case] = [
    ("Conv3D", {"filters": 3, "kernel_size": 2}, VOXELS),
    (
        "Conv3D",
        {"filters": 4, "kernel_size": (3, 2, 1), "strides": 2, "padding": "same", "groups": 2},
        VOXELS,
    ),
    ("Conv3D", {"filters": 3, "kernel_size": 2, "dilation_rate": 2, "activation": "relu"}, VOXELS),
]


@pytest.mark.filterwarnings("ignore")  # of Keras itself
@pytest.mark.parametrize(("name", "options", "x"), CASES, ids=case_id)
def test_numbers_shapes_configs_and_copies(name: str, options: dict[str, Any], x: np.ndarray) -> None:
    check_equals_keras(name, options, x)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: layers.Conv2D(3, 2, padding="causal"), "padding: .*received 'causal'"),
        (lambda: layers.Conv3D(3, 2, padding="causal"), "padding: .*received 'causal'"),
        (lambda: layers.Conv1D(3, 9)(torch.zeros(1, 4, 2)), "at least one window"),
        (lambda: layers.Conv1D(3, 2, data_format="channels_middle"), "data_format"),
    ],
)
def test_wrong_options_and_inputs_are_refused(call: Callable[[], Any], expected: str) -> None:
    check_refusal(call, expected)
