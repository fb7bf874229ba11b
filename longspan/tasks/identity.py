"""Identifies a fit by its task, options and data, so that a checkpoint of another fit is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from longspan.training.checkpoint import DIGEST, CheckpointConfig

from .digests import digest
from .options import Configurable, as_text

_FREE = ("device",)  # options that may differ in a resumed fit


def identified(
    resume: CheckpointConfig | None, task: Configurable, records: Any, validation: Any
) -> CheckpointConfig | None:
    """The checkpoint configuration with the identity of a fit; an existing file of another fit is refused.

    Args:
        resume: None for no checkpoints; a configuration with an identity keeps it.
        task: its options are part of the identity; records: of the source, with their targets.
        validation: records of the validation data, None if the task holds out some of the source.

    Raises:
        ValueError: the file is damaged, no checkpoint, or one of another fit.
    """
    if resume is None or resume.identity is not None:
        return resume
    options = {n: as_text(value) for n, value in task.get_params().items() if n not in _FREE}
    held_out = "none" if validation is None else DIGEST + digest(validation)
    data = {"data": DIGEST + digest(records), "validation_data": held_out}
    identified_resume = replace(resume, identity={"task": task.name, **options, **data})
    identified_resume.check()
    return identified_resume
