"""Layers over sequences give torch.nn's numbers, names and shapes; gates are what made the states."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from longspan import cell, nn
from tests.nn.beside_torch import (
    KINDS,
    B,
    H,
    I,
    T,
    both,
    compare,
    every_cell,
    flat,
    gradients,
    kinds,
    same,
    states,
)

# oneDNN says once that it leaves projections to the plain implementation, which is the one we compare with.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


class TestTorch:
    """The numbers of torch.nn."""

    @kinds
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("layers", [1, 2])
    @pytest.mark.parametrize("two_way", [True, False])
    @pytest.mark.parametrize("batch_first", [True, False])
    def test_padded(self, backend: str, kind: str, bias: bool, layers: int, two_way: bool, batch_first: bool):
        theirs, ours = both(
            kind, num_layers=layers, bias=bias, bidirectional=two_way, batch_first=batch_first
        )
        x = torch.randn(*((B, T) if batch_first else (T, B)), I, requires_grad=True)
        compare(theirs, ours, x, states(ours))

    @kinds
    @pytest.mark.parametrize("batch_first", [True, False])
    def test_unbatched(self, backend: str, kind: str, batch_first: bool):
        theirs, ours = both(kind, num_layers=2, bidirectional=True, batch_first=batch_first)
        compare(theirs, ours, torch.randn(T, I, requires_grad=True), states(ours, None))

    @kinds
    @pytest.mark.parametrize("two_way", [True, False])
    @pytest.mark.parametrize("lengths", [[5, 3, 1], [2, 5, 1], [5, 5, 5]])
    def test_packed(self, backend: str, kind: str, two_way: bool, lengths: list[int]):
        theirs, ours = both(kind, num_layers=2, bidirectional=two_way)
        ordered = lengths == sorted(lengths, reverse=True)
        x = torch.randn(T, B, I, requires_grad=True)
        compare(
            theirs, ours, x, states(ours), lambda x: pack_padded_sequence(x, lengths, enforce_sorted=ordered)
        )

    def test_packed_output_unpacks_like_torch(self, backend: str):
        theirs, ours = both("lstm")
        x = pack_padded_sequence(torch.randn(T, B, I), [2, 5, 1], enforce_sorted=False)
        same(pad_packed_sequence(ours(x)[0]), pad_packed_sequence(theirs(x)[0]))

    @kinds
    def test_seed_gives_the_same_weights_in_the_same_order(self, kind: str):
        name, own = KINDS[kind]
        made = []
        for package in (torch.nn, nn):
            torch.manual_seed(7)
            made.append(getattr(package, name)(I, H, 2, bidirectional=True, **own))
        theirs, ours = (dict(layer.named_parameters()) for layer in made)
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
        ours_flat, theirs_flat = (flat(layer.all_weights) for layer in made)
        assert [p.shape for p in ours_flat] == [p.shape for p in theirs_flat]

    @kinds
    def test_state_dict_goes_both_ways(self, kind: str):
        theirs, ours = both(kind, num_layers=2, bidirectional=True)
        ours.reset_parameters()
        theirs.load_state_dict(ours.state_dict(), strict=True)
        x = torch.randn(T, B, I)
        same(ours(x), theirs(x))

    @pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
    def test_arguments_come_in_torch_order(self, name: str):
        words = getattr(torch.nn, name).__doc__.splitlines()[0].partition("(")[2].rstrip(")").split(",")
        code = getattr(nn, name).__init__.__code__
        assert list(code.co_varnames[1 : code.co_argcount]) == [word.partition("=")[0] for word in words]

    def test_dropout_between_layers_draws_torch_masks(self, backend: str):
        theirs, ours = both("gru", num_layers=3, dropout=0.5)
        x, outputs = torch.randn(T, B, I), []
        for layer in (ours, theirs):
            torch.manual_seed(3)
            outputs.append(layer(x))
        same(*outputs)
        same(ours.eval()(x), theirs.eval()(x))
        assert not torch.equal(outputs[0][0], ours(x)[0])

    def test_dropout_with_one_layer_warns(self):
        with pytest.warns(UserWarning, match="dropout=0.5 does nothing with num_layers=1") as caught:
            nn.LSTM(I, H, dropout=0.5)
        assert caught[0].filename == __file__

    def test_float64(self):
        theirs, ours = both("lstm", bidirectional=True, dtype=torch.float64)
        x = torch.randn(T, B, I, dtype=torch.float64)
        same(ours(x), theirs(x), rtol=1e-12, atol=1e-12)

    def test_no_rows(self):
        theirs, ours = both("lstm", bidirectional=True)
        x = torch.randn(T, 0, I)
        assert [t.shape for t in flat(ours(x))] == [t.shape for t in flat(theirs(x))]

    def test_nan_passes_through_its_own_row_only(self, backend: str):
        x = torch.randn(T, B, I)
        x[2, 1] = torch.nan
        out, (h, c) = nn.LSTM(I, H)(x)
        assert out[2:, 1].isnan().all() and h[0, 1].isnan().all() and c[0, 1].isnan().all()
        assert not out[:2].isnan().any() and not out[:, [0, 2]].isnan().any()


class TestGates:
    """The value of every gate and state."""

    def test_lstm_gates_make_the_states(self, backend: str):
        layer, x = nn.LSTM(I, H, 2, bidirectional=True, batch_first=True), torch.randn(B, T, I)
        out, (h, c), gates = layer(x, return_gates=True)
        assert len(gates) == 4 and set(gates[0]) == set("ifgohc")
        for place, found in enumerate(gates):
            assert {v.shape for v in found.values()} == {(B, T, H)}
            same(found["h"], found["o"] * found["c"].tanh())
            before = found["c"].roll(1 if place % 2 == 0 else -1, 1)
            step = slice(1, None) if place % 2 == 0 else slice(None, -1)
            c_again = found["f"] * before + found["i"] * found["g"]
            same(c_again[:, step], found["c"][:, step])
            same(found["c"][:, -1 if place % 2 == 0 else 0], c[place])
        same(torch.cat([gates[2]["h"], gates[3]["h"]], -1), out)
        same((out, (h, c)), layer(x))

    def test_gates_are_by_row_whatever_the_layout(self, backend: str):
        layer, x = nn.LSTM(I, H, proj_size=2), torch.randn(T, B, I)
        gates = layer(x, return_gates=True, lengths=[5, 2, 0])[2][0]
        assert gates["i"].shape == (B, T, H) and gates["h"].shape == (B, T, 2)
        assert not gates["i"][1, 2:].any() and gates["i"][1, :2].all()
        one = layer(x[:, 0], return_gates=True)[2][0]
        same(one["f"], gates["f"][0])
        assert one["f"].shape == (T, H)

    @every_cell
    def test_every_cell_shows_its_letters(self, backend: str, name: str):
        layer = nn.Recurrent(name, I, H)
        out, _, (gates,) = layer(torch.randn(T, B, I), return_gates=True)
        assert set(gates) == set(layer.cell.gates + layer.cell.states)
        same(gates["h"].transpose(0, 1), out)


class TestOwnCells:
    """Cells that torch.nn does not have."""

    @every_cell
    def test_every_cell_with_every_option_that_suits_it(self, backend: str, name: str):
        recurrent = 0.0 if name == "indrnn" else 0.1
        layer = nn.Recurrent(
            name, I, H, 2, bidirectional=True, layer_norm=True, zoneout=0.1,
            recurrent_dropout=recurrent, weight_dropout=recurrent,
        )  # fmt: skip
        x = torch.randn(T, B, I, requires_grad=True)
        out, state = layer(x, lengths=[5, 0, 3], mask=torch.rand(T, B) < 0.8, reset=torch.rand(T, B) < 0.2)
        assert out.shape == (T, B, 2 * H) and not out[:, 1].any()
        grads = gradients((out, state), [x, *layer.parameters()])
        assert all(g.isfinite().all() for g in grads) and all(g.any() for g in grads)

    def test_a_cell_of_ones_own(self):
        @cell(gates="fz", states="h")
        def minimal(x: Any, r: Any, s: Any, p: Any) -> Any:
            f = (x.f + r.f).sigmoid()
            return (f * s.h + (1 - f) * x.z.tanh(),)

        layer: Any = nn.Recurrent(minimal, I, H, forget_bias=1.0)
        x = torch.randn(1, B, I)
        out, h = layer(x)
        f, z = (x[0] @ layer.weight_ih_l0.T + layer.bias_ih_l0).split(H, -1)
        f = (f + layer.bias_hh_l0[:H]).sigmoid()
        same((out[0], h[0]), ((1 - f) * z.tanh(),) * 2)


class TestDropIn:
    """What scripts written for torch.nn do besides calling a layer."""

    @pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
    def test_arguments_have_torchs_names(self, name: str):
        layer, single = getattr(nn, name)(I, H), getattr(nn, name + "Cell")(I, H)
        x, state = torch.randn(T, B, I), states(layer)
        same(layer(input=x, hx=state), layer(x, state))
        rows = flat(state)
        one = tuple(tensor[0] for tensor in rows) if len(rows) > 1 else rows[0][0]
        same(single(input=x[0], hx=one), single(x[0], one))

    @pytest.mark.parametrize("kind", KINDS)
    def test_tools_see_a_recurrent_layer_of_torch(self, kind: str):
        theirs, ours = both(kind, num_layers=2, bidirectional=True)
        assert isinstance(ours, torch.nn.RNNBase) and ours.mode == theirs.mode
        assert [w.shape for w in flat(ours._flat_weights)] == [w.shape for w in flat(theirs._flat_weights)]

    def test_the_module_stands_for_torch_nn(self):
        """As `from longspan import nn` in place of `from torch import nn`."""
        network = nn.Sequential(nn.Linear(I, H), nn.LSTM(H, H))  # pyright: ignore
        seen = [module for module in network.modules() if isinstance(module, nn.LSTM)]
        assert seen == [network[1]] and nn.Module is torch.nn.Module  # pyright: ignore
        with pytest.raises(AttributeError, match=r"longspan\.nn: .*received 'Lstm'; correct the name\."):
            nn.Lstm  # noqa: B018  # pyright: ignore

    def test_errors_are_torchs_too(self):
        layer = nn.LSTM(I, H)
        for wrong, errors in (
            (lambda: layer(torch.zeros(T, B, I + 1)), (ValueError, RuntimeError)),
            (lambda: layer(torch.zeros(0, B, I)), (ValueError, RuntimeError)),
            (lambda: layer(torch.zeros(T, B, I), (torch.zeros(1, B, 2),) * 2), (ValueError, RuntimeError)),
            (lambda: layer(torch.zeros(T, B, I).double()), (TypeError, ValueError)),
            (lambda: nn.GRU(I, H, proj_size=2), (TypeError, ValueError)),  # pyright: ignore
        ):
            for kind in errors:
                with pytest.raises(kind):
                    wrong()

    def test_help_names_every_option(self):
        names = list(inspect.signature(nn.LSTM).parameters)
        assert names[-5:] == ["layer_norm", "recurrent_dropout", "zoneout", "weight_dropout", "forget_bias"]
