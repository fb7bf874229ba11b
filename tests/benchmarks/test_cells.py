"""The benchmark measures what it says, and prints no number over a failed parity check."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="module")
def benchmarks(benchmark_module: Callable[[str], ModuleType]) -> dict[str, ModuleType]:
    return {name: benchmark_module(name) for name in ("cells", "cuda", "measure", "parity")}


SMALL = ["--sizes", "2x6x3x5", "--threads", "1", "--quick", "--cells", "GRU", "--sections", "speed,ragged"]


def test_numbers_come_with_parity(benchmarks: dict[str, ModuleType], tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    assert benchmarks["cells"].main([*SMALL, "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    assert report["checks"] == 2
    assert report["worst"] < 1e-4
    assert [table["section"] for table in report["tables"]] == ["speed", "ragged"]
    assert all(table["rows"][0]["size"] == "2x6x3x5" for table in report["tables"])


@pytest.mark.slow
def test_both_sides_are_held_to_an_instruction_set(
    benchmarks: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, path = benchmarks["cells"], tmp_path / "numbers.json"
    command = [*SMALL, "--isa", "baseline", "--json", str(path)]
    started: list[tuple[list[str], dict[str, str]]] = []

    def run(words: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
        started.append((words, env))
        return subprocess.CompletedProcess(words, 3)

    monkeypatch.setattr(subprocess, "run", run)
    assert cells.main(command) == 3  # PyTorch reads its limits once, so a new process is measured
    words, env = started.pop()
    assert words[1:] == ["-m", "benchmarks.cells", *command]
    for name in ("ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "ATEN_CPU_CAPABILITY"):
        monkeypatch.setenv(name, env[name])
    assert cells.main(command) == 0
    assert not started
    assert json.loads(path.read_text())["environment"]["instruction set"] == "baseline"


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


def test_the_grid_of_a_gpu(benchmarks: dict[str, ModuleType]) -> None:
    sizes = benchmarks["cuda"].SIZES
    assert len(set(sizes)) == 4 * 2 * 5 and all(size.I == size.H for size in sizes)
    assert {size.B for size in sizes} == {1, 16, 64, 256} and {size.T for size in sizes} == {64, 512}
    assert {size.H for size in sizes} == {64, 128, 256, 512, 1024}


@pytest.mark.slow
def test_the_tables_of_a_gpu_are_whole(
    benchmarks: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rival runs and every column is filled, tried on the CPU."""
    cuda, size = benchmarks["cuda"], benchmarks["measure"].Size(2, 6, 4, 5)
    monkeypatch.setattr(cuda, "compiled", cuda.one_step)  # compiling takes longer than all the rest
    monkeypatch.setattr(cuda, "DTYPES", {"float32": torch.float32})
    made = list(cuda.tables([size], 1e-4, "cpu"))
    assert [table.title.partition(",")[0] for table in made] == [*cuda.VARIANTS, "ragged beside padded LSTM"]
    for table in made:
        first, means = table.rows
        assert list(first) == [column.key for column in table.columns]
        ratios = [column.key for column in table.columns if column.unit == "times"]
        assert all(first[key] > 0 and means[key] == pytest.approx(first[key]) for key in ratios)
        lines = table.markdown().splitlines()
        assert lines[0] == f"## {table.title}" and len({line.count("|") for line in lines[2:]}) == 1


def test_what_was_reached_is_counted(benchmarks: dict[str, ModuleType]) -> None:
    cuda, size = benchmarks["cuda"], benchmarks["measure"].Size(1, 64, 64, 64)
    sizes = [size, size._replace(H=512), size._replace(H=512)]
    rows = [{"cost": 2.4, "eager": 9.0}, {"cost": 2.4, "eager": 10.0}, {"cost": float("nan"), "eager": 30.0}]
    words = cuda.reached(cuda.VARIANTS["sLSTM"], rows, sizes)
    assert words.endswith("2.5x beyond, at 1 of 3 sizes, at least 10x an eager loop at 2")
    assert cuda.reached(cuda.VARIANTS["ragged LSTM"], rows, sizes) == ""


def test_the_loops_compute_what_the_kernels_do(
    benchmarks: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda, size = benchmarks["cuda"], benchmarks["measure"].Size(2, 5, 4, 6)
    for variant in cuda.VARIANTS.values():
        if variant.option != "lengths":  # a plain loop computes padding along
            one = cuda.job(variant, size, torch.float32, "cpu")
            torch.testing.assert_close(cuda.loop(one, cuda.one_step), cuda.kernels.run(one).out)
    assert list(cuda.parity("cpu", [size])) == []
    right, ours = cuda.gradients, cuda.kernels.run
    monkeypatch.setattr(cuda, "gradients", lambda run, one: [t + (run is ours) for t in right(run, one)])
    wrong = list(cuda.parity("cpu", [size]))
    assert len(wrong) == 2 * len(cuda.VARIANTS)
    assert "expected a difference of at most 1e-04, received" in wrong[0]
