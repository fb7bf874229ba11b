"""`stream` answers rows as they come, `export` and `quantize` write other files, `--backend` forces one."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import longspan as ls
from longspan import cli, kernels
from longspan.cli.output import file_writer
from longspan.nn.quantization import is_int8

pytestmark = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
WAVE = np.sin(np.arange(200) / 5)


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def streamed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *lines: str
) -> pl.DataFrame:
    """What `longspan stream model` writes for lines of standard input."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    capsys.readouterr()
    assert cli.main(["stream", "model"]) == 0, capsys.readouterr().err
    return pl.read_csv(io.StringIO(capsys.readouterr().out))


def test_a_detector_judges_each_reading(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = ls.AnomalyDetector(epochs=1, hidden_size=4).fit(WAVE, verbose=0)
    detector.save("model")
    found = streamed(monkeypatch, capsys, "0.1", "9.5", "", "0.2")
    assert found.columns == ["line", "score", "alarm"] and found["line"].to_list() == [1, 2, 4]
    assert found["alarm"].to_list()[1] and found["score"][0] == pytest.approx(detector.update(0.1)[0])


def test_a_forecaster_answers_with_the_next_steps_of_the_row_s_series(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    days = [f"2024-0{1 + day // 28}-{1 + day % 28:02}" for day in range(56)]
    table = pl.concat([pl.DataFrame({"shop": n, "day": days, "sold": WAVE[:56] + n}) for n in (1, 2)])
    dates = table.with_columns(pl.col("day").str.to_date())
    model = ls.Forecaster(horizon=2, id="shop", context_length=8, epochs=1).fit(dates, verbose=0)
    model.save("model")
    found = streamed(monkeypatch, capsys, "shop,day,sold", "2,2024-02-29,2.5", "2,2024-03-01,2.1")
    assert found["line"].to_list() == [2, 2, 3, 3] and set(found["shop"]) == {2}
    row = pl.DataFrame({"shop": [2], "day": ["2024-02-29"], "sold": [2.5]})
    expected = model.update(row.with_columns(pl.col("day").str.to_date())).predict()
    assert np.allclose(found["point"][:2], expected.filter(pl.col("shop") == 2)["point"], atol=1e-6)


def test_a_recommender_answers_with_what_is_next(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(user, item, n) for user in range(20) for n, item in enumerate(("tea", "milk", "cup"))]
    table = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    ls.Recommender(epochs=1, hidden_size=8).fit(table, verbose=0).save("model")
    found = streamed(monkeypatch, capsys, "item,user", "tea,77", "milk,77")
    assert {*found["line"]} == {2, 3} and found["rank"][0] == 1 and {*found["item"]} <= {"tea", "milk", "cup"}


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["a,b", "1"], "expected 2 values a line, received 1 in line 2"),
        (["x"], None),
    ],
)
def test_a_line_that_cannot_be_read_is_named(
    lines: list[str],
    sentence: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ls.AnomalyDetector(epochs=1, hidden_size=4).fit(WAVE, verbose=0).save("model")
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    assert cli.main(["stream", "model"]) == (0 if sentence is None else 2)
    assert (sentence or "") in capsys.readouterr().err


def test_a_task_without_a_stream_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    texts, labels = ["good film", "bad film"] * 8, ["yes", "no"] * 8
    model = ls.Classifier(epochs=1, hidden_size=4, subword_buckets=0, ensemble_size=1)
    model.fit(texts, labels, verbose=0).save("model")
    assert cli.main(["stream", "model"]) == 2
    assert (
        "expected a detector, a forecaster or a recommender, received a Classifier" in capsys.readouterr().err
    )
    assert cli.main(["export", "model", "-o", "model.onnx"]) == 2
    assert "expected a saved Sequential, received a task in model" in capsys.readouterr().err
    assert cli.main(["quantize", "model", "-o", "model.onnx"]) == 2
    assert "expected a saved Sequential, received a task in model" in capsys.readouterr().err
    Path("model").rename("model.keras")  # the content says what it is
    assert cli.main(["export", "model.keras", "-o", "model.onnx"]) == 2
    assert "received a task in model.keras" in capsys.readouterr().err


def test_a_sequential_is_exported(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("h5py", reason="h5py is not installed")
    model = ls.Sequential([ls.Input((4, 1)), ls.layers.LSTM(3), ls.layers.Dense(1)])
    model.save("net")
    for name in ("net.onnx", "net.keras", "net.h5"):
        assert cli.main(["export", "net", "-o", name]) == 0, capsys.readouterr().err
    assert Path("net.onnx").read_bytes() == ls.export.to_onnx(model)
    assert cli.main(["quantize", "net", "-o", "small.onnx"]) == 0, capsys.readouterr().err
    assert Path("small.onnx").read_bytes() == ls.export.to_onnx(ls.quantize(model))
    x = np.ones((2, 4, 1), "float32")
    for name in ("net.keras", "net.h5"):
        again = ls.models.load_model(name).predict(x, verbose=0)
        assert np.allclose(again, model.predict(x, verbose=0))
    assert "model.weights.h5" in zipfile.ZipFile("net.keras").namelist()  # Keras' layout
    assert Path("net.h5").read_bytes().startswith(b"\x89HDF")
    assert cli.main(["export", "net", "-o", "net.txt"]) == 2
    assert "a file that ends in .onnx, .keras, .h5" in capsys.readouterr().err
    assert cli.main(["export", "net.keras", "-o", "net2.h5", "--states"]) == 2
    assert "--states" in capsys.readouterr().err


def test_models_are_quantized(capsys: pytest.CaptureFixture[str]) -> None:
    f = ls.Forecaster(horizon=3, epochs=1, hidden_size=64).fit(WAVE, verbose=0)
    f.save("task")
    ls.Sequential([ls.Input((4, 1)), ls.layers.LSTM(64), ls.layers.Dense(1)]).save("net")
    for name, load in (("task", ls.load), ("net", ls.models.load_model)):
        assert cli.main(["quantize", name, "-o", f"small-{name}"]) == 0, capsys.readouterr().err
        weights: Any = load(f"small-{name}")
        assert is_int8(weights.network_ if name == "task" else weights)
        assert Path(f"small-{name}").stat().st_size < Path(name).stat().st_size
    assert cli.main(["quantize", "task", "-o", "task"]) == 2
    assert "which the command reads" in capsys.readouterr().err
    assert cli.main(["quantize", "small-net", "-o", "smaller"]) == 2
    assert "expected float weights, received int8 weights" in capsys.readouterr().err


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The backends that `use_backend` was asked for."""
    names: list[str] = []
    use = kernels.use_backend
    monkeypatch.setattr(kernels, "use_backend", lambda name: names.append(name) or use(name))
    yield names


def test_a_backend_is_used_until_the_command_ends(
    used: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ls.Forecaster(horizon=2, context_length=8, epochs=1).fit(WAVE, verbose=0).save("model")
    assert cli.main(["predict", "model", "-o", "-", "--backend", "reference"]) == 0
    assert used == ["reference"] and kernels.choose(kernels.probe_job())[0] != "reference"
    assert cli.main(["predict", "model", "-o", "-", "--backend", "fastest"]) == 2
    assert "fastest" in capsys.readouterr().err


def test_times_in_csv_have_no_fraction_where_none_has_one() -> None:
    whole = pl.DataFrame({"time": ["2024-01-01 10:00:00", "2024-01-02 00:00:00"]})
    write = file_writer("-")
    assert write(whole.select(pl.col("time").str.to_datetime())).splitlines()[1] == b"2024-01-01T10:00:00"
    parts = whole.select(pl.col("time").str.to_datetime() + pl.duration(milliseconds=500))
    assert write(parts).splitlines()[1].startswith(b"2024-01-01T10:00:00.500")
