"""Texts from every kind of source, in pieces as in one, and their parts."""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from longspan.data.tokenizers import Characters, Words
from longspan.tasks.language import reading
from longspan.tasks.language.reading import Document, document_of, normalize, read_documents, split_documents
from longspan.tasks.language.tokens import encode, find_token_level, token_stream


def texts(found: list[Document]) -> list[str]:
    return ["".join(document.pieces()) for document in found]


def test_every_kind_of_source(tmp_path: Path) -> None:
    rows = ["One.", "Two, thrée."]
    (tmp_path / "rows.csv").write_text('number,text\n1,One.\n2,"Two, thrée."\n')
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": row, "n": 1}) + "\n" for row in rows))
    pl.DataFrame({"words": rows, "n": [1, 2]}).write_parquet(tmp_path / "rows.parquet")
    (tmp_path / "lines.txt").write_text("One.\n\nTwo, thrée.\n")
    (tmp_path / "lines.txt.gz").write_bytes(gzip.compress("One.\r\nTwo, thrée.".encode()))
    (tmp_path / "folder/inner").mkdir(parents=True)
    for name, row in zip(("a.txt", "inner/b.md", ".hidden"), [*rows, "x"], strict=True):
        (tmp_path / "folder" / name).write_text(row)
    sources: list[Any] = [rows, tuple(rows), np.array(rows), pl.Series(rows), pl.DataFrame({"text": rows})]
    sources += [
        [{"text": row} for row in rows],
        *(tmp_path / f"rows.{end}" for end in ("csv", "jsonl", "parquet")),
    ]
    for source in [*sources, tmp_path / "folder", str(tmp_path / "folder")]:
        assert texts(read_documents(source)) == rows, source
    assert texts(read_documents(tmp_path / "lines.txt")) == ["One.\n\nTwo, thrée.\n"]
    assert texts(read_documents(tmp_path / "lines.txt.gz")) == ["One.\nTwo, thrée."]
    assert texts(read_documents(tmp_path / "lines.txt.gz", lines=True)) == rows
    assert read_documents(rows)[1].characters == 11 and read_documents(rows)[1].bytes == 12


@pytest.mark.parametrize(
    ("content", "encoding"),
    [("é\n", "latin-1"), ("a\né", "utf-8-sig"), ("a\né", "utf-16")],
)
def test_encodings(tmp_path: Path, content: str, encoding: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content.encode(encoding))
    named = reading.ReadOptions("latin-1" if encoding == "latin-1" else "utf-8")
    assert texts(read_documents(path, options=named)) == [content]


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes("fine é\n".encode() * 3 + b"bad \xff\n")
    with pytest.raises(
        ValueError, match=r"encoding: expected a file in utf-8, received the byte 0xff in line 4"
    ):
        read_documents(path)
    with pytest.raises(FileNotFoundError, match="where nothing is"):
        read_documents(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="expected a folder with text files"):
        read_documents(tmp_path / "empty")
    two = pl.DataFrame({"a": ["x"], "b": ["y"]})
    with pytest.raises(ValueError, match=r"expected one column of text .* received 2 \(a, b\)"):
        read_documents(two)
    with pytest.raises(ValueError, match="text"):
        read_documents(two, column="c")
    assert texts(read_documents(two, column="b")) == ["y"]


def test_a_byte_cut_between_two_reads_and_a_fault_in_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from longspan.data.readers import text_files

    path = tmp_path / "text.txt"
    path.write_bytes("aé\nбв\n".encode())
    for size in range(1, 9):
        assert "".join(text_files.text_pieces(path, size=size)) == "aé\nбв\n"
    path.write_bytes("aé\nбв\n".encode() + b"\xe9\n")
    for size in range(1, 9):
        with pytest.raises(ValueError, match="0xe9 in line 3"):
            list(text_files.text_pieces(path, size=size))


def test_a_long_file_in_pieces_is_the_same_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"line {n} has e\N{COMBINING ACUTE ACCENT} and, well, words\r\n" for n in range(400))
    path = tmp_path / "long.txt"
    path.write_text(text, newline="")
    whole = read_documents(path)[0]
    monkeypatch.setattr(reading, "_IN_MEMORY", 100)
    monkeypatch.setattr(reading, "_PIECE", 500)
    (long,) = read_documents(path)
    assert long.text is None and texts([long]) == texts([whole]) == [normalize(text)]
    assert (long.characters, long.bytes) == (whole.characters, whole.bytes)
    assert len(list(long.pieces())) > 10
    for tokenizer in (Characters().fit([text]), Words(lines=True).fit([text])):
        assert np.array_equal(encode(long, tokenizer), encode(whole, tokenizer))
    train, valid = split_documents([long], 0.1)
    assert "".join(texts([*train, *valid])) == normalize(text)
    assert valid[0].characters == len(texts(valid)[0]) == round(0.1 * long.characters)


def test_splits() -> None:
    train, valid = split_documents([document_of(str(n)) for n in range(100)], 0.1)
    assert texts(valid) == [str(n) for n in range(9, 100, 10)] and len(train) == 90
    train, valid = split_documents([document_of("abc\n" * 5), document_of("xyz\n" * 5)], 0.3)
    assert texts(train) == ["abc\n" * 5, "xyz\n" * 2] and texts(valid) == ["xyz\n" * 3]


def test_token_level_is_found() -> None:
    first = "the company said that it will not pay , and the board of the company did n't agree with it .\n"
    split = (first + "the <unk> of the plan that mr. smith had made for the next year was to pay N .\n") * 100
    assert find_token_level([document_of(split)]) == "words"
    assert find_token_level([document_of("The company said, well, it will not pay.\n" * 200)]) == "characters"
    assert find_token_level([document_of("一二三四五" * 400)]) == "characters"


def test_token_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [document_of("ab"), document_of(""), document_of("b")]
    letters = Characters().fit(["ab", "b"])
    for limit in (1 << 20, 2):
        monkeypatch.setattr("longspan.tasks.language.tokens._IN_MEMORY", limit)
        found = token_stream(documents, letters, ends=True)
        assert found.tolist() == [3, 5, 4, 3, 3, 4, 3] and found.dtype == np.uint8
        assert isinstance(found, np.memmap) == (limit == 2)
    assert token_stream(documents[:1], letters, ends=False).tolist() == [3, 5, 4]


MEMORY = """
import resource, sys
from longspan.tasks.language import reading, tokens
from longspan.data.tokenizers import Characters
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
documents = reading.read_documents(sys.argv[1])
stream = tokens.token_stream(documents, Characters().fit(documents[0].pieces()), ends=False)
print(len(stream), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_a_long_text_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("Some text of some length, and so on.\n" * 1_500_000)
    assert resource.RUSAGE_SELF == 0
    found = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, check=True)
    tokens, memory = map(int, found.stdout.split())
    assert tokens == path.stat().st_size + 1
    assert memory * 1024 < 1.6 * path.stat().st_size + (64 << 20)
