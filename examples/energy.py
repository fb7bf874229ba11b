"""Forecasts an electric load a day ahead, with the next day's temperatures and holidays known.

    python examples/energy.py              # made by a rule, with real temperatures
    python examples/energy.py my.csv       # yours: columns time, load, temperature, holiday

`longspan demo energy` is the long form, with a report.
"""

from __future__ import annotations

import sys

import polars as pl

import longspan as ls
from longspan.demos.energy import read

EPOCHS = 5  # more take longer and may be better
UNSEEN = 24 * 30  # last hours, kept to see how good it is


def main(path: str | None = None) -> None:
    table = read() if path is None else pl.read_csv(path, try_parse_dates=True)
    seen, unseen = table.head(-UNSEEN), table.tail(UNSEEN)
    model = ls.Forecaster(
        horizon=24,
        target="load",
        time="time",
        future_covariates=("temperature", "holiday"),
        epochs=EPOCHS,
    )
    model.fit(seen)
    scores = model.evaluate(unseen)
    seasonal = scores["seasonal_naive_mae"]
    print(f"mean absolute error {scores['mae']:.2f}, of the last season repeated {seasonal:.2f}")
    hidden = (
        pl.int_range(pl.len()) >= UNSEEN - 24
    )  # the last day: its temperatures are known, its load is not
    print(model.predict(unseen.with_columns(load=pl.when(~hidden).then("load"))))


if __name__ == "__main__":
    main(*sys.argv[1:])
