"""Recommends what comes next, from lists of what users took.

    python examples/recommend.py           # the modules that Python files import
    python examples/recommend.py my.csv    # yours: columns session, module, line

`longspan demo recommend` is the long form, with rivals and a report.
"""

from __future__ import annotations

import sys

import polars as pl

import longspan as ls
from longspan.demos.recommend import read

SESSIONS = 500
EPOCHS = 5  # more take longer and may be better


def main(path: str | None = None) -> None:
    events = read() if path is None else pl.read_csv(path)
    events = events.filter(pl.col("session") < SESSIONS)
    model = ls.Recommender(user="session", item="module", time="line", epochs=EPOCHS).fit(events)
    print(model.predict([["__future__", "os"]], k=5))
    print(model.similar("os", k=3))


if __name__ == "__main__":
    main(*sys.argv[1:])
