"""Measures Summarizer with its defaults: subjects of the emails of AESLC, by ROUGE beside trivial answers.

    python -m benchmarks.summarization --data FOLDER [--models FOLDER] [--results FILE]

The test part is touched once, against the original subjects. FOLDER is that of the data sets. With --models
the fit is saved there, with checkpoints, and a fit that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from longspan.tasks.summarize import Summarizer

from .pairs import Texts, beside_rivals, fit_and_score, lines, remember, show


def aeslc(data: Path, part: str) -> Texts:
    """Bodies and subjects of a part."""
    rows = [json.loads(line) for line in lines(data / f"summarization/aeslc/{part}.jsonl.gz")]
    rows = [row for row in rows if row["body"].strip() and row["subject"].strip()]
    return [row["body"] for row in rows], [row["subject"] for row in rows]


def main(arguments: Sequence[str]) -> int:
    """Fit, and print the scores of the test part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.summarization", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    train, dev, test = (aeslc(options.data, part) for part in ("train", "dev", "test"))
    model = None if options.models is None else options.models / "aeslc"
    scores = fit_and_score(Summarizer(), train, dev, test, model)
    remember(options.results, {"section": "aeslc", **scores})
    show("AESLC, subjects of emails, test part", beside_rivals(scores, ["lead", "tfidf"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
