"""Classifies digits with an LSTM. A Keras script but for three imports.

The rows are 1,797 handwritten digits which scikit-learn ships (UCI, Alpaydin and Kaynak 1998), 8 by 8 pixels:
a sequence of eight rows with eight numbers each. Needs scikit-learn.

    python examples/tutorials/classes.py
"""

import argparse

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from longspan.layers import LSTM, Dense
from longspan.models import Sequential
from longspan.utils import to_categorical


def main(epochs: int) -> float:
    """Fit and give the share of digits held out that are recognised."""
    pixels, digits = load_digits(return_X_y=True)
    x, y = pixels.reshape(-1, 8, 8) / 16.0, to_categorical(digits)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=42)

    model = Sequential()
    model.add(LSTM(128, input_shape=(8, 8)))
    model.add(Dense(y.shape[1], activation="softmax"))
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    model.fit(x_train, y_train, epochs=epochs, batch_size=32, verbose=2, validation_data=(x_test, y_test))

    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"test loss {loss:.4f}, accuracy {accuracy:.4f}")
    return accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10, help="passes over the training digits")
    main(parser.parse_args().epochs)
