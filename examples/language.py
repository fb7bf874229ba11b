"""Learns a language letter by letter, and goes on from a beginning.

    python examples/language.py                   # Python's reference manual
    python examples/language.py my.txt "Once "    # your text, and the beginning

`longspan demo language` is the long form, with a report.
"""

from __future__ import annotations

import sys
from pathlib import Path

import longspan as ls
from longspan.demos.language import read

MINUTES = 1.0  # of training
CHARACTERS = 300_000  # read at most


def main(path: str | None = None, prompt: str = "The ") -> None:
    text = "\n".join(read()) if path is None else Path(path).read_text("utf-8")
    model = ls.LanguageModel(token_level="characters", hidden_size=128, max_minutes=MINUTES)
    model.fit([text[:CHARACTERS]])
    for piece in model.stream(prompt, 200, temperature=0.7, seed=0):
        print(piece, end="", flush=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
