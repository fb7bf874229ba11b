"""Activations inside a cell: a name or the library's function chooses the cell, the rest is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import longspan as ls
from longspan import activations, layers
from longspan.layers.config import from_config, to_config
from tests.layers.helpers import H, I, T, check_refusal


def test_an_activation_may_be_the_function_of_its_name() -> None:
    chosen: dict[str, Any] = {
        "activation": ls.activations.relu,
        "recurrent_activation": ls.activations.sigmoid,
    }
    layer = layers.LSTM(H, **chosen)
    assert layer.cell is layers.LSTM(H, activation="relu").cell
    assert from_config(to_config(layer)).cell is layer.cell  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("function", [torch.tanh, ls.ops.tanh, torch.nn.functional.tanh])
def test_torchs_function_is_the_one_of_its_name(function: Any) -> None:
    layer = layers.LSTM(H, activation=function)
    assert layer.cell is layers.LSTM(H).cell
    assert to_config(layer)["config"]["activation"] == "tanh"


@pytest.mark.parametrize("name", [name for name in activations.STEPS if name != "linear"])
def test_every_activation_of_a_cell_is_the_function(name: str) -> None:
    layer = layers.SimpleRNN(H, activation=name, use_bias=False, recurrent_initializer="zeros")
    x = torch.randn(2, 1, I)
    expected = activations.get(name)(x[:, 0] @ (layer(x), layer.weights[0])[1])
    torch.testing.assert_close(layer(x), expected)


def test_explain_names_the_cell_of_the_activations() -> None:
    assert "lstm__relu__sigmoid" in layers.LSTM(H, activation="relu").explain(torch.zeros(2, T, I))


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: layers.GRU(3, activation="softmax"), "activation: .*received 'softmax'"),
        (lambda: layers.GRU(3, activation=torch.sin), "write the cell with @longspan.cell"),
    ],
)
def test_other_activations_are_refused(call: Callable[[], Any], expected: str) -> None:
    check_refusal(call, expected)
