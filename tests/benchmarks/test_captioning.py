"""The benchmark of captions holds pictures out, finds nearest neighbours, gives rivals the same metrics."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
SMALL = {"hidden_size": 8, "embedding_size": 8, "filters": (4, 8), "epochs": 1, "samples": 3}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty pictures to learn from and five to be asked about, one of which has an empty caption."""
    folder = tmp_path / "captioning/rsicd_valtest2187"
    folder.mkdir(parents=True)
    captions: dict[str, dict[str, list[str]]] = {"official_val": {}, "official_test": {}}
    with zipfile.ZipFile(folder / "images_112.zip", "w") as archive:
        for number in range(25):
            content = io.BytesIO()
            pixels = np.full((12, 12, 3), 140 * (number % 2) + number, np.uint8)
            pillow.fromarray(pixels).save(content, format="PNG")
            archive.writestr(f"images/{number}.jpg", content.getvalue())
            part = "official_val" if number < 20 else "official_test"
            color = ["dark", "pale"][number % 2]
            captions[part][f"{number}.jpg"] = [f"a {color} field", f"the {color} field here"]
    captions["official_test"]["24.jpg"].append("")
    (folder / "captions.json").write_text(json.dumps(captions))
    return tmp_path


def test_parts(benchmark_module: Callable[[str], ModuleType], data: Path) -> None:
    captioning = benchmark_module("captioning")
    train, asked = captioning.parts(data, "test")
    assert len(train[0]) == len(train[1]) == 20 and len(asked[0]) == 5
    assert asked[1][4] == ["a dark field", "the dark field here"]
    train, asked = captioning.parts(data, "held-out")
    assert len(train[0]) == 16 and len(asked[0]) == 4
    assert np.array_equal(asked[0][1], np.full((12, 12, 3), 145, np.uint8))


def test_nearest_neighbours(benchmark_module: Callable[[str], ModuleType]) -> None:
    captioning = benchmark_module("captioning")
    known = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    assert captioning.nearest(torch.tensor([[0.1, 2.0], [3.0, 0.0]]), known) == [1, 0]
    pictures = [np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)]
    shares = captioning.histograms(pictures)
    assert shares.shape == (2, 64) and shares[0, 0] == 1 and shares[1, 63] == 1
    assert captioning.one_for_all([["a b c", "d"], ["a b c"], ["e f"]]) == "a b c"


def test_scores_are_printed_beside_rivals(
    benchmark_module: Callable[[str], ModuleType],
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    captioning = benchmark_module("captioning")
    monkeypatch.setattr(captioning, "OPTIONS", SMALL)
    results, models = data / "results.jsonl", data / "models"
    words = ["--data", str(data), "--seeds", "0", "--models", str(models), "--results", str(results)]
    captioning.main(words)
    captioning.main(words)
    first, again = (json.loads(line)["rows"] for line in results.read_text().splitlines())
    assert list(first) == [
        "longspan", "longspan, beam 5", "one caption for all", "nearest by histograms, first",
        "nearest by histograms, typical", "nearest by features, first", "nearest by features, typical",
    ]  # fmt: skip
    assert (
        first["longspan"]["cider"] == again["longspan"]["cider"] and again["longspan"]["fit seconds"] is None
    )
    assert first["nearest by histograms, first"]["distinct"] == 0.4
    assert "RSICD, 5 pictures of the test part" in capsys.readouterr().out
