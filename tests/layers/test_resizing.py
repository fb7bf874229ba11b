"""Padding, cropping and upsampling give Keras' numbers, and refuse sizes that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from longspan import layers
from tests.layers.beside_keras import PIXELS, STEPS, VOXELS, Case, case_id, check_equals_keras
from tests.layers.helpers import check_refusal

CASES: list[Case] = [
    ("UpSampling1D", {"size": 3}, STEPS),
    ("UpSampling2D", {"size": (2, 3)}, PIXELS),
    ("UpSampling2D", {"interpolation": "bilinear"}, PIXELS),
    ("UpSampling3D", {"size": (1, 2, 3)}, VOXELS),
    ("ZeroPadding1D", {"padding": 2}, STEPS),
    ("ZeroPadding1D", {"padding": (0, 3)}, STEPS),
    ("ZeroPadding2D", {"padding": (1, 2)}, PIXELS),
    ("ZeroPadding2D", {"padding": ((1, 0), (2, 3))}, PIXELS),
    ("ZeroPadding3D", {"padding": ((1, 0), (2, 3), (0, 1))}, VOXELS),
    ("Cropping1D", {}, STEPS),
    ("Cropping1D", {"cropping": (0, 3)}, STEPS),
    ("Cropping2D", {"cropping": ((1, 0), (2, 1))}, PIXELS),
    ("Cropping3D", {}, VOXELS),
]


@pytest.mark.filterwarnings("ignore")  # of Keras itself
@pytest.mark.parametrize(("name", "options", "x"), CASES, ids=case_id)
def test_numbers_shapes_configs_and_copies(name: str, options: dict[str, Any], x: np.ndarray) -> None:
    check_equals_keras(name, options, x)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: layers.ZeroPadding2D((1, 2, 3)), "padding: expected sizes for 2 dimensions"),  # pyright: ignore
        (lambda: layers.Cropping1D(-1), "cropping: expected a whole number of at least 0, received -1"),
        (lambda: layers.Cropping1D(3)(torch.zeros(2, 6, 4)), "more values than are cut off"),
        (lambda: layers.UpSampling2D(interpolation="lanczos3"), "interpolation: .*received 'lanczos3'"),
    ],
)
def test_wrong_sizes_are_refused(call: Callable[[], Any], expected: str) -> None:
    check_refusal(call, expected)


def test_sides_and_sizes_of_another_kind_are_refused() -> None:
    for make in (
        lambda: layers.Cropping1D((1,)),
        lambda: layers.ZeroPadding1D((1, 2, 3)),
        lambda: layers.UpSampling1D(2.5),  # pyright: ignore
    ):
        with pytest.raises((ValueError, TypeError), match="expected"):
            make()
    assert (
        layers.UpSampling2D(2, interpolation="bilinear")(torch.ones(1, 1, 1, 1).long()).dtype == torch.float32
    )
