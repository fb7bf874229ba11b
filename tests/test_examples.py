"""Examples run as they are documented, and their exit status tells the truth."""

from __future__ import annotations

import importlib
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import longspan
from longspan import tasks

ROOT = Path(__file__).resolve().parents[1]


def adding_problem(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "examples/adding_problem.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_adding_problem_is_learnt_by_the_lstm_only() -> None:
    done = adding_problem("--length", "30", "--steps", "600")
    assert done.returncode == 0, done.stderr
    assert re.search(r"LSTM learned it: mean squared error 0\.00\d\d ", done.stdout)
    assert re.search(r"RNN  did not learn it: mean squared error 0\.1", done.stdout)


@pytest.mark.slow
def test_adding_problem_says_when_the_goal_was_missed() -> None:
    done = adding_problem("--length", "10", "--steps", "5")
    assert done.returncode == 1, done.stderr
    assert "LSTM did not learn it" in done.stdout


@pytest.mark.parametrize("wrong", [["--length", "2"], ["--steps", "0"], ["--hidden", "x"]])
def test_adding_problem_refuses_wrong_options(
    wrong: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["adding_problem.py", *wrong])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "examples/adding_problem.py"), run_name="__main__")
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("adding_problem.py: error: ")


def test_readme_code_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(blocks)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_task_of_ones_own_gets_every_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    example = importlib.import_module("own_task")
    lines = ["the/DET dog/NOUN barks/VERB", "cats/NOUN sleep/VERB"] * 20
    tagger = example.Tagger(epochs=20, learning_rate=0.01, hidden_size=16).fit(lines, verbose=0)
    assert tagger.predict(["the dog barks", "cats sleep"]) == [["DET", "NOUN", "VERB"], ["NOUN", "VERB"]]
    assert tagger.evaluate(lines) == {"accuracy": 1.0}
    monkeypatch.setitem(tasks.TASKS, "tag", ("own_task", "Tagger"))
    tagger.save(tmp_path / "model")
    assert longspan.load(tmp_path / "model").predict(["the cats"]) == tagger.predict(["the cats"])
