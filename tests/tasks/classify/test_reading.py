"""Texts and series with labels come in from every source alike; what cannot be read is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from longspan.data.padding import Ragged, by_length
from longspan.data.readers.word_vectors import read_vectors
from longspan.data.time_table import TimeOptions
from longspan.tasks.classify.reading import Example, Layout, read_examples
from longspan.tasks.classify.ts_format import read_ts

TWO = [Example("good film", "pos"), Example("bad film", "neg")]


def written(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_text_files_of_every_kind_agree(tmp_path: Path):
    csv = written(tmp_path / "a.csv", "label,text\npos,good film\nneg,bad film\n")
    tsv = written(tmp_path / "a.tsv", "label\ttext\npos\tgood film\nneg\tbad film\n")
    rows = "\n".join(json.dumps({"text": one.input, "label": one.label}) for one in TWO)
    lines = written(tmp_path / "a.txt", "\ufeffpos\tgood film\r\n\nneg\tbad film\n")
    for source in (csv, tsv, written(tmp_path / "a.jsonl", rows), lines):
        assert read_examples(source) == TWO, source
    frame = {"text": [one.input for one in TWO], "label": [one.label for one in TWO]}
    for source in (pl.DataFrame(frame), pd.DataFrame(frame)):
        assert read_examples(source) == TWO
    assert read_examples(frame["text"], frame["label"]) == TWO
    assert read_examples(pd.Series(frame["text"]), pd.Series(frame["label"])) == TWO
    assert read_examples(np.array(frame["text"]), np.array(frame["label"])) == TWO


def test_a_folder_a_class_or_a_file_a_class(tmp_path: Path):
    for one in TWO:
        written(tmp_path / "folders" / one.label / "1.txt", one.input)
        written(tmp_path / "files" / f"{one.label}.txt", f"{one.input}\n\n{one.input}\n")
    assert read_examples(tmp_path / "folders") == TWO[::-1]
    assert read_examples(tmp_path / "files") == [TWO[1], TWO[1], TWO[0], TWO[0]]


def test_a_wrong_byte_is_named_by_file_and_line(tmp_path: Path):
    for name in ("a.csv", "a.jsonl", "a.txt", "a.ts"):
        path = written(tmp_path / name, b"label,text\nx,caf\xe9\n")
        with pytest.raises(
            ValueError, match=rf"encoding: .* 0xe9 in line 2 of .*{name}; give the file's own"
        ):
            read_examples(path)
    latin = Layout(options=TimeOptions("latin-1"))
    assert read_examples(tmp_path / "a.csv", layout=latin) == [Example("café", "x")]


def test_series_of_every_kind_agree(tmp_path: Path):
    text = "@classLabel true a b\n@data\n1,2,3:4,5,6:a\n7:8:b\n"
    found = read_examples(written(tmp_path / "a.ts", text))
    table = "id,time,u,v,label\ns,3,3,6,a\nt,1,7,8,b\ns,1,1,4,a\ns,2,2,5,a\n"
    long = read_examples(written(tmp_path / "a.csv", table), layout=Layout(time="time"))
    ragged = [np.array([[1, 4], [2, 5], [3, 6]]), [[7, 8]]]
    for other in (long, read_examples(ragged, ["a", "b"])):
        for one, two in zip(found, other, strict=True):
            assert np.array_equal(one.input, two.input) and one.label == two.label
    empty = pl.DataFrame({"id": [1, 1], "u": [1, 2], "v": [None, None], "label": ["x", "x"]})
    assert read_examples(empty)[0].input.shape == (2, 2), "a channel without a value is a channel"
    assert read_examples(torch.zeros(3, 5), [0, 1, 0])[0].input.shape == (5, 1)
    assert read_examples(np.zeros((3, 5, 2)), [0, 1, 0])[0].input.shape == (5, 2)


def test_missing_readings_and_odd_lines_of_ts(tmp_path: Path):
    series, labels = read_ts(written(tmp_path / "a.ts", "@problemName x\n# why\n@data\n1,?,3\n"))
    assert labels is None and np.isnan(series[0][1, 0])
    for body, said in (("1,x", "'x' in line 2"), ("1,2:3", r"\[2, 1\] readings in line 2"), ("", "none in")):
        with pytest.raises(ValueError, match=said):
            read_ts(written(tmp_path / "b.ts", f"@data\n{body}\n"))
    with pytest.raises(ValueError, match="evenly spaced"):
        read_ts(written(tmp_path / "c.ts", "@timestamps true\n@data\n"))


def test_labels_of_three_forms():
    assert read_examples(["a b"], [("y", "x")])[0].label == ("x", "y")
    assert read_examples(["a b"], np.array([[0, 1, 1]]))[0].label == (1, 2)
    cell = pl.DataFrame({"text": ["a"], "label": ["x| y"]})
    assert read_examples(cell, layout=Layout(labels="many"))[0].label == ("x", "y")
    steps = read_examples([["a", "b"]], [["X", "Y"]], layout=Layout(labels="steps"))
    assert steps == [Example(["a", "b"], ["X", "Y"])]
    assert read_examples(["a b"], ["X Y"], layout=Layout(labels="steps")) == steps
    assert [one.label for one in read_examples(["a"], labelled=False)] == [None]


BAD: list[tuple[Any, Any, Layout, str]] = [
    (["a"], None, Layout(), "label: expected labels to learn from, received none"),
    (["a", "b"], ["x", None], Layout(), "label: expected a label in every row, received none in row 1"),
    (["a", "b"], ["x"], Layout(), "y: expected 2 labels"),
    ([], [], Layout(), "source: expected at least one record"),
    ("nowhere", None, Layout(), "expected a file or folder"),
    (3, None, Layout(), "source: expected a path, a frame, texts"),
    (np.zeros(3), [0] * 3, Layout(), "put a single series in a list"),
    ([[1.0, "x"]], [0], Layout(), "numbers in every series"),
    ([[np.inf]], [0], Layout(), "infinity in row 0"),
    (pl.DataFrame({"text": ["a"], "lable": ["x"]}), None, Layout(), "the nearest is 'lable'"),
    (pl.DataFrame({"u": [1.0], "label": ["x"]}), None, Layout(), "id: expected the column"),
    (pl.DataFrame({"id": [1, 1], "u": [1, 2], "label": ["x", "y"]}), None, Layout(), "one label a series"),
    (["a b"], [["X"]], Layout(labels="steps"), "1 labels for 2 steps in row 0"),
    ([{"text": None, "label": 1}], None, Layout(), "none in row 0"),
]


@pytest.mark.parametrize("source, y, layout, said", BAD, ids=[one[-1] for one in BAD])
def test_what_cannot_be_used(source: Any, y: Any, layout: Layout, said: str):
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=said) as caught:
        read_examples(source, y, layout=layout)
    assert str(caught.value).count(";") == 1


def test_word_vectors(tmp_path: Path):
    path = written(tmp_path / "v.txt", "3 2\nfilm 1 2\nFilm 3 4\nother 5 6\n")
    found = read_vectors(path, ["Film", "film", "absent"])
    assert {word: vector.tolist() for word, vector in found.items()} == {"film": [1, 2], "Film": [3, 4]}
    for text, said in (("film 1\nbad x y\nfilm 1 2\n", "2 numbers|1 numbers"), ("x 1 2\n", "none of them")):
        with pytest.raises(ValueError, match=said):
            read_vectors(written(tmp_path / "w.txt", text), ["film"])


def test_ragged_rows_side_by_side():
    rows = [torch.arange(n) + 10 * n for n in (3, 0, 5, 1)]
    ragged = Ragged(rows)
    padded, lengths = ragged.padded(torch.tensor([2, 1, 0]), -1)
    assert padded.tolist() == [[50, 51, 52, 53, 54], [-1] * 5, [30, 31, 32, -1, -1]]
    assert lengths.tolist() == [5, 0, 3]
    joined, starts = ragged.joined(torch.tensor([3, 0]))
    assert joined.tolist() == [10, 30, 31, 32] and starts.tolist() == [0, 1]
    assert Ragged([rows[1], rows[1]]).padded(torch.tensor([0, 1]))[0].tolist() == [[0], [0]]


def test_batches_by_length_hold_every_row_once_and_little_padding():
    lengths = torch.randint(1, 100, (1003,))
    batches = list(by_length(lengths, 10))
    assert torch.cat(batches).sort().values.tolist() == list(range(1003))
    spread = sum(int(lengths[b].max()) * len(b) for b in batches) / int(lengths.sum())
    assert spread < 1.1
    assert not torch.equal(torch.cat(batches), torch.cat(list(by_length(lengths, 10))))
