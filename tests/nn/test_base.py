"""Layers bear what torch does with modules: functional calls, copies, pruning, export, streaming."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parametrizations, prune

from longspan import kernels, nn
from tests.nn.beside_torch import B, H, I, T, both, by_time, every_cell, flat, gradients, same

# oneDNN says once that it leaves projections to the plain implementation, which is the one we compare with.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


class TestModule:
    """What torch does with modules and their parameters."""

    def test_functional_call_uses_and_forgets_other_weights(self, backend: str):
        theirs, ours = both("lstm", num_layers=2)
        x, before = torch.randn(T, B, I), ours(torch.ones(T, B, I))
        other = {k: torch.randn_like(v, requires_grad=True) for k, v in ours.named_parameters()}
        found, wanted = (torch.func.functional_call(layer, other, (x,)) for layer in (ours, theirs))
        same(found, wanted)
        same(gradients(found, other.values()), gradients(wanted, other.values()))
        assert all(
            torch.equal(a, b) for a, b in zip(flat(ours(torch.ones(T, B, I))), flat(before), strict=True)
        )

    def test_func_grad_and_vmap(self):
        theirs, ours = both("gru")
        x = torch.randn(7, T, B, I)

        def loss(layer: Any, weights: Any, x: Tensor) -> Tensor:
            return torch.func.functional_call(layer, weights, (x,))[0].square().sum()

        weights = {k: v.detach() for k, v in ours.named_parameters()}
        found = torch.func.vmap(torch.func.grad(lambda w, x: loss(ours, w, x)), (None, 0))(weights, x)
        for i in range(7):
            wanted = torch.func.grad(lambda w, x: loss(theirs, w, x))(weights, x[i])
            same([g[i] for g in found.values()], list(wanted.values()))

    def test_replaced_moved_and_changed_parameters_are_seen(self, backend: str):
        theirs, ours = both("lstm")
        x = torch.randn(T, B, I)
        ours(x)
        for layer in (theirs, ours):
            layer.weight_hh_l0 = torch.nn.Parameter(torch.ones(4 * H, H) / 10)
        same(ours(x), theirs(x))
        with torch.no_grad():
            for layer in (theirs, ours):
                layer.weight_ih_l0.mul_(2)
        same(ours(x), theirs(x))
        ours.weight_ih_l0.data = ours.weight_ih_l0.data * 0
        assert not torch.allclose(ours(x)[0], theirs(x)[0])

    def test_change_of_dtype(self):
        _, ours = both("lstm")
        x = torch.randn(T, B, I)
        single = ours(x)
        same(ours.double()(x.double())[0].float(), single[0])
        same(ours.float()(x), single)

    @pytest.mark.parametrize("called", [True, False])
    def test_deepcopy_is_independent(self, backend: str, called: bool):
        layer: Any = nn.Recurrent("peephole", I, H, 2, bidirectional=True)
        x = torch.randn(T, B, I)
        if called:
            layer(x)
        twin = copy.deepcopy(layer)
        assert twin.cell is layer.cell
        same(twin(x), layer(x))
        torch.nn.init.zeros_(layer.weight_ih_l0)
        assert not torch.allclose(twin(x)[0], layer(x)[0])
        assert all(a is not b for a, b in zip(twin.parameters(), layer.parameters(), strict=True))

    def test_deepcopy_after_functional_call(self, backend: str):
        layer = nn.LSTM(I, H)
        x, other = torch.randn(T, B, I), {"bias_ih_l0": torch.zeros(4 * H, requires_grad=True) * 1}
        torch.func.functional_call(layer, other, (x,))
        same(copy.deepcopy(layer)(x), layer(x))

    @pytest.mark.parametrize("strict", [True, False])
    def test_export_leaves_the_layer_as_it_was(self, strict: bool):
        layer, x = nn.LSTM(I, H), torch.randn(2, B, I)
        with kernels.use_backend("reference"):
            exported = torch.export.export(layer, (x,), strict=strict)
        same(exported.module()(x), layer(x))
        same(copy.deepcopy(layer)(x), layer(x))

    def test_whole_modules_are_saved_and_loaded(self):
        layer, x, file = nn.LSTM(I, H, zoneout=0.1).eval(), torch.randn(T, B, I), io.BytesIO()
        layer(x)
        torch.save(layer, file)
        file.seek(0)
        same(torch.load(file, weights_only=False)(x), layer(x))

    @pytest.mark.parametrize("change", ["weight_norm", "prune"])
    def test_parametrized_weights(self, backend: str, change: str):
        theirs, ours = both("lstm")
        x = torch.randn(T, B, I)
        ours(x)
        for layer in (theirs, ours):
            if change == "weight_norm":
                parametrizations.weight_norm(layer, "weight_hh_l0")
            else:
                prune.l1_unstructured(layer, "weight_hh_l0", 0.5)
        same(ours(x), theirs(x))
        found, wanted = (gradients(layer(x), layer.parameters()) for layer in (ours, theirs))
        same(found, wanted)

    def test_one_optimiser_step_like_torch(self, backend: str):
        theirs, ours = both("gru")
        x = torch.randn(T, B, I)
        for layer in (theirs, ours):
            optimiser = torch.optim.SGD(layer.parameters(), 0.1)
            for _ in range(2):
                optimiser.zero_grad()
                layer(x)[0].square().sum().backward()
                optimiser.step()
        same(list(ours.parameters()), list(theirs.parameters()))

    def test_meta_device(self):
        layer = nn.LSTM(I, H, device="meta")
        layer.flatten_parameters()
        out, (h, c) = layer(torch.empty(T, B, I, device="meta"))
        assert {t.device.type for t in (*layer.parameters(), out, h, c)} == {"meta"}
        assert (out.shape, h.shape, c.shape) == ((T, B, H), (1, B, H), (1, B, H))

    @pytest.mark.parametrize(
        ("layer", "text"),
        [
            (lambda: nn.LSTM(4, 6), "LSTM(4, 6)"),
            (
                lambda: nn.LSTM(4, 6, 2, proj_size=2, batch_first=True),
                "LSTM(4, 6, proj_size=2, num_layers=2, batch_first=True)",
            ),
            (
                lambda: nn.RNN(4, [6, 3], nonlinearity="relu", zoneout=0.1),
                "RNN(4, (6, 3), num_layers=2, zoneout=(0.1,), nonlinearity=relu)",
            ),
            (lambda: nn.Recurrent("slstm", 4, 6, bias=False), "Recurrent(slstm, 4, 6, bias=False)"),
            (lambda: nn.RNNCell(4, 6, nonlinearity="relu"), "RNNCell(4, 6, nonlinearity=relu)"),
            (lambda: nn.RecurrentCell("gru", 4, 6, bias=False), "RecurrentCell(gru, 4, 6, bias=False)"),
        ],
    )
    def test_repr(self, layer: Callable[[], Any], text: str):
        assert repr(layer()) == text

    @pytest.mark.parametrize("change", [{}, {"lengths": torch.tensor([5, 2, 0])}], ids=["plain", "lengths"])
    def test_compiles_without_a_break(self, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
        """The layer's own code; what a backend does inside is its own tests' concern."""

        class Stub:
            def refuses(self, job: Any) -> str | None:
                return None

            def run(self, job: Any) -> kernels.Result:
                return kernels.Result(job.x @ job.weights[0].r.T[:I], job.state)

        monkeypatch.setattr(kernels, "BACKENDS", [("stub", Stub())])
        layer, x = nn.GRU(I, H), torch.randn(T, B, I)
        compiled = torch.compile(layer, fullgraph=True, backend="eager")
        same(compiled(x, **change), layer(x, **change))


class TestStream:
    """Step by step."""

    @every_cell
    @pytest.mark.parametrize("batch_first", [True, False])
    @pytest.mark.parametrize("rows", [(B,), ()])
    def test_stream(self, backend: str, name: str, batch_first: bool, rows: tuple[int, ...]):
        layer = nn.Recurrent(name, I, H, 2, batch_first=batch_first)
        x = torch.randn(*rows, T, I)
        out, last = layer(*(by_time(batch_first, x) if rows else (x,)))
        state, steps = None, []
        for reading in x.unbind(-2):
            step, state = layer.step(reading, state)
            assert step.shape == (*rows, H)
            steps.append(step)
        same(torch.stack(steps, -2), by_time(batch_first, out)[0] if rows else out)
        same(flat(state), flat(last))


def test_unused_memory_is_nan():
    assert torch.empty(8).isnan().all()
