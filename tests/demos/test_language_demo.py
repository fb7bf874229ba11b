"""The language demonstration goes from its text to every file it promises."""

from __future__ import annotations

from pathlib import Path

import pytest

import longspan
from longspan import cli
from longspan.demos import language

pytestmark = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")


def test_on_the_beginnings_of_some_chapters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chapters = language.read()
    assert len(chapters) > 50 and sum(map(len, chapters)) > 300_000
    monkeypatch.setattr(language, "read", lambda: [text[:300] for text in chapters[:20]])
    monkeypatch.setattr(language, "MINUTES", 0.01)
    assert cli.main(["demo", "language", "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "Kneser-Ney" in printed and language.PROMPT in printed
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["manual.txt", "model", "report.html"]
    page = (tmp_path / "out/report.html").read_text()
    for heading in ("Least expected places", "Samples", "How to reproduce"):
        assert f">{heading}</h2>" in page
    assert longspan.load(tmp_path / "out/model").get_params()["token_level"] == "characters"


def test_a_python_without_its_manual_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(language, "import_module", missing)
    assert cli.main(["demo", "language", "-o", str(tmp_path / "out")]) == 2
    assert "expected Python's manual in pydoc_data, received none" in capsys.readouterr().err
