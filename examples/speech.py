"""Learns to read strings of digits that a telephone dials in tones.

    python examples/speech.py              # tones in noise
    python examples/speech.py folder       # yours: sounds beside transcripts.csv (columns file and text)

`longspan demo speech` is the long form: spoken digits where espeak-ng is there, and a report.
"""

from __future__ import annotations

import sys

import longspan as ls
from longspan.demos.speech import OPTIONS, dialled, strings

STRINGS = 300
EPOCHS = 30  # more take longer and may be better


def main(folder: str | None = None) -> None:
    model = ls.SpeechRecognizer(**{**OPTIONS, "epochs": EPOCHS})
    if folder is not None:
        print(model.fit(folder).predict_table(folder).head(5))
        return
    texts = strings(STRINGS)
    sounds = dialled(texts)
    model.fit(sounds[:-5], texts[:-5])
    for answer, truth in zip(model.predict(sounds[-5:]), texts[-5:], strict=True):
        print(f"{answer} (dialled: {truth})")


if __name__ == "__main__":
    main(*sys.argv[1:])
