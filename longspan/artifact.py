"""Saves a model as one file and loads it: JSON and safetensors in a zip, without pickle."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longspan import errors
from longspan.atomic_file import atomic_write

VERSION = 1  # of the container; raised when an older longspan could not read a newer file
_CONFIG, _TENSORS, _DIGEST = "config.json", "tensors.safetensors", "sha256"  # the entries of the container
_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "int64": "I64", "int32": "I32", "int16": "I16",
    "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
_AT_ONCE = 1 << 20  # values of a tensor that are written at once


class Artifact(NamedTuple):
    """What was saved: config, plain JSON values; tensors by name."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]


def save(path: str | os.PathLike[str], config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write one file that `load` reads; a crash leaves the old file or the new one, never half of one.

    Args:
        path: where to; its folder is made where it is missing.
        config: JSON values (dicts with text keys, lists, text, numbers, booleans, None).
        tensors: by name, of any dtype and device; they are read back on the CPU.

    Raises:
        TypeError: the config holds something that is no JSON.
        OSError: the file cannot be written.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "model"
    >>> save(file, {"units": 3}, {"w": torch.ones(2)})
    >>> load(file)
    Artifact(config={'units': 3}, tensors={'w': tensor([1., 1.])})
    """
    head = _json({"format": "longspan", "version": VERSION, "config": config}).encode()
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr(_CONFIG, head)
        tensors_digest = _write_tensors(archive, tensors)
        archive.writestr(_DIGEST, _joined(sha256(head).digest(), tensors_digest))


def _digest(head: bytes, tensors: bytes) -> str:
    return _joined(sha256(head).digest(), sha256(tensors).digest())


def _joined(head_digest: bytes, tensors_digest: bytes) -> str:
    """SHA-256 of the two SHA-256 digests."""
    return sha256(head_digest + tensors_digest).hexdigest()


def _json(value: Any) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            errors.message("config", "JSON values only", str(error), "pass tensors as tensors")
        ) from error


def _write_tensors(archive: zipfile.ZipFile, tensors: Mapping[str, Tensor]) -> bytes:
    """Write the entry in the format of safetensors, a part at a time; its SHA-256 digest.

    safetensors' own function holds every tensor three times, and the largest ones may lie in files.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # so that all are aligned
    places, end = dict[str, Any](), 0
    for name in names:
        begin, tensor = end, tensors[name]
        end += tensor.numel() * tensor.element_size()
        places[name] = {"dtype": _dtype(tensor), "shape": list(tensor.shape), "data_offsets": [begin, end]}
    head = json.dumps(places).encode()
    head += b" " * (-len(head) % 8)
    entry, digest = zipfile.ZipInfo(_TENSORS), sha256()
    entry.file_size = 8 + len(head) + end  # zipfile needs it for more than 2 GB
    with archive.open(entry, "w") as file:
        for part in chain(
            [len(head).to_bytes(8, "little"), head], *(_parts(tensors[name]) for name in names)
        ):
            file.write(part)
            digest.update(part)
    return digest.digest()


def _parts(tensor: Tensor) -> Iterator[bytes]:
    """The bytes of a tensor."""
    stored = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    flat = stored.as_strided((tensor.numel(),), (1,))
    for part in flat.split(_AT_ONCE):
        yield part.view(torch.uint8).numpy().tobytes()


def _dtype(tensor: Tensor) -> str:
    """The name that safetensors has for a tensor's dtype."""
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise TypeError(errors.message("tensors", f"one of {', '.join(_DTYPES)}", name, "convert them"))
    if tensor.is_meta or tensor.layout != torch.strided:
        kind = "a tensor on meta" if tensor.is_meta else str(tensor.layout).removeprefix("torch.")
        raise TypeError(errors.message("tensors", "dense tensors with values", kind, "convert them"))
    return _DTYPES[name]


def load(path: str | os.PathLike[str]) -> Artifact:
    """What `save` wrote, the tensors on the CPU.

    A file from anywhere is safe to load: nothing in it is run, nothing is unpacked, and no more is read than
    the file is long.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no file of this kind, is damaged, or was written by a newer longspan.
    """
    target = Path(path)
    if not target.is_file():
        received = "a folder" if target.is_dir() else "nothing there"
        raise FileNotFoundError(errors.message(f"file {path}", "a saved model", received, "check the path"))
    with target.open("rb") as file:
        with whole_model(path):
            archive = zipfile.ZipFile(file)
            head = _head(archive)
        _check_version(path, head)
        with whole_model(path):
            return Artifact(_config(head), _unpacked(_checked_tensors(archive)))


def is_artifact(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one that `save` wrote, whole or damaged inside, by its list of entries."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return _TENSORS in archive.namelist()


@contextmanager
def whole_model(path: str | os.PathLike[str], *, keep_messages: bool = False) -> Iterator[None]:
    """Turns any error of the block, which uses what `load` read, into one sentence about the file.

    Args:
        path: of the file.
        keep_messages: whether errors that are a sentence in the form of `errors.message` stay as they are.

    Raises:
        ValueError: the block failed; the sentence has the first line of the reason.
    """
    try:
        yield
    except ImportError:  # of an optional package: it is not the file that is at fault
        raise
    # What zipfile, json, safetensors and torch raise on a file made by hand is anything but foreseeable.
    except Exception as error:
        if keep_messages and isinstance(error, (ValueError, TypeError)) and ": expected " in str(error):
            raise
        received = f"a truncated, damaged or foreign file ({_first_line(error)})"
        way_out = "copy it again or go back to an older one"
        raise errors.value_error(f"file {path}", "a whole saved model", received, way_out) from error


def _head(archive: zipfile.ZipFile) -> dict[str, Any]:
    head = json.loads(_entry(archive, _CONFIG))
    if not isinstance(head, dict) or head.get("format") != "longspan":
        raise ValueError("it does not say that it is one of longspan's")
    return head


def _config(head: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(head.get("config"), dict):
        raise ValueError("it has no config")
    return head["config"]


def _checked_tensors(archive: zipfile.ZipFile) -> bytes:
    """The packed tensors, after the digest of the whole content was found to be right."""
    config, tensors, digest = (_entry(archive, name) for name in (_CONFIG, _TENSORS, _DIGEST))
    if len(archive.namelist()) > 3:
        raise ValueError("it holds more than a model")
    if digest.decode() != _digest(config, tensors):
        raise ValueError("its content was changed after it was saved")
    return tensors


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """The content of one entry, which must be stored as it is: `save` never compresses or encrypts."""
    entry = archive.getinfo(name)
    is_plain = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 0x1
    if not is_plain or entry.file_size != entry.compress_size:
        raise ValueError(f"{name} is compressed or encrypted")
    return archive.read(entry)


def _unpacked(tensors: bytes) -> dict[str, Tensor]:
    from safetensors.torch import load as unpack

    return unpack(tensors)


def _first_line(error: Exception) -> str:
    """The first line of an error's text without the full stop, at most 200 characters of it."""
    return ((str(error) or type(error).__name__).splitlines() or [""])[0].rstrip(".")[:200]


def _check_version(path: str | os.PathLike[str], head: Mapping[str, Any]) -> None:
    version = head.get("version")
    if type(version) is int and version > VERSION:
        expected = f"a saved model of format {VERSION} or older"
        raise errors.value_error(f"file {path}", expected, f"format {version}", "update longspan to read it")
    with whole_model(path):
        if type(version) is not int or version < 1:
            raise ValueError("it has no version")


def flatten(tree: Any) -> tuple[Any, dict[str, Tensor]]:
    """Nested dicts, lists and tuples with tensors in them as plain JSON and the tensors by name.

    Keys may be text or whole numbers, leaves None, booleans, numbers, text or tensors. `unflatten` undoes it.

    >>> tree = {"state": {0: torch.ones(1)}, "betas": (0.9, 0.999)}
    >>> unflatten(*flatten(tree)) == tree
    True
    """
    tensors: dict[str, Tensor] = {}
    return _to_json(tree, "", tensors), tensors


def _to_json(tree: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    if isinstance(tree, Tensor):
        tensors[place or "."] = tree
        return {"tensor": place or "."}
    if isinstance(tree, Mapping):
        items = [[key, _to_json(value, f"{place}/{key}", tensors)] for key, value in tree.items()]
        return {"dict": items}
    if isinstance(tree, (list, tuple)):
        items = [_to_json(value, f"{place}/{i}", tensors) for i, value in enumerate(tree)]
        return {"tuple": items} if isinstance(tree, tuple) else items
    expected = "None, numbers, text, tensors, and dicts, lists and tuples of them"
    raise errors.type_error(f"state{place}", expected, tree, "leave it out of what is saved")


def as_texts(value: Any) -> tuple[str, ...]:
    """A list of names out of a saved tree.

    Raises:
        ValueError: it is none, as in a file made by hand.

    >>> as_texts(["load", "heat"])
    ('load', 'heat')
    """
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise ValueError("some of its names are no text")
    return tuple(value)


def unflatten(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What `flatten` was given."""
    if isinstance(tree, list):
        return [unflatten(value, tensors) for value in tree]
    if not isinstance(tree, dict):
        return tree
    (kind, value), *_ = tree.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "tuple":
        return tuple(unflatten(item, tensors) for item in value)
    return {key: unflatten(item, tensors) for key, item in value}
