"""The benchmark of the classifier touches every test part once and loses no figure."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch


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
        return classifier(
            seed=seed, epochs=1, hidden_size=4, filters=(4,), kernel_sizes=(3,), ensemble_size=1
        )

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


def test_the_rival_gets_weights_that_give_the_same_scores(bench: ModuleType, tmp_path: Path):
    texts = [f"{'good' if n % 2 else 'bad'} word{n % 7} {'and more ' * (n % 4)}" for n in range(70)]
    labels = ["yes" if n % 2 else "no" for n in range(70)]
    seconds, task = bench.own_epochs(texts, labels, 1)
    bench.write_texts(tmp_path / "text.npz", task, texts, labels)
    assert len(seconds) == 1 and len(bench.own_padded_epochs(tmp_path / "text.npz", task, 2)) == 2
    data = np.load(tmp_path / "text.npz")
    table, *ways, head, bias = (torch.from_numpy(data[f"w{place}"]) for place in range(9))
    layer = torch.nn.LSTM(64, 64, bidirectional=True, batch_first=True)
    for parameter, way in zip(layer.parameters(), [*ways[:3], None, *ways[3:], None], strict=True):
        parameter.data = torch.zeros(256) if way is None else way.t().contiguous()
    x = torch.from_numpy(data["x"][: len(data["scores"])]).long()
    lengths = (x != 0).sum(1)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.nn.functional.embedding(x, table), lengths, batch_first=True, enforce_sorted=False
    )
    out, _ = torch.nn.utils.rnn.pad_packed_sequence(
        layer(packed)[0], batch_first=True, padding_value=-np.inf, total_length=x.shape[1]
    )
    np.testing.assert_allclose((out.amax(1) @ head + bias).detach(), data["scores"], atol=1e-5)


def test_the_fastest_rival_on_padded_text_counts(bench: ModuleType):
    found = {
        "longspan, by length": [(2.0, 1.0), (3.0, 4.0)],
        "Keras on jax, padded": [(9.0, 5.0), (8.0, 6.0)],
        "Keras on torch, padded": [(9.0, 9.0)],
        "Keras on jax, by length": [(3.0, 2.0)],
    }
    assert bench.verdict(found).startswith("Keras on jax, padded, takes 4.0 times as long by the clock, 5.0")
    assert bench.times(found).row_count == 4
