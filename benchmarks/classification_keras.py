"""Runs Keras once on padded text, in its own process; the backend is that of KERAS_BACKEND.

    python benchmarks/classification_keras.py TEXT.npz EPOCHS CORES

TEXT.npz has the texts x (N, T), padded behind with 0, their classes y (N,), the size of the vocabulary, the
learning rate, the share that dropout takes, the weights to start from (w0, w1, ... in Keras' order) and the
scores (M, C) that these give the first M texts. Prints as one line of JSON what every epoch after the first,
which compiles, took by the clock and of the processor: "padded" to the longest text of all, in Keras' own
order, and "by length", in batches of about one length as longspan makes them, each padded to a multiple of 8
so that few lengths are compiled.
"""

from __future__ import annotations

import json
import os
import sys
from time import perf_counter, process_time
from typing import Any

CORES = int(sys.argv[3]) if len(sys.argv) > 3 else 0
if CORES and hasattr(os, "sched_setaffinity"):  # before the backends count the cores for their threads
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])

import keras  # noqa: E402  # pyright: ignore[reportMissingImports]
import numpy as np  # noqa: E402

BATCH, POOL, MULTIPLE = 32, 50, 8
COMPILED = ("jax", "tensorflow")  # by XLA, twice as quick as what Keras chooses on TensorFlow
TOLERANCE = 1e-4


class Clock(keras.callbacks.Callback):
    """The seconds of every epoch, by the clock and of the processor."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[tuple[float, float]] = []

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self.began = perf_counter(), process_time()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self.seconds.append((perf_counter() - self.began[0], process_time() - self.began[1]))


class Largest(keras.layers.Layer):
    """The largest value over the steps that count: (B, T, W) -> (B, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.supports_masking = True

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        return None

    def call(self, inputs: Any, mask: Any = None) -> Any:
        ops = keras.ops
        return ops.max(ops.where(ops.expand_dims(mask, -1), inputs, -1e9), axis=1)


class ByLength(keras.utils.PyDataset):
    """Batches of about one length: shuffled, sorted within stretches of many batches, batches shuffled."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        super().__init__()
        lengths, chance = (x != 0).sum(1), np.random.default_rng(0)
        drawn = chance.permutation(len(x))
        pools = np.split(drawn, range(BATCH * POOL, len(x), BATCH * POOL))
        rows = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
        batches = [rows[at : at + BATCH] for at in range(0, len(rows), BATCH)]
        self.batches = [(x[:, : _padded(int(lengths[one].max()))][one], y[one]) for one in batches]
        chance.shuffle(self.batches)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        return self.batches[index]


def _padded(length: int) -> int:
    return -(-length // MULTIPLE) * MULTIPLE


def network(data: Any) -> Any:
    """The classifier's network, from the same weights."""
    layers, weights = keras.layers, [data[f"w{place}"] for place in range(9)]
    model = keras.Sequential(
        [
            layers.Embedding(*weights[0].shape, mask_zero=True),
            layers.SpatialDropout1D(float(data["dropout"])),
            layers.Bidirectional(layers.LSTM(weights[2].shape[0], return_sequences=True)),
            Largest(),
            layers.Dropout(float(data["dropout"])),
            layers.Dense(weights[-1].shape[0]),
        ]
    )
    model.build((None, None))
    model.set_weights(weights)
    optimizer = keras.optimizers.Adam(float(data["rate"]), global_clipnorm=1.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    compiled: Any = True if keras.backend.backend() in COMPILED else "auto"
    model.compile(optimizer=optimizer, loss=loss, jit_compile=compiled)
    return model


def main(path: str, epochs: int) -> None:
    """Check that both sides give the same scores, then time both ways of padding."""
    data = np.load(path)
    model, x, y, scores = network(data), data["x"], data["y"], data["scores"]
    error = float(np.abs(keras.ops.convert_to_numpy(model(x[: len(scores)])) - scores).max())
    if not error < TOLERANCE:
        sys.exit(f"the scores differ from longspan's by {error:.1g}")
    padded, by_length = Clock(), Clock()
    model.fit(x, y, batch_size=BATCH, epochs=1 + epochs, verbose=0, callbacks=[padded])
    dealt = ByLength(x, y)
    model.fit(dealt, epochs=1 + epochs, verbose=0, callbacks=[by_length], shuffle=False)
    print(json.dumps({"padded": padded.seconds[1:], "by length": by_length.seconds[1:]}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
