"""Writes and reads checkpoints; a resumed training ends with exactly the weights of one without a stop."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from longspan import artifact, errors
from longspan.atomic_file import check_output

KIND = "training"
DIGEST = "sha256:"  # before a digest in an identity
_WAY_OUT = "name another file or delete this one"
FORMAT = 3  # version of the content of a checkpoint; other versions are refused


@dataclass
class CheckpointConfig:
    """The file and the frequency of checkpoints; training resumes from the file if it exists.

    A resumed training ends with the same weights, bit by bit, as one that never stopped (on the same machine,
    with the same data, network and callbacks). Without a file, training starts afresh. The file is written
    atomically. Your own callbacks are saved by their `state` and `restore`.

    Args:
        path: the file.
        steps: training steps between two checkpoints; None not to count steps.
        seconds: seconds between two checkpoints, checked after every step; None not to measure time.
        epochs: whether to write one after every epoch.
        identity: text by name that identifies the training, such as a digest of its data. A checkpoint with
            another identity is refused. None checks only the shapes of the weights; the tasks set theirs.

    The end of training is always written.

    Raises:
        ValueError, TypeError: steps or seconds is not above 0, or the path cannot be written.
    """

    path: str | os.PathLike[str]
    steps: int | None = None
    seconds: float | None = 30.0
    epochs: bool = False
    identity: Mapping[str, str] | None = None
    _last: float = field(default_factory=monotonic, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.steps is not None:
            errors.check_int("steps", self.steps, 1, "give the number of steps between two checkpoints")
        if self.seconds is not None and not self.seconds > 0:
            raise errors.value_error("seconds", "a number above 0", self.seconds, "or None for steps only")
        check_output(self.path, "resume")

    def should_write(self, steps: int) -> bool:
        """Whether a checkpoint is due after so many steps."""
        if self.steps is not None and steps % self.steps == 0:
            return True
        return self.seconds is not None and monotonic() - self._last >= self.seconds

    def check(self) -> None:
        """Refuse an existing file that is no checkpoint of this training.

        Raises:
            ValueError: the file is damaged, no checkpoint, or one of another training.
        """
        self.read()

    def write(self, snapshot: dict[str, Any]) -> None:
        """Write a snapshot of training to the file."""
        write(self.path, snapshot, self.identity)
        self._last = monotonic()

    def read(self) -> dict[str, Any] | None:
        """The snapshot in the file, None if there is no file.

        Raises:
            ValueError: the file is damaged, no checkpoint, or one of another training.
        """
        return read(self.path, self.identity) if Path(self.path).exists() else None


def as_checkpoint_config(resume: Any) -> CheckpointConfig | None:
    """The CheckpointConfig of a path; a CheckpointConfig and None are themselves."""
    if resume is None or isinstance(resume, CheckpointConfig):
        return resume
    if isinstance(resume, (str, os.PathLike)):
        return CheckpointConfig(resume)
    way_out = "pass the file to go on from and to write to"
    raise errors.type_error("resume", "a path or a longspan.training.CheckpointConfig", resume, way_out)


def write(
    path: str | os.PathLike[str], snapshot: dict[str, Any], identity: Mapping[str, str] | None = None
) -> None:
    """A snapshot (nested dicts, lists, tuples, tensors) as one file."""
    tree, tensors = artifact.flatten(snapshot)
    config = {"kind": KIND, "format": FORMAT, "identity": dict(identity or {}), "snapshot": tree}
    artifact.save(path, config, tensors)


def read(path: str | os.PathLike[str], identity: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The snapshot that `write` wrote.

    Args:
        identity: that the checkpoint must have; None for any.

    Raises:
        ValueError: the file is damaged, no checkpoint, or of another training.
    """
    config, tensors = artifact.load(path)
    if config.get("kind") != KIND:
        received = f"a file of kind {config.get('kind')!r}"
        raise errors.value_error(f"file {path}", "a training checkpoint", received, "name another file")
    if config.get("format") != FORMAT:
        received = f"one of format {config.get('format', 1)}"
        raise errors.value_error(f"checkpoint {path}", f"one of format {FORMAT}", received, _WAY_OUT)
    with artifact.whole_model(path):
        snapshot, saved = artifact.unflatten(config["snapshot"], tensors), dict(config["identity"])
    if identity is not None:
        _check_identity(path, identity, saved)
    return snapshot


def _check_identity(
    path: str | os.PathLike[str], expected: Mapping[str, str], saved: Mapping[str, str]
) -> None:
    """Refuse a checkpoint of another training; the sentence names all that differs."""
    names = [name for name in {**expected, **saved} if expected.get(name) != saved.get(name)]
    if not saved:
        received = "one that does not say what it is of"
        raise errors.value_error(f"checkpoint {path}", "one of this training", received, _WAY_OUT)
    if names:
        received = "one with " + ", ".join(_difference(name, expected, saved) for name in names)
        raise errors.value_error(f"checkpoint {path}", "one of this training", received, _WAY_OUT)


def _difference(name: str, expected: Mapping[str, str], saved: Mapping[str, str]) -> str:
    """The difference in words: `epochs=3 instead of 5`, or `other data` for a digest."""
    now, then = expected.get(name, "unknown"), saved.get(name, "unknown")
    if DIGEST in (now[: len(DIGEST)], then[: len(DIGEST)]):
        return f"other {name.replace('_', ' ')}"
    return f"{name}={then} instead of {now}"


def rng_state() -> dict[str, Any]:
    """The states of all random generators that training may use: torch, CUDA, Python, NumPy."""
    kind, keys, position, has_gauss, gauss = cast("tuple[Any, ...]", np.random.get_state(legacy=True))
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "torch": torch.get_rng_state(),
        "cuda": list(cuda),
        "python": random.getstate(),
        "numpy": (str(kind), torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Set the random generators to what `rng_state` gave."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))


def check_fits(network: nn.Module, weights: dict[str, Any], path: object) -> None:
    """Raise an error unless the weights have the names and shapes of the network's."""
    expected_shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    saved_shapes = {name: tuple(value.shape) for name, value in weights.items()}
    if expected_shapes == saved_shapes:
        return
    name = next(
        name
        for name in {**expected_shapes, **saved_shapes}
        if expected_shapes.get(name) != saved_shapes.get(name)
    )
    expected = f"the weights of this network, {name} {expected_shapes.get(name, 'not among them')}"
    received = f"{name} {saved_shapes.get(name, 'missing')}"
    raise errors.value_error(f"checkpoint {path}", expected, received, _WAY_OUT)
