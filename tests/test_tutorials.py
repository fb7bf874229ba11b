"""The tutorials run as documented and reach the accuracy that they state."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).resolve().parents[1] / "examples" / "tutorials"
REAL = {"table_regression": ("pandas", "sklearn"), "classes": ("sklearn",)}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A function that runs a tutorial and returns what it prints."""

    def run(name: str, *arguments: str) -> str:
        for package in REAL.get(name, ()):
            pytest.importorskip(package, reason=f"the package {package} is not installed")
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        runpy.run_path(str(TUTORIALS / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def last_number(text: str, before: str) -> float:
    found = re.findall(rf"{before} (-?\d+\.\d+)", text)
    assert found, text
    return float(found[-1])


def test_next_number(run: Callable[..., str]) -> None:
    assert last_number(run("next_number"), "followed by") == pytest.approx(10.2, abs=0.3)


@pytest.mark.slow
def test_next_number_in_more_epochs(run: Callable[..., str]) -> None:
    assert last_number(run("next_number", "--epochs", "400"), "followed by") == pytest.approx(11.0, abs=0.3)


def test_table_regression(run: Callable[..., str]) -> None:
    shown = run("table_regression")
    assert last_number(shown, "test loss") < 0.75 * last_number(shown, "mean gives")


def test_summary(run: Callable[..., str]) -> None:
    shown = run("summary")
    assert "Total params: 10,451" in shown
    assert last_number(shown, "last two years:") < 0.5 * last_number(shown, "before gives")


def test_classes(run: Callable[..., str]) -> None:
    assert last_number(run("classes"), "accuracy") > 0.85
