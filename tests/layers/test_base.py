"""Every layer refuses unknown options and wrong weights, and warns where a mask ends."""

from __future__ import annotations

import copy
import io
import pickle
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


def _bias_after(layer: Any) -> list[float]:
    layer.bias.assign_add([1.0, 2.0])
    return layer.bias.numpy().tolist()


def test_a_parameter_that_is_an_attribute_has_keras_methods_and_so_have_its_copies() -> None:
    layer: Any = layers.Dense(2, bias_constraint="non_neg", name="head")
    layer.build((None, 3))
    layer.bias.assign(np.ones(2))
    bias: Any = layer.bias
    assert bias.path == "head/bias" and type(bias.constraint).__name__ == "NonNeg"
    assert bias.value is bias and type(bias) is torch.nn.Parameter
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    pickled: Any = pickle.loads(pickle.dumps(layer))
    for twin in (copy.deepcopy(layer), pickled, torch.load(file, weights_only=False)):
        assert _bias_after(twin) == [2.0, 3.0] and twin.bias.path == "head/bias"
        assert twin.bias is dict(twin.named_parameters())["bias"]
    assert np.asarray(layer.bias).tolist() == [1.0, 1.0]  # the copies have values of their own
