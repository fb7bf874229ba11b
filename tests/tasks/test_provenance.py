"""A fit remembers which data it had, and a report says so."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import polars as pl

import longspan as ls
from longspan.report.elements import Text
from longspan.tasks.provenance import DataSource, describe_source


def recipe(model: ls.Forecaster) -> dict[str, str]:
    section = next(section for section in model.sections() if section.title == "How to reproduce")
    return {element.title: element.text for element in section.elements if isinstance(element, Text)}


def test_a_report_names_the_file_its_digest_and_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "two waves.csv"
    pl.DataFrame({"y": np.sin(np.arange(90) / 4)}).write_csv(path)
    model = ls.Forecaster(horizon=2, context_length=8, epochs=1).fit(path, verbose=0)
    shown = recipe(model)
    digest = sha256(path.read_bytes()).hexdigest()[:16]
    assert shown["Data"] == f"{path}: 90 rows, SHA-256 {digest} …"
    assert f"longspan fit forecast '{path}' -o MODEL" in shown["Command"]
    assert f".fit({str(path)!r})" in shown["Python"]
    model.save(tmp_path / "model")
    loaded = ls.load(tmp_path / "model")
    assert isinstance(loaded, ls.Forecaster) and recipe(loaded) == shown


def test_equal_values_have_equal_digests_and_large_ones_none() -> None:
    values = np.arange(6.0)
    first, second = describe_source(values, None, 6), describe_source(values.copy(), None, 6)
    assert first == second and len(first.digest) == 16 and first.paths == ()
    assert describe_source(values + 1, None, 6).digest != first.digest
    assert describe_source(np.zeros(1_000_001), None, 1).digest == ""
    assert str(DataSource((), "list", "", 1200)) == "list: 1,200 rows"


def test_a_folder_is_known_by_the_names_and_sizes_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    first = describe_source(tmp_path, None, 1)
    assert first.paths == (str(tmp_path),) and describe_source(tmp_path, None, 1) == first
    (tmp_path / "b.txt").write_text("two")
    assert describe_source(tmp_path, None, 1).digest != first.digest
