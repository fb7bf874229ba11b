"""The recommendation demonstration goes from imports to every file it promises."""

from __future__ import annotations

from pathlib import Path

import pytest

import longspan
from longspan import cli
from longspan.demos import recommend

pytestmark = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")


def test_on_some_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recommend, "MOST", 200)
    monkeypatch.setattr(recommend, "_PACKAGES", ())
    assert cli.main(["demo", "recommend", "-o", str(tmp_path / "out")]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "item kNN" in printed and "may go on with" in printed
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["imports.csv", "model", "report.html"]
    assert ">Rankings</h2>" in (tmp_path / "out/report.html").read_text()
    assert longspan.load(tmp_path / "out/model").get_params()["item"] == "module"


def test_imports_are_read_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import os\nfrom re import x\n  import sys\nimport os\nimport a.b as c\n")
    assert recommend._imports(tmp_path / "a.py") == ["os", "re", "a.b"]


def test_a_python_without_files_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recommend, "_imports", lambda path: [])
    assert cli.main(["demo", "recommend", "-o", str(tmp_path / "out")]) == 2
    assert "expected Python files with imports, received none" in capsys.readouterr().err
