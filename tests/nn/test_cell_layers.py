"""One-step layers give torch.nn's numbers and dtypes, and those of the layers over sequences."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from longspan import nn
from tests.nn.beside_torch import CELLS, B, H, I, T, both, compare, flat, same

# oneDNN says once that it leaves projections to the plain implementation, which is the one we compare with.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


class TestCells:
    """One step at a time."""

    @pytest.mark.parametrize("kind", CELLS)
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("rows", [(B,), ()])
    def test_one_step(self, backend: str, kind: str, bias: bool, rows: tuple[int, ...]):
        theirs, ours = both(kind, table=CELLS, bias=bias)
        x = torch.randn(*rows, I, requires_grad=True)
        many = len(ours.cell.states)
        state = [torch.randn(*rows, H, requires_grad=True) for _ in range(many)]
        compare(theirs, ours, x, tuple(state) if many > 1 else state[0])
        assert ours.bias_ih is None or bias

    @pytest.mark.parametrize("kind", CELLS)
    def test_one_step_seed(self, kind: str):
        name, own = CELLS[kind]
        made = []
        for package in (torch.nn, nn):
            torch.manual_seed(7)
            made.append(getattr(package, name)(I, H, **own).state_dict())
        assert list(made[0]) == list(made[1]) and all(torch.equal(made[0][k], made[1][k]) for k in made[0])

    @pytest.mark.parametrize("kind", CELLS)
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_one_step_autocast(self, kind: str, dtype: torch.dtype):
        theirs, ours = both(kind, table=CELLS)
        x = torch.randn(B, I).to(dtype)
        with torch.autocast("cpu", torch.bfloat16):
            found, wanted = ours(x), theirs(x)
        assert [t.dtype for t in flat(found)] == [t.dtype for t in flat(wanted)]
        same(found, wanted, rtol=0.05, atol=0.05)

    def test_one_step_is_computed_in_float32(self, backend: str):
        single, x = nn.GRUCell(I, H), torch.randn(B, I)
        wanted = single(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(single(x), wanted)

    def test_one_step_cell_is_the_layer(self, backend: str):
        layer, single = nn.Recurrent("slstm", I, H), nn.RecurrentCell("slstm", I, H)
        single.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
        x = 10 * torch.randn(T, B, I)
        same(list(single(x[0])), [s[0] for s in flat(layer(x[:1])[1])])
        state: Any = None
        for reading in x:
            state = single(reading, state)
        same(list(state), [s[0] for s in flat(layer(x)[1])])
