"""Finds faults in a machine's sensors, after learning from weeks without any.

    python examples/sensors.py             # a pump, made by a rule
    python examples/sensors.py my.csv      # yours: time, sensors, and fault (0 or 1) to see how good it is

`longspan demo sensors` is the long form, with a report.
"""

from __future__ import annotations

import sys

import polars as pl

import longspan as ls
from longspan.demos.sensors import SEEN, readings

EPOCHS = 10  # more take longer and may be better


def main(path: str | None = None) -> None:
    table = readings() if path is None else pl.read_csv(path, try_parse_dates=True)
    normal = SEEN if path is None else len(table) * 2 // 3  # readings without faults
    seen, unseen = table.head(normal), table.tail(len(table) - normal)
    detector = ls.AnomalyDetector(time="time", label="fault", epochs=EPOCHS).fit(seen)
    print(detector.alarms(unseen))
    print(detector.evaluate(unseen))


if __name__ == "__main__":
    main(*sys.argv[1:])
