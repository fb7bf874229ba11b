"""The demonstrations of translations and summaries go from their data to every file they promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from longspan import cli
from longspan.demos import summarize, translate

FILES = ["answers.csv", "model", "report.html"]


def test_numbers_are_read_aloud_by_rule() -> None:
    assert [translate.english(n) for n in (7, 21, 100, 305, 1002, 99_999)] == [
        "seven", "twenty-one", "one hundred", "three hundred and five", "one thousand and two",
        "ninety-nine thousand nine hundred and ninety-nine",
    ]  # fmt: skip
    assert [translate.german(n) for n in (1, 7, 21, 100, 101, 1001, 21_017, 99_999)] == [
        "eins", "sieben", "einundzwanzig", "einhundert", "einhunderteins", "eintausendeins",
        "einundzwanzigtausendsiebzehn", "neunundneunzigtausendneunhundertneunundneunzig",
    ]  # fmt: skip
    (seen, _), (unseen, _) = translate.pairs()
    assert len(set(seen) | set(unseen)) == translate.SEEN + translate.UNSEEN


def test_docstrings_of_unseen_files_are_kept_apart(tmp_path: Path) -> None:
    for number in range(20):
        text = f'"""Does what {number} says.\n\n    The body has {number} words and some more."""'
        (tmp_path / f"a{number}.py").write_text(f"def f{number}():\n    {text}\n")
    (tmp_path / "broken.py").write_text("def (")
    seen, unseen = summarize.read(tmp_path)
    assert len(seen) + len(unseen) == 20 and len(unseen) in (1, 2)
    assert not {source for source, _ in seen} & {source for source, _ in unseen}
    number = unseen[0][0].partition(":")[0].removeprefix("f")
    assert unseen[0] == (
        f"f{number}: The body has {number} words and some more.",
        f"Does what {number} says.",
    )


SMALL: dict[str, Any] = {"epochs": 1, "hidden_size": 8, "embedding_size": 8, "beam_size": 2}


@pytest.mark.slow
def test_the_translation_demo_ends_with_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen, unseen = translate.pairs()
    few = tuple((sources[:40], targets[:40]) for sources, targets in (seen, unseen))
    monkeypatch.setattr(translate, "pairs", lambda: few)
    monkeypatch.setattr(translate, "OPTIONS", SMALL)
    assert cli.main(["demo", "translate", "-o", str(tmp_path / "out")]) == 0
    assert "the source itself" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*FILES, "numbers.csv"])
    assert pl.read_csv(tmp_path / "out/answers.csv").height == 40
    assert ">Attention</h2>" in (tmp_path / "out/report.html").read_text()


def test_the_summary_demo_ends_with_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(f"f{n}: The body has {n} words and some more.", f"Says {n} words.") for n in range(40)]
    monkeypatch.setattr(summarize, "read", lambda library: (rows[:30], rows[30:]))
    monkeypatch.setattr(summarize, "OPTIONS", SMALL)
    assert cli.main(["demo", "summarize", "-o", str(tmp_path / "out")]) == 0
    assert "the best words by tf-idf" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*FILES, "docstrings.csv"])
