"""Tests the benchmark of many models: parity first, a table, a goal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

QUICK = ["--models", "3", "--sizes", "4x5x2x8", "--threads", "1", "--rounds", "1"]


@pytest.fixture
def benchmark(benchmark_module: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark_module("many")


def test_measures_and_writes(benchmark: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "many.json"
    assert benchmark.main([*QUICK, "--json", str(path)]) == 0
    first, second, means = json.loads(path.read_text())["rows"]
    assert first["size"] == "4x5x2x8" and first["ratio"] == pytest.approx(first["alone"] / first["together"])
    assert second["by"] == "train"
    assert means["ratio"] == pytest.approx((first["ratio"] * second["ratio"]) ** 0.5)
    assert benchmark.main([*QUICK, "--by", "train", "--goal", "1000", "--json", str(path)]) == 1
    assert [row["by"] for row in json.loads(path.read_text())["rows"][:-1]] == ["train"]


def test_prints_nothing_where_the_numbers_differ(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "LIMIT", -1.0)
    assert benchmark.main(QUICK) == 1
    assert "Parity failed at 4x5x2x8, so nothing is published" in capsys.readouterr().out
