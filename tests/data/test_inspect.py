"""Checks that a table is described as it is read."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from longspan import cli, errors, tasks
from longspan.cli import inspection
from longspan.data.inspect import inspect_table
from longspan.data.readers import tables
from longspan.tasks.forecast.panel import Columns
from longspan.tasks.forecast.reading import read_panel


def test_a_table_is_described_before_it_is_learnt_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    days = [f"{day:02d}/01/2024" for day in range(1, 31) if day != 9]
    rows = [f"{day};{place},5;{'x' if place == 7 else place};a" for place, day in enumerate(days)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["date;v;odd;kind", *rows, ""]))
    found = inspect_table(path)
    assert found.facts["time"] == "date (%d/%m/%Y)" and found.facts["step"] == "1 day"
    assert found.facts["gaps"] == "1 row missing" and found.facts["rows"] == "29"
    assert [(row[0], row[2]) for row in found.columns] == [
        ("date", "time"),
        ("v", "numbers"),
        ("odd", "numbers and text"),
        ("kind", "text"),
    ]
    assert len(found.refused) == 1 and "received 'x' in row 8" in found.refused[0]
    assert cli.main(["inspect", str(path)]) == 0
    said = capsys.readouterr().out
    assert "1 row missing" in said and "A task would refuse this: column odd" in said
    assert cli.main(["inspect", str(tmp_path / "none.csv")]) == 2


def test_series_and_times_that_come_twice():
    table = {"unique_id": ["a", "b"] * 9, "ds": [place // 2 for place in range(18)], "y": range(18)}
    found = inspect_table(table)
    assert found.facts["series"] == "2 by unique_id" and found.facts["step"] == "1 row" and not found.refused
    twice = inspect_table({"ds": [1, 2, 2, 3], "y": range(4)})
    assert len(twice.refused) == 1 and "2 twice" in twice.refused[0]
    assert inspect_table({"v": [1.0, 2.0]}).facts["time"] == "none: rows are counted"


def test_ids_that_are_found_are_shown_as_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "".join(f"{sku},2021-01-{day:02d},{day}\n" for sku in ("0007", "0042") for day in range(1, 31))
    path = tmp_path / "ids.csv"
    path.write_text("sku,date,v\n" + rows)
    reads: list[Path] = []
    read = tables.read_delimited
    monkeypatch.setattr(tables, "read_delimited", lambda path, **how: reads.append(path) or read(path, **how))
    found = inspect_table(path)
    assert len(reads) == 1
    with pytest.warns(errors.LongspanWarning, match="told apart by sku"):
        panel = read_panel(path, Columns())
    assert panel.ids == ("0007", "0042") and len(reads) == 2, "one reading each"
    assert found.first[0][0] == "0007" and found.last[-1][0] == "0042"
    assert found.facts["series"] == "2 by sku"


def test_running_text_is_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prose = tmp_path / "tale.txt"
    prose.write_text("Once, long ago, a king\nhad a horse, and rode.\n\nThe end, it seems.\n")
    assert cli.main(["inspect", str(prose)]) == 0
    said = capsys.readouterr().out
    assert "running text" in said and "Columns" not in said and "Once, long ago, a king" in said
    hidden = tmp_path / ".git" / "config"
    hidden.parent.mkdir()
    hidden.write_text("unseen words")
    assert cli.main(["inspect", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "running text" in said and "unseen" not in said
    table = tmp_path / "numbers.txt"
    table.write_text("day,v\n2024-01-01,1\n2024-01-02,2\n2024-01-03,4\n")
    assert cli.main(["inspect", str(table)]) == 0
    assert "Columns" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    assert cli.main(["inspect", str(tmp_path / "empty")]) == 2
    assert "expected text with at least one word" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["One line alone", 'A king, a horse, and, far, away, "he said.\n\nThe end, it seems.\n']
)
def test_text_that_no_table_can_be_read_from(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text)
    assert cli.main(["inspect", str(path)]) == 0
    said = capsys.readouterr()
    assert "running text" in said.out and "no table" in said.out and not said.err
    path = tmp_path / "a.csv"
    path.write_text(text)
    assert cli.main(["inspect", str(path)]) == 2


def test_text_in_another_encoding_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"One\ncaf\xe9 two\n")
    assert cli.main(["inspect", str(path)]) == 2
    assert "the byte 0xe9 in line 2" in capsys.readouterr().err
    assert cli.main(["inspect", str(path), "--encoding", "latin-1"]) == 0


def said_by_tasks(path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, str]:
    """What each task says of a file, by its name."""
    assert cli.main(["inspect", str(path), *words]) == 0
    said = capsys.readouterr().out.partition("What each task says")[2]
    rows: dict[str, str] = {}
    name = ""
    for line in said.splitlines():
        first, _, rest = line.strip().partition("  ")
        name = first if first in tasks.TASKS else name
        rows[name] = f"{rows.get(name, '')} {rest.strip() if first == name else line.strip()}".strip()
    return {name: row for name, row in rows.items() if name}


def test_each_task_says_what_it_alone_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    path = tmp_path / "a.csv"
    path.write_text("day,v,w\n" + "".join(f"{day},{day % 7}.5,{day % 3}\n" for day in range(2000, 2090)))
    said = said_by_tasks(path, capsys)
    assert {"forecast", "classify", "anomaly"} <= said.keys()
    assert not {"language", "translate", "summarize"} & said.keys(), "they have nothing to read"
    assert said["forecast"].startswith("refuses it") and "name it, such as --target" in said["forecast"]
    assert "label: expected a column" in said["classify"] and said["anomaly"].startswith("reads it")
    path.write_text("text,label\n" + "".join(f"caf\xe9 {row},{row % 2}\n" for row in range(30)), "latin-1")
    said = said_by_tasks(path, capsys, "--encoding", "latin-1")
    assert list(said) == list(tasks.TASKS)
    assert said["classify"].startswith("reads it") and said["language"].startswith("reads it")
    prose = tmp_path / "tale.txt"
    prose.write_text("Once, long ago, a king\nhad a horse, and rode.\n\nThe end, it seems.\n")
    said = said_by_tasks(prose, capsys)
    assert said["language"] == "reads it" and f"none in line 1 of {prose}" not in said["translate"]
    assert "expected two texts on every line" in said["translate"] and str(prose) in said["summarize"]


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "feather"])
def test_tasks_read_the_first_rows_of_a_large_file(
    ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(inspection, "_HEAD", 5000)
    monkeypatch.setattr(tables, "_HEAD_ROWS", 1000)
    path = tmp_path / f"a.{ending}"
    generator = np.random.default_rng(0)
    frame = pl.DataFrame(
        {"time": range(9000), "v": generator.standard_normal(9000), "note": ['"a,\nb"'] * 9000}
    )
    if ending == "parquet":
        frame.write_parquet(path)
    elif ending == "feather":
        frame.write_ipc(path)
    else:
        text = frame.write_csv().encode()
        path.write_bytes(gzip.compress(text) if ending == "csv.gz" else text)
    seen: list[int] = []
    read = tasks.task("forecast").read
    monkeypatch.setattr(
        tasks.task("forecast"),
        "read",
        lambda self, source, y=None, **how: [seen.append(len(read(self, source, y, **how).panel.values))],
    )
    monkeypatch.setattr(tasks.task("forecast"), "split", lambda self, records: (records, None))
    assert said_by_tasks(path, capsys)["forecast"] == "reads it"
    assert 0 < seen[0] <= 1000
