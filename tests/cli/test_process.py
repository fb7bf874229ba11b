"""The command line as a process: no room on the disk, an interrupt, a reader that left."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from longspan import cli, tasks

HERE = Path(__file__).parents[1]
PATH = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
RUN = """
import sys
from longspan import tasks
tasks.TASKS.clear()
tasks.TASKS["level"] = ("level_task", "Level")
from longspan.cli import main
raise SystemExit(main(sys.argv[1:]))
"""


def longspan(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": PATH, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where there are data and a model."""
    place = tmp_path_factory.mktemp("work")
    (place / "data.csv").write_text("value\n" + "\n".join(str(i % 3) for i in range(3000)))
    done = longspan(place, "fit", "level", "data.csv", "-o", "model")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout and "epoch" not in done.stdout, "a bar where there is no terminal"
    return place


def room(size: int) -> None:
    """Lets this process write no file of more than `size` bytes from now on."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@contextmanager
def little_room() -> Iterator[None]:
    """This process writes no file of more than 700 bytes inside the block."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    room(700)
    try:
        yield
    finally:
        room(before)


@pytest.mark.parametrize(
    "words",
    [
        ("fit", "level", "data.csv", "-o", "out"),
        ("fit", "level", "data.csv", "-o", "model"),
        ("predict", "model", "data.csv", "-o", "out.csv"),
        ("predict", "model", "data.csv", "-o", "out.parquet"),
        ("report", "model", "-o", "out.html"),
    ],
)
def test_no_room_on_the_disk_is_one_sentence_and_leaves_every_file_as_it_was(
    words: tuple[str, ...],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setattr(tasks, "TASKS", {"level": ("level_task", "Level")})
    monkeypatch.chdir(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with little_room():
        status = cli.main(list(words))
    assert status == 2
    said = capsys.readouterr().err
    assert said.startswith("longspan: the output: expected room on the disk, received 'File too large'; free")
    assert said.count("\n") == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_interrupt_is_said_in_one_line(folder: Path):
    begin = f"import os, signal; signal.raise_signal({int(signal.SIGINT)})"
    stopped = f"from longspan import tasks; tasks.load = lambda path: exec({begin!r})\n{RUN}"
    command = [sys.executable, "-c", stopped, "evaluate", "model", "data.csv"]
    environment = {**os.environ, "PYTHONPATH": PATH}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr.strip().startswith("longspan: interrupted; ") and "\n" not in done.stderr.strip()


def test_a_reader_that_left_hears_nothing(folder: Path):
    command = [sys.executable, "-c", RUN, "evaluate", "model", "data.csv"]
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": PATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout and running.stderr
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 1
