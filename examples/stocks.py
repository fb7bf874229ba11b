"""Forecasts a share's closes a week ahead, and compares that with repeating the last close.

    python examples/stocks.py              # Google's, 2004 to 2008
    python examples/stocks.py my.csv       # yours: columns date and close

`longspan demo stocks` is the long form, with a paired test and a report.
"""

from __future__ import annotations

import sys

import polars as pl

import longspan as ls
from longspan.demos.stocks import read

DAYS = 5  # ahead
EPOCHS = 5  # more take longer; do they beat the random walk?
UNSEEN = 250  # last days, kept to see how good it is


def main(path: str | None = None) -> None:
    closes = read() if path is None else pl.read_csv(path, try_parse_dates=True)
    seen, unseen = closes.head(-UNSEEN), closes.tail(UNSEEN)
    model = ls.Forecaster(horizon=DAYS, target="close", time="date", epochs=EPOCHS).fit(seen)
    scores = model.evaluate(unseen)
    print(f"mean absolute error {scores['mae']:.2f}, of the last close repeated {scores['naive_mae']:.2f}")
    print(model.predict(unseen))


if __name__ == "__main__":
    main(*sys.argv[1:])
