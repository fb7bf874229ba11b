"""Knows what the command line prints and which status it ends with, and what importing the package costs."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

import longspan
from longspan import cli, kernels


def test_info_names_versions_backends_and_threads(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["info"]) == 0
    facts = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert facts["longspan"] == longspan.__version__ == "0.1.0"
    assert facts["python"] == platform.python_version()
    assert facts["torch"] == torch.__version__
    assert facts["threads"] == str(torch.get_num_threads())
    assert set(kernels.names()) <= set(facts)
    assert facts["reference"].startswith("yes")
    assert facts["gpu"].startswith("no: there are no GPU kernels in this build")
    assert [fact for fact in facts.values() if fact == "yes, chosen"] == ["yes, chosen"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "longspan: command: expected one of info, received none; add one"),
        (["ifno"], "longspan: command: expected one of info, received 'ifno'; the nearest is 'info'"),
        (["--fast"], "longspan: "),
        (["info", "extra"], "longspan: unrecognized arguments: extra"),
        (["info", "--fast"], "longspan: unrecognized arguments: --fast"),
        (["info", "--vers"], "longspan: unrecognized arguments: --vers"),
    ],
)
def test_wrong_arguments_end_with_2_and_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    captured = capsys.readouterr()
    assert ended.value.code == 2 and captured.out == ""
    assert captured.err.startswith(sentence) and captured.err.count("\n") == 1


@pytest.mark.parametrize(("word", "text"), [("--help", "info"), ("--version", "longspan 0.1.0")])
def test_help_and_version_end_with_0(word: str, text: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        cli.main([word])
    assert ended.value.code == 0 and text in capsys.readouterr().out


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)


def test_module_is_the_command_line():
    ended = python("-m", "longspan", "ifno")
    assert ended.returncode == 2 and "the nearest is 'info'" in ended.stderr


def test_importing_the_package_does_no_work():
    ended = python(
        "-c", "import sys, longspan; print(*sorted(set(sys.modules) & {'torch', 'numpy', 'longspan.nn'}))"
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, "")


def test_public_names():
    assert set(dir(longspan)) == {
        "Input",
        "Sequential",
        "__version__",
        "activations",
        "callbacks",
        "cell",
        "cells",
        "compare",
        "compile_cell",
        "data",
        "explain",
        "export",
        "initializers",
        "layers",
        "losses",
        "metrics",
        "models",
        "nn",
        "optimizers",
        "preprocessing",
        "regularizers",
        "training",
        "use_backend",
        "utils",
    }
    assert longspan.cells.CELLS["lstm"] is longspan.cells.lstm
    assert longspan.cell is longspan.cells.cell
    with pytest.raises(AttributeError, match="'longspan' has no attribute 'LSTM'; it has "):
        _ = longspan.LSTM  # pyright: ignore[reportAttributeAccessIssue]
