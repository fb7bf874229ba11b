"""A saved model comes back as it was, is never half-written, and any other file is one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path
from random import Random

import pytest
import safetensors.torch
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


def test_safetensors_reads_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(artifact, "_AT_ONCE", 4)
    dtypes = [(name, getattr(torch, name)) for name in artifact._DTYPES]
    tensors = {name: torch.arange(9).to(dtype).reshape(3, 3) for name, dtype in dtypes}
    tensors |= {"ü/0": torch.zeros(0, 4), "scalar": torch.tensor(1.5), "part": torch.eye(4).t()[1]}
    tensors["conjugate"] = torch.tensor([1 + 2j, 3j]).conj()
    tensors["negative"] = torch.tensor([1 + 2j]).conj().imag
    tensors["strides of 0"] = torch.zeros(3).expand(5, 3)[:0, :0]
    artifact.save(tmp_path / "model", {}, tensors)
    with zipfile.ZipFile(tmp_path / "model") as archive:
        found = safetensors.torch.load(archive.read("tensors.safetensors"))
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype and torch.equal(
            found[name].to(torch.cfloat), tensor.to(torch.cfloat)
        ), name
    with pytest.raises(TypeError, match="received complex128; convert them"):
        artifact.save(tmp_path / "model", {}, {"w": torch.zeros(1, dtype=torch.complex128)})
    for odd, said in (
        (torch.zeros(1, device="meta"), "a tensor on meta"),
        (torch.eye(2).to_sparse(), "sparse_coo"),
    ):
        with pytest.raises(TypeError, match=f"tensors: expected dense tensors with values, received {said}"):
            artifact.save(tmp_path / "model", {}, {"w": odd})


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
    path.chmod(0)
    if os.getuid():
        with pytest.raises(PermissionError):
            artifact.load(path)
    path.chmod(0o600)
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


CONFIG = b'{"format": "longspan", "version": 1, "config": {"a": 1}}'
ENTRIES = ("config.json", "tensors.safetensors", "sha256")


def by_hand(path: Path, config: bytes, *, compression: int = zipfile.ZIP_STORED, extra: str = "") -> None:
    """Write a container with a true digest around any head."""
    tensors = safetensors.torch.save({"w": torch.zeros(200_000)})
    contents = (config, tensors, artifact._digest(config, tensors))
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in zip(ENTRIES, contents, strict=True):
            archive.writestr(name, content)
        if extra:
            archive.writestr(extra, b"")


def test_what_is_made_by_hand_as_save_makes_it_is_read(tmp_path: Path):
    by_hand(tmp_path / "model", CONFIG)
    assert artifact.load(tmp_path / "model").config == {"a": 1}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (CONFIG.replace(b'{"a": 1}', b"[" * 100_000 + b"]" * 100_000), "recursion"),
        (CONFIG.replace(b'{"a": 1}', b"[1]"), "it has no config"),
        (CONFIG.replace(b'{"a": 1}', b"1" * 5000), "integer string"),
        (CONFIG.replace(b"1,", b"true,"), "it has no version"),
        (CONFIG.replace(b"1,", b"1.5,"), "it has no version"),
        (CONFIG.replace(b"1,", b"-1,"), "it has no version"),
        (b"[]", "does not say that it is one of longspan's"),
        (b"\xff\xfe\x00", "codec can't decode"),
    ],
)
def test_a_head_made_by_hand_is_one_sentence(config: bytes, reason: str, tmp_path: Path):
    by_hand(tmp_path / "model", config)
    with pytest.raises(ValueError, match=rf"received a truncated, damaged or foreign file \(.*{reason}"):
        artifact.load(tmp_path / "model")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_file_is_refused_before_it_is_unpacked(compression: int, tmp_path: Path):
    by_hand(tmp_path / "model", CONFIG, compression=compression)
    with pytest.raises(ValueError, match=r"config\.json is compressed or encrypted"):
        artifact.load(tmp_path / "model")


def test_an_entry_too_many_is_refused(tmp_path: Path):
    for name in ("code.pkl", "config.json"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            by_hand(tmp_path / "model", CONFIG, extra=name)
        with pytest.raises(ValueError, match="damaged or foreign"):
            artifact.load(tmp_path / "model")


def test_a_file_that_was_edited_is_refused(tmp_path: Path):
    artifact.save(tmp_path / "model", {"scale": 2.5}, {})
    with zipfile.ZipFile(tmp_path / "model") as archive:
        contents = {name: archive.read(name) for name in ENTRIES}
    with zipfile.ZipFile(tmp_path / "model", "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content.replace(b"2.5", b"3.5"))
    with pytest.raises(ValueError, match="its content was changed after it was saved"):
        artifact.load(tmp_path / "model")


def mutated(content: bytes, seed: int) -> bytes:
    """The content with a few bytes, bits, or a stretch of it changed; zip's own tables are hit most."""
    random, changed = Random(seed), bytearray(content)
    for _ in range(random.randint(1, 4)):
        at = random.choice((random.randrange(len(changed)), random.randrange(60), -random.randint(1, 240)))
        kind = random.randrange(4)
        if kind == 0:
            changed[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            changed[at] = random.choice((0, 1, 8, 12, 14, 255))
        elif kind == 2:
            del changed[at % len(changed) : at % len(changed) + random.randint(1, 40)]
        else:
            changed[at : at + 4] = random.randbytes(4)
    return bytes(changed)


@pytest.mark.parametrize("seed", range(0, 300, 50))
def test_no_mutation_of_a_file_gives_another_model_or_another_error(seed: int, tmp_path: Path):
    path = tmp_path / "model"
    config, weights = {"a": [1, 2.5, "text"], "b": {"c": None}}, {"w": torch.arange(40.0)}
    artifact.save(path, config, weights)
    whole = path.read_bytes()
    for one in range(seed, seed + 50):
        path.write_bytes(mutated(whole, one))
        try:
            loaded = artifact.load(path)
        except ValueError as error:
            assert str(error).startswith(f"file {path}: expected a ") and "\n" not in str(error)
        else:  # the change hit a field that no one reads, such as a date
            assert loaded.config == config and torch.equal(loaded.tensors["w"], weights["w"])


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
