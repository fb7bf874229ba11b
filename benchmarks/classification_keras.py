"""Knows one run of Keras on padded text, in its own process; the backend is that of KERAS_BACKEND.

python benchmarks/classification_keras.py DATA.npz EPOCHS
"""

from __future__ import annotations

import sys
from time import perf_counter

import keras  # pyright: ignore[reportMissingImports]
import numpy as np


class Clock(keras.callbacks.Callback):
    """The seconds of every epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self.began = perf_counter()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self.seconds.append(perf_counter() - self.began)


def main(path: str, epochs: int) -> None:
    """Print the seconds of the quickest epoch after the first, which compiles."""
    data, clock = np.load(path), Clock()
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Embedding(int(data["vocabulary"]), 64, mask_zero=True),
            layers.Bidirectional(layers.LSTM(64)),
            layers.Dropout(0.5),
            layers.Dense(int(data["y"].max()) + 1),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(2e-3, clipnorm=1.0), loss=loss)
    model.fit(data["x"], data["y"], batch_size=32, epochs=epochs, verbose=0, callbacks=[clock])
    print(min(clock.seconds[1:] or clock.seconds))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
