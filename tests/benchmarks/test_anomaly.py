"""The scorers of the anomaly benchmark: null and perfect detectors, early and late, false and missed."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def bench(
    benchmark_module: Callable[[str], ModuleType],
) -> tuple[ModuleType, ModuleType, ModuleType]:
    return benchmark_module("anomaly"), benchmark_module("nab"), benchmark_module("telemanom")


def test_null_is_0_and_perfect_is_100_and_late_is_between(
    bench: tuple[ModuleType, ModuleType, ModuleType],
) -> None:
    nab = bench[1]
    streams = [
        nab.Stream("a", [], np.zeros(400), np.array([[200, 240], [300, 340]])),
        nab.Stream("b", [], np.zeros(200), np.zeros((0, 2), dtype=np.int64)),
    ]

    def scored(*rows: int) -> float:
        marks = np.zeros(400)
        marks[list(rows)] = 1.0
        return nab.score(streams, {"a": marks, "b": np.zeros(200)}, threshold=0.5).score

    assert scored() == 0.0 and scored(10) == 0.0  # the second lies within the probation
    assert scored(200, 300) == pytest.approx(100.0)
    assert scored(200, 300, 150) == pytest.approx(100.0 * (4.0 - 0.11) / 4.0)
    assert scored(200, 300) > scored(220, 300) > scored(238, 300) > scored(300)


def test_sequences_are_hit_missed_or_false(bench: tuple[ModuleType, ModuleType, ModuleType]) -> None:
    hits = bench[2].judge([(3, 9), (12, 13), (40, 50)], [(5, 20), (90, 99)])
    assert hits == (1, 1, 1) and hits.precision == hits.recall == 0.5


def test_without_data_one_sentence(
    bench: tuple[ModuleType, ModuleType, ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench[0].main(["--data", "nowhere"]) == 2
    assert "LONGSPAN_DATA" in capsys.readouterr().err
    assert bench[0].new_alarms(np.array([1.0, 2.0, 2.0, 1.0]), quiet=2).tolist() == [1.0, 2.0, 0.0, 0.0]
