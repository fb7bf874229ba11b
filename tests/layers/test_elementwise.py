"""Element-wise layers give Keras' numbers; noise in training has its mean and standard deviation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from longspan import layers
from tests.layers.beside_keras import PIXELS, STEPS, Case, case_id, check_equals_keras
from tests.layers.helpers import check_refusal

CASES: list[Case] = [
    ("Identity", {}, STEPS),
    ("ELU", {}, STEPS),
    ("ELU", {"alpha": 0.5}, STEPS),
    ("PReLU", {}, STEPS),
    ("PReLU", {"shared_axes": [1]}, STEPS),
    ("PReLU", {"alpha_initializer": "ones", "shared_axes": [1, 2]}, PIXELS),
    ("Softmax", {}, STEPS),
    ("Softmax", {"axis": 1}, STEPS),
    ("Softmax", {"axis": (1, 2)}, STEPS),
    ("GaussianNoise", {"stddev": 0.5}, STEPS),
    ("GaussianDropout", {"rate": 0.5}, STEPS),
]


@pytest.mark.filterwarnings("ignore")  # of Keras itself
@pytest.mark.parametrize(("name", "options", "x"), CASES, ids=case_id)
def test_numbers_shapes_configs_and_copies(name: str, options: dict[str, Any], x: np.ndarray) -> None:
    check_equals_keras(name, options, x)


@pytest.mark.parametrize(
    ("name", "options"), [("GaussianNoise", {"stddev": 0.5}), ("GaussianDropout", {"rate": 0.2})]
)
def test_noise_has_its_standard_deviation_in_training(name: str, options: dict[str, float]) -> None:
    torch.manual_seed(0)
    out = getattr(layers, name)(**options).train()(torch.ones(400, 100))
    assert float(out.mean()) == pytest.approx(1.0, abs=0.01) and float(out.std()) == pytest.approx(
        0.5, abs=0.01
    )


def test_a_negative_standard_deviation_is_refused() -> None:
    check_refusal(
        lambda: layers.GaussianNoise(-1.0), "stddev: expected a number of at least 0, received -1.0"
    )
