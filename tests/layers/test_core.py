"""Core layers refuse what does not fit, each in one sentence; spatial dropout drops whole channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from longspan import layers
from tests.layers.beside_keras import PIXELS, VOXELS, Case, case_id, check_equals_keras
from tests.layers.helpers import built, check_refusal

CASES: list[Case] = [
    ("SpatialDropout2D", {"rate": 0.5}, PIXELS),
    ("SpatialDropout3D", {"rate": 0.5}, VOXELS),
]


@pytest.mark.filterwarnings("ignore")  # of Keras itself
@pytest.mark.parametrize(("name", "options", "x"), CASES, ids=case_id)
def test_numbers_shapes_configs_and_copies(name: str, options: dict[str, Any], x: np.ndarray) -> None:
    check_equals_keras(name, options, x)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: layers.Dense(3, activation="rellu"), "activation: .*'rellu'; the nearest is 'relu'"),
        (lambda: built(layers.Dense(3))(torch.zeros(2, 7)), r"expected shape \(B, …, 4\)"),
        (
            lambda: layers.Embedding(5, 2)(torch.tensor([[7]])),
            "expected codes from 0 to 4, received 7 to 7",
        ),
        (lambda: layers.Reshape((4, 4))(torch.zeros(1, 3)), "expected 16 values a row .*received 3"),
        (lambda: layers.Dropout(1.5), r"rate: expected a number in \[0, 1\], received 1.5"),
        (lambda: layers.Input(), "Input: expected one of shape and batch_shape"),
    ],
)
def test_wrong_options_and_inputs_are_refused(call: Callable[[], Any], expected: str) -> None:
    check_refusal(call, expected)


def test_spatial_dropout_drops_whole_channels() -> None:
    torch.manual_seed(0)
    out = layers.SpatialDropout2D(0.5).train()(torch.ones(50, 3, 3, 8))
    assert set(out.unique().tolist()) == {0.0, 2.0} and torch.equal(out, out[:, :1, :1].expand_as(out))
