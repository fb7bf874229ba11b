"""Pairs come from every kind of source, and what cannot be used is refused in one sentence with its line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from longspan.errors import LongspanWarning
from longspan.tasks.pair_reading import Pair, PairColumns, read_pairs

PAIRS = [Pair("ein Hund", "a dog"), Pair('zwei "Hunde", groß', "two\u00a0dogs")]
DE_EN = PairColumns("de", "en")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_lists_pairs_and_frames() -> None:
    sources, targets = zip(*PAIRS, strict=True)
    assert read_pairs(list(sources), list(targets)) == PAIRS
    assert read_pairs([tuple(pair) for pair in PAIRS]) == PAIRS
    records = [{"source": pair.source, "target": pair.target} for pair in PAIRS]
    for source in (
        records,
        pl.DataFrame(records),
        pd.DataFrame(records),
        {"source": sources, "target": targets},
    ):
        assert read_pairs(source) == PAIRS
    for texts in (pd.Series, pl.Series, np.array):
        assert read_pairs(texts(sources), texts(targets)) == PAIRS
        assert read_pairs(texts(sources), targets=False) == [Pair(source) for source in sources]
    assert read_pairs(list(sources), pd.DataFrame({"en": targets})) == PAIRS
    with pytest.raises(ValueError, match="targets: expected one column of texts, received 2 columns"):
        read_pairs(list(sources), pd.DataFrame(records))
    renamed = pd.DataFrame(records).rename(columns={"source": "de", "target": "en"})
    assert read_pairs(renamed, columns=DE_EN) == PAIRS
    assert read_pairs(list(sources), targets=False) == [Pair(source) for source in sources]


def test_delimited_files(tmp_path: Path) -> None:
    tabbed = write(tmp_path / "a.tsv", "".join(f"{s}\t{t}\n" for s, t in PAIRS))
    with pytest.warns(LongspanWarning, match="has no header"):
        assert read_pairs(tabbed) == PAIRS
    headed = write(tmp_path / "b.tsv", "en\tde\n" + "".join(f"{t}\t{s}\n" for s, t in PAIRS))
    assert read_pairs(headed, columns=DE_EN) == PAIRS
    lines = ["source,target", "ein Hund,a dog", '"zwei ""Hunde"", groß",two\u00a0dogs']
    assert read_pairs(write(tmp_path / "c.csv", "\r\n".join(lines))) == PAIRS
    many = write(tmp_path / "d.csv", '"body";"subject"\n"two\nlines";"x"\n')
    assert read_pairs(many) == [Pair("two\nlines", "x")]


def test_json_and_parquet_files(tmp_path: Path) -> None:
    rows = [{"translation": {"de": s, "en": t}} for s, t in PAIRS]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert read_pairs(path, columns=DE_EN) == PAIRS
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write("\n".join(json.dumps({"body": s, "subject": t, "id": 3}) for s, t in PAIRS))
    assert read_pairs(tmp_path / "b.jsonl.gz") == PAIRS
    pl.DataFrame(PAIRS, schema=["source", "target"], orient="row").write_parquet(tmp_path / "c.parquet")
    assert read_pairs(tmp_path / "c.parquet") == PAIRS


def test_two_aligned_files(tmp_path: Path) -> None:
    source = write(tmp_path / "train.de", "ein Hund\n" + PAIRS[1].source + "\n")
    with gzip.open(tmp_path / "train.en.gz", "wt", encoding="utf-8") as file:
        file.write("a dog\ntwo\u00a0dogs\n")
    assert read_pairs(tmp_path / "train", columns=DE_EN) == PAIRS
    assert read_pairs(source, tmp_path / "train.en.gz") == PAIRS
    assert read_pairs(source, targets=False) == [Pair(pair.source) for pair in PAIRS]
    write(tmp_path / "blank.de", "a\n\nb\n")
    assert [pair.source for pair in read_pairs(tmp_path / "blank.de", targets=False)] == ["a", "", "b"]


def test_texts_are_in_normal_form() -> None:
    assert read_pairs(["u\u0308ber"], ["A\u030a"]) == [Pair("über", "Å")]


WRONG: list[tuple[Any, Any, str]] = [
    (["a", "b"], ["c"], "targets: expected one for every source, received 2 sources and 1 targets"),
    (["a", "b"], ["c", " "], "target: expected a text in every row, received none in row 1"),
    (["a", ""], ["c", "d"], "source: expected a text in every row, received none in row 1"),
    (["a", 3], ["c", "d"], "source: expected texts, received int in row 1"),
    ([], None, "source: expected at least one text, received none"),
    (["a"], None, "target: expected a text to learn to write for every source, received none"),
    ([("a", "b"), ("c",)], None, "source: expected pairs of two texts, received 1 values in row 1"),
    ([{"x": "a", "target": "b"}], None, "source_column: expected a column called source or the like"),
    (["a"], "abc.txt", "source: expected a file or folder, received abc.txt, where nothing is"),
]


@pytest.mark.parametrize(("source", "y", "sentence"), WRONG, ids=[case[2][:40] for case in WRONG])
def test_wrong_sources_in_memory(source: Any, y: Any, sentence: str) -> None:
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=sentence):
        read_pairs(source, y)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.tsv", "source\ttarget\nx\ty\nz\n", "target: .* received none in line 3 of .*a.tsv"),
        ("a.csv", 'source,target\n"x\ny",z\nw,\n', "target: .* received none in line 4 of .*a.csv"),
        ("a.jsonl", '{"source": "x", "target": "y"}\n\n{"source": "x"}', "target: .* in line 3 of .*a.jsonl"),
        ("a.jsonl", '{"source": "x"', "source: expected JSON objects, one a line, received .* in line 1"),
        ("a.jsonl", "[1]", "source: expected an object for every pair, received list in line 1"),
        ("a.txt", "x\ny\n", "source: expected two texts on every line, received one in line 1 of .*a.txt"),
        ("a.tsv", "", "source: expected at least one row, received none in .*a.tsv"),
    ],
)
def test_wrong_files_name_the_line(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_pairs(write(tmp_path / name, text))


def test_wrong_columns_and_encodings(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "de\ten\tfr\nx\ty\tz\n")
    with pytest.raises(ValueError, match=r"source_column: expected one of the columns .*de, en, fr"):
        read_pairs(path, columns=PairColumns("dee", "en"))
    (tmp_path / "b.tsv").write_bytes("source\ttarget\nx\tü\n".encode("latin-1"))
    with pytest.raises(
        ValueError, match="encoding: expected a file in utf-8, received the byte 0xfc in line 2"
    ):
        read_pairs(tmp_path / "b.tsv")
    assert read_pairs(tmp_path / "b.tsv", columns=PairColumns(encoding="latin-1")) == [Pair("x", "ü")]
    with pytest.raises(ValueError, match="source: expected a file with pairs of texts, received the folder"):
        read_pairs(tmp_path)
