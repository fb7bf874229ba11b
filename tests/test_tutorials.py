"""The tutorials run as documented and reach the accuracy that they state."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).resolve().parents[1] / "examples" / "tutorials"
REAL = {"table_regression": ("pandas", "sklearn"), "classes": ("sklearn",)}


def run(name: str, *arguments: str) -> str:
    """What a tutorial prints."""
    for package in REAL.get(name, ()):
        pytest.importorskip(package, reason=f"the package {package} is not installed")
    command = [sys.executable, str(TUTORIALS / f"{name}.py"), *arguments]
    done = subprocess.run(command, cwd=TUTORIALS.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def last_number(text: str, before: str) -> float:
    found = re.findall(rf"{before} (-?\d+\.\d+)", text)
    assert found, text
    return float(found[-1])


def test_next_number() -> None:
    assert last_number(run("next_number"), "followed by") == pytest.approx(10.2, abs=0.3)
    assert last_number(run("next_number", "--epochs", "400"), "followed by") == pytest.approx(11.0, abs=0.3)


def test_table_regression() -> None:
    shown = run("table_regression")
    assert last_number(shown, "test loss") < 0.75 * last_number(shown, "mean gives")


def test_summary() -> None:
    shown = run("summary")
    assert "Total params: 10,451" in shown
    assert last_number(shown, "last two years:") < 0.5 * last_number(shown, "before gives")


def test_classes() -> None:
    assert last_number(run("classes"), "accuracy") > 0.85
