"""Tries an installed wheel: the command, a fit by the compiled kernels, a saved model.

Run it from outside the project.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

import longspan


def main() -> None:
    """Fit, save, load and predict with what is installed; an error where a part of it is missing."""
    assert "site-packages" in longspan.__file__, f"not an installed package: {longspan.__file__}"
    assert version("longspan") == longspan.__version__
    shown = _command("info")
    assert "cpu " in shown, shown
    series = np.sin(np.arange(200) / 4)
    with tempfile.TemporaryDirectory() as folder:
        path, table = Path(folder, "model"), Path(folder, "waves.csv")
        table.write_text("y\n" + "\n".join(map(str, series)))
        _command("fit", "forecast", str(table), "--horizon", "4", "--epochs", "1", "-o", str(path))
        answers = longspan.load(path).predict()
    assert len(answers) == 4
    print(f"longspan {longspan.__version__} is installed and works: {longspan.__file__}")


def _command(*arguments: str) -> str:
    """What the command printed."""
    run = subprocess.run([sys.executable, "-m", "longspan", *arguments], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


if __name__ == "__main__":
    main()
