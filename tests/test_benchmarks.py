"""The benchmark measures what it says, and prints no number over a failed parity check."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def benchmarks() -> dict[str, ModuleType]:
    """The modules of the benchmark, which is no installed package."""
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks import cells, measure, parity
    finally:
        sys.path.remove(str(ROOT))
    return {"cells": cells, "measure": measure, "parity": parity}


SMALL = ["--sizes", "2x6x3x5", "--threads", "1", "--quick", "--cells", "GRU", "--sections", "speed,ragged"]


def test_numbers_come_with_parity(benchmarks: dict[str, ModuleType], tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    assert benchmarks["cells"].main([*SMALL, "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    assert report["checks"] == 2
    assert report["worst"] < 1e-4
    assert [table["section"] for table in report["tables"]] == ["speed", "ragged"]
    assert all(table["rows"][0]["size"] == "2x6x3x5" for table in report["tables"])


def test_no_number_over_a_failed_check(
    benchmarks: dict[str, ModuleType], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = torch.nn.GRU.forward

    def wrong(self: torch.nn.GRU, *arguments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out, state = broken(self, *arguments)
        return out + 1e-3, state

    monkeypatch.setattr(torch.nn.GRU, "forward", wrong)
    assert benchmarks["cells"].main([*SMALL, "--sections", "speed"]) == 1
    shown = capsys.readouterr().out
    assert "Parity failed, so nothing is measured." in shown
    assert "faster" not in shown


def test_a_missing_gradient_and_nan_fail(benchmarks: dict[str, ModuleType]) -> None:
    parity = benchmarks["parity"]
    assert not parity.Check("nan", float("nan")).passed
    layer, frozen = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    frozen.load_state_dict(layer.state_dict())
    frozen.bias.requires_grad_(False)
    sides = (lambda x: [frozen(x)], frozen), (lambda x: [layer(x)], layer)
    assert not parity.compare("frozen", torch.randn(4, 3), *sides).passed


def test_interleaved_ratio_is_of_neighbours(benchmarks: dict[str, ModuleType]) -> None:
    timing = benchmarks["measure"].Timing({"a": [1.0, 20.0, 3.0], "b": [2.0, 40.0, 6.0]})
    assert timing.median("a") == 3.0
    assert timing.ratio("b", "a") == 2.0


@pytest.mark.parametrize("wrong", [["--cells", "Lstm"], ["--sizes", "1x2x3"], ["--threads", "0"]])
def test_wrong_options(
    benchmarks: dict[str, ModuleType], capsys: pytest.CaptureFixture[str], wrong: list[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        benchmarks["cells"].main(wrong)
    assert stop.value.code == 2
    assert "received" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here, and measuring it takes long")
def test_without_a_gpu_one_sentence(
    benchmarks: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmarks["cells"].main(["--device", "cuda"]) == 2
    shown = capsys.readouterr().out
    assert shown.startswith("--device cuda: expected an NVIDIA GPU, received none") and shown.count("\n") == 1
