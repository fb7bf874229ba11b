"""Lengths, masks, resets and packed batches leave out what they say, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from longspan import nn
from tests.nn.beside_torch import B, H, I, T, both, by_time, every_cell, flat, gradients, kinds, same, states

# oneDNN says once that it leaves projections to the plain implementation, which is the one we compare with.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


class TestSteps:
    """Lengths, masks and resets."""

    @kinds
    @pytest.mark.parametrize("two_way", [True, False])
    def test_lengths_are_a_packed_batch(self, backend: str, kind: str, two_way: bool):
        _, ours = both(kind, num_layers=2, bidirectional=two_way)
        x, lengths = torch.randn(T, B, I, requires_grad=True), [2, 5, 1]
        packed = ours(pack_padded_sequence(x, lengths, enforce_sorted=False))
        wanted = pad_packed_sequence(packed[0])[0], packed[1]
        found = ours(x, lengths=lengths)
        same(found, wanted)
        same(gradients(found, [x, *ours.parameters()]), gradients(wanted, [x, *ours.parameters()]))
        assert not found[0][2:, 0].any()

    @pytest.mark.parametrize(
        "lengths", [(2, 5, 0), torch.tensor([2, 5, 0]), torch.tensor([2, 5, 0], dtype=torch.int32)]
    )
    def test_lengths_of_any_integer_kind(self, backend: str, lengths: Any):
        layer, state = nn.GRU(I, H, batch_first=True), torch.randn(1, B, H)
        x = torch.randn(B, T, I)
        out, h = layer(x, state, lengths=lengths)
        same(h[0], torch.stack([out[0, 1], out[1, 4], state[0, 2]]))
        assert not out[2].any() and not out[0, 2:].any()

    def test_lengths_of_one_sequence(self, backend: str):
        layer, x = nn.GRU(I, H), torch.randn(T, I)
        out, h = layer(x, lengths=[3])
        same((out[:3], h), layer(x[:3]))
        assert not out[3:].any()

    def test_padding_may_hold_anything(self, backend: str):
        layer, x = nn.LSTM(I, H, bidirectional=True), torch.randn(T, B, I)
        wanted = layer(x, lengths=[2, 5, 1])
        x[2:, 0] = torch.nan
        same(layer(x, lengths=[2, 5, 1]), wanted)

    @every_cell
    @pytest.mark.parametrize("two_way", [True, False])
    @pytest.mark.parametrize("batch_first", [True, False])
    def test_mask_leaves_steps_out(self, backend: str, name: str, two_way: bool, batch_first: bool):
        layer = nn.Recurrent(name, I, H, bidirectional=two_way, batch_first=batch_first)
        mask = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 1, 0, 1], [1, 1, 1, 1, 1]]).bool()
        x = torch.randn(B, T, I)
        out, state = layer(*by_time(batch_first, x), mask=by_time(batch_first, mask)[0])
        out = by_time(batch_first, out)[0]
        for row, kept in enumerate(mask):
            alone = nn.Recurrent(name, I, H, bidirectional=two_way)
            alone.load_state_dict(layer.state_dict())
            short, last = alone(x[row, kept])
            same(out[row, kept], short)
            same([s[:, row] for s in flat(state)], flat(last))
        if not two_way:
            same(out[0, 1], out[0, 0])

    def test_mask_of_one_sequence(self, backend: str):
        layer, x, mask = nn.GRU(I, H), torch.randn(T, I), torch.tensor([True, False, True, True, False])
        out, h = layer(x, mask=mask)
        same((out[mask], h), layer(x[mask]))

    @every_cell
    def test_reset_starts_a_row_afresh(self, backend: str, name: str):
        layer, x = nn.Recurrent(name, I, H), torch.randn(T, B, I)
        reset = torch.zeros(T, B, dtype=torch.bool)
        reset[2, 1] = True
        out, state = layer(x, states(layer), reset=reset)
        again, fresh = layer(x[2:])
        same(out[2:, 1], again[:, 1])
        same([s[:, 1] for s in flat(state)], [s[:, 1] for s in flat(fresh)])

    def test_packed_with_mask_and_reset_keeps_the_callers_rows(self, backend: str):
        layer, lengths = nn.LSTM(I, H, bidirectional=True), [2, 5, 1]
        x, given = torch.randn(T, B, I), states(layer)
        marks = {"mask": torch.rand(T, B) < 0.7, "reset": torch.rand(T, B) < 0.3}
        packed, state, gates = layer(
            pack_padded_sequence(x, lengths, enforce_sorted=False), given, return_gates=True, **marks
        )
        wanted = layer(x, given, lengths=lengths, return_gates=True, **marks)
        same(pad_packed_sequence(packed)[0], wanted[0])
        same(state, wanted[1])
        for found, one in zip(gates, wanted[2], strict=True):
            same(list(found.values()), list(one.values()))
