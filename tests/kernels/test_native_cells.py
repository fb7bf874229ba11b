"""Tests a user's own cell: compiled, cached, equal to the reference, every refusal in words."""

from __future__ import annotations

import copy
import io
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import longspan as ls
from longspan import _core, nn
from longspan.cells import CELLS, Cell, cell, softplus
from longspan.kernels import cpu, emit_cpp, native_cells

T, B, I, H = 4, 3, 3, 5
ISAS = cpu.INSTRUCTION_SETS

pytestmark = pytest.mark.skipif(native_cells.compiler() is None, reason="there is no C++ compiler")


@cell(gates="fg", states="h")
def two(x: Any, r: Any, s: Any, p: Any) -> Any:
    """The minimal gated unit."""
    f = (x.f + r.f).sigmoid()
    return (f * s.h + (1 - f) * (x.g + r.g).tanh(),)


@cell(gates="ifgok", states="hc", params="uv")
def five(x: Any, r: Any, s: Any, p: Any) -> Any:
    """An LSTM with a gate more, per-unit extras and a state c, so that it can be normalised."""
    i, f, o = (x.i + r.i + p.u * s.c).sigmoid(), (x.f + r.f).sigmoid(), (x.o + r.o).sigmoid()
    k = softplus(x.k + r.k)
    c = f * s.c + i * (x.g + r.g).tanh() / (1 + k)
    return o * (p.v * c).tanh(), c


@cell(gates="abdefg", states="hcn", initial={"n": 1.0})
def six(x: Any, r: Any, s: Any, p: Any) -> Any:
    """Six gates and three states, one of which starts at 1, with every function that is allowed."""
    a, b, d = (x.a + r.a).sigmoid(), (x.b + r.b).tanh(), (x.d + r.d).sigmoid()
    e, f, g = (-(x.e + r.e).abs()).exp(), (x.f * r.f).relu(), (x.g + r.g).sigmoid()
    n = (d * s.n + e).maximum(s.n * 0.5)
    c = a * s.c + b * (1 + f).log() - (n * n + 1).sqrt().minimum(g)
    return g * (c / (n + 1)).tanh() - 0.25 * s.h, c, n


@cell(gates="n", states="h", params="u", recurrent=False)
def alone(x: Any, r: Any, s: Any, p: Any) -> Any:
    """Without a matrix R."""
    return ((x.n + p.u * s.h).tanh(),)


OWN = {c.name: c for c in (two, five, six, alone)}
# Each takes seconds to compile: every cell for the widest instruction set, and one of them for all.
PAIRS = [
    pytest.param(
        name, isa, marks=[] if name == "two" or (isa, name) == (ISAS[0], "six") else pytest.mark.slow
    )
    for name in OWN
    for isa in ISAS
]


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cells")


def forget() -> None:
    native_cells._kernels_of.cache_clear()
    native_cells._open.cache_clear()


@pytest.fixture(autouse=True)
def cache(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One cache for all tests of this file, so that each cell is compiled once."""
    monkeypatch.setenv("LONGSPAN_CACHE", str(shared_cache))
    forget()
    yield shared_cache
    forget()


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("LONGSPAN_CACHE", str(tmp_path / "cache"))
    forget()
    return tmp_path / "cache"


def flat(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [t for part in value for t in flat(part)]


def training(layer: Any, x: Tensor, **options: Any) -> list[Tensor]:
    outputs = flat(layer(x, **options))
    total = torch.stack([(t * t.detach().cos()).sum() for t in outputs]).sum()
    leaves = [x, *layer.parameters()]
    return [*outputs, *torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)]


class TestParity:
    @pytest.mark.parametrize(("name", "isa"), PAIRS)
    def test_equals_reference(self, name: str, isa: str) -> None:
        own = OWN[name]
        native_cells.compile_cell(own, isa)
        for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
            for more in (False, True):
                layer = nn.Recurrent(
                    own, I, H, bidirectional=more, layer_norm=more, dtype=dtype, zoneout=0.2
                ).eval()
                x = torch.randn(T, B, I, dtype=dtype, requires_grad=True)
                said = {
                    "lengths": torch.tensor([4, 0, 2]),
                    "mask": torch.rand(T, B) < 0.7,
                    "reset": torch.rand(T, B) < 0.3,
                }
                with ls.use_backend("reference"):
                    wanted = training(layer, x, **said)
                with ls.use_backend(f"cpu:{isa}"):
                    found = training(layer, x, **said)
                for a, b in zip(found, wanted, strict=True):
                    scale = max(float(b.detach().abs().max()), 0.1)
                    assert float((a - b).detach().abs().max()) <= tolerance * scale

    def test_gates_have_their_letters(self) -> None:
        ls.compile_cell(six)
        layer, x = nn.Recurrent(six, I, H), torch.randn(T, B, I)
        with ls.use_backend("cpu"):
            out, _, (gates,) = layer(x, return_gates=True)
        assert set(gates) == set("abdefghcn")
        torch.testing.assert_close(gates["h"].transpose(0, 1), out)

    def test_half_precision_and_steps(self) -> None:
        ls.compile_cell(two)
        layer, x = nn.Recurrent(two, I, H), torch.randn(T, B, I)
        out, h = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(layer(x)[0].float(), out, rtol=0.02, atol=0.02)
        state: Any = torch.zeros(1, B, H)
        with torch.no_grad():
            for reading in x:
                _, state = layer.step(reading, state)
        torch.testing.assert_close(state, h)

    @pytest.mark.parametrize("name", ["lstm", pytest.param("double", marks=pytest.mark.slow)])
    def test_names_that_mean_something_elsewhere(self, name: str) -> None:
        """As a built-in cell, which it is not mixed up with, or in C++."""
        own = Cell(name, "n", "h", lambda x, r, s, p: ((x.n + r.n).sigmoid(),))
        x, layer = torch.randn(T, B, I), nn.Recurrent(own, I, H)
        with ls.use_backend("reference"):
            wanted = layer(x)[0]
        torch.testing.assert_close(layer(x)[0], wanted)
        ls.compile_cell(own)
        with ls.use_backend("cpu"):
            torch.testing.assert_close(layer(x)[0], wanted)


class TestProgram:
    """What torch.compile and torch.export make of a user's own cell."""

    def test_compile_and_export(self) -> None:
        ls.compile_cell(two)
        torch._dynamo.reset()
        layer, x = nn.Recurrent(two, I, H), torch.randn(T, B, I, requires_grad=True)
        run = torch.compile(layer, fullgraph=True, backend="aot_eager")
        outputs = run(x)
        for a, b in zip(flat(outputs), flat(layer(x)), strict=True):
            assert torch.equal(a, b)
        file = io.BytesIO()
        torch.export.save(torch.export.export(layer, (x.detach(),)), file)
        file.seek(0)
        program = torch.export.load(file)
        (node,) = (n for n in program.graph.nodes if "longspan.recur" in str(n.target))
        assert str(node.args[0]).startswith("two:") and torch.equal(program.module()(x)[0], layer(x)[0])

    def test_not_compiled_runs_as_plain_operations(self) -> None:
        @cell(gates="n", states="h")
        def plain(x: Any, r: Any, s: Any, p: Any) -> Any:
            return ((x.n + 2 * r.n).tanh(),)

        torch._dynamo.reset()
        layer, x = nn.Recurrent(plain, I, H), torch.randn(T, B, I)
        run = torch.compile(layer, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(run(x)[0], layer(x)[0])

    def test_the_key_is_the_equations(self) -> None:
        twin = Cell(two.name, two.gates, two.states, two.step)
        assert native_cells.key_of(twin) == native_cells.key_of(two) != native_cells.key_of(five)
        assert native_cells.key_of(CELLS["lstm"]) == "lstm"
        assert native_cells.cell_of(native_cells.key_of(two)) is two


SCRIPT = """
import longspan as ls
@ls.cell(gates="n", states="h")
def own(x, r, s, p):
    return ((x.n + r.n).tanh(),)
print(ls.compile_cell(own, "baseline"))
"""


def elsewhere() -> subprocess.Popen[str]:
    """Another process that compiles a cell."""
    path = os.pathsep.join([str(Path(ls.__file__).parents[1]), *sys.path])
    command = [sys.executable, "-c", SCRIPT]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path})


class TestCache:
    def test_the_second_time_nothing_is_built(self, monkeypatch: pytest.MonkeyPatch) -> None:
        path = ls.compile_cell(two)
        monkeypatch.setattr(native_cells, "_build", lambda *_: pytest.fail("built again"))
        assert ls.compile_cell(two) == path

    def test_changed_equations_make_another_file(self, empty: Path) -> None:
        def own(factor: float) -> Cell:
            return Cell("own", "n", "h", lambda x, r, s, p: ((x.n + r.n).tanh() * factor,))

        paths = {native_cells._path(own(factor), "baseline") for factor in (2.0, 3.0, 2.0)}
        assert len(paths) == 2 and {path.parent for path in paths} == {empty}

    def test_two_builds_at_once_leave_one_whole_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        both = threading.Barrier(2, timeout=60)

        def compiled(cell: Cell, command: list[str], library: Path) -> None:
            library.write_bytes(b"half")
            both.wait()
            library.write_bytes(b"whole")

        monkeypatch.setattr(native_cells, "_compile", compiled)
        path = tmp_path / "cache" / "cell.so"
        builds = [threading.Thread(target=native_cells._build, args=(two, "baseline", path)) for _ in "ab"]
        for build in builds:
            build.start()
        for build in builds:
            build.join()
        assert list(path.parent.iterdir()) == [path] and path.read_bytes() == b"whole"

    @pytest.mark.slow
    def test_many_may_build_at_once(self, empty: Path) -> None:
        workers = [elsewhere() for _ in range(2)]
        paths = {worker.communicate()[0].strip() for worker in workers}
        assert len(paths) == 1 and [str(p) for p in empty.iterdir()] == list(paths)
        assert all(worker.returncode == 0 for worker in workers)

    def test_layers_find_what_was_compiled_before(self) -> None:
        ls.compile_cell(two)
        forget()
        twin = Cell(two.name, two.gates, two.states, two.step)
        with ls.use_backend("cpu"):
            nn.Recurrent(twin, I, H)(torch.randn(T, B, I))

    def test_copies_of_a_layer_stay_compiled(self) -> None:
        ls.compile_cell(two)
        layer, x = nn.Recurrent(two, I, H), torch.randn(T, B, I)
        with ls.use_backend("cpu"):
            wanted = layer(x)[0]
            assert torch.equal(copy.deepcopy(layer)(x)[0], wanted)
            assert torch.equal(pickle.loads(pickle.dumps(layer))(x)[0], wanted)


def explained(own: Cell) -> str:
    return ls.explain(nn.Recurrent(own, I, H), torch.randn(T, B, I))


class TestExplain:
    def test_compiled(self) -> None:
        path = ls.compile_cell(two)
        assert f"cpu uses {native_cells.WIDEST}, compiled from your cell in {path};" in explained(two)
        assert "compiled from" not in ls.explain(nn.LSTM(I, H), torch.randn(T, B, I))

    def test_not_yet(self, empty: Path) -> None:
        said = explained(two)
        assert "reference runs it" in said and "'two' is your own and not compiled for" in said
        assert "longspan.compile_cell(cell) does it" in said

    def test_other_instruction_set(self, empty: Path) -> None:
        native_cells.compile_cell(two, "baseline")
        with ls.use_backend("cpu:baseline"):
            assert "cpu uses baseline, compiled" in explained(two)
        if len(ISAS) > 1:
            with ls.use_backend(f"cpu:{ISAS[0]}"):
                assert f"not compiled for {ISAS[0]} yet" in explained(two)

    def test_no_compiler(self, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        without_compiler(monkeypatch)
        assert "there is no C++ compiler" in explained(two) and "apt-get install g++" in explained(two)

    def test_too_big(self) -> None:
        assert "'large' is your own and has 9 states of at most 8 that a kernel can hold" in explained(
            large(9)
        )

    def test_damaged_file(self, empty: Path) -> None:
        path = native_cells._path(two, native_cells.WIDEST)
        path.parent.mkdir()
        path.write_bytes(b"half a file")
        assert "cannot be loaded" in explained(two) and "builds it again" in explained(two)
        assert ls.compile_cell(two) == path
        assert "compiled from your cell" in explained(two)


def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)


def large(states: int = 1, gates: int = 1, params: int = 0) -> Cell:
    letters = "hbcdfijklmnopq"
    capitals = "ABCDEFGHIJKLMNOP"

    def step(x: Any, r: Any, s: Any, p: Any) -> Any:
        total = sum((getattr(x, g) + getattr(r, g) for g in capitals[:gates]), 0.0 * s.h)
        total = sum((getattr(p, k) * s.h for k in letters[:params]), total)
        return tuple(total + getattr(s, k) for k in letters[:states])

    return Cell("large", capitals[:gates], letters[:states], step, letters[:params])


class TestRefusals:
    """Each in one sentence."""

    @pytest.mark.parametrize(
        ("own", "words"),
        [
            (large(states=9), "has 9 states of at most 8"),
            (large(gates=13), "has 13 gates of at most 12"),
            (large(params=13), "has 13 params of at most 12"),
        ],
    )
    def test_too_big(self, own: Cell, words: str) -> None:
        with pytest.raises(ValueError, match=rf"^cell: expected one that a kernel can hold.*{words}; .*\.$"):
            ls.compile_cell(own)
        nn.Recurrent(own, I, H)(torch.randn(T, B, I))

    def test_the_limits_are_the_kernels_own(self) -> None:
        text = (native_cells.HEADERS / "call.h").read_text()
        for role, most in native_cells.LIMITS.items():
            assert f"MAX_{role.upper()} = {most}" in text

    @pytest.mark.slow
    def test_as_big_as_may_be(self) -> None:
        own = large(states=8, gates=12, params=12)
        native_cells.compile_cell(own, "baseline")
        layer, x = nn.Recurrent(own, I, H, dtype=torch.float64), torch.randn(T, B, I, dtype=torch.float64)
        x.requires_grad_()
        with ls.use_backend("reference"):
            wanted = training(layer, x)
        with ls.use_backend("cpu:baseline"):
            found = training(layer, x)
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)

    def test_not_a_cell_of_ones_own(self) -> None:
        with pytest.raises(
            ValueError, match=r"^cell: expected a cell of your own, received the built-in lstm; "
        ):
            ls.compile_cell(CELLS["lstm"])
        with pytest.raises(TypeError, match=r"^cell: expected a cell of your own, received function; "):
            ls.compile_cell(two.step)  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match=r"^isa: expected one of .*, received 'sse9'"):
            ls.compile_cell(two, "sse9")

    def test_no_compiler(self, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        without_compiler(monkeypatch)
        words = (
            r"^compile_cell: expected a C\+\+17 compiler to compile 'two', found none; install g\+\+ .* \$CXX"
        )
        with pytest.raises(RuntimeError, match=words):
            ls.compile_cell(two)
        nn.Recurrent(two, I, H)(torch.randn(T, B, I))

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ("exit 3", "could not compile 'two': it ended with status 3, no file and no message"),
            (
                "echo cell.cpp: fatal error: disk full >&2; exit 1",
                "could not compile 'two': .*error: disk full",
            ),
            ("exit 0", "could not compile 'two': it ended with status 0, no file and no message"),
        ],
    )
    def test_broken_compiler(
        self, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, words: str
    ) -> None:
        monkeypatch.setenv("CXX", str(program(tmp_path / "cxx", f"#!/bin/sh\n{body}\n")))
        with pytest.raises(RuntimeError, match=rf"^compile_cell: .*cxx {words}"):
            ls.compile_cell(two)
        assert not list(empty.iterdir())

    def test_compiler_that_cannot_be_run(
        self, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CXX", str(program(tmp_path / "cxx", "\x7fELF, but not really")))
        with pytest.raises(RuntimeError, match=r"^compile_cell: .*cxx cannot be run: .*; correct \$CXX\.$"):
            ls.compile_cell(two)

    def test_compiler_with_arguments(
        self, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tool = program(tmp_path / "cxx", '#!/bin/sh\necho "error: $1" >&2\nexit 1\n')
        monkeypatch.setenv("CXX", f"{tool} --first")
        with pytest.raises(RuntimeError, match=r"could not compile 'two': error: --first$"):
            ls.compile_cell(two)

    def test_cache_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("LONGSPAN_CACHE", str(tmp_path / "file" / "cache"))
        forget()
        words = r"^compile_cell: expected a folder .*, received .*cache \(Not a directory\); name another"
        with pytest.raises(RuntimeError, match=words):
            ls.compile_cell(two)
        nn.Recurrent(two, I, H)(torch.randn(T, B, I))

    def test_made_for_other_kernels(self, monkeypatch: pytest.MonkeyPatch) -> None:
        path = ls.compile_cell(two)
        monkeypatch.setattr(native_cells, "ABI", _core.ABI + 1)
        forget()
        words = f"was made for version {_core.ABI} of the kernels, where this one is {_core.ABI + 1}"
        assert words in explained(two)
        with pytest.raises(RuntimeError, match=rf"^compile_cell: {path} {words}; install longspan again\.$"):
            ls.compile_cell(two)


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_printed_cells_are_stable() -> None:
    """The cache's key: printing twice gives the same text."""
    sources: list[Callable[[], str]] = [lambda c=c: emit_cpp.struct_source(c) for c in OWN.values()]
    assert all(source() == source() for source in sources)
