"""Tests layers under whatever traces a program: the compiler, export, transforms, tensor subclasses."""

from __future__ import annotations

import copy
import io
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch._inductor import config
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.export import Dim
from torch.func import functional_call, grad, hessian, jacrev, jvp, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree
from torch.utils.checkpoint import checkpoint

import longspan as ls
from longspan import nn
from longspan.kernels import cpu, native_cells, operators
from longspan.kernels.cpu_driver import CallSpec, Inputs

T, B, I, H = 5, 3, 4, 6
RECUR = torch.ops.longspan.recur.default

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch._dynamo.reset()


def flat(value: Any) -> list[Tensor]:
    return [t for t in _pytree.tree_leaves(value) if isinstance(t, Tensor)]


def same(found: Any, wanted: Any) -> None:
    for a, b in zip(flat(found), flat(wanted), strict=True):
        assert torch.equal(a, b)


def close(found: Any, wanted: Any) -> None:
    for a, b in zip(flat(found), flat(wanted), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def by_reference(function: Callable[..., Any], *args: Any) -> Any:
    with ls.use_backend("reference"):
        return function(*args)


def training(run: Callable[..., Any], leaves: Sequence[Tensor], *args: Any, **kwargs: Any) -> list[Tensor]:
    """The outputs of a run, and the gradients of an uneven sum of them."""
    torch.manual_seed(5)
    outputs = flat(run(*args, **kwargs))
    total = torch.stack([(t * t.detach().cos()).sum() for t in outputs]).sum()
    return [*outputs, *torch.autograd.grad(total, leaves)]


def marks(name: str, steps: int = T, rows: int = B) -> dict[str, Tensor]:
    made = {
        "lengths": torch.tensor([steps, 0, 2, *range(rows)][:rows]).clamp(max=steps),
        "mask": torch.rand(steps, rows) < 0.7,
        "reset": torch.rand(steps, rows) < 0.3,
    }
    return {k: made[k] for k in name.split()}


COMPILED: dict[str, tuple[Callable[[], Any], str]] = {
    "lstm": (lambda: nn.LSTM(I, H), ""),
    "gru, both ways, stacked": (lambda: nn.GRU(I, H, 2, bidirectional=True), ""),
    "rnn, relu": (lambda: nn.RNN(I, H, nonlinearity="relu"), "lengths"),
    "lstm, stacked": (lambda: nn.LSTM(I, H, 2, bidirectional=True), "lengths mask reset"),
    "lstm, projected": (lambda: nn.LSTM(I, H, proj_size=2, layer_norm=True), "mask"),
    "slstm": (lambda: nn.Recurrent("slstm", I, H, layer_norm=True), "reset"),
    "indrnn": (lambda: nn.Recurrent("indrnn", I, H, bidirectional=True), ""),
    "peephole": (lambda: nn.Recurrent("peephole", I, H), "lengths"),
    "recurrent dropout": (lambda: nn.LSTM(I, H, recurrent_dropout=0.4), ""),
    "zoneout": (lambda: nn.LSTM(I, H, zoneout=(0.2, 0.4)), "lengths"),
    "zoneout, evaluated": (lambda: nn.LSTM(I, H, zoneout=(0.2, 0.4)).eval(), ""),
    "weight dropout": (lambda: nn.GRU(I, H, weight_dropout=0.4), ""),
}


@pytest.fixture
def drawn_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random masks come from PyTorch's generator, which a compiled program has to use."""
    monkeypatch.setattr("longspan.nn.dropout.is_tracing", lambda: True)


class TestCompile:
    @pytest.mark.usefixtures("drawn_by_torch")
    @pytest.mark.parametrize("name", COMPILED)
    def test_values_and_gradients(self, name: str) -> None:
        make, given = COMPILED[name]
        layer, x, said = make(), torch.randn(T, B, I, requires_grad=True), marks(given)
        backend = CompileCounterWithBackend("aot_eager")
        leaves = [x, *layer.parameters()]
        wanted = training(layer, leaves, x, **said)
        found = training(torch.compile(layer, fullgraph=True, backend=backend), leaves, x, **said)
        same(found, wanted)
        assert [calls(graph) for graph in backend.graphs] == [layer.num_layers]

    def test_inference_keeps_nothing(self) -> None:
        seen: list[str] = []

        def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
            seen.extend(str(n.target) for n in graph.graph.nodes if "longspan" in str(n.target))
            return graph

        from torch._dynamo.backends.common import aot_autograd

        layer, x = nn.LSTM(I, H), torch.randn(T, B, I)
        run = torch.compile(layer, fullgraph=True, backend=aot_autograd(fw_compiler=backend))
        with torch.no_grad():
            same(run(x), layer(x))
        assert seen == ["longspan.recur.default"]
        same(run(x), layer(x))
        assert seen[1:] == ["longspan.recur_saving.default"]

    @pytest.mark.parametrize("batch_first", [True, False])
    def test_sizes_may_change(self, batch_first: bool) -> None:
        layer = nn.GRU(I, H, bidirectional=True, batch_first=batch_first)
        backend = CompileCounterWithBackend("aot_eager")
        run, counts = torch.compile(layer, fullgraph=True, backend=backend, dynamic=True), list[int]()
        for steps, rows in ((5, 3), (7, 4), (2, 9)):
            x = torch.randn(*((rows, steps) if batch_first else (steps, rows)), I, requires_grad=True)
            said = {"lengths": torch.randint(0, steps + 1, (rows,))}
            leaves = [x, *layer.parameters()]
            same(training(run, leaves, x, **said), training(layer, leaves, x, **said))
            counts.append(backend.frame_count)
        assert len(set(counts)) == 1

    def test_marked_sizes_may_change(self) -> None:
        layer = nn.LSTM(I, H)
        backend = CompileCounterWithBackend("aot_eager")
        run = torch.compile(layer, fullgraph=True, backend=backend)
        for steps, rows in ((5, 3), (7, 4), (2, 9)):
            x, said = torch.randn(steps, rows, I), marks("mask reset", steps, rows)
            for tensor in (x, *said.values()):
                torch._dynamo.mark_dynamic(tensor, 0)
                torch._dynamo.mark_dynamic(tensor, 1)
            same(run(x, **said), layer(x, **said))
        assert backend.frame_count == 1

    @pytest.mark.skipif(native_cells.compiler() is None, reason="inductor needs a C++ compiler")
    def test_inductor(self) -> None:
        layer = torch.nn.Sequential(nn.LSTM(I, H, batch_first=True), First(), torch.nn.Linear(H, 2))
        x = torch.randn(B, T, I, requires_grad=True)
        with config.patch(cpp_cache_precompile_headers=False):
            run = torch.compile(layer, fullgraph=True)
            leaves = [x, *layer.parameters()]
            found, wanted = training(run, leaves, x), training(layer, leaves, x)
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b)

    def test_gates_keep_their_gradients(self) -> None:
        layer, x = nn.LSTM(I, H).double(), torch.randn(2, B, I, requires_grad=True, dtype=torch.float64)

        def run(x: Tensor) -> Any:
            return layer(x, return_gates=True)

        leaves = [x, *layer.parameters()]
        found = training(torch.compile(run, fullgraph=True, backend="aot_eager"), leaves, x)
        close(found, training(run, leaves, x))
        with torch.no_grad():
            close(torch.compile(run, fullgraph=True, backend="aot_eager")(x), run(x))

    def test_autocast(self) -> None:
        layer, x = nn.LSTM(I, H, 2), torch.randn(T, B, I)

        def run(x: Tensor) -> Any:
            with torch.autocast("cpu", torch.bfloat16):
                return layer(x)

        leaves = list(layer.parameters())
        found = training(torch.compile(run, fullgraph=True, backend="aot_eager"), leaves, x)
        wanted = training(run, leaves, x)
        assert [t.dtype for t in found] == [t.dtype for t in wanted] and found[0].dtype is torch.bfloat16
        same(found, wanted)

    def test_a_forced_instruction_set_stays(self) -> None:
        layer, x = nn.LSTM(I, H), torch.randn(T, B, I)
        backend = CompileCounterWithBackend("aot_eager")
        with ls.use_backend("cpu:baseline"):
            wanted = layer(x)
            run = torch.compile(layer, fullgraph=True, backend=backend)
            same(run(x), wanted)
        (node,) = backend.graphs[0].graph.find_nodes(op="call_function", target=RECUR)
        assert node.args[:2] == ("lstm", "baseline")
        same(run(x), wanted)

    def test_reference_when_forced(self) -> None:
        layer, x = nn.GRU(I, H), torch.randn(2, B, I)
        backend = CompileCounterWithBackend("aot_eager")
        with ls.use_backend("reference"):
            torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend=backend)(x), layer(x))
        assert calls(backend.graphs[0]) == 0

    def test_lengths_out_of_range_are_refused(self) -> None:
        layer, x = nn.LSTM(I, H), torch.randn(T, B, I)
        run = torch.compile(layer, fullgraph=True, backend="eager")
        same(run(x, lengths=torch.tensor([5, 0, 1])), layer(x, lengths=[5, 0, 1]))
        for wrong in ([6, 0, 1], [5, -1, 1]):
            with pytest.raises((RuntimeError, ValueError), match="lengths: expected whole numbers from 0 to"):
                run(x, lengths=torch.tensor(wrong))

    def test_transforms_inside(self) -> None:
        layer, x = nn.LSTM(I, H).double(), torch.randn(2, B, I, dtype=torch.float64)

        def run(x: Tensor) -> Tensor:
            return grad(lambda y: layer(y)[0].square().sum())(x)

        close(torch.compile(run, fullgraph=True, backend="aot_eager")(x), run(x))

    def test_copies_after_compiling(self) -> None:
        layer, x = nn.LSTM(I, H), torch.randn(T, B, I)
        torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
        same(copy.deepcopy(layer)(x), layer(x))


class First(torch.nn.Module):
    def forward(self, found: Any) -> Tensor:
        return found[0]


def calls(graph: torch.fx.GraphModule) -> int:
    return len(graph.graph.find_nodes(op="call_function", target=RECUR))


class Marked(torch.nn.Module):
    """A layer with every argument by its place, as export wants them."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, state: Any, lengths: Tensor, mask: Tensor, reset: Tensor) -> Any:
        return self.layer(x, state, lengths=lengths, mask=mask, reset=reset)


def arguments(layer: Any, steps: int, rows: int) -> tuple[Any, ...]:
    many = layer.num_layers * (2 if layer.bidirectional else 1)
    state: Any = tuple(torch.randn(many, rows, H) for _ in layer.cell.states)
    x = torch.randn(*((rows, steps) if layer.batch_first else (steps, rows)), I)
    lengths, mask, reset = marks("lengths mask reset", steps, rows).values()
    if layer.batch_first:
        mask, reset = mask.T, reset.T
    return x, state if len(state) > 1 else state[0], lengths, mask, reset


def saved_and_loaded(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return torch.export.load(file)


EXPORTED: dict[str, Callable[[], Any]] = {
    "lstm": lambda: nn.LSTM(I, H, 2, bidirectional=True, batch_first=True),
    "gru": lambda: nn.GRU(I, H, zoneout=0.2),
    "slstm": lambda: nn.Recurrent("slstm", I, H, layer_norm=True),
}


class TestExport:
    @pytest.mark.parametrize("strict", [True, False], ids=["strict", "allow_tf32"])
    @pytest.mark.parametrize("name", EXPORTED)
    def test_any_sizes_after_saving_and_loading(self, name: str, strict: bool) -> None:
        layer = EXPORTED[name]().eval()
        steps, rows = Dim("steps"), Dim("rows")
        by_time = {1: steps, 0: rows} if layer.batch_first else {0: steps, 1: rows}
        state: Any = tuple({1: rows} for _ in layer.cell.states)
        shapes = (by_time, state if len(state) > 1 else state[0], {0: rows}, by_time, by_time)
        module = Marked(layer)
        program = torch.export.export(module, arguments(layer, T, B), strict=strict, dynamic_shapes=shapes)
        assert len(program.graph.find_nodes(op="call_function", target=RECUR)) == layer.num_layers
        loaded = saved_and_loaded(program).module()
        for sizes in ((T, B), (9, 11), (2, 1), (1, 4), (1, 1)):
            args = arguments(layer, *sizes)
            same(loaded(*args), module(*args))

    @pytest.mark.parametrize("strict", [True, False], ids=["strict", "allow_tf32"])
    def test_fixed_sizes_and_gradients(self, strict: bool) -> None:
        layer, x = nn.LSTM(I, H), torch.randn(T, B, I)
        loaded = saved_and_loaded(torch.export.export(layer, (x,), strict=strict)).module()
        mine, theirs = dict(layer.named_parameters()), dict(loaded.named_parameters())
        assert list(mine) == list(theirs)
        same(training(loaded, list(theirs.values()), x), training(layer, list(mine.values()), x))

    def test_the_instruction_set_is_chosen_where_the_program_runs(self) -> None:
        program = torch.export.export(nn.LSTM(I, H), (torch.randn(T, B, I),), strict=True)
        (node,) = program.graph.find_nodes(op="call_function", target=RECUR)
        assert node.args[:2] == ("lstm", "")


class TestTransforms:
    """Torch.func and forward mode: what the reference gives, whatever the nesting."""

    @pytest.fixture
    def layer(self) -> nn.LSTM:
        return nn.LSTM(I, H, 2, bidirectional=True).double()

    @pytest.fixture
    def x(self) -> Tensor:
        return torch.randn(T, B, I, dtype=torch.float64)

    def agrees(self, function: Callable[..., Any], *args: Any) -> None:
        close(function(*args), by_reference(function, *args))

    def test_grad_and_functional_call(self, layer: nn.LSTM, x: Tensor) -> None:
        weights = {k: v.detach() for k, v in layer.named_parameters()}

        def loss(weights: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(layer, weights, (x,))[0].square().sum()

        self.agrees(grad(loss), weights, x)
        found = grad(loss)(weights, x)
        wanted = torch.autograd.grad(layer(x)[0].square().sum(), list(layer.parameters()))
        close(list(found.values()), wanted)
        many = torch.randn(3, T, B, I, dtype=torch.float64)
        self.agrees(vmap(grad(loss), (None, 0)), weights, many)

    def test_vjp_and_jvp(self, layer: nn.LSTM, x: Tensor) -> None:
        top = torch.randn(T, B, 2 * H, dtype=torch.float64)
        found = vjp(lambda y: layer(y)[0], x)
        close(found[0], layer(x)[0])
        x.requires_grad_()
        close(found[1](top), torch.autograd.grad(layer(x)[0], [x], [top]))
        x.requires_grad_(False)
        self.agrees(lambda x: jvp(lambda y: layer(y)[0], (x,), (torch.ones_like(x),)), x)

    def test_vmap_over_inputs_and_over_weights(self, layer: nn.LSTM) -> None:
        many = torch.randn(3, T, B, I, dtype=torch.float64)
        close(vmap(lambda y: layer(y)[0])(many), torch.stack([layer(x)[0] for x in many]))
        weights = {k: torch.stack([v.detach() * s for s in (1, 2, 3)]) for k, v in layer.named_parameters()}
        self.agrees(vmap(lambda w, x: functional_call(layer, w, (x,))[0]), weights, many)

    def test_second_derivatives(self, layer: nn.LSTM, x: Tensor) -> None:
        self.agrees(hessian(lambda y: layer(y)[0].square().sum()), x[:2, :1])
        self.agrees(jacrev(lambda y: layer(y)[0].sum(0)), x[:2])

    def test_forward_mode(self, layer: nn.LSTM, x: Tensor) -> None:
        def tangent(x: Tensor) -> Any:
            with torch.autograd.forward_ad.dual_level():
                dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
                return torch.autograd.forward_ad.unpack_dual(layer(dual)[0]).tangent

        self.agrees(tangent, x)

    def test_explain_says_so(self, layer: nn.LSTM) -> None:
        said: list[str] = []

        def run(y: Tensor) -> Tensor:
            said.append(ls.explain(layer, y))
            return layer(y)[0]

        x = torch.randn(2, T, B, I, dtype=torch.float64)
        vmap(run)(x)
        assert "cpu runs it" in said[0] and "under torch.vmap all models run in one call" in said[0]
        jvp(run, (x[0],), (x[0],))
        assert "reference runs it" in said[1] and "cpu does not: under torch.func" in said[1]


class TestAutograd:
    @pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
    def test_finite_differences_through_a_layer(self, name: str) -> None:
        layer = getattr(nn, name)(2, 2, 2, bidirectional=True, dtype=torch.float64)
        weights = dict(layer.named_parameters())
        x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)

        def run(x: Tensor, *values: Tensor) -> Any:
            given = dict(zip(weights, values, strict=True))
            return flat(functional_call(layer, given, (x,), {"lengths": [3, 1]}))[0]

        assert torch.autograd.gradcheck(run, (x, *weights.values()), fast_mode=True)
        assert torch.autograd.gradgradcheck(run, (x, *weights.values()), fast_mode=True)

    @pytest.mark.parametrize("reentrant", [True, False])
    def test_checkpoint(self, reentrant: bool) -> None:
        layer, x = nn.LSTM(I, H, 2), torch.randn(T, B, I, requires_grad=True)
        wanted = training(layer, [x, *layer.parameters()], x)
        found = checkpoint(lambda y: layer(y)[0], x, use_reentrant=reentrant)
        assert isinstance(found, Tensor)
        (layer(x)[0].detach() * found).sum().backward()
        grads = [x.grad, *(p.grad for p in layer.parameters())]
        for leaf in (x, *layer.parameters()):
            leaf.grad = None
        (layer(x)[0].detach() * layer(x)[0]).sum().backward()
        same(grads, [x.grad, *(p.grad for p in layer.parameters())])
        same(found, wanted[0])

    @pytest.mark.parametrize("rows", [B, 512])
    @pytest.mark.parametrize("batch_first", [True, False])
    def test_outputs_changed_in_place(self, batch_first: bool, rows: int) -> None:
        """As torch.nn.LSTM: autograd notices; who asks for no gradient through them may do it."""
        layer = nn.LSTM(I, 32, batch_first=batch_first)
        x = torch.randn(rows, 8, I) if batch_first else torch.randn(8, rows, I)
        wanted = torch.autograd.grad(2 * layer(x)[1][0].sum(), list(layer.parameters()))
        h = layer(x)[1][0].mul_(2)
        same(torch.autograd.grad(h.sum(), list(layer.parameters())), wanted)
        out = layer(x)[0].mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.sum().backward()
        with torch.no_grad():
            out, _ = layer(x)
            before = out.clone()
            same(out.mul_(2), before * 2)

    def test_backward_twice(self) -> None:
        layer, x = nn.LSTM(I, H), torch.randn(T, B, I)
        loss = layer(x)[0].sum()
        leaves = list(layer.parameters())
        same(torch.autograd.grad(loss, leaves, retain_graph=True), torch.autograd.grad(loss, leaves))

    def test_only_what_is_wanted(self) -> None:
        layer: Any = nn.LSTM(I, H)
        x = torch.randn(T, B, I)
        whole = torch.autograd.grad(layer(x)[1][1].sum(), [layer.bias_hh_l0])
        for weight in (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0):
            weight.requires_grad_(False)
        layer(x)[1][1].sum().backward()
        same(layer.bias_hh_l0.grad, whole)
        assert layer.weight_hh_l0.grad is None


class Wrapped(Tensor):
    """A tensor of another kind, which keeps a list of the operators that it meets."""

    seen: list[str] = []  # noqa: RUF012
    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Wrapped:
        made = Tensor._make_wrapper_subclass(cls, held.shape, strides=held.stride(), dtype=held.dtype)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.seen.append(str(func))
        args, kwargs = _pytree.tree_map_only(Wrapped, lambda t: t.held, (args, kwargs or {}))
        return _pytree.tree_map_only(Tensor, Wrapped, func(*args, **kwargs))


class TestOtherTensors:
    def test_fake_tensors(self) -> None:
        layer, x = nn.LSTM(I, H, bidirectional=True, batch_first=True), torch.randn(B, T, I)
        wanted = layer(x)
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            found = layer(mode.from_tensor(x))
        for a, b in zip(flat(found), flat(wanted), strict=True):
            assert isinstance(a, FakeTensor) and (a.shape, a.stride()) == (b.shape, b.stride())

    def test_tensors_of_another_kind_see_one_operator(self) -> None:
        layer, x = nn.LSTM(I, H), torch.randn(T, B, I)
        Wrapped.seen.clear()
        with torch.no_grad():
            found = layer(Wrapped(x))[0]
        assert "longspan.recur.default" in Wrapped.seen
        same(found.held, layer(x)[0])

    def test_make_fx(self) -> None:
        layer, x, y = nn.LSTM(I, H), torch.randn(T, B, I), torch.randn(T, B, I)
        with torch.no_grad():
            graph = make_fx(lambda x: layer(x)[0])(x)
            assert calls(graph) == 1
            same(graph(y), layer(y)[0])


class TestProcess:
    def test_fork_after_use(self) -> None:
        layer, x = nn.LSTM(I, H), torch.randn(T, B, I)
        wanted = layer(x)
        child = os.fork()
        if child == 0:
            os._exit(0 if all(map(torch.equal, flat(layer(x)), flat(wanted))) else 1)
        assert os.waitpid(child, 0)[1] == 0

    @pytest.mark.parametrize("count", [1, 2])
    def test_many_python_threads(self, count: int) -> None:
        layer, x = nn.LSTM(32, 64), torch.randn(10, 40, 32)
        leaves = list(layer.parameters())
        wanted, wrong = training(layer, leaves, x), []

        def work() -> None:
            for _ in range(3):
                found = training(layer, leaves, x)
                wrong.extend(a for a, b in zip(found, wanted, strict=True) if not torch.equal(a, b))

        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            workers = [threading.Thread(target=work) for _ in range(4)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        finally:
            torch.set_num_threads(before)
        assert not wrong


def operands(cell: str, *, full: bool, requires_grad: bool) -> tuple[Any, ...]:
    """Arguments of the operator, for two directions."""
    torch.manual_seed(3)
    layer = nn.Recurrent(cell, I, H, bidirectional=True, layer_norm=full)
    x = torch.randn(B, T, I).transpose(0, 1) if full else torch.randn(T, B, I)
    S = len(layer.cell.states)
    weights = tuple(cpu.weights_in_order(w) for w in layer._weights.weights(layer)[0])
    given = Inputs(
        x,
        torch.tensor([5, 0, 2]) if full else None,
        torch.rand(T, B) < 0.7 if full else None,
        torch.rand(T, B) < 0.3 if full else None,
        torch.rand(2, B, H) if full else None,
        tuple(torch.randn(2, B, H) for _ in range(S)),
        tuple(torch.randint(0, 2, (2, T, B, H), dtype=torch.uint8) for _ in range(S)) if full else (),
        weights,
    )
    rates = (0.3,) * S if full else ()
    args = (*operators._encode(CallSpec(layer.cell, "", rates, full, not full)), *operators._flatten(given))
    return _pytree.tree_map_only(Tensor, lambda t: again(t, requires_grad), args)


def again(t: Tensor, requires_grad: bool) -> Tensor:
    return t.detach().clone().requires_grad_(requires_grad and t.is_floating_point())


class TestOperators:
    @pytest.mark.parametrize("full", [False, True])
    @pytest.mark.parametrize("cell", ["lstm", "gru"])
    def test_recur(self, cell: str, full: bool) -> None:
        args = operands(cell, full=full, requires_grad=not full)
        torch.library.opcheck(RECUR, args)

    @pytest.mark.parametrize("full", [False, True])
    def test_recur_saving_and_backward(self, full: bool) -> None:
        args = operands("lstm", full=full, requires_grad=False)
        torch.library.opcheck(torch.ops.longspan.recur_saving.default, args, test_utils=UTILS)
        out, _, c, *_, saved = torch.ops.longspan.recur_saving(*args)
        wanted = [
            t is not None and t.is_floating_point() and i not in (4,)
            for i, t in enumerate(operators._decode(args)[1].flat())
        ]
        args = (*args, out, saved, [torch.ones_like(out), None, torch.ones_like(c)], wanted)
        torch.library.opcheck(torch.ops.longspan.recur_backward.default, args, test_utils=UTILS)

    def test_a_cell_that_nobody_defined(self) -> None:
        _, *rest = operands("lstm", full=False, requires_grad=False)
        with pytest.raises(RuntimeError, match=r"^longspan::recur: expected a cell that this process knows"):
            RECUR("mine:0123", *rest)

    def test_an_instruction_set_of_another_machine(self) -> None:
        cell, _, *rest = operands("lstm", full=False, requires_grad=False)
        with pytest.raises(
            RuntimeError, match=r"^longspan::recur: .* that this machine runs .*'sse9'; trace"
        ):
            RECUR(cell, "sse9", *rest)

    def test_fake_strides_are_the_real_ones(self) -> None:
        for cell, full in (("lstm", False), ("lstm", True), ("gru", True)):
            args = operands(cell, full=full, requires_grad=False)
            real = torch.ops.longspan.recur_saving(*args)
            for a, b in zip(operators._fake_saving(*args), real, strict=True):
                assert (a.shape, a.stride(), a.dtype) == (b.shape, b.stride(), b.dtype)


UTILS = ("test_schema", "test_faketensor")
