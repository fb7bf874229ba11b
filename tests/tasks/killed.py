"""Fits a task's toy once and prints every step; test_contract.py kills it.

python killed.py TASK CHECKPOINT
"""

from __future__ import annotations

import runpy
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from longspan import errors, tasks
from longspan.training import Callback, CheckpointConfig, LambdaCallback

TOYS = runpy.run_path(str(Path(__file__).with_name("toys.py")))["TOYS"]


def fit(name: str, checkpoint: str | Path | None, callbacks: tuple[Callback, ...] = ()) -> Any:
    """The task fitted on its toy, or gone on from the checkpoint."""
    toy = TOYS[name]()
    resume = None if checkpoint is None else CheckpointConfig(checkpoint, steps=2, seconds=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.LongspanWarning)
        return tasks.task(name)(**toy.options).fit(
            toy.source, toy.y, resume=resume, callbacks=callbacks, verbose=0
        )


def main(name: str, checkpoint: str) -> None:
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)

    def tell(batch: int, logs: Any) -> None:
        print(f"step {batch}", flush=True)
        time.sleep(0.02)

    fit(name, checkpoint, (LambdaCallback(on_train_batch_end=tell),))


if __name__ == "__main__":
    main(*sys.argv[1:])
