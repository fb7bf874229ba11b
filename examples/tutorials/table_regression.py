"""Trains a stacked LSTM on a CSV with a target column. A Keras script but for two imports.

The table is that of 442 diabetes patients which scikit-learn ships (Efron et al. 2004): ten measurements and
how far the disease went in a year. Needs pandas and scikit-learn.

    python examples/tutorials/table_regression.py
    python examples/tutorials/table_regression.py --epochs 5
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler

from longspan.layers import LSTM, Dense, Dropout
from longspan.models import Sequential


def written(folder: str) -> Path:
    """The table as a CSV file."""
    path = Path(folder) / "diabetes.csv"
    measured, progress = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    pd.DataFrame(measured).assign(target=progress).to_csv(path, index=False)
    return path


def main(epochs: int) -> float:
    """Fit and give the loss on the rows held out, in squared shares of the target's range."""
    with tempfile.TemporaryDirectory() as folder:
        df = pd.read_csv(written(folder))

    x = MinMaxScaler().fit_transform(df.drop(columns="target").values)
    y = MinMaxScaler().fit_transform(df[["target"]].values)
    x = x.reshape(x.shape[0], 1, x.shape[1])
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=42)

    model = Sequential()
    model.add(LSTM(50, return_sequences=True, input_shape=(x.shape[1], x.shape[2])))
    model.add(Dropout(0.2))
    model.add(LSTM(50))
    model.add(Dropout(0.2))
    model.add(Dense(1))
    model.compile(optimizer="adam", loss="mean_squared_error")
    model.fit(x_train, y_train, epochs=epochs, batch_size=32, validation_data=(x_test, y_test), verbose=2)

    loss = model.evaluate(x_test, y_test, verbose=0)
    mean = float(np.mean(np.square(np.subtract(y_test, np.mean(y_train)))))
    print(f"test loss {loss:.4f}; always answering the training rows' mean gives {mean:.4f}")
    return loss


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=50, help="passes over the training rows")
    main(parser.parse_args().epochs)
