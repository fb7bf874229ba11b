"""Writes and reads checkpoints of training, from which it goes on to exactly the same weights."""

from __future__ import annotations

import os
import random
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


@dataclass
class CheckpointConfig:
    """Where and how often training writes a checkpoint, and from where it goes on.

    If the file exists, training goes on from it to the same weights, bit by bit, as if it had never stopped
    (on the same machine, with the same data, network and callbacks). If not, training starts afresh. The file
    is replaced whole. Callbacks of your own are saved by their `state` and `restore`.

    Args:
        path: the file.
        steps: write every so many steps; None for never by steps.
        seconds: write when so many seconds have passed, checked after every step; None for never by time.

    The end of training is always written.

    Raises:
        ValueError, TypeError: steps or seconds is not above 0, or the path cannot be written.
    """

    path: str | os.PathLike[str]
    steps: int | None = None
    seconds: float | None = 30.0
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

    def write(self, snapshot: dict[str, Any]) -> None:
        """Write a snapshot of training to the file."""
        write(self.path, snapshot)
        self._last = monotonic()

    def read(self) -> dict[str, Any] | None:
        """The snapshot in the file, None if there is no file."""
        return read(self.path) if Path(self.path).exists() else None


def as_checkpoint_config(resume: Any) -> CheckpointConfig | None:
    """The CheckpointConfig of a path; a CheckpointConfig and None are themselves."""
    if resume is None or isinstance(resume, CheckpointConfig):
        return resume
    if isinstance(resume, (str, os.PathLike)):
        return CheckpointConfig(resume)
    way_out = "pass the file to go on from and to write to"
    raise errors.type_error("resume", "a path or a longspan.training.CheckpointConfig", resume, way_out)


def write(path: str | os.PathLike[str], snapshot: dict[str, Any]) -> None:
    """A snapshot (nested dicts, lists, tuples, tensors) as one file."""
    tree, tensors = artifact.flatten(snapshot)
    artifact.save(path, {"kind": KIND, "snapshot": tree}, tensors)


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The snapshot that `write` wrote.

    Raises:
        ValueError: the file is damaged or holds something else.
    """
    config, tensors = artifact.load(path)
    if config.get("kind") != KIND:
        received = f"a file of kind {config.get('kind')!r}"
        raise errors.value_error(f"file {path}", "a training checkpoint", received, "name another file")
    with artifact.whole_model(path):
        return artifact.unflatten(config["snapshot"], tensors)


def rng_state() -> dict[str, Any]:
    """The state of every random generator that training may use: torch, CUDA, Python, NumPy."""
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
    raise errors.value_error(f"checkpoint {path}", expected, received, "name another file or delete this one")
