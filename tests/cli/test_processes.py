"""`fit --processes`: one model; an interrupt or a killed process ends all and writes nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .test_process import RUN

HERE = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
FIT = ["fit", "level", "data.csv", "-o", "model", "--processes", "2"]


def start(folder: Path, words: list[str], **variables: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data.csv").write_text("value\n" + "\n".join(str(i % 3) for i in range(3000)))
    return tmp_path


def children(process: subprocess.Popen[str]) -> list[int]:
    """The processes that a process has forked, as soon as there is one and it has had time to train."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for _ in range(300):
        if found := [int(number) for number in listed.read_text().split()]:
            time.sleep(0.5)
            return found
        time.sleep(0.1)
    raise AssertionError("no process was forked")


@pytest.mark.parametrize("stop", ["interrupt", pytest.param("kill", marks=pytest.mark.slow)])
def test_one_that_ends_ends_all_in_one_sentence(folder: Path, stop: str):
    with start(folder, [*FIT, "--epochs", "100000"]) as process:
        others = children(process)
        if stop == "interrupt":
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        else:
            os.kill(others[0], signal.SIGKILL)
        said = process.communicate(timeout=30)[1].strip()
    words = {"interrupt": "longspan: interrupted; ", "kill": "longspan: processes: expected 2 to the end of"}
    assert said.startswith(words[stop]) and "\n" not in said
    assert process.returncode == {"interrupt": 130, "kill": 2}[stop]
    assert [path.name for path in folder.iterdir()] == ["data.csv"]
    assert not any(Path(f"/proc/{other}").exists() for other in others)


@pytest.mark.slow
def test_under_a_launcher_only_the_first_writes(folder: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    here = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    # --processes is what the launcher started
    words = [*FIT[:3], "-o", "model", "--epochs", "3"]
    ranks = [start(folder, words, RANK=str(rank), LOCAL_RANK=str(rank), **here) for rank in (1, 0)]
    said = [process.communicate(timeout=60) for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], said
    assert said[0] == ("", "") and "Saved to model." in said[1][0]
    alone = start(folder, [*words[:3], "-o", "alone", *words[5:]]).communicate(timeout=60)
    assert alone[0].replace("alone", "model") == said[1][0]
