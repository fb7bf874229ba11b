"""Trains networks of series in cycles of the learning rate until the training loss has converged."""

from __future__ import annotations

from dataclasses import replace

from longspan.tasks.schedule import Convergence, TrainingOptions

STEPS = 32  # optimizer steps of an epoch at least
_CYCLE = 320  # optimizer steps of one cycle of the learning rate
_CYCLES = 4  # of the learning rate at most
_LEAST_CYCLE = 6  # epochs of a cycle at least


def until_converged(options: TrainingOptions, records: int, batch_size: int) -> TrainingOptions:
    """The options with warm restarts of the learning rate, and a stop after a cycle that gains little.

    Args:
        records: how many are trained on.
    """
    steps_per_epoch = max(STEPS, records // batch_size)
    cycle = max(_LEAST_CYCLE, round(_CYCLE / steps_per_epoch))
    schedule = replace(options.schedule, cycles=_CYCLES)
    return options._replace(epochs=_CYCLES * cycle, schedule=schedule, stopping=Convergence(cycle))
