"""Trains once with everything that must survive a kill; test_resume.py runs it, whole and killed.

python killed.py CHECKPOINT KIND CSV    # says "step N" as it goes, for whoever kills it
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import longspan as ls
from longspan.data import Batch, Batches, BPTTChunks
from longspan.optimizers import keras
from longspan.training import (
    Callback,
    CheckpointConfig,
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    ReduceLROnPlateau,
    train,
)

EPOCHS = 4


class Noisy(nn.Module):
    """Draws from every random generator there is, and carries a state."""

    def __init__(self, every: bool) -> None:
        super().__init__()
        self.core = ls.nn.LSTM(3, 8, batch_first=True, recurrent_dropout=0.2)
        self.drop, self.head, self.every = nn.Dropout(0.3), nn.Linear(8, 1), every

    def forward(self, batch: Batch, state: Any) -> tuple[Tensor, Any]:
        noise = 0.01 * (random.random() + np.random.rand()) if self.training else 0.0
        out, state = self.core(batch.x + noise, state)
        return self.head(self.drop(out if self.every else out[:, -1])), state


def batches(kind: str) -> Any:
    """Batches of a kind: shuffled by us, by a DataLoader, or chunks in time."""
    x = torch.randn(40, 12, 3, generator=torch.Generator().manual_seed(7))
    y = x.sum(-1, keepdim=True).cumsum(1)
    if kind == "chunks":
        return BPTTChunks(x.view(8, 60, 3), y.view(8, 60, 1), chunk_length=6)
    if kind == "loader":
        return DataLoader(TensorDataset(x, y[:, -1]), batch_size=4, shuffle=True)
    return Batches(x, y[:, -1], batch_size=4, shuffle=True)


def run(
    kind: str, checkpoint: Path | None, csv: Path, *, extra: tuple[Callback, ...] = (), epochs: int = EPOCHS
) -> tuple[nn.Module, History]:
    """Train from the seed, or go on from the checkpoint."""
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    network = Noisy(kind == "chunks")
    optimizer = keras.Adam(0.01).build(network.parameters())
    schedule = None
    if kind == "loader":
        optimizer = torch.optim.RMSprop(network.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 7, 0.7)
    watch = [
        EarlyStopping("mae", patience=99, restore_best_weights=True),
        ReduceLROnPlateau("mae", patience=1),
    ]
    history = train(
        network,
        batches(kind),
        "mse",
        optimizer,
        epochs=epochs,
        metrics=["mae"],
        schedule=schedule,
        clip_norm=1.0,
        callbacks=[*watch, CSVLogger(csv), *extra],
        verbose=0,
        resume=None if checkpoint is None else CheckpointConfig(checkpoint, steps=3, seconds=None),
    )
    return network, history


def main(checkpoint: str, kind: str, csv: str) -> None:
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)

    def tell(batch: int, logs: Any) -> None:
        print(f"step {batch}", flush=True)
        time.sleep(0.02)

    run(kind, Path(checkpoint), Path(csv), extra=(LambdaCallback(on_train_batch_end=tell),))


if __name__ == "__main__":
    main(*sys.argv[1:])
