"""Knows how a model lies in one file: JSON and safetensors in a zip, written atomically, no pickle."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from torch import Tensor

from longspan import errors

VERSION = 1  # of the container; raised when an older longspan could not read a newer file
_CONFIG, _TENSORS = "config.json", "tensors.safetensors"
_DAMAGE = (zipfile.BadZipFile, KeyError, EOFError, OSError, UnicodeDecodeError, json.JSONDecodeError)


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
    head = _json({"format": "longspan", "version": VERSION, "config": config})
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr(_CONFIG, head)
        archive.writestr(_TENSORS, _packed(tensors))


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file written beside `path` that takes its place when the block ends well, and leaves no trace if not.

    Args:
        path: where to; its folder is made where it is missing.

    Raises:
        OSError: it cannot be written; the old file, if there is one, is as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    _settle(target.parent)


def _settle(folder: Path) -> None:
    """Bring the folder's new entry to disk, where the system lets a folder be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _json(value: Any) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            errors.message("config", "JSON values only", str(error), "pass tensors as tensors")
        ) from error


def _packed(tensors: Mapping[str, Tensor]) -> bytes:
    from safetensors.torch import save as pack  # only here: most who import this module never save

    # a copy each, since safetensors refuses tensors that share memory
    return pack({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})


def load(path: str | os.PathLike[str]) -> Artifact:
    """What `save` wrote, the tensors on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no file of this kind, is damaged, or was written by a newer longspan.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as unpack

    target = Path(path)
    if not target.is_file():
        received = "a folder" if target.is_dir() else "nothing there"
        raise FileNotFoundError(errors.message(f"file {path}", "a saved model", received, "check the path"))
    try:
        with zipfile.ZipFile(target) as archive:
            head = json.loads(archive.read(_CONFIG))
            _check_version(target, head)
            tensors = unpack(archive.read(_TENSORS))
    except (*_DAMAGE, SafetensorError) as error:
        way_out = "copy it again or go back to an older one"
        received = f"a truncated, damaged or foreign file ({_first_line(error)})"
        raise errors.value_error(f"file {path}", "a whole saved model", received, way_out) from error
    return Artifact(head["config"], tensors)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")


def _check_version(path: Path, head: Any) -> None:
    if not isinstance(head, dict) or head.get("format") != "longspan" or "config" not in head:
        raise KeyError("it does not say that it is one of longspan's")
    version = head.get("version")
    if not isinstance(version, int) or version > VERSION:
        expected = f"a saved model of format {VERSION} or older"
        raise errors.value_error(f"file {path}", expected, f"format {version}", "update longspan to read it")


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
