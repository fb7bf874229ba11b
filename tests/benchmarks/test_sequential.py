"""The side-by-side benchmark of Sequential publishes numbers only where the losses agree."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def sequential(benchmark_module: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark_module("sequential")


@pytest.mark.slow
def test_beside_the_loop_by_hand(sequential: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    chosen = ["--rivals", "longspan,torch", "--workloads", "c", "--quick", "--json", str(path)]
    assert sequential.main(chosen) == 0
    report = json.loads(path.read_text())
    for clock in ("clock", "processor"):
        ours, theirs, mean = report[clock]["rows"]
        assert (ours["rival"], theirs["rival"]) == ("longspan", "torch")
        assert theirs["fit_ratio"] == theirs["fit"] / ours["fit"] == pytest.approx(mean["fit_ratio"])
        assert 0 < ours["fit"] < ours["start"]


def test_no_number_over_other_losses(
    sequential: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = sequential.Times(1.0, 2.0)

    def run(python: str, rival: str, *arguments: object) -> object:
        losses = {"longspan": (0.5, 0.25), "torch": (0.5, 0.2503), "keras-jax": (0.5, 0.26)}[rival]
        return sequential.Outcome(times, times, losses)

    monkeypatch.setattr(sequential, "run", run)
    chosen = ["--workloads", "a", "--quick", "--rivals"]
    assert sequential.main([*chosen, "longspan,torch,keras-jax"]) == 1
    shown = capsys.readouterr().out
    assert "Parity failed on a" in shown
    assert "fit ms" not in shown
    monkeypatch.setattr(sequential, "LIMIT", 1e-2)
    assert sequential.main([*chosen, "longspan,torch"]) == 0
    assert sequential.main([*chosen, "longspan,torch", "--goals"]) == 1


def test_one_that_cannot_run_is_left_out(
    sequential: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = sequential.Times(1.0, 2.0)

    def run(python: str, rival: str, *arguments: object) -> object:
        return "no keras" if rival != "longspan" else sequential.Outcome(times, times, (0.5, 0.25))

    monkeypatch.setattr(sequential, "run", run)
    chosen = ["--workloads", "a", "--quick", "--rivals"]
    assert sequential.main([*chosen, "longspan,keras-jax"]) == 0
    assert "keras-jax is left out of a: no keras" in capsys.readouterr().out
    monkeypatch.setattr(sequential, "run", lambda *arguments: "broken")
    with pytest.raises(SystemExit, match="longspan failed on a: broken"):
        sequential.main([*chosen, "longspan"])
