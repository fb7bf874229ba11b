"""The traced step: its simplifications, its saved values, and its C++, compiled and held to autograd."""

from __future__ import annotations

import ctypes
import doctest
import itertools
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from longspan.cells import CELLS, Cell, Values, cell, maximum, minimum, softplus
from longspan.kernels import emit_cpp
from longspan.kernels.program import (
    BINARY,
    NEVER,
    SAVE,
    UNARY,
    Graph,
    Node,
    Program,
    cheapest,
    evaluate,
    order,
    program,
)


@cell(gates="abe", states="hck", params="u", initial={"c": 0.5})
def everything(x: Values, r: Values, s: Values, p: Values) -> tuple[Any, ...]:
    """Every operation that a step may use, with numbers on both sides."""
    a = (x.a - 2.0 * r.a).relu() + 1
    b = 1.0 / (1 + (x.b * r.b).abs()) - minimum(0.25, x.a)
    e = softplus(x.e) * (r.e + p.u).tanh() / a.sqrt()
    k = (a + 0.5).log() - (-(-b.abs()).exp()) + s.c.maximum(e)
    c = maximum(s.c, -1.0) * b.sigmoid() + e.minimum(s.h)
    return c * k / a - (3 - p.u), c, k


@cell(gates="n", states="hc")
def carried(x: Values, r: Values, s: Values, p: Values) -> tuple[Any, ...]:
    """A state that only passes through."""
    return (x.n + r.n) * s.c, s.c


TESTED = {c.name: c for c in (*CELLS.values(), everything, carried)}
NORMED = {name: c for name, c in TESTED.items() if "c" in c.states}

HARNESS = """
#include <cmath>
struct V { double v; V() = default; explicit V(double a) : v(a) {} };
inline V operator+(V a, V b) { return V(a.v + b.v); }
inline V operator-(V a, V b) { return V(a.v - b.v); }
inline V operator*(V a, V b) { return V(a.v * b.v); }
inline V operator/(V a, V b) { return V(a.v / b.v); }
inline V operator-(V a) { return V(-a.v); }
inline V sigmoid(V a) { return V(1 / (1 + std::exp(-a.v))); }
inline V tanh(V a) { return V(std::tanh(a.v)); }
inline V exp(V a) { return V(std::exp(a.v)); }
inline V log(V a) { return V(std::log(a.v)); }
inline V relu(V a) { return V(a.v > 0 ? a.v : 0); }
inline V abs(V a) { return V(std::fabs(a.v)); }
inline V sqrt(V a) { return V(std::sqrt(a.v)); }
inline V softplus(V a) { return V(std::fmax(a.v, 0.0) + std::log1p(std::exp(-std::fabs(a.v)))); }
inline V maximum(V a, V b) { return a.v > b.v ? a : b; }
inline V minimum(V a, V b) { return a.v < b.v ? a : b; }
inline V gt(V a, V b) { return V(a.v > b.v ? 1.0 : 0.0); }
#include "cells.inc"
using I = const V*;
using O = V*;
#define COUNTS(c) \\
  extern "C" int c##_count(int i) { const int n[] = {c::G, c::S, c::P, c::K, c::C, c::shared, c::reads_h, \\
    c::recurrent, c::normed, int(c::uses_s), int(c::uses_n)}; return n[i]; } \\
  extern "C" double c##_initial(int i) { return c::initial(i); } \\
  extern "C" const char* c##_name() { return c::name; }
#define PLAIN(c) COUNTS(c) \\
  extern "C" void c##_forward(I x, I r, I s, I p, O n, O y, O g) { c::forward(x, r, s, p, n, y, g); } \\
  extern "C" void c##_backward(I y, I s, I p, I n, I d, O dx, O dr, O ds, O dp) { \\
    c::backward(y, s, p, n, d, dx, dr, ds, dp); }
#define NORM(plain, c) COUNTS(c) \\
  extern "C" void c##_forward_c(I x, I r, I s, I p, O n, O y, O g) { c::forward_c(x, r, s, p, n, y, g); } \\
  extern "C" void c##_forward_h(I x, I r, I s, I p, I nc, O n, O y, O g) { \\
    c::forward_h(x, r, s, p, *nc, n, y, g); } \\
  extern "C" void c##_backward_h(I y, I s, I p, I n, I nc, I d, O dx, O dr, O ds, O dp, O dn, O dnc) { \\
    c::backward_h(y, s, p, n, *nc, *d, dx, dr, ds, dp, dn, *dnc); } \\
  extern "C" void c##_backward_c(I y, I s, I p, I n, I d, O dx, O dr, O ds, O dp) { \\
    c::backward_c(y, s, p, n, d, dx, dr, ds, dp); }
LONGSPAN_CELLS(PLAIN)
LONGSPAN_NORM_CELLS(NORM)
"""

COUNTED = ("G", "S", "P", "K", "C", "shared", "reads_h", "recurrent", "normed", "uses_s", "uses_n")
Call = Callable[..., None]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The printed C++ of every tested cell over a plain double."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    folder = tmp_path_factory.mktemp("cells")
    (folder / "cells.inc").write_text(emit_cpp.source(TESTED.values()))
    (folder / "harness.cpp").write_text(HARNESS)
    flags = ["-std=c++17", "-O0", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, "harness.cpp", "-o", "cells.so"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "cells.so"))


def unit_by_unit(function: Any, count: int) -> Call:
    """`function` over columns: each argument (rows, H) is passed as H short arrays; all may be written."""

    def call(*tensors: Tensor) -> None:
        columns = [t.t().contiguous() for t in tensors]
        for unit in range(count):
            function(*[ctypes.c_void_p(c[unit].data_ptr()) for c in columns])
        for tensor, column in zip(tensors, columns, strict=True):
            tensor.copy_(column.t())

    return call


def unset(rows: int, width: int) -> Tensor:
    return torch.full((rows, width), torch.nan, dtype=torch.float64)


Inputs = dict[str, Tensor]


def inputs(c: Cell, kind: str) -> Inputs:
    """x, r, s, p of H units: ordinary, saturated (up to 60), or all 0, where maxima tie."""
    torch.manual_seed(len(c.name))
    width = 64
    scale = {"ordinary": 1.0, "saturated": 60.0, "zero": 0.0}[kind]
    rows = {"x": len(c.gates), "r": len(c.gates) * c.recurrent, "s": len(c.states), "p": len(c.params)}
    found = {k: scale * (2 * torch.rand(n, width, dtype=torch.float64) - 1) for k, n in rows.items()}
    if "n" in c.states:  # a normaliser, which stays positive
        found["s"][c.states.index("n")] = 1 + torch.rand(width, dtype=torch.float64)
    return {k: v.requires_grad_() for k, v in found.items()}


def step(c: Cell, given: Inputs) -> tuple[Tensor, ...]:
    letters = {"x": c.gates, "r": c.gates if c.recurrent else "", "s": c.states, "p": c.params}
    return c(*[Values(k, dict(zip(of, given[k], strict=True))) for k, of in letters.items()])


def gradients(c: Cell, outs: Sequence[Tensor], given: Inputs, d: Tensor) -> dict[str, Tensor]:
    found = torch.autograd.grad(list(outs), list(given.values()), list(d), allow_unused=True)
    want = {
        k: torch.zeros_like(v) if g is None else g for (k, v), g in zip(given.items(), found, strict=True)
    }
    return want if c.recurrent else want | {"r": want["x"]}  # a cell without R shows dx as dr


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def reads(bits: int, states: Tensor) -> Tensor:
    """The states that a backward pass says it reads; NaN in place of the others."""
    return torch.stack([s if bits >> i & 1 else torch.full_like(s, torch.nan) for i, s in enumerate(states)])


@pytest.mark.parametrize("kind", ["ordinary", "saturated", "zero"])
@pytest.mark.parametrize("name", TESTED)
def test_compiled_steps_and_gradients_equal_autograd(compiled: ctypes.CDLL, name: str, kind: str) -> None:
    c, traced = TESTED[name], program(TESTED[name])
    given = inputs(c, kind)
    x, r, s, p = (v.detach().clone() for v in given.values())
    width, states, gates = x.shape[1], len(c.states), len(c.gates)
    n, y, g = unset(states, width), unset(len(traced.saved), width), unset(gates, width)
    unit_by_unit(compiled[f"{name}_forward"], width)(x, r, s, p, n, y, g)
    outs = step(c, given)
    close(n, torch.stack(outs))
    assert g.isfinite().all()
    assert y.isfinite().all()
    d = torch.randn_like(n)
    dx, dr, ds, dp = (unset(k, width) for k in (gates, gates, states, len(c.params)))
    old = reads(compiled[f"{name}_count"](9), s)
    new = reads(compiled[f"{name}_count"](10), n)
    unit_by_unit(compiled[f"{name}_backward"], width)(y, old, p, new, d, dx, dr, ds, dp)
    want = gradients(c, outs, given, d)
    for got, of in ((dx, "x"), (dr, "r"), (ds, "s"), (dp, "p")):
        close(got, want[of])


def normed_step(c: Cell, given: Inputs) -> tuple[list[Tensor], dict[Node, Tensor]]:
    """The step cut in two around layer norm, on tensors; also the values by node."""
    cut = program(c, True)
    assert cut.nc is not None
    groups = ((cut.x, "x"), (cut.r, "r"), (cut.s, "s"), (cut.p, "p"))
    have = {node: v for group, k in groups for node, v in zip(group.values(), given[k], strict=True)}
    rest = evaluate(cut.outs[1:], have)
    raw = dict(zip(c.states[1:], rest, strict=True))
    have[cut.nc] = F.layer_norm(raw["c"], raw["c"].shape)
    have |= {node: raw[k] for k, node in cut.new.items()}
    return [*evaluate(cut.outs[:1], have), *rest], have


@pytest.mark.parametrize("kind", ["ordinary", "saturated"])
@pytest.mark.parametrize("name", NORMED)
def test_compiled_normed_steps_equal_autograd(compiled: ctypes.CDLL, name: str, kind: str) -> None:
    c, cut = NORMED[name], program(NORMED[name], True)
    given = inputs(c, kind)
    x, r, s, p = (v.detach().clone() for v in given.values())
    width, states, gates = x.shape[1], len(c.states), len(c.gates)

    def call(function: str, *tensors: Tensor) -> None:
        unit_by_unit(compiled[f"{name}_norm_{function}"], width)(*tensors)

    n, y, g = unset(states, width), unset(len(cut.saved), width), unset(gates, width)
    call("forward_c", x, r, s, p, n, y, g)
    raw_c = n[c.states.index("c")].clone().requires_grad_()
    nc = F.layer_norm(raw_c, raw_c.shape)
    call("forward_h", x, r, s, p, nc.detach()[None], n, y, g)
    outs, have = normed_step(c, given)
    close(n, torch.stack(outs))
    close(g, torch.stack(evaluate(list(cut.gate_values.values()), have)))
    assert y.isfinite().all()

    d = torch.randn_like(n)
    dx, dr, ds, dp = (unset(k, width) for k in (gates, gates, states, len(c.params)))
    dn, dnc = unset(states, width), unset(1, width)
    old = reads(compiled[f"{name}_norm_count"](9), s)
    new = reads(compiled[f"{name}_norm_count"](10), n)
    call("backward_h", y, old, p, new, nc.detach()[None], d[:1].clone(), dx, dr, ds, dp, dn, dnc)
    total = d + dn
    total[c.states.index("c")] += torch.autograd.grad(nc, raw_c, dnc[0])[0]
    call("backward_c", y, old, p, new, total, dx, dr, ds, dp)
    want = gradients(c, outs, given, d)
    for got, of in ((dx, "x"), (dr, "r"), (ds, "s"), (dp, "p")):
        close(got, want[of])


@pytest.mark.parametrize("name", [*TESTED, *(f"{name}_norm" for name in NORMED)])
def test_compiled_counts(compiled: ctypes.CDLL, name: str) -> None:
    c, normed = TESTED[name.removesuffix("_norm")], name.endswith("_norm")
    traced = program(c, normed)
    got = {k: compiled[f"{name}_count"](i) for i, k in enumerate(COUNTED[:9])}
    assert got == {
        "G": len(c.gates),
        "S": len(c.states),
        "P": len(c.params),
        "K": len(traced.saved),
        "C": c.states.find("c"),
        "shared": traced.shared,
        "reads_h": traced.reads_h,
        "recurrent": c.recurrent,
        "normed": normed,
    }
    initial, called = compiled[f"{name}_initial"], compiled[f"{name}_name"]
    initial.restype, called.restype = ctypes.c_double, ctypes.c_char_p
    assert [initial(i) for i in range(len(c.states))] == [c.initial.get(k, 0.0) for k in c.states]
    assert called() == c.name.encode()


def test_what_each_cell_saves() -> None:
    saved = {name: len(program(c).saved) for name, c in CELLS.items()}
    assert saved == {
        "rnn": 0,
        "rnn_relu": 0,
        "lstm": 4,
        "gru": 4,
        "peephole": 4,
        "cifg": 3,
        "slstm": 6,
        "indrnn": 0,
    }
    for normed in (False, True):
        lstm = program(CELLS["lstm"], normed)
        assert lstm.saved == list(lstm.gate_values.values())


def test_which_cells_share_gradients_and_read_h() -> None:
    assert [name for name, c in CELLS.items() if not program(c).shared] == ["gru"]
    assert [name for name, c in CELLS.items() if program(c).reads_h] == ["gru", "indrnn"]


@pytest.mark.parametrize(
    ("name", "operations"),
    [
        ("lstm", {"i": "sigmoid", "f": "sigmoid", "g": "tanh", "o": "sigmoid"}),
        ("gru", {"r": "sigmoid", "z": "sigmoid", "n": "tanh"}),
        ("peephole", {"i": "sigmoid", "f": "sigmoid", "g": "tanh", "o": "sigmoid"}),
        ("slstm", {"i": "exp", "f": "exp", "g": "tanh", "o": "sigmoid"}),
        ("rnn_relu", {"n": "relu"}),
        ("carried", {"n": "+"}),
        ("everything", {"a": "relu", "b": "sigmoid", "e": "+"}),
    ],
)
def test_gate_values(name: str, operations: dict[str, str]) -> None:
    assert {k: node.op for k, node in program(TESTED[name]).gate_values.items()} == operations


def test_a_gate_value_reads_its_own_gate() -> None:
    for c in CELLS.values():
        traced = program(c)
        for k, node in traced.gate_values.items():
            assert traced.x[k] in order([node])
    slstm = program(CELLS["slstm"])
    assert slstm.gate_values["i"] is not slstm.gate_values["f"]


def test_equal_expressions_are_one_node_and_constants_fold() -> None:
    graph = Graph()
    a, b = graph.input("a"), graph.input("b")
    zero, one, two = (graph.constant(v) for v in (0, 1, 2))
    assert a + b is b + a
    assert a * b is b * a
    assert a - b is not b - a
    assert (a + b).tanh() is (b + a).tanh()
    negative = -a
    for same in (a + 0, 0 + a, a - 0, a * 1, 1.0 * a, a / 1, -negative, 0 - negative, -1 * negative):
        assert same is a
    for nothing in (a * 0, 0 / a, zero * b, zero.tanh()):
        assert nothing is zero
    assert a + (-b) is a - b
    assert -b + a is a - b
    assert a - (-b) is a + b
    assert (-a) * b is -(a * b)
    assert (-a) / b is -(a / b)
    assert 0 - a is -a
    assert one + 1 is two
    assert two.maximum(one) is two
    assert (two * 3 - 4).sqrt().value == pytest.approx(2**0.5)


@pytest.mark.parametrize("op", UNARY)
def test_folded_numbers_equal_tensors(op: str) -> None:
    graph = Graph()
    v = torch.tensor(0.7, dtype=torch.float64)
    traced = evaluate([graph.make(op, graph.input("v"))], {graph.input("v"): v})[0]
    assert graph.make(op, graph.constant(0.7)).value == pytest.approx(float(traced), rel=1e-15)


def cost(saved: Sequence[Node], needed: Sequence[Node], free: set[Node]) -> int:
    """What it takes to have the needed nodes again from the saved and the free ones."""
    price = {op: rule.cost for op, rule in (*UNARY.items(), *BINARY.items())} | {"in": NEVER, "const": 0}
    recomputed = order(needed, known={*saved, *free})
    return SAVE * len(saved) + sum(price[n.op] for n in recomputed)


@pytest.mark.parametrize("seed", range(20))
def test_saved_values_are_the_cheapest_choice(seed: int) -> None:
    """Against every choice there is, on small random programs."""
    dice, graph = random.Random(seed), Graph()
    given = [graph.input(k) for k in "abs"]
    nodes = list(given)
    for _ in range(9):
        op = dice.choice(["+", "*", "/", "tanh", "sigmoid", "exp"])
        nodes.append(graph.make(op, *[dice.choice(nodes) for _ in range(1 if op in UNARY else 2)]))
    free = {given[2], dice.choice(nodes[3:])}
    needed = dice.sample(nodes[3:], 4)
    within = order(needed)
    choices = itertools.chain.from_iterable(itertools.combinations(within, k) for k in range(5))
    best = min(cost(choice, needed, free) for choice in choices)
    assert cost(cheapest(needed, free), needed, free) == best


def test_one_function_of_a_state_is_recomputed_but_two_are_not() -> None:
    graph = Graph()
    c = graph.input("c")
    assert cheapest([c.tanh()], {c}) == []
    assert cheapest([c.tanh().exp()], {c}) == [c.tanh().exp()]


def wrong(step: Any) -> Program:
    step.__name__ = "mine"
    return Program(cell(gates="ab", states="hc")(step))


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (
            lambda x, r, s, p: x.a,
            r"mine: expected the step to return a tuple of 2, .* received Node; return a",
        ),
        (lambda x, r, s, p: (x.a,), r"a tuple of 2, the new states 'hc' in order, received 1; return one"),
        (lambda x, r, s, p: (x.a, 1.0), r"a tuple of 2, .* received float; return values computed from"),
        (lambda x, r, s, p: (x.q, x.a), r"x\.q: expected a declared letter \(a b\), received 'q'"),
        (lambda x, r, s, p: (x.a.sin(), x.a), r"step: expected only \+ - \* /, sigmoid, .*, received \.sin;"),
        (lambda x, r, s, p: (x.a or x.b, x.a), r"step: expected no branch on a value, received one"),
        (
            lambda x, r, s, p: (x.a.maximum(0.0), x.a),
            r"maximum: expected a value, received float; write cells",
        ),
        (lambda x, r, s, p: (x.a + "1", x.a), "unsupported operand"),
    ],
)
def test_a_wrong_step_says_what_is_wrong(step: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError), match=words):
        wrong(step)


def test_layer_norm_of_a_missing_state_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a cell with a state c, received 'gru' with states 'h'"):
        Program(CELLS["gru"], normed=True)


def test_the_build_prints_the_cells_with_a_bare_python(tmp_path: Path) -> None:
    script = Path(emit_cpp.__file__)
    run = [sys.executable, "-I", "-S", str(script)]  # no site-packages: neither torch nor the package
    subprocess.run([*run, str(tmp_path / "cells.inc")], check=True)
    text = (tmp_path / "cells.inc").read_text()
    assert text == emit_cpp.source(CELLS.values())
    assert emit_cpp.struct_source(CELLS["lstm"]) in text
    without = subprocess.run(run, capture_output=True, text=True)
    assert without.returncode == 2
    assert "usage: emit_cpp.py OUT.inc" in without.stderr


def test_the_script_refuses_other_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert emit_cpp.main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_examples_run() -> None:
    assert doctest.testmod(emit_cpp).failed == 0
