"""Every layer refuses unknown options and wrong weights, and warns where a mask ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from longspan import layers
from tests.layers.helpers import MASK, X, built, check_refusal

pytestmark = pytest.mark.usefixtures("in_float64")


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: layers.LSTM(3, actvation="relu"), "LSTM: .* received 'actvation'; .*'activation'"),  # pyright: ignore
        (lambda: layers.Dense(), "Dense: expected its arguments, received .*'units'"),  # pyright: ignore
        (lambda: layers.Dense(3, kernel_initializer="glorot")(X[:, 0]), "initializer: .*'glorot'"),
        (lambda: built(layers.LSTM(3)).set_weights([1.0]), "expected 3 arrays .*received 1"),
        (
            lambda: built(layers.Dense(3)).set_weights([np.zeros((3, 3)), np.zeros(3)]),
            r"weight kernel of dense.*: expected shape \(4, 3\), received \(3, 3\)",
        ),
    ],
)
def test_wrong_options_and_weights_are_refused(call: Callable[[], Any], expected: str) -> None:
    check_refusal(call, expected)


def test_a_layer_that_drops_the_mask_warns() -> None:
    layer = layers.Flatten()
    with pytest.warns(UserWarning, match="does not pass masks on"):
        assert layer.compute_mask(torch.as_tensor(X), torch.as_tensor(MASK)) is None
