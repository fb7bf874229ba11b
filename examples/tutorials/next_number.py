"""Trains the smallest LSTM: three numbers in, the next one out. A Keras script but for two imports.

python examples/tutorials/next_number.py                # 100 epochs
python examples/tutorials/next_number.py --epochs 400   # lands within 0.3 of 11
"""

import argparse

import numpy as np

from longspan.layers import LSTM, Dense
from longspan.models import Sequential


def windows(numbers: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Every stretch of `length` numbers (N, length, 1) and the number after it (N,)."""
    x = np.array([numbers[i : i + length] for i in range(len(numbers) - length)])
    return x.reshape(-1, length, 1), numbers[length:]


def main(epochs: int) -> float:
    """Learn 1 to 10 and say what follows 8, 9, 10."""
    x, y = windows(np.arange(1, 11, dtype=np.float32), 3)

    model = Sequential()
    model.add(LSTM(128, input_shape=(3, 1)))
    model.add(Dense(1))
    model.compile(optimizer="adam", loss="mse")
    model.fit(x, y, epochs=epochs, batch_size=1, verbose=0)

    found = model.predict(np.array([8.0, 9.0, 10.0]).reshape(1, 3, 1), verbose=0)
    print(f"after {epochs} epochs, 8, 9, 10 is followed by {found[0, 0]:.2f}")
    return float(found[0, 0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=100, help="passes over the seven windows")
    main(parser.parse_args().epochs)
