"""A file is replaced as a whole whoever writes to it, and nothing but a file is ever replaced."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from longspan.atomic_file import atomic_write, check_output

WAIT = """
import os, sys, time
from longspan.atomic_file import atomic_write
if sys.argv[2]:
    os.getpid = lambda: int(sys.argv[2])
with atomic_write(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("ready", flush=True)
    sys.stdin.readline()
"""


def write(path: Path, content: bytes) -> None:
    with atomic_write(path) as file:
        file.write(content)


def waiting_writer(path: Path, pid: str = "") -> subprocess.Popen[bytes]:
    """A process that has written half of the file and waits for a line."""
    command = [sys.executable, "-c", WAIT, str(path), pid]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.stdout.close()
    return process


def test_threads_that_write_to_one_path_never_mix(tmp_path: Path):
    path, failures = tmp_path / "file", list[BaseException]()
    write(path, b"0" * 300_000)

    def run(work: Callable[[], None]) -> None:
        try:
            for _ in range(30):
                work()
        except BaseException as error:
            failures.append(error)

    def read() -> None:
        content = path.read_bytes()
        assert len(content) == 300_000 and len(set(content)) == 1

    works = [*(lambda digit=digit: write(path, digit * 300_000) for digit in (b"1", b"2", b"3")), read, read]
    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and os.listdir(tmp_path) == ["file"]


def test_processes_of_one_number_do_not_share_a_part_file(tmp_path: Path):
    first, second = (waiting_writer(tmp_path / "file", "4242") for _ in range(2))
    assert len(os.listdir(tmp_path)) == 2
    for writer in (first, second):
        writer.communicate(b"\n")
        assert writer.returncode == 0
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_bytes() == b"half"


def test_the_part_file_of_a_killed_writer_is_removed_by_the_next_and_that_of_a_living_one_is_not(
    tmp_path: Path,
):
    living, killed = waiting_writer(tmp_path / "file"), waiting_writer(tmp_path / "file")
    (tmp_path / ".file.0123456789abcdef.partly").write_text("of the user")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert len(os.listdir(tmp_path)) == 3
    write(tmp_path / "file", b"whole")
    assert len(os.listdir(tmp_path)) == 3  # the file, the living writer's part, the user's own
    living.communicate(b"\n")
    assert living.returncode == 0 and (tmp_path / "file").read_bytes() == b"half"
    assert sorted(os.listdir(tmp_path)) == [".file.0123456789abcdef.partly", "file"]


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/file")
    for content in (b"first", b"second"):  # where it leads to nothing yet, and where it leads to a file
        write(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink() and (tmp_path / "real/file").read_bytes() == content
    assert os.listdir(tmp_path / "real") == ["file"]


def test_the_mode_of_a_file_is_kept_and_a_new_one_has_the_usual(tmp_path: Path):
    (tmp_path / "usual").write_bytes(b"")
    write(tmp_path / "new", b"")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode
    (tmp_path / "new").chmod(0o640)
    write(tmp_path / "new", b"again")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


@pytest.mark.parametrize("kind", ["a folder", "a named pipe", "a device"])
def test_only_a_file_is_replaced(kind: str, tmp_path: Path):
    path = tmp_path / "it"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a named pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(os.devnull)
    before = os.stat(path).st_mode
    sentence = rf"it: expected a file or a new name, received {kind}, .*it; name a file\."
    with pytest.raises(ValueError, match=sentence):
        write(path, b"content")
    with pytest.raises(ValueError, match=f"^resume: expected a file or a new name, received {kind}"):
        check_output(path, "resume")
    assert os.stat(path).st_mode == before and os.listdir(tmp_path) == ["it"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    write(tmp_path / "file", b"old")

    def fail() -> None:
        with atomic_write(tmp_path / "file") as file:
            file.write(b"new")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert (tmp_path / "file").read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_the_longest_name_there_can_be(tmp_path: Path):
    write(tmp_path / ("ü" * 127), b"content")
    assert os.listdir(tmp_path) == ["ü" * 127]


def test_a_place_below_a_file_is_refused_before_anything_is_made(tmp_path: Path):
    write(tmp_path / "file", b"")
    with pytest.raises(ValueError, match="-o: expected a place that can be written to"):
        check_output(tmp_path / "file" / "model", "-o")
    check_output(tmp_path / "new" / "folder" / "model", "-o")
    assert os.listdir(tmp_path) == ["file"]
