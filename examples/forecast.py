"""Forecasts temperatures a day ahead at three airports, from a table with a column that names the airport.

    python examples/forecast.py            # New York's airports, 2013
    python examples/forecast.py my.csv     # yours: columns time, airport, temperature

`longspan demo forecast` is the long form, with a report.
"""

from __future__ import annotations

import sys

import polars as pl

import longspan as ls
from longspan.demos.forecast import read

HORIZON = 24  # hours ahead
EPOCHS = 5  # more take longer and may be better
UNSEEN = 24 * 30  # last hours of each airport, kept to see how good it is


def main(path: str | None = None) -> None:
    table = read() if path is None else pl.read_csv(path, try_parse_dates=True)
    table = table.select("time", "airport", "temperature")
    reversed_row = pl.int_range(pl.len(), 0, -1).over("airport")
    seen, unseen = table.filter(reversed_row > UNSEEN), table.filter(reversed_row <= UNSEEN)
    model = ls.Forecaster(horizon=HORIZON, target="temperature", time="time", id="airport", epochs=EPOCHS)
    model.fit(seen)
    scores = model.evaluate(unseen)
    print(f"mean absolute error {scores['mae']:.2f}, of the last hour repeated {scores['naive_mae']:.2f}")
    print(model.predict(unseen))


if __name__ == "__main__":
    main(*sys.argv[1:])
