"""Texts and series with labels are read alike from every kind of source; bad sources are refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import longspan as ls
from longspan import errors
from longspan.data.padding import RaggedTensor, bucket_by_length
from longspan.data.time_table import TimeOptions
from longspan.tasks.classify.layout import Layout
from longspan.tasks.classify.reading import Example, read_examples
from longspan.tasks.classify.series_encoder import MixedInput
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


def test_a_folder_or_a_file_for_each_class(tmp_path: Path):
    for one in TWO:
        written(tmp_path / "folders" / one.label / "1.txt", one.input)
        lines = gzip.compress(f"{one.input}\n\n{one.input}\n".encode())
        written(tmp_path / "files" / f"{one.label}.txt.gz", lines)
    written(tmp_path / "folders" / TWO[0].label / ".hidden", "no sample")
    written(tmp_path / "folders" / TWO[0].label / ".git" / "config", "no sample")
    assert read_examples(tmp_path / "folders") == TWO[::-1]
    written(tmp_path / "folders" / "README.md", "beside the classes")
    with pytest.warns(
        errors.LongspanWarning, match="beside the folders of classes are not read, such as README"
    ):
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
    assert read_examples(cell, layout=Layout(labels="multilabel"))[0].label == ("x", "y")
    steps = read_examples([["a", "b"]], [["X", "Y"]], layout=Layout(labels="token"))
    assert steps == [Example(["a", "b"], ["X", "Y"])]
    assert read_examples(["a b"], ["X Y"], layout=Layout(labels="token")) == steps
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
    ([[np.inf]], [0], Layout(), "source: expected finite numbers, received inf in row 0"),
    (
        [[1.0, -1e200]],
        [0],
        Layout(),
        "to 1e.18, received -1e.200 in row 0",
    ),
    (pl.DataFrame({"text": ["a"], "lable": ["x"]}), None, Layout(), "the nearest is 'lable'"),
    (pl.DataFrame({"u": [1.0], "label": ["x"]}), None, Layout(time="u"), "id: expected the column"),
    (pl.DataFrame({"id": [1, 1], "u": [1, 2], "label": ["x", "y"]}), None, Layout(), "one label a series"),
    (["a b"], [["X"]], Layout(labels="token"), "1 labels for 2 steps in row 0"),
    ([{"text": None, "label": 1}], None, Layout(), "none in row 0"),
]


@pytest.mark.parametrize("source, y, layout, said", BAD, ids=[one[-1] for one in BAD])
def test_unusable_sources_are_refused_in_one_sentence(source: Any, y: Any, layout: Layout, said: str):
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=said) as caught:
        read_examples(source, y, layout=layout)
    assert str(caught.value).count(";") == 1


def test_ragged_rows_side_by_side():
    rows = [torch.arange(n) + 10 * n for n in (3, 0, 5, 1)]
    ragged = RaggedTensor(rows)
    padded, lengths = ragged.pad(torch.tensor([2, 1, 0]), -1)
    assert padded.tolist() == [[50, 51, 52, 53, 54], [-1] * 5, [30, 31, 32, -1, -1]]
    assert lengths.tolist() == [5, 0, 3]
    joined, starts = ragged.concat(torch.tensor([3, 0]))
    assert joined.tolist() == [10, 30, 31, 32] and starts.tolist() == [0, 1]
    assert RaggedTensor([rows[1], rows[1]]).pad(torch.tensor([0, 1]))[0].tolist() == [[0], [0]]


def test_batches_by_length_hold_every_row_once_and_little_padding():
    lengths = torch.randint(1, 100, (1003,))
    batches = list(bucket_by_length(lengths, 10))
    assert torch.cat(batches).sort().values.tolist() == list(range(1003))
    spread = sum(int(lengths[b].max()) * len(b) for b in batches) / int(lengths.sum())
    assert spread < 1.1
    assert not torch.equal(torch.cat(batches), torch.cat(list(bucket_by_length(lengths, 10))))


TEXTS = ["a great day", "an awful day, really"] * 3


def test_labels_such_as_none_and_na_are_classes(tmp_path: Path):
    for word in ("None", "NA"):
        labels = [word, "toxic"] * 3
        path = written(
            tmp_path / "a.csv",
            "text,label\n" + "".join(f'"{t}",{n}\n' for t, n in zip(TEXTS, labels, strict=True)),
        )
        for source in (path, pd.DataFrame({"text": TEXTS, "label": labels})):
            assert [one.label for one in read_examples(source)] == labels
    with pytest.raises(ValueError, match="a label in every row, received none in row 1"):
        read_examples(written(tmp_path / "b.csv", "text,label\nx,1\ny,\n"))


def test_semicolons_and_an_encoding_together(tmp_path: Path):
    rows = "text;label\n" + "".join(f"schön, {text};{place % 2}\n" for place, text in enumerate(TEXTS))
    for ending, pack in (("", bytes), (".gz", gzip.compress)):
        path = written(tmp_path / f"a.csv{ending}", pack(rows.encode("latin-1")))
        found = read_examples(path, layout=Layout(options=TimeOptions("latin-1")))
        assert found[0] == Example("schön, a great day", 0) and found[1].label == 1


def test_labels_are_of_the_kind_that_fit_had(tmp_path: Path):
    zeros = written(tmp_path / "a.csv", "text,label\nx,0007\ny,0042\n")
    assert [one.label for one in read_examples(zeros)] == ["0007", "0042"]
    stray = written(tmp_path / "b.csv", "text,label\nx,0\ny,1.0\nz,maybe\n")
    assert [one.label for one in read_examples(stray, layout=Layout(classes=(0, 1)))] == [0, 1, "maybe"]
    assert [one.label for one in read_examples(stray)] == ["0", "1.0", "maybe"]
    truths = written(tmp_path / "c.csv", "text,label\nx,True\ny,False\n")
    assert [one.label for one in read_examples(truths)] == [True, False]


def test_missing_values_of_pandas():
    frame = pd.DataFrame(
        {"text": pd.array([None, "b"], dtype="string"), "label": pd.array([0, 1], dtype="Int64")}
    )
    assert read_examples(frame) == [Example("", 0), Example("b", 1)]
    assert read_examples([pd.NA, "b"], [0, 1])[0].input == ""
    for y in ([pd.NA, 1], pd.array([None, 1], dtype="Int64")):
        with pytest.raises(ValueError, match="a label in every row, received none in row 0"):
            read_examples(["a", "b"], y)


def test_labels_that_come_apart_from_a_frame():
    frame = pd.DataFrame({"text": TEXTS})
    labels = [0, 1] * 3
    for y in (labels, pd.Series(labels), pd.DataFrame({"y": labels}), pl.Series(labels)):
        assert [one.label for one in read_examples(frame, y)] == labels
    with pytest.raises(TypeError, match="no list of frames"):
        read_examples([frame, frame], [0, 1])


def test_one_text_cell_does_not_make_a_column_text(tmp_path: Path):
    rows = [
        f"{n},{k},{n + k}.5,{'-' if (n, k) == (1, 2) else k},{'ab'[n % 2]}"
        for n in range(4)
        for k in range(5)
    ]
    path = written(tmp_path / "a.csv", "\n".join(["id,t,x,z,label", *rows, ""]))
    found = read_examples(path, layout=Layout(time="t"))
    assert len(found) == 4 and found[0].input.shape == (5, 2) and np.isnan(found[1].input[2, 1])
    path.write_text(path.read_text().replace(",-,", ",bad,"))
    with pytest.raises(ValueError, match="series z: expected numbers, received 'bad' in row 8"):
        read_examples(path, layout=Layout(time="t"))


def test_every_row_a_series(tmp_path: Path):
    frame = pd.DataFrame(np.arange(36.0).reshape(3, 12), columns=[f"t{place}" for place in range(12)])
    frame["label"] = ["a", "b", "a"]
    frame.to_csv(tmp_path / "a.csv", index=False)
    named = read_examples(tmp_path / "a.csv", layout=Layout(series=tuple(frame.columns[:-1])))
    with pytest.warns(errors.LongspanWarning, match="Every row is read as a series of 12 readings"):
        found = read_examples(frame)
    for one, other in zip(named, found, strict=True):
        assert (
            one.input.shape == (12, 1) and np.array_equal(one.input, other.input) and one.label == other.label
        )


def test_two_columns_of_text_ask_which():
    with pytest.raises(
        ValueError, match=r"text: expected one column of text .* received 2 \(one, two\); name it"
    ):
        read_examples({"one": ["a", "b"], "two": ["c", "d"], "label": [0, 1]})


def connections() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "duration": [0.0, 2.5, None, 1.0],
            "protocol": ["tcp", "udp", "tcp", "udp"],
            "label": ["normal", "attack", "attack", "normal"],
        }
    )


def test_rows_of_numbers_and_categories_are_single_records(tmp_path: Path) -> None:
    expected = [(0.0, "tcp"), (2.5, "udp"), (None, "tcp"), (1.0, "udp")]
    connections().write_csv(tmp_path / "a.csv")
    for source in (
        connections(),
        tmp_path / "a.csv",
        connections().to_dicts(),
        connections().to_dict(as_series=False),
    ):
        with pytest.warns(errors.LongspanWarning, match="read as a record of 1 numbers and 1 categories"):
            examples = read_examples(source)
        assert [example.input for example in examples] == [MixedInput(None, values) for values in expected]
        assert examples.static == ("duration", "protocol")
    named = read_examples(connections(), layout=Layout(static="protocol"))
    assert [example.input.static for example in named] == [("tcp",), ("udp",), ("tcp",), ("udp",)]
    later = read_examples(
        connections().drop("label"), layout=Layout(fitted_static=("protocol",)), labelled=False
    )
    assert [example.input for example in later] == [example.input for example in named]


def test_series_have_static_values_beside_them() -> None:
    rows = [
        {"values": [1.0, 2.0], "age": 30, "sex": "f", "label": 0},
        {"values": [3.0], "age": 40, "sex": "m", "label": 1},
    ]
    layout = Layout(static=("age", "sex"))
    fields = read_examples(rows, layout=layout)
    long = pl.DataFrame(
        {"id": [7, 7, 8], "v": [1.0, 2.0, 3.0], "age": [30, 30, 40], "sex": list("ffm"), "label": [0, 0, 1]}
    )
    table = read_examples(long, layout=layout)
    for examples in (fields, table):
        assert [example.input.static for example in examples] == [(30.0, "f"), (40.0, "m")]
        assert [example.input.series.tolist() for example in examples] == [[[1.0], [2.0]], [[3.0]]]
    assert table.series == ("v",) and fields.series == ("values",)
    with pytest.raises(ValueError, match="static_covariates: expected a column of source"):
        read_examples(long, layout=Layout(static="agee"))


def test_a_later_table_is_read_by_the_column_of_fit(tmp_path: Path):
    texts = ["good film", "bad film"] * 8
    table = pd.DataFrame({"comment": texts, "label": [1, 0] * 8})
    model = ls.Classifier(hidden_size=4, embedding_size=4, ensemble_size=1, epochs=8, validation_fraction=0.0)
    model.fit(table, verbose=0).save(tmp_path / "model")
    more = pd.DataFrame({"text": ["bad film", "good film"], "note": ["bad", "good"], "comment": texts[:2]})
    other = pd.DataFrame({"note": more["note"], "comments": more["text"]})
    for loaded in (model, ls.load(tmp_path / "model")):
        assert list(loaded.predict(more)) == list(loaded.predict(texts[:2]))
        with pytest.raises(
            ValueError, match=r"text: expected a column of source \(note, comments\), received 'comm"
        ):
            loaded.predict(other)
    for name, frame in (("a.csv", more), ("b.csv", more[["comment", "note"]])):
        frame.to_csv(tmp_path / name, index=False)
        assert list(model.predict(tmp_path / name)) == list(model.predict(texts[:2]))


def test_ids_of_series_go_back_in_their_type(tmp_path: Path):
    rows = [(name, step, name + step) for name in (7, 42) for step in range(3)]
    table = pd.DataFrame(rows, columns=["id", "time", "x"])
    table.to_csv(tmp_path / "a.csv", index=False)
    table.assign(id=table["id"].map("{:04d}".format)).to_csv(tmp_path / "b.csv", index=False)
    layout = Layout(time="time")
    for source, ids in (
        (table, [7, 42]),
        (table.astype({"id": float}), [7, 42]),
        (table.astype({"id": str}), ["7", "42"]),
        (tmp_path / "a.csv", [7, 42]),
        (tmp_path / "b.csv", ["0007", "0042"]),
    ):
        assert read_examples(source, layout=layout, labelled=False).ids == ids


def test_numbered_columns_beside_categories_are_no_series() -> None:
    frame = pl.DataFrame({f"c{number}": [1.0, 2.0, 3.0, 4.0] for number in range(12)})
    frame = frame.with_columns(c5=pl.Series(["tcp", "udp", "tcp", "udp"]), label=pl.Series([0, 1, 0, 1]))
    with pytest.warns(errors.LongspanWarning, match="a record of 11 numbers and 1 categories"):
        assert isinstance(read_examples(frame)[0].input, MixedInput)


def test_cells_of_several_values_dicts_of_labels_and_columns_of_json(tmp_path: Path):
    for cells in ([["a", "b"]] * 4, [b"a"] * 4):
        with (
            pytest.warns(errors.LongspanWarning, match="a record of"),
            pytest.raises(ValueError, match=r"column text: expected text, received a .* in row 1"),
        ):
            read_examples(pd.DataFrame({"text": cells, "label": [0, 1] * 2}))
    with pytest.raises(TypeError, match="y: expected a list or array of labels, received dict"):
        read_examples(["good", "bad"], {0: "pos", 1: "neg"})
    frame = pd.DataFrame({"text": ["x y", "z"], "label": ["p", "n"]})
    path = written(tmp_path / "a.json", str(frame.to_json()))
    assert [(one.input, one.label) for one in read_examples(path)] == [("x y", "p"), ("z", "n")]
    odd = written(tmp_path / "a.jsonl", '{"text": {"a": 1}, "label": 1}\n')
    with pytest.raises(ValueError, match="expected texts, or series"):
        read_examples(odd)


def test_a_label_with_and_without_a_point_is_one_class(tmp_path: Path):
    path = written(tmp_path / "a.csv", "text,label\na b,0\nb c,1.0\nc d,1\n")
    assert [one.label for one in read_examples(path)] == [0, 1, 1]
    path = written(tmp_path / "b.csv", "text,label\na b,0\nb c,1.5\nc d,1\n")
    assert [one.label for one in read_examples(path)] == [0.0, 1.5, 1.0]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", "[]"), ("a.json", " "), ("a.json", "\n\n"), ("a.jsonl", ""), ("a.jsonl", "\n")],
)
def test_json_without_a_record_is_refused(name: str, content: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="source: expected at least one record, received none"):
        read_examples(written(tmp_path / name, content))


def test_changes_that_single_precision_loses_are_told(tmp_path: Path) -> None:
    wave = np.sin(np.arange(30) / 3)
    rows = [", ".join(map(str, level + wave)) for level in (1e9, 2e9)]
    table = f"{', '.join(f't{step}' for step in range(30))}, label\n{rows[0]}, a\n{rows[1]}, b\n"
    large: list[Any] = [written(tmp_path / "x.csv", table), [1e9 + wave, 2e9 + wave]]
    for source, y in zip(large, (None, ["a", "b"]), strict=True):
        with errors.collect_notices(quiet=True) as notes:
            read_examples(source, y)
        assert sum("single precision loses the changes" in note for note in notes) == 1
    with errors.collect_notices(quiet=True) as notes:
        read_examples([1e5 + wave, np.full(30, 1e12), (1e9 + wave).astype(np.float32)], ["a", "b", "a"])
    assert not notes
