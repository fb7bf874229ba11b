"""The benchmark of recommendations splits Beauty and Tmall as published, and has a fair trivial answer."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two users of Beauty, three sessions of Tmall to fit and two to score."""
    folder = tmp_path / "recommendation"
    (folder / "s3rec_beauty").mkdir(parents=True)
    (folder / "tmall").mkdir()
    files = {
        "s3rec_beauty/Beauty.txt.gz": "1 10 11 12 13\n2 11 12 10\n",
        "tmall/train_sessions.txt.gz": "1 2 3\n2 3\n3 1\n",
        "tmall/test_prefix_target.tsv.gz": "1 2 1\t3\n1 2\t1\n1\t2\n3\t1\n",
    }
    for name, text in files.items():
        (folder / name).write_bytes(gzip.compress(text.encode()))
    return tmp_path


@pytest.mark.parametrize(("part", "last"), [("test", ["13", "10"]), ("validation", ["12", "12"])])
def test_beauty_is_split_by_each_users_last_event(
    benchmark_module: Callable[[str], ModuleType], data: Path, part: str, last: list[str]
) -> None:
    fit, scored = benchmark_module("recommendation").beauty(data, part)
    assert scored["item"].to_list() == last
    assert fit["user"].to_list().count("1") == (3 if part == "test" else 2)


def test_prefixes_of_tmall_become_sessions(benchmark_module: Callable[[str], ModuleType], data: Path) -> None:
    fit, scored = benchmark_module("recommendation").tmall(data, "test")
    assert len(fit) == 3 and scored == [["1", "2", "1", "3"], ["3", "1"]]


def test_own_items_are_ranked_last_first(benchmark_module: Callable[[str], ModuleType]) -> None:
    scores = benchmark_module("recommendation").own_items([["a", "b", "a", "a"]])
    # b is new; a is the second last item, then the last one
    assert scores == pytest.approx({"recall@20": 2 / 3, "mrr@20": (0.5 + 1.0) / 3})


def test_every_rival_of_speed_is_measured(
    benchmark_module: Callable[[str], ModuleType],
    data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recommendation = benchmark_module("recommendation")
    monkeypatch.setattr(recommendation, "_ROUNDS", 1)
    monkeypatch.setattr(recommendation, "_STEPS", 1)
    recommendation.speed(data, None, None)
    shown = capsys.readouterr().out
    assert "longspan" in shown and "users padded" in shown and "a row a prefix" in shown


def test_a_python_without_recbole_is_refused(
    benchmark_module: Callable[[str], ModuleType], data: Path
) -> None:
    recommendation = benchmark_module("recommendation")
    fit, _ = recommendation.beauty(data, "test")
    with (
        pytest.raises(SystemExit, match="rivals: expected a Python with RecBole"),
        recommendation._recbole("/bin/true", fit),
    ):
        pass
