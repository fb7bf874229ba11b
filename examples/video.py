"""Tells clips of moving shapes apart, and answers one frame by frame.

    python examples/video.py               # drawn shapes
    python examples/video.py folder        # yours: a folder of clips for each class

`longspan demo video` is the long form, with clips as files and a report.
"""

from __future__ import annotations

import sys

import numpy as np

import longspan as ls
from longspan.demos.video import MOTIONS, drawn

CLIPS = 20  # of each class
EPOCHS = 10  # more take longer and may be better


def main(folder: str | None = None) -> None:
    model = ls.VideoClassifier(epochs=EPOCHS, refit=False, bidirectional=False, size=24)
    if folder is not None:
        print(model.fit(folder).predict_table(folder).head(5))
        return
    draw = np.random.default_rng(0)
    labels = [motion for _ in range(CLIPS) for motion in MOTIONS]
    model.fit([drawn("circle", motion, draw) for motion in labels], labels)
    print(f"{100 * model.score([drawn('circle', motion, draw) for motion in labels], labels):.0f} % right")
    stream = model.stream()
    for frame in drawn("circle", "left", draw)[::4]:
        print(stream.step(frame))


if __name__ == "__main__":
    main(*sys.argv[1:])
