"""Learns to write the first line of a docstring from the rest of it.

    python examples/summarize.py           # docstrings of Python's library
    python examples/summarize.py my.tsv    # yours: columns source and target

`longspan demo summarize` is the long form, with a report.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import polars as pl

import longspan as ls
from longspan.demos.summarize import OPTIONS, read

ROWS = 1000
EPOCHS = 3  # more take longer and may be better


def main(path: str | None = None) -> None:
    if path is None:
        rows, asked = read(Path(sysconfig.get_path("stdlib")))
    else:
        rows = list(pl.read_csv(path, separator="\t").select("source", "target").iter_rows())
        asked = rows[-5:]
    model = ls.Summarizer(**{**OPTIONS, "epochs": EPOCHS}).fit(rows[:ROWS])
    for (source, line), answer in zip(asked[:5], model.predict([s for s, _ in asked[:5]]), strict=False):
        print(f"{source[:60]} ... -> {answer} (written: {line})")


if __name__ == "__main__":
    main(*sys.argv[1:])
