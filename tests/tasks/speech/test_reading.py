"""Recordings are read from files, folders, tables, Kaldi's lists and arrays; what is missing is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from longspan.tasks.speech.reading import RatedSource, TranscriptColumns, read_recordings

soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")
pytestmark = pytest.mark.usefixtures("folder")
TABLES = {
    "transcripts.csv": "file,text\na.wav,one two\nb.wav,  three   four \n",
    "transcripts.tsv": "path\tsentence\na.wav\tone two\nb.wav\tthree four\n",
    "transcripts.jsonl": '{"audio": "a.wav", "text": "one two"}\n{"audio": "b.wav", "text": "three four"}\n',
}


def texts(source: Any, y: Any = None, **options: Any) -> list[str | None]:
    return [recording.text for recording in read_recordings(source, y, **options)]


@pytest.mark.parametrize("name", list(TABLES))
def test_tables_of_transcripts(name: str) -> None:
    for other in "cdef":
        Path(f"{other}.wav").unlink()
    Path(name).write_text(TABLES[name])
    for source in (".", name, Path(name)):
        records = read_recordings(source)
        assert [record.text for record in records] == ["one two", "three four"]
        assert [Path(record.file or "").name for record in records] == ["a.wav", "b.wav"]
        assert all(record.rate == 8000 and record.sound.dtype == np.float32 for record in records)


def test_columns_are_named_where_they_are_unusual() -> None:
    Path("list.csv").write_text("which,said\na.wav,one\n")
    assert texts("list.csv", columns=TranscriptColumns("which", "said")) == ["one"]
    with pytest.raises(ValueError, match="file_column: expected a column called file or the like"):
        texts("list.csv")
    with pytest.raises(ValueError, match=r"text_column: expected one of the columns .* received 'sayd'; the"):
        texts("list.csv", columns=TranscriptColumns("which", "sayd"))


def test_a_transcript_that_looks_like_a_number_stays_text() -> None:
    Path("list.csv").write_text("file,text\na.wav,007\nb.wav,12\n")
    assert texts("list.csv") == ["007", "12"]


def test_frames() -> None:
    frame = pl.DataFrame({"file": ["a.wav", "b.wav"], "text": ["one", "two"]})
    assert texts(frame) == ["one", "two"]
    assert texts(frame.to_dicts()) == ["one", "two"]


def test_a_folder_a_word() -> None:
    for word, names in {"yes": "ab", "no": "cd"}.items():
        Path(word).mkdir()
        for name in names:
            Path(f"{name}.wav").rename(f"{word}/{name}.wav")
    for name in "ef":
        Path(f"{name}.wav").unlink()
    assert texts(".") == ["no", "no", "yes", "yes"]


def test_kaldi() -> None:
    Path("wav.scp").write_text("u1 a.wav\nu2 b.wav\n")
    Path("text").write_text("u2 three\nu1 one two\n")
    assert texts(".") == ["one two", "three"]
    Path("text").write_text("u1 one\n")
    with pytest.raises(ValueError, match="text: expected a transcript for every sound, received none for u2"):
        texts(".")
    assert texts(".", texts=False) == ["one", None]
    Path("text").write_text("u1 one\nu2 two\nu3 three\n")
    with pytest.raises(ValueError, match=r"scp: expected a sound for every transcript, received none for u3"):
        texts(".")
    Path("wav.scp").write_text("u1 sph2pipe a.sph |\nu2 b.wav\nu3 c.wav\n")
    with pytest.raises(ValueError, match="expected paths, received a command for u1"):
        texts(".")
    Path("segments").touch()
    with pytest.raises(ValueError, match="expected one utterance a file, received a file segments"):
        texts(".")


def test_files_and_arrays() -> None:
    wave, pairs = np.full(900, 0.1, np.float32), [(np.full(900, 0.1, np.float32), 8000)] * 2
    assert texts(["a.wav", Path("b.wav")], ["one", "two"]) == ["one", "two"]
    assert texts("a.wav", ["one"]) == ["one"]
    assert texts([("a.wav", "one"), (wave, 8000, "two")]) == ["one", "two"]
    assert texts(RatedSource([(wave, "one")], 8000)) == ["one"]
    assert texts(pairs, ["one", "two"]) == ["one", "two"]
    assert texts(pairs[0], ["one"]) == ["one"]
    for source, count in ((wave, 1), ([wave, wave[:500]], 2), (np.stack([wave, wave]), 2)):
        records = read_recordings(RatedSource(source, 16000), texts=False)
        assert [record.rate for record in records] == [16000] * count
        assert all(record.file is None and record.text is None for record in records)
    assert read_recordings(wave, texts=False, default_rate=8000)[0].rate == 8000


@pytest.mark.parametrize(
    ("source", "y", "sentence"),
    [
        ("nothing.wav", None, "source: expected a file or folder, received nothing.wav"),
        (["a.wav", "x.wav"], ["a", "b"], "file: expected a sound for every transcript, received x.wav"),
        ("list.csv", None, "file: expected a sound for every transcript, received x.wav, .* in row 3"),
        ("gap.csv", None, r"text: expected a transcript for every sound, received none for b.wav \(row 3"),
        ("cut.jsonl", None, "cut.jsonl: expected one utterance a file, received a column offset"),
        ("a.wav", None, "text: expected a transcript for every sound, received none for a.wav"),
        (".", None, "text: expected a transcript for every sound, received none for .*a.wav"),
        ("sub", None, r"transcripts.csv: expected a transcript for every sound, received none for b.wav"),
        ("empty", None, "folder empty: expected sound files, received none"),
        ("two", None, "folder two: expected one table of transcripts, received transcripts.csv, t"),
        ([], None, "source: expected at least one sound, received none"),
        (["a.wav", "b.wav"], ["one"], "texts: expected one for every sound, received 1 for 2 sounds"),
        (["a.wav"], [1], "texts: expected strings, received int in row 0"),
        (["a.wav"], "one", "texts: expected a list of strings"),
        (["a.wav"], [" "], "text: expected a transcript for every sound, received none for a.wav"),
        (np.zeros(900), ["a"], "rate: expected the samples a second of the arrays, received None"),
        (3, None, "source: expected a path, a frame"),
        (RatedSource("a.wav", 16000), ["a"], "rate: expected 8000, which is that of a.wav, or none"),
        (RatedSource([(np.ones(900), 8000)], 16000), ["a"], "rate: expected 8000, which stands beside s"),
        (RatedSource(np.ones(900), 16), ["a"], "rate: expected a whole number of at least 1000, received 16"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(source: Any, y: Any, sentence: str) -> None:
    Path("list.csv").write_text("file,text\na.wav,one\nx.wav,two\n")
    Path("cut.jsonl").write_text('{"audio_filepath": "a.wav", "offset": 0.5, "text": "one"}\n')
    Path("gap.csv").write_text("file,text\na.wav,one\nb.wav,\n")
    for name in ("sub", "two", "empty"):
        Path(name).mkdir()
    for name in "abc":
        Path(f"sub/{name}.wav").write_bytes(Path(f"{name}.wav").read_bytes())
    Path("sub/transcripts.csv").write_text("file,text\na.wav,one\n")
    Path("two/transcripts.csv").write_text("file,text\n")
    Path("two/transcripts.tsv").write_text("file\ttext\n")
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=sentence):
        read_recordings(source, y)
