"""The benchmark of reading runs, checks parity first and refuses over a red one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import polars as pl
import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_it_measures_after_parity(
    benchmark_module: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading = benchmark_module("reading")
    monkeypatch.setattr(reading, "cost", reading.own_cost)  # no fresh processes
    assert reading.main(["--rows", "2000", "--repeats", "1"]) == 0
    words = capsys.readouterr().out
    assert "Parity: the times and values of both readers are the same" in words and "longspan" in words
    monkeypatch.setattr(reading, "dated_and_sorted", lambda path: pl.read_csv(path).reverse())
    assert reading.main(["--rows", "2000"]) == 1
    assert "Parity failed, so nothing is measured" in capsys.readouterr().out
