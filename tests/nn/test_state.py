"""States start as the cell's constants, by layer where sizes differ, and carry on over chunks."""

from __future__ import annotations

import pytest
import torch

from longspan import nn
from tests.nn.beside_torch import B, H, I, T, same


class TestStates:
    """Where layers start and end."""

    def test_start_is_the_cells_constant_only_when_none_is_given(self, backend: str):
        layer, x = nn.Recurrent("slstm", I, H), 10 * torch.randn(1, B, I)
        zero = torch.zeros(1, B, H)
        same(layer(x), layer(x, (zero, zero, zero, zero - 1e30)))
        stabiliser = layer(x, (zero, zero + 1, zero + 1, zero))[1][3]
        assert (stabiliser - layer(x)[1][3]).abs().max() > 1e-3

    @pytest.mark.parametrize("two_way", [True, False])
    def test_sizes_by_layer_are_a_stack_of_layers(self, backend: str, two_way: bool):
        layer = nn.LSTM(I, [6, 3], bidirectional=two_way)
        assert (layer.num_layers, layer.hidden_size) == (2, (6, 3))
        first, second = (
            nn.LSTM(I, 6, bidirectional=two_way),
            nn.LSTM(12 if two_way else 6, 3, bidirectional=two_way),
        )
        first.load_state_dict({k: v for k, v in layer.state_dict().items() if "_l0" in k})
        second.load_state_dict(
            {k.replace("_l1", "_l0"): v for k, v in layer.state_dict().items() if "_l1" in k}
        )
        x = torch.randn(T, B, I)
        below, (h0, c0) = first(x)
        above, (h1, c1) = second(below)
        out, (h, c) = layer(x)
        same([out, *h, *c], [above, h0, h1, c0, c1])
        again, _ = layer(x, (h, c))
        same(again, second(first(x, (h0, c0))[0], (h1, c1))[0])
        _, (h, c) = layer(x[:, 0])
        assert [t.shape for t in (*h, *c)] == [(2 if two_way else 1, size) for size in (6, 3, 6, 3)]
        same(layer(x[:, 0], (h, c))[0], again[:, 0])

    def test_chunks_are_the_whole(self, backend: str):
        layer, x = nn.GRU(I, H, 2), torch.randn(T, B, I)
        first, state = layer(x[:2])
        second, last = layer(x[2:], state)
        same((torch.cat([first, second]), last), layer(x))
