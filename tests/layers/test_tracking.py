"""Layers of one's own find the layers in their lists, their arguments and their weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from longspan import layers
from longspan.layers import Input
from longspan.layers.structure import mask_of


class Stack(layers.Layer):
    """Layers in a list between two others."""

    def __init__(self, sizes: tuple[int, ...] = (2, 3), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first = layers.Dense(4)
        self.middle = [layers.Dense(size) for size in sizes]
        self.last = layers.Dense(5)

    def call(self, inputs: Tensor) -> Tensor:
        x = self.first(inputs)
        for layer in self.middle:
            x = layer(x)
        return self.last(x)


class Reader(layers.Layer):
    """A layer of two inputs, whose `build` takes both shapes."""

    def build(self, query_shape: Any, values_shape: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] a shape an input
        self.kernel = self.add_weight(shape=(query_shape[-1], values_shape[-1]), name="kernel")

    def call(self, query: Tensor, values: Tensor, training: bool = False) -> Tensor:
        scores = (query @ self.kernel).unsqueeze(1) @ values.transpose(1, 2)
        return (scores.softmax(-1) @ values).squeeze(1) * (2.0 if training else 1.0)


class Wide(layers.LSTM):
    """A layer of this library with another default."""

    def __init__(self, units: int = 3, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)


def test_weights_follow_the_order_of_attributes() -> None:
    stack = Stack()
    stack(torch.zeros(1, 3))
    assert [tuple(w.shape)[-1] for w in stack.weights[::2]] == [4, 2, 3, 5]
    assert len(list(stack.parameters())) == 8
    stack.middle.append(layers.Dense(6))
    stack.trainable = False
    assert stack.trainable_weights == [] and not stack.middle[-1].trainable


def test_several_inputs_build_and_run() -> None:
    reader = Reader()
    query, values = torch.randn(2, 3), torch.randn(2, 5, 4)
    out = reader(query, values)
    assert out.shape == (2, 4) and reader.count_params() == 12
    torch.testing.assert_close(reader(query, values, training=True), 2 * reader.eval()(query, values))
    assert Reader()(Input((3,)), Input((5, 4))).shape == (None, 4)


def test_a_subclass_of_a_layer_keeps_its_ways() -> None:
    layer = Wide(return_sequences=True)
    assert layer(Input((5, 2))).shape == (None, 5, 3) and layer.get_config()["units"] == 3
    x = layers.Masking()(torch.zeros(1, 5, 2).index_fill(1, torch.tensor([0]), 1.0))
    assert mask_of(layer(x)).tolist() == [[True, False, False, False, False]]
    with pytest.raises(TypeError, match="Wide: expected one of its options, received 'return_sequence'"):
        Wide(return_sequence=True)
