"""The command line prints the right thing and ends with the right status, whatever the task."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

import longspan
from longspan import cli, errors, kernels, tasks
from longspan.cli import commands, messages
from longspan.tasks.options import options_of

HERE = Path(__file__).parents[1]
COMMANDS = (
    "one of demo, docs, evaluate, export, fit, generate, info, inspect, predict, quantize, report, serve, "
    "stream"
)


@pytest.fixture
def level(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder to work in, with a small file, where the only task is the smallest one."""
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setattr(tasks, "TASKS", {"level": ("level_task", "Level")})
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text("value,other\n" + "\n".join(f"{i % 3},x" for i in range(30)))
    return tmp_path


@pytest.fixture
def model(level: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["fit", "level", "data.csv", "-o", "model"]) == 0, capsys.readouterr().err
    capsys.readouterr()
    return "model"


def test_fit_takes_the_fields_as_options_and_prints_a_table(level: Path, capsys: pytest.CaptureFixture[str]):
    words = ["fit", "level", "data.csv", "--shift", "1,2", "--shift=0.5", "--seed", "3", "-o", "a/model"]
    assert cli.main(words) == 0
    printed = capsys.readouterr()
    assert "just learnt" in printed.out and "Back-test" in printed.out and "2.5" in printed.out
    assert printed.out.endswith("Saved to a/model.\n") and printed.err == ""
    saved = tasks.load("a/model").get_params()
    assert (saved["shift"], saved["seed"], saved["target"]) == ((1.0, 2.0, 0.5), 3, "value")


def test_help_of_a_task_is_made_of_its_fields(level: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["fit", "level", "--help"]) == 0
    out = capsys.readouterr().out
    assert "The level of a column, learnt by gradient descent." in out and "second paragraph" not in out
    assert "--shift X,..." in out and "Numbers to add to what is read." in out and "[value]" in out
    headings = [line for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Task:", "Data:", "Network:", "Training:", "Command:", "Advanced:"]
    assert out.index("Advanced:") < out.index("--batch-size") and "--epochs" in out.partition("Advanced:")[0]
    assert cli.main(["fit", "--help"]) == 0
    assert "level  The level of a column" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_predict_writes_by_the_suffix(suffix: str, model: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["predict", model, "data.csv", "-o", f"out.{suffix}"]) == 0
    assert capsys.readouterr().out == f"30 rows written to out.{suffix}.\n"
    read = {"csv": pl.read_csv, "parquet": pl.read_parquet, "jsonl": pl.read_ndjson}[suffix]
    assert read(f"out.{suffix}").equals(tasks.load(model).predict("data.csv"))


def test_evaluate_prints_a_table_or_json(model: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["evaluate", model, "data.csv", "--json"]) == 0
    expected = tasks.load(model).evaluate("data.csv")
    assert json.loads(capsys.readouterr().out) == expected
    assert cli.main(["evaluate", model, "data.csv"]) == 0
    assert f"mae      {expected['mae']:.4g}" in capsys.readouterr().out


def test_report_is_written(model: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["report", model, "-o", "page.html", "--title", "Levels & more"]) == 0
    assert "Levels &amp; more" in Path("page.html").read_text()
    assert capsys.readouterr().out == "Report written to page.html.\n"


def test_notes_are_lines_on_stderr(level: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["fit", "level", "data.csv", "--loud", "true", "-o", "model"]) == 0
    assert capsys.readouterr().err == "longspan: note: the file was read\n"


def test_a_note_is_said_once_a_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def twice(*_: Any, **__: Any) -> None:
        for text in ("a row is missing", "another is", "a row is missing"):
            errors.notice(text)

    monkeypatch.setattr(commands.longspan, "main", twice)
    assert [cli.main(["info"]), cli.main(["info"])] == [0, 0]
    said = "longspan: note: a row is missing\nlongspan: note: another is\n"
    assert capsys.readouterr().err == 2 * said


MISTAKES = {
    "no command": ([], f"command: expected {COMMANDS}, received none; add one"),
    "unknown command": (["ifno"], f"command: expected {COMMANDS}, received 'ifno'; the nearest is 'info'."),
    "unknown flag": (["--fast"], "option: expected one of the options of longspan, received '--fast'"),
    "one argument too many": (["info", "extra"], "Got unexpected extra argument (extra)"),
    "no abbreviations": (["info", "--hel"], "option: expected one of the options of longspan info, rec"),
    "no task": (["fit"], "TASK: expected one of level, received none; add one"),
    "unknown task": (
        ["fit", "levle", "data.csv", "-o", "m"],
        "TASK: expected one of level, received 'levle'",
    ),
    "misspelt option": (
        ["fit", "level", "data.csv", "-o", "m", "--sede", "1"],
        "option: expected one of the options of longspan fit level, received '--sede'; the nearest is '--see",
    ),
    "no output": (["fit", "level", "data.csv"], "-o: expected a value, received none; add it"),
    "no source": (["fit", "level", "-o", "m"], "SOURCE: expected a value, received none; add it"),
    "not a number": (
        ["fit", "level", "data.csv", "-o", "m", "--epochs", "many"],
        "--epochs: expected a whole number, or none, received 'many'; such as 3.",
    ),
    "not a choice": (["fit", "level", "data.csv", "-o", "m", "--cell", "LTSM"], "--cell: expected one of "),
    "an impossible value": (["fit", "level", "data.csv", "-o", "m", "--epochs", "0"], "epochs: expected "),
    "missing file": (["fit", "level", "date.csv", "-o", "m"], "file: expected one that is there, received "),
    "wrong column": (
        ["fit", "level", "data.csv", "-o", "m", "--target", "valeu"],
        "target: expected one of 'value', 'other', received 'valeu'; the nearest is 'value'.",
    ),
    "output is a folder": (
        ["fit", "level", "data.csv", "-o", "."],
        "-o: expected a file or a new name, received a folder",
    ),
    "output without a name": (
        ["fit", "level", "data.csv", "-o", ""],
        "-o: expected a file or a new name, received an empty one",
    ),
    "output below a file": (
        ["fit", "level", "data.csv", "-o", "data.csv/m"],
        "-o: expected a place that can",
    ),
    "no model": (["evaluate", "m", "data.csv"], "file m: expected a saved model, received nothing there"),
    "not a model": (["evaluate", "data.csv", "data.csv"], "file data.csv: expected a whole saved model, rec"),
    "wrong suffix": (
        ["predict", "m", "data.csv", "-o", "f.xls"],
        "-o: expected a file that ends in .csv, .p",
    ),
    "no page": (
        ["report", "m", "-o", "page.pdf"],
        "-o: expected a file that ends in .html, received 'page.p",
    ),
    "resume and tune": (
        ["fit", "level", "data.csv", "-o", "m", "--resume", "kept", "--tune", "2"],
        "--resume: expected a fit without --tune, received both; leave out --resume",
    ),
    "the source is the output": (
        ["fit", "level", "data.csv", "-o", "./data.csv"],
        "-o: expected a file that is not read, received ./data.csv, which the command reads; name another.",
    ),
    "the output of predict is its source": (
        ["predict", "m", "data.csv", "-o", "data.csv"],
        "-o: expected a file that is not read",
    ),
    "a device": (["fit", "level", "data.csv", "-o", "/dev/null"], "-o: expected a file or a new name, rec"),
    "a model on standard output": (
        ["fit", "level", "data.csv", "-o", "-"],
        "-o: expected a file, received '-'",
    ),
    "checkpoints in the source": (
        ["fit", "level", "data.csv", "-o", "m", "--resume", "./data.csv"],
        "--resume: expected a file of its own, received ./data.csv",
    ),
    "checkpoints in the model": (
        ["fit", "level", "data.csv", "-o", "m", "--resume", "./m"],
        "--resume: expected a file of its own, received ./m",
    ),
    "checkpoints below a file": (
        ["fit", "level", "data.csv", "-o", "m", "--resume", "data.csv/kept"],
        "--resume: expected a place that can be written to",
    ),
    "unknown demo": (["demo", "forcast"], "demo: expected one of "),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_status_2_and_nothing_written(
    mistake: str, level: Path, capsys: pytest.CaptureFixture[str]
):
    words, sentence = MISTAKES[mistake]
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"longspan: {sentence}") and captured.err.count("\n") == 1
    assert os.listdir(level) == ["data.csv"]


def test_a_folder_that_is_read_keeps_its_files_and_takes_new_ones(level: Path):
    for name in ("texts/good/1.txt", "model"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("x")
    for source, output in (("texts", "texts/good/1.txt"), (".", "./texts/good/1.txt")):
        with pytest.raises(ValueError, match="-o: expected a file that is not read"):
            commands._check_output(output, source)
    for source, output in ((".", "model"), ("texts", "model"), ("texts", "texts/good/2.txt")):
        commands._check_output(output, source)


def test_a_model_is_written_over_an_older_one_and_through_a_link(model: str):
    Path("link").symlink_to(model)
    assert cli.main(["fit", "level", "data.csv", "--shift", "5", "-o", "link"]) == 0
    assert Path("link").is_symlink() and tasks.load(model).get_params()["shift"] == (5.0,)


def test_a_task_that_needs_a_source_says_so(model: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["predict", model, "-o", "out.csv"]) == 2
    assert capsys.readouterr().err.startswith("longspan: SOURCE: expected a file or folder, received none; ")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_model_cut_short_is_refused(share: float, model: str, capsys: pytest.CaptureFixture[str]):
    whole = Path(model).read_bytes()
    Path(model).write_bytes(whole[: int(len(whole) * share)])
    assert cli.main(["predict", model, "data.csv", "-o", "out.csv"]) == 2
    assert "expected a whole saved model, received a truncated" in capsys.readouterr().err
    assert not Path("out.csv").exists()


def test_a_model_from_a_newer_version_is_refused(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as newer:
        newer.setattr("longspan.artifact.VERSION", 99)
        assert cli.main(["fit", "level", "data.csv", "-o", "newer"]) == 0
    assert cli.main(["evaluate", "newer", "data.csv"]) == 2
    assert "received format 99; update longspan" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "status", "start"),
    [
        (MemoryError(), 2, "memory: expected enough for the network and its data, received too little"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), 2, "memory: expected enough"),
        (
            TypeError("f() takes 2 positional arguments"),
            1,
            "longspan: expected no error of its own, received",
        ),
        (errors.type_error("target", "text", 3, "give a name"), 2, "target: expected text, received int"),
        (
            PermissionError(13, "Permission denied", "f"),
            2,
            "file f: expected one that can be read or written",
        ),
        (FileNotFoundError("there is no f"), 2, "file: expected one that is there"),
        (ImportError("install it"), 2, "install it"),
    ],
)
def test_an_error_has_its_sentence_and_status(error: Exception, status: int, start: str):
    sentence, ended = messages.explain(error)
    assert ended == status and sentence.startswith(start)


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("name it by text=.", "name it by --text."),
        ("such as target='a b', or id='x'", "such as --target 'a b', or --id x"),
        ("name them by time=year,month,day.", "name them by --time year,month,day."),
        ("by missing=('-999',) or leave", "by --missing=-999 or leave"),
        ("the file's own, such as encoding='latin-1'", "the file's own, such as --encoding latin-1"),
        ("correct time_format", "correct --time-format"),
        ("received 'time_format' in id, time", "received 'time_format' in id, time"),
        ("a=b, x_train.csv and no_option", "a=b, x_train.csv and no_option"),
        (
            "line 2 of /tmp/longspan-a1/standard-input.txt.gz; correct it",
            "line 2 of standard input; correct it",
        ),
    ],
)
def test_a_sentence_names_the_flags(sentence: str, shown: str):
    assert messages.with_flags(sentence) == shown


def test_an_error_of_the_library_is_one_sentence_too(
    level: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    Path("data.csv").write_text("value\n666\n1\n")
    words = ["fit", "level", "data.csv", "-o", "m", "--validation-fraction", "0"]
    assert cli.main(words) == 1
    err = capsys.readouterr().err
    assert (
        "received RuntimeError: a bug of two lines; set LONGSPAN_TRACEBACK=1" in err and err.count("\n") == 1
    )
    monkeypatch.setenv("LONGSPAN_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(words)


@pytest.mark.parametrize("name", tasks.TASKS)
def test_at_most_20_options_stand_before_the_advanced_ones(name: str):
    options = options_of(tasks.task(name)).values()
    assert 5 < sum(not option.advanced for option in options) <= 20


@pytest.mark.parametrize("name", tasks.TASKS)
def test_no_task_has_a_flag_of_the_commands_own(name: str):
    parameters = commands.fit_command(name).params
    flags = [flag for parameter in parameters for flag in parameter.opts]
    assert len(flags) == len(set(flags)), "two options of one flag"
    assert len(parameters) == len({parameter.name for parameter in parameters}), "two options of one name"


def test_info_names_versions_backends_and_threads(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["info"]) == 0
    facts = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert facts["longspan"] == longspan.__version__
    assert facts["python"] == platform.python_version()
    assert facts["torch"] == torch.__version__
    assert facts["threads"] == str(torch.get_num_threads())
    assert set(kernels.names()) <= set(facts)
    assert facts["reference"].startswith("yes")
    assert [fact for fact in facts.values() if fact == "yes, chosen"] == ["yes, chosen"]


@pytest.mark.parametrize(
    ("word", "text"), [("--help", "info"), ("--version", "longspan 0.1.0"), ("-h", "fit")]
)
def test_help_and_version_end_with_0(word: str, text: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main([word]) == 0
    assert text in capsys.readouterr().out


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)


def test_module_is_the_command_line():
    ended = python("-m", "longspan", "ifno")
    assert ended.returncode == 2 and "the nearest is 'info'" in ended.stderr


@pytest.mark.parametrize(
    "run", ["import longspan", "import longspan.cli", "from longspan.cli import main; main(['--help'])"]
)
def test_importing_the_package_and_asking_for_help_load_nothing_heavy(run: str):
    show = "import sys; print('loaded', *sorted(set(sys.modules) & {'torch', 'numpy', 'polars', 'rich'}))"
    ended = python("-c", f"{run}; {show}")
    assert ended.returncode == 0 and ended.stdout.splitlines()[-1].strip() == "loaded"


def test_docs_opens_the_pages_or_says_how_to_build_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page, opened = tmp_path / "site" / "index.html", list[str]()
    monkeypatch.setattr(commands, "DOCS_PAGE", page)
    monkeypatch.setattr(commands.click, "launch", lambda url: opened.append(url) or 0)
    assert cli.main(["docs"]) == 2
    assert "docs: expected pages in " in (said := capsys.readouterr().err)
    assert "make docs" in said
    page.parent.mkdir()
    page.write_text("pages")
    assert cli.main(["docs"]) == 0
    assert opened == [page.as_uri()]
    assert cli.main(["docs", "--path"]) == 0
    assert capsys.readouterr().out.strip() == str(page)
