"""The benchmark of the classifier touches every test part once and loses no figure."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def bench(benchmark_module: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark_module("classification")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of the data sets with one tiny set in it."""
    (tmp_path / "text_classification").mkdir()
    draw = np.random.default_rng(0)
    for which in ("TRAIN", "TEST"):
        rows = [
            ",".join(f"{v:.3f}" for v in np.sin(np.arange(8) * (0.5 + n % 2)) + draw.normal(size=8) / 9)
            + f":{n % 2}"
            for n in range(12)
        ]
        path = tmp_path / "sequence_classification" / "GunPoint" / f"GunPoint_{which}.ts"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["@classLabel true 0 1", "@data", *rows]))
    return tmp_path


def small(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The classifier of the benchmark made small; the seeds of its fits as they come."""
    seeds: list[int] = []

    def made(seed: int) -> object:
        seeds.append(seed)
        return classifier(seed=seed, epochs=1, hidden_size=4, channels=(4,), kernels=(3,), members=1)

    classifier = bench.Classifier
    monkeypatch.setattr(bench, "Classifier", made)
    return seeds


def test_a_figure_is_kept_when_it_is_known_and_not_measured_twice(
    bench: ModuleType, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    file = data / "figures.jsonl"
    words = ["--data", str(data), "--sections", "GunPoint", "--results", str(file)]
    fits: list[int] = []
    seeds, measured = small(bench, monkeypatch), bench.measured
    monkeypatch.setattr(bench, "measured", lambda split, seed: fits.append(seed) or measured(split, seed))
    assert bench.main([*words, "--seeds", "0"]) == 0
    assert bench.main([*words, "--seeds", "0,1"]) == 0
    assert fits == [0, 1] and seeds
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(one["set"], one["seed"], one["split"]) for one in lines] == [
        ("GunPoint", 0, 0),
        ("GunPoint", 1, 0),
    ]
    assert 0 <= lines[0]["figures"]["accuracy"] <= 1 and lines[0]["options"]["epochs"] == 1
    assert "LSTM-FCN 1.000" in capsys.readouterr().out


def test_without_the_data_it_says_what_is_missing(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("LONGSPAN_DATA", raising=False)
    assert bench.main([]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "set LONGSPAN_DATA or pass --data" in said
