"""Finds logins that are not the user's own.

    python examples/logins.py              # forty users, made by a rule
    python examples/logins.py my.csv       # yours: with the columns below, and time, user, stolen (0 or 1)

`longspan demo logins` is the long form, with a rival and a report.
"""

from __future__ import annotations

import sys

import polars as pl

import longspan as ls
from longspan.demos.logins import logins

EPOCHS = 10  # more take longer and may be better


def main(path: str | None = None) -> None:
    table = logins() if path is None else pl.read_csv(path, try_parse_dates=True)
    seen, unseen = table.head(len(table) * 2 // 3), table.tail(len(table) // 3)
    detector = ls.AnomalyDetector(
        time="time",
        id="user",
        label="stolen",
        kind="records",
        target=("hour", "failures", "country", "device"),
        false_positive_rate=0.005,  # of the users' own logins, which may raise an alarm
        epochs=EPOCHS,
    )
    detector.fit(seen)
    print(detector.alarms(unseen).sort("severity", descending=True).head(10))
    print(detector.evaluate(unseen))


if __name__ == "__main__":
    main(*sys.argv[1:])
