"""Rates reviews, and shows which words decided.

    python examples/reviews.py             # reviews of hotels, written by a rule
    python examples/reviews.py my.csv      # yours: columns review and rating

`longspan demo reviews` is the long form, with a report.
"""

from __future__ import annotations

import sys

import polars as pl

import longspan as ls
from longspan.demos.reviews import reviews

REVIEWS = 1000
EPOCHS = 8  # more take longer and may be better


def main(path: str | None = None) -> None:
    table = reviews(REVIEWS) if path is None else pl.read_csv(path)
    seen, unseen = table.head(len(table) * 4 // 5), table.tail(len(table) // 5)
    model = ls.Classifier(
        text="review", label="rating", epochs=EPOCHS, ensemble_size=1, learning_rate=0.01, word_dropout=0.0
    )
    model.fit(seen)
    print(f"{100 * model.score(unseen):.0f} % of the reviews that it never saw are rated right")
    for review, rating, words in zip(
        unseen["review"].head(3), model.predict(unseen), model.explain(unseen), strict=False
    ):
        strongest = max(words, key=lambda pair: abs(pair[1]))
        print(f"{rating}, most of all by {strongest[0]!r}: {review}")


if __name__ == "__main__":
    main(*sys.argv[1:])
