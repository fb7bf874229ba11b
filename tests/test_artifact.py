"""Knows that a saved model comes back as it was, is never half-written, and what is said of a bad file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch

from longspan import artifact


def test_what_was_saved_comes_back(tmp_path: Path):
    shared = torch.randn(3, 2)
    tensors = {
        "a": shared,
        "b": shared.t(),  # not contiguous, and the same memory
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "none": torch.zeros(0, 4),
        "whole": torch.tensor([2**62]),
        "flags": torch.tensor([True, False]),
    }
    config = {"ü": [1, 2.5, None, True, "é"], "inner": {"x": float("inf")}}
    path = tmp_path / "deep" / "model.ls"
    artifact.save(path, config, tensors)
    found = artifact.load(str(path))
    assert found.config == config and set(found.tensors) == set(tensors)
    for name, tensor in tensors.items():
        assert found.tensors[name].dtype == tensor.dtype and torch.equal(found.tensors[name], tensor)
    assert os.listdir(path.parent) == ["model.ls"]


def test_a_tree_comes_back():
    tree = {
        "steps": {0: torch.ones(2), "x/y": [torch.zeros(1), (1, None, True)]},
        "tensor": {"dict": 1, "tuple": "text"},
        "empty": ({}, [], ()),
        "nan": float("inf"),
    }
    plain, tensors = artifact.flatten(tree)
    found = artifact.unflatten(plain, tensors)
    assert str(found) == str(tree)
    assert artifact.unflatten(*artifact.flatten(torch.ones(1))).item() == 1
    with pytest.raises(TypeError, match="state/a/0: expected None, numbers, text, tensors"):
        artifact.flatten({"a": [object()]})


def test_every_truncation_is_one_sentence(tmp_path: Path):
    path = tmp_path / "model.ls"
    artifact.save(path, {"a": 1}, {"w": torch.randn(64)})
    whole = path.read_bytes()
    for size in [0, 1, 4, len(whole) // 3, len(whole) // 2, len(whole) - 30, len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(
            ValueError, match=r"model\.ls: expected a whole saved model, received a trunc"
        ) as e:
            artifact.load(path)
        assert str(e.value).endswith("; copy it again or go back to an older one.")
        assert "\n" not in str(e.value)


def test_a_flipped_bit_is_seen(tmp_path: Path):
    path = tmp_path / "model.ls"
    artifact.save(path, {}, {"w": torch.randn(64)})
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="truncated, damaged or foreign"):
        artifact.load(path)


def test_files_of_others_and_of_the_future(tmp_path: Path):
    path = tmp_path / "model.ls"
    with pytest.raises(FileNotFoundError, match=r"expected a saved model, received nothing there; check the"):
        artifact.load(path)
    with pytest.raises(FileNotFoundError, match="received a folder"):
        artifact.load(tmp_path)
    path.write_text("hello")
    with pytest.raises(ValueError, match="foreign"):
        artifact.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", b"\xff{")
    with pytest.raises(ValueError, match="foreign"):
        artifact.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", '{"format": "longspan", "version": 99, "config": {}}')
    with pytest.raises(ValueError, match="format 1 or older, received format 99; update longspan to read it"):
        artifact.load(path)


def test_a_failure_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "model.ls"
    artifact.save(path, {"old": True}, {})
    with pytest.raises(TypeError, match="config: expected JSON values only"):
        artifact.save(path, {"new": object()}, {})
    with pytest.raises(AttributeError):
        artifact.save(path, {}, {"w": "no tensor"})  # pyright: ignore[reportArgumentType]
    assert artifact.load(path).config == {"old": True} and os.listdir(tmp_path) == ["model.ls"]


WRITER = """
import sys, torch
from longspan import artifact
print("ready", flush=True)
for n in range(10**9):
    artifact.save(sys.argv[1], {"n": n}, {"w": torch.full((200_000,), float(n))})
"""


def test_killed_while_writing_the_file_is_whole(tmp_path: Path):
    path = tmp_path / "model.ls"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
    while not path.exists():
        time.sleep(0.001)
    time.sleep(0.05)
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    writer.stdout.close()
    found = artifact.load(path)
    assert torch.equal(found.tensors["w"], torch.full((200_000,), float(found.config["n"])))
