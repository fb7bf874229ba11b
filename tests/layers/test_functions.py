"""Lambda and operations: what they are told, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from longspan import layers
from longspan.layers import Input
from longspan.layers.functions import Operation
from longspan.layers.structure import mask_of
from longspan.models import Model

CODES = torch.tensor([[1, 2, 0], [3, 0, 0]])


def test_a_lambda_gets_mask_and_mode_where_it_asks_for_them() -> None:
    def mean(x: Tensor, mask: Tensor, training: bool) -> Tensor:
        assert training is layer.training
        return (x * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)

    embedding, layer = layers.Embedding(4, 3, mask_zero=True), layers.Lambda(mean).eval()
    x = embedding(CODES)
    expected = torch.stack([x[0, :2].mean(0), x[1, :1].mean(0)])
    torch.testing.assert_close(layer(x), expected)
    assert mask_of(layer(x)) is None


def test_a_lambda_has_arguments_a_shape_and_a_mask() -> None:
    layer = layers.Lambda(lambda x, by: x * by, arguments={"by": 3}, mask=lambda x, mask: mask)
    x = layers.Embedding(4, 3, mask_zero=True)(CODES)
    torch.testing.assert_close(layer(x), 3 * x)
    torch.testing.assert_close(mask_of(layer(x)), CODES != 0)
    assert layers.Lambda(lambda x: x[:, 0], output_shape=(3,))(Input((None, 3))).shape == (None, 3)
    assert layers.Lambda(lambda x: x[:, 0])(Input((None, 3))).shape == (None, 3)


def test_operators_are_those_of_tensors() -> None:
    first: Any = Input((2,))  # torch functions take tensors by their types
    second: Any = Input((2,))
    outputs = [
        first + second,
        1 - first,
        first * 2,
        second / first,
        -(first**2),
        abs(second),
        torch.maximum(first, second),
        torch.stack([first, second], 1)[:, 1],
    ]
    a, b = (np.random.default_rng(seed).normal(size=(3, 2)).astype(np.float32) for seed in (0, 1))
    expected = [a + b, 1 - a, a * 2, b / a, -(a**2), abs(b), np.maximum(a, b), b]
    for found, value in zip(Model([first, second], outputs).predict([a, b]), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-6)


@pytest.mark.parametrize("name", ["torch.load", "os.system", "plus"])
def test_a_file_names_no_other_functions(name: str) -> None:
    with pytest.raises(ValueError, match="operation: expected an operator or a function of torch on tensors"):
        Operation(name)
