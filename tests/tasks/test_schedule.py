"""Cycles of the learning rate start anew, and training stops when a cycle has hardly lowered the loss."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from longspan.tasks.schedule import Convergence, Schedule


def test_every_cycle_has_the_same_course() -> None:
    once = Schedule(warmup=0.2, final=0.0).rates(1.0, 10)
    rates = Schedule(warmup=0.2, final=0.0, cycles=3).rates(1.0, 30)
    assert once is not None and rates is not None
    assert [rates(step) for step in range(30)] == [once(step) for step in range(10)] * 3
    assert Schedule(cycles=3).rates(1.0, 30) is None, "a constant rate has no cycles"


@pytest.mark.parametrize(
    "losses, stops",
    [
        ([1.0, 0.9, 0.5, 0.4, 0.2, 0.1], None),
        ([1.0, 0.9, 1.1, 0.8, 0.2, 0.1], 4),
        ([1.0, 0.001, 0.5, 0.4, 0.2, 0.1], 2),
    ],
    ids=["falls on", "hardly falls", "nothing left"],
)
def test_training_stops_at_the_end_of_a_cycle(losses: list[float], stops: int | None) -> None:
    callback: Any = Convergence(cycle=2)
    callback.trainer = SimpleNamespace(stopped=None)
    callback.on_train_begin()
    for epoch, loss in enumerate(losses):
        again: Any = Convergence(cycle=2)  # as after a kill
        again.trainer = callback.trainer
        again.restore(callback.state())
        callback = again
        callback.on_epoch_end(epoch, {"loss": loss})
        if callback.trainer.stopped:
            break
    assert (callback.trainer.stopped is None) == (stops is None)
    assert stops is None or callback.trainer.stopped == f"the training loss converged after {stops} epochs"
