"""Measures the memory and the time in which LanguageModel starts to learn from a large text.

    python -m benchmarks.memory [--megabytes 1000] [--levels characters,words] [--folder FOLDER]

Writes a text of random words, whose shares fall with their rank as in a language. Then it fits a model of
each token level to the file for a few steps, each in a fresh process, and prints the largest memory that the
process had in use. It is to be below the size of the file and that of the network's weights together.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

STEPS = 5  # of the training
WORDS = 60_000  # different ones
_PIECE = 100_000  # words that are drawn at once
_LINE = 20  # words of a line
_CHILD = """
import json, resource, sys, time, warnings
warnings.simplefilter("ignore")
from longspan import LanguageModel
start = time.process_time()
model = LanguageModel(token_level=sys.argv[2], max_steps=int(sys.argv[3]), validation_fraction=1e-4)
model.fit(sys.argv[1], verbose=0)
print(json.dumps({
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "network": sum(weight.numel() * weight.element_size() for weight in model.network_.parameters()),
    "tokens": model.codec_.tokenizer.size,
    "seconds": time.process_time() - start,
}))
"""


def write_text(path: Path, size: int) -> None:
    """Write a text of at least so many bytes."""
    draw = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfw"))
    words = np.array(["".join(draw.choice(letters, 2 + int(draw.integers(9)))) for _ in range(WORDS)])
    shares = 1.0 / np.arange(3, WORDS + 3)
    ends = np.cumsum(shares / shares.sum())
    with path.open("w") as file:
        while file.tell() < size:
            drawn = words[np.searchsorted(ends, draw.random(_PIECE)).clip(max=WORDS - 1)].tolist()
            lines = (" ".join(drawn[begin : begin + _LINE]) for begin in range(0, _PIECE, _LINE))
            file.write(" .\n".join(lines) + " .\n")


def measure(path: Path, level: str) -> dict[str, float]:
    """What a fresh process says: peak and network in bytes, tokens of the vocabulary, processor seconds."""
    command = [sys.executable, "-c", _CHILD, str(path), level, str(STEPS)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure the memory of LanguageModel with a large text.")
    parser.add_argument("--megabytes", type=float, default=1000.0, help="of the text")
    parser.add_argument("--levels", default="characters,words", help="token levels")
    parser.add_argument("--folder", type=Path, help="where the text is written; none for a temporary folder")
    options = parser.parse_args(argv)
    within = True
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "text.txt"
        write_text(path, round(options.megabytes * 1e6))
        raw = path.stat().st_size
        for level in options.levels.split(","):
            found = measure(path, level)
            limit = raw + found["network"]
            within &= found["peak"] < limit
            print(
                f"{level}: text {raw / 1e6:,.0f} MB, network {found['network'] / 1e6:,.0f} MB, peak "
                f"{found['peak'] / 1e6:,.0f} MB ({found['peak'] / limit:.0%} of both), "
                f"{found['tokens']:,} tokens, {found['seconds']:.0f} processor seconds"
            )
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
