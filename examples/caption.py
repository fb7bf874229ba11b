"""Learns to describe pictures in a sentence.

    python examples/caption.py             # drawn scenes of two shapes
    python examples/caption.py folder      # yours: pictures beside captions.csv (columns image and caption)

`longspan demo caption` is the long form, with attention over the pictures in a report.
"""

from __future__ import annotations

import sys

import longspan as ls
from longspan.demos.caption import OPTIONS, scenes

SCENES = 300
EPOCHS = 10  # more take longer and may be better


def main(folder: str | None = None) -> None:
    model = ls.Captioner(**{**OPTIONS, "epochs": EPOCHS})
    if folder is not None:
        print(model.fit(folder).predict_table(folder).head(5))
        return
    pictures, sentences = scenes(SCENES)
    model.fit(pictures[:-5], sentences[:-5])
    for answer, truths in zip(model.predict(pictures[-5:]), sentences[-5:], strict=True):
        print(f"{answer} (drawn: {truths[0]})")


if __name__ == "__main__":
    main(*sys.argv[1:])
