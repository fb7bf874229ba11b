"""States what a fit is of, its task, options and data, so that a checkpoint of another fit is refused."""

from __future__ import annotations

import pickle
from dataclasses import replace
from hashlib import sha256
from typing import Any

from longspan.training.checkpoint import DIGEST, CheckpointConfig

from .options import Configurable, as_text

_FREE = ("device",)  # options that a resumed fit may change


def identified(
    resume: CheckpointConfig | None, task: Configurable, records: Any, validation: Any
) -> CheckpointConfig | None:
    """The configuration with the identity of a fit; a checkpoint that is there and of another one is refused.

    Args:
        resume: None for no checkpoints; one that has an identity keeps it.
        task: whose options count; records: those of the source, with their labels; validation: those of the
            validation data, None where the task holds some of the source out.

    Raises:
        ValueError: the file is damaged, no checkpoint, or one of another fit.
    """
    if resume is None or resume.identity is not None:
        return resume
    options = {n: as_text(value) for n, value in task.get_params().items() if n not in _FREE}
    data = {"data": digest(records), "validation_data": "none" if validation is None else digest(validation)}
    found = replace(resume, identity={"task": task.name, **options, **data})
    found.check()
    return found


def digest(records: Any) -> str:
    """A digest of records, equal for equal ones whatever process read them.

    >>> digest([("good", 1)]) == digest([("go" + "od", 1)]) != digest([("good", 0)])
    True
    """
    stream = _HashStream()
    pickler = pickle.Pickler(stream, protocol=5)
    pickler.fast = True  # equal objects have equal bytes, whether or not they are one object
    pickler.dump(records)
    return DIGEST + stream.hash.hexdigest()[:32]


class _HashStream:
    """A file whose content is hashed in the place of being stored."""

    def __init__(self) -> None:
        self.hash = sha256()

    def write(self, content: Any) -> int:
        self.hash.update(content)
        return len(content)
