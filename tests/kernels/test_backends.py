"""Tests how a backend is chosen, forced and explained."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

import longspan
from longspan import kernels, nn, use_backend
from longspan.kernels import selection
from longspan.kernels.job import Job, Result

T, B, I, H = 5, 3, 4, 6


class Fake:
    """A backend that runs what it does not refuse, and counts."""

    def __init__(self, reason: str | None = None) -> None:
        self.reason, self.ran, self.variants = reason, 0, []

    def refuses(self, job: Job) -> str | None:
        self.variants.append(selection.variant("fake"))
        return self.reason

    def run(self, job: Job) -> Result:
        self.ran += 1
        return kernels.reference.run(job)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Fake]:
    made = {"picky": Fake("it likes nothing"), "fake": Fake(), "last": Fake()}
    monkeypatch.setattr(kernels, "BACKENDS", list(made.items()))
    monkeypatch.setattr(kernels, "VARIANTS", {"fake": ("wide", "narrow")})
    return made


def run(layer: Any = None) -> None:
    (layer or nn.LSTM(I, H))(torch.zeros(T, B, I))


def test_the_first_that_does_not_refuse_runs(fakes: dict[str, Fake]):
    run(nn.LSTM(I, H, 2))
    assert [fake.ran for fake in fakes.values()] == [0, 2, 0]


def test_forcing_nests_and_none_gives_the_choice_back(fakes: dict[str, Fake]):
    with use_backend("last"):
        run()
        with use_backend(None):
            run()
            with use_backend("fake:narrow"):
                run()
        run()
    run()
    assert (fakes["last"].ran, fakes["fake"].ran) == (2, 3)
    assert fakes["fake"].variants == [None, "narrow", None]


def test_forcing_ends_with_an_error(fakes: dict[str, Fake]):
    with pytest.raises(ZeroDivisionError), use_backend("last"):
        _ = 1 / 0
    assert selection.forced() is None


def test_forcing_counts_in_its_thread_only(fakes: dict[str, Fake]):
    with use_backend("last"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(selection.forced).result() is None
        assert selection.forced() == "last"


def test_a_forced_backend_that_refuses_says_why(fakes: dict[str, Fake]):
    words = "backend: 'picky' was forced by use_backend, but it refuses: it likes nothing."
    with use_backend("picky"), pytest.raises(RuntimeError, match=f"^{re.escape(words)}$"):
        run()
    assert not any(fake.ran for fake in fakes.values())


def test_when_all_refuse_all_say_why(fakes: dict[str, Fake]):
    for name, fake in fakes.items():
        fake.reason = f"{name} is shut"
    words = "no backend runs this lstm layer: picky: picky is shut; fake: fake is shut; last: last is shut."
    with pytest.raises(RuntimeError, match=re.escape(words)):
        run()


@pytest.mark.parametrize("name", ["cpuu", "cpu:sse9", "reference:wide", "", "CPU"])
def test_unknown_names_are_refused_at_once(name: str):
    with pytest.raises(ValueError, match=r"^backend: expected one of .*'reference'.*, received"):
        use_backend(name)


def test_not_a_name():
    with pytest.raises(TypeError, match="received int; choose one of these"):
        use_backend(3)  # pyright: ignore[reportArgumentType]


def test_contract_names_are_known():
    assert {"cpu", "cpu:avx512", "cpu:avx2", "cpu:baseline", "gpu", "reference"} <= set(kernels.names())


def test_gpu_refuses_in_words():
    with (
        use_backend("gpu"),
        pytest.raises(
            RuntimeError, match=r"'gpu' was forced .* the tensors are on cpu, not on an NVIDIA GPU"
        ),
    ):
        run()


def test_one_step_cells_follow_the_choice(fakes: dict[str, Fake]):
    with use_backend("last"):
        nn.GRUCell(I, H)(torch.zeros(B, I))
    assert fakes["last"].ran == 1


def test_explain_tells_every_layer_and_every_refusal(fakes: dict[str, Fake]):
    layer = nn.LSTM(I, H, 2, bidirectional=True)
    lines = longspan.explain(layer, torch.zeros(T, B, I), lengths=[5, 0, 2]).splitlines()
    assert lines == [
        "layer 0: lstm, T=5, B=3, I=4, H=6, two directions, float32 on cpu: fake runs it.",
        "  picky does not: it likes nothing.",
        "layer 1: lstm, T=5, B=3, I=12, H=6, two directions, float32 on cpu: fake runs it.",
        "  picky does not: it likes nothing.",
    ]
    assert not any(fake.ran for fake in fakes.values())


def test_explain_a_forced_refusal(fakes: dict[str, Fake]):
    with use_backend("picky"):
        lines = longspan.explain(nn.GRU(I, H), torch.zeros(T, B, I)).splitlines()
    assert lines[0].endswith("no backend runs it (forced by use_backend).")
    assert lines[1:] == ["  picky does not: it likes nothing."]


def test_explain_half_precision_as_it_is_computed(fakes: dict[str, Fake]):
    layer = nn.GRU(I, H, dtype=torch.bfloat16)
    assert "float32 on cpu" in longspan.explain(layer, torch.zeros(T, B, I, dtype=torch.bfloat16))


def test_explain_uses_up_no_random_numbers():
    layer = nn.LSTM(I, H, 2, dropout=0.1, zoneout=0.1, recurrent_dropout=0.1, weight_dropout=0.1)
    before = torch.get_rng_state()
    longspan.explain(layer, torch.zeros(T, B, I))
    assert torch.equal(before, torch.get_rng_state())


def test_explain_other_things():
    with pytest.raises(
        TypeError, match=r"layer: expected a recurrent layer of longspan\.nn, received Linear"
    ):
        longspan.explain(torch.nn.Linear(I, H), torch.zeros(T, B, I))  # pyright: ignore[reportArgumentType]


def test_every_listed_backend_gives_the_same_numbers(backend: str):
    layer, x = nn.LSTM(I, H, 2, bidirectional=True), torch.randn(T, B, I)
    found = layer(x, lengths=[5, 0, 2])[0]
    with use_backend("reference"):
        torch.testing.assert_close(found, layer(x, lengths=[5, 0, 2])[0], rtol=1e-5, atol=1e-6)


class TestCpu:
    """What the CPU kernels refuse, said by the one who forced them; and how explain describes them."""

    def refused(self, words: str, layer: Any, x: Any) -> None:
        with use_backend("cpu"), pytest.raises(RuntimeError, match=f"'cpu' was forced .*{words}.*\\.$"):
            layer(x)

    def test_other_devices(self):
        layer = nn.LSTM(I, H, device="meta")
        self.refused("the tensors are on meta, not on the CPU", layer, torch.empty(T, B, I, device="meta"))

    def test_transforms(self):
        layer, x = nn.LSTM(I, H), torch.randn(2, T, B, I)
        slope = torch.func.grad(lambda y: layer(y)[0].sum())
        self.refused("under torch.func", torch.func.grad(lambda y: slope(y).sum()), x[0])
        gates = torch.func.vmap(lambda y: layer(y, return_gates=True)[0])
        self.refused("under torch.func with return_gates", gates, x)

    def test_cells_that_nobody_compiled(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("LONGSPAN_CACHE", str(tmp_path))

        @longspan.cell(gates="n", states="h")
        def fresh(x: Any, r: Any, s: Any, p: Any) -> Any:
            return ((x.n + r.n).tanh(),)

        self.refused("'fresh' is your own", nn.Recurrent(fresh, I, H), torch.zeros(T, B, I))

    def test_instruction_sets_that_this_machine_lacks(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(kernels.cpu, "INSTRUCTION_SETS", ("baseline",))
        with (
            use_backend("cpu:avx512"),
            pytest.raises(RuntimeError, match=r"this machine does not run avx512 \(it runs baseline\)"),
        ):
            run()

    @pytest.mark.parametrize(
        ("name", "words"), [("baseline", "cpu uses baseline;"), ("sse9", "this machine does not run sse9")]
    )
    def test_the_environment_may_name_one(self, name: str, words: str):
        script = "import torch, longspan as ls; print(ls.explain(ls.nn.LSTM(3, 4), torch.zeros(5, 2, 3)))"
        path = os.pathsep.join([str(Path(longspan.__file__).parents[1]), *sys.path])
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"LONGSPAN_ISA": name, "PYTHONPATH": path},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert words in done.stdout
