"""States what a fit is of, its task, options and data, so that a checkpoint of another fit is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from longspan.training.checkpoint import DIGEST, CheckpointConfig

from .digests import digest
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
    held_out = "none" if validation is None else DIGEST + digest(validation)
    data = {"data": DIGEST + digest(records), "validation_data": held_out}
    found = replace(resume, identity={"task": task.name, **options, **data})
    found.check()
    return found
