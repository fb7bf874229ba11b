"""Measures Captioner on RSICD: satellite pictures with five captions each, beside the nearest neighbour.

    python -m benchmarks.captioning --data FOLDER [--seeds 0,1,2] [--part test|held-out] [--models FOLDER]
        [--results FILE]

FOLDER is that of the data sets, with RSICD's official val and test parts in captioning/rsicd_valtest2187:
1,092 pictures to learn from and 1,093 to be asked about, at 112 pixels. The pictures are from above, so
`flips` and `rotations` are on; all other options are defaults. The test part is touched once a fit. With
--part held-out a fifth of the training pictures is asked about in its place, by which options are chosen.
With --models fits are saved there, with checkpoints, and a fit that was stopped goes on.

The rivals are one caption for all, the one with the highest CIDEr-D on the training part, and the captions of
the nearest training picture by histograms of colours and by the mean of the fitted network's own features:
its first caption, and the one that is most similar to its others.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import longspan
from longspan.metrics.captions import CiderScorer
from longspan.optional import require
from longspan.tasks.caption import Captioner
from longspan.tasks.caption.codec import Caption

from .pairs import remember, show

PARTS = ("test", "held-out")
OPTIONS: dict[str, Any] = {"flips": True, "rotations": True}
_FOLDER = "captioning/rsicd_valtest2187"
_BINS = 4  # of each colour in a histogram
_FREQUENT = 30  # captions that are tried as the one for all
_HELD_OUT = 5  # a picture in so many is held out
_BEAM = 5

Part = tuple[list[np.ndarray], list[list[str]]]  # pictures (H, W, 3), and the captions of each


def part(data: Path, name: str) -> Part:
    """The pictures and captions of "official_val" or "official_test"; an empty caption is left out."""
    pillow = require("PIL.Image", "caption", "pictures")
    captions: dict[str, list[str]] = json.loads((data / _FOLDER / "captions.json").read_text())[name]
    with zipfile.ZipFile(data / _FOLDER / "images_112.zip") as archive:
        pictures = [
            np.array(pillow.open(io.BytesIO(archive.read(f"images/{file}"))).convert("RGB"))
            for file in captions
        ]
    return pictures, [[text for text in texts if text.strip()] for texts in captions.values()]


def parts(data: Path, asked: str) -> tuple[Part, Part]:
    """What is learned from, and what is asked about."""
    pictures, captions = part(data, "official_val")
    if asked == "test":
        return (pictures, captions), part(data, "official_test")
    held_out = [row % _HELD_OUT == 0 for row in range(len(pictures))]
    train, rest = (
        (
            [picture for picture, out in zip(pictures, held_out, strict=True) if out is wanted],
            [texts for texts, out in zip(captions, held_out, strict=True) if out is wanted],
        )
        for wanted in (False, True)
    )
    return train, rest


def histograms(pictures: Sequence[np.ndarray]) -> Tensor:
    """(N, 64) square roots of the shares of colours, four bins each of red, green and blue."""
    rows = []
    for picture in pictures:
        bins = picture.astype(np.int64) * _BINS // 256
        colors = (bins[..., 0] * _BINS + bins[..., 1]) * _BINS + bins[..., 2]
        rows.append(np.sqrt(np.bincount(colors.ravel(), minlength=_BINS**3) / colors.size))
    return torch.from_numpy(np.stack(rows)).float()


def features(task: Captioner, pictures: Sequence[np.ndarray]) -> Tensor:
    """(N, M), the mean of the cells that the fitted decoder attends to."""
    records = task.read(list(pictures), use="predict")
    with torch.no_grad():
        batches = task.batches(task.codec_, records, train=False)
        return torch.cat([task.network_.encoder(batch.x.frames).mean(1) for batch in batches])


def nearest(asked: Tensor, known: Tensor) -> list[int]:
    """For each row of `asked` (N, D) the most similar row of `known` (M, D), by the cosine."""
    mean = known.mean(0)
    cosines = F.normalize(asked - mean, dim=1) @ F.normalize(known - mean, dim=1).T
    return cosines.argmax(1).tolist()


def most_typical(scorer: CiderScorer, captions: Sequence[str]) -> str:
    """The caption of a picture that is most similar to its others."""
    cut = [text.split() for text in captions]
    return max(captions, key=lambda text: scorer.score(text.split(), cut))


def one_for_all(captions: Sequence[Sequence[str]]) -> str:
    """Of the most frequent captions the one with the highest CIDEr-D on all pictures."""
    scorer = CiderScorer([[text.split() for text in texts] for texts in captions])
    frequent = Counter(text for texts in captions for text in texts).most_common(_FREQUENT)
    references = [[text.split() for text in texts] for texts in captions]

    def total(caption: str) -> float:
        return sum(scorer.score(caption.split(), texts) for texts in references)

    return max((text for text, _ in frequent), key=total)


def rivals(task: Captioner, train: Part, asked: Part) -> dict[str, list[str]]:
    """The captions of answers that need no decoder."""
    pictures, captions = train
    scorer = CiderScorer([[text.split() for text in texts] for texts in captions])
    typical = [most_typical(scorer, texts) for texts in captions]
    found = {
        "histograms": nearest(histograms(asked[0]), histograms(pictures)),
        "features": nearest(features(task, asked[0]), features(task, pictures)),
    }
    answers = {"one caption for all": [one_for_all(captions)] * len(asked[0])}
    for name, rows in found.items():
        answers[f"nearest by {name}, first"] = [captions[row][0] for row in rows]
        answers[f"nearest by {name}, typical"] = [typical[row] for row in rows]
    return answers


def scores(task: Captioner, answers: Sequence[str], captions: Sequence[Sequence[str]]) -> dict[str, float]:
    """The captioner's own metrics of any answers."""
    written = [Caption(text, 0.0) for text in answers]
    truth = [tuple(texts) for texts in captions]
    return {name: float(metric(written, truth)) for name, metric in task.codec_.metrics().items()}


def fitted(seed: int, train: Part, model: Path | None) -> tuple[Captioner, float | None]:
    """A captioner, and the seconds of one thread that its fit took; None where it has been saved before."""
    if model is not None and model.exists():
        saved = longspan.load(model)
        assert isinstance(saved, Captioner)
        return saved, None
    task = Captioner(seed=seed, **OPTIONS)
    began = process_time()
    task.fit(*train, resume=None if model is None else model.with_suffix(".checkpoint"), verbose=2)
    spent = process_time() - began
    if model is not None:
        task.save(model)
    return task, spent


def measure(data: Path, asked_part: str, seed: int, models: Path | None, results: Path | None) -> None:
    """Fit once, and print the scores beside the rivals'."""
    train, asked = parts(data, asked_part)
    task, spent = fitted(seed, train, None if models is None else models / f"rsicd-{asked_part}-{seed}")
    rows: dict[str, dict[str, Any]] = {}
    for name, search in (("longspan", {}), (f"longspan, beam {_BEAM}", {"beam_size": _BEAM})):
        began = process_time()
        answers = task.predict(asked[0], **search)
        speed = len(answers) / (process_time() - began)
        rows[name] = {**scores(task, answers, asked[1]), "fit seconds": spent, "pictures/s": speed}
    for name, answers in rivals(task, train, asked).items():
        rows[name] = scores(task, answers, asked[1])
    remember(results, {"part": asked_part, "seed": seed, "rows": rows})
    goal = "BLEU-4 and CIDEr above the nearest neighbour's and one caption for all; 60 % distinct"
    show(f"RSICD, {len(asked[0])} pictures of the {asked_part} part, seed {seed}; goal: {goal}", rows)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--part", choices=PARTS, default="test")
    parser.add_argument("--models", type=Path)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.models is not None:
        options.models.mkdir(parents=True, exist_ok=True)
    for seed in map(int, options.seeds.split(",")):
        measure(options.data, options.part, seed, options.models, options.results)


if __name__ == "__main__":
    main(sys.argv[1:])
