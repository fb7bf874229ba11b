"""Learns to translate from pairs of texts.

    python examples/translate.py           # numbers in English and German words
    python examples/translate.py my.tsv    # yours: columns source and target

`longspan demo translate` is the long form, with attention maps in a report.
"""

from __future__ import annotations

import sys

import polars as pl

import longspan as ls
from longspan.demos.translate import OPTIONS, pairs

PAIRS = 2000
EPOCHS = 10  # more take longer and may be better


def main(path: str | None = None) -> None:
    if path is None:
        (sources, targets), (asked, right) = pairs()
    else:
        table = pl.read_csv(path, separator="\t")
        sources, targets = table["source"].to_list(), table["target"].to_list()
        asked, right = sources[-5:], targets[-5:]
    model = ls.Translator(**{**OPTIONS, "epochs": EPOCHS}).fit(sources[:PAIRS], targets[:PAIRS])
    for source, answer, truth in zip(asked[:5], model.predict(asked[:5]), right, strict=False):
        print(f"{source} -> {answer} (right: {truth})")


if __name__ == "__main__":
    main(*sys.argv[1:])
