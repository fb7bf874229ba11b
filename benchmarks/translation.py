"""Measures Translator with its defaults: Multi30k, a toy to reverse and copy, speed beside rivals.

    python -m benchmarks.translation --data FOLDER [--sections de-en,en-de,toy,speed,search] [--models FOLDER]
        [--results FILE]

BLEU and chrF are sacrebleu's on whole texts, test_2016_flickr, which is touched once. FOLDER is that of the
data sets. Speed is in seconds of one thread, so that others on the machine do not count. With --models fits
are saved there, with checkpoints, and a fit that was stopped goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from longspan import optimizers
from longspan.data.batches import Batch
from longspan.data.tokenizers import END, SPECIAL, START
from longspan.tasks.pair_codec import PairBatches, PairInputs
from longspan.tasks.pair_network import PairNetwork
from longspan.tasks.pair_reading import Pair
from longspan.tasks.translate import Translator
from longspan.tasks.translate.codec import TranslationCodec

from .pairs import Rival, Texts, beside_rivals, fit_and_score, lines, remember, seconds_of, show

SECTIONS = ("de-en", "en-de", "toy", "speed", "search")
_GOALS = {"de-en": "at least 33 (aim 36); GRU with attention 28.3", "en-de": "at least 31"}
_STEPS, _ROUNDS = 12, 3  # training steps of a sample; samples of each side
_SENTENCES, _BEAM = 100, 5


def multi30k(data: Path, part: str, source: str, target: str) -> Texts:
    """Sources and targets of a part, as they are written."""
    folder = data / "translation/multi30k/raw"
    return lines(folder / f"{part}.{source}.gz"), lines(folder / f"{part}.{target}.gz")


def translate(data: Path, direction: str, models: Path | None, results: Path | None) -> None:
    """Fit one direction and print its scores beside copying the source."""
    source, target = direction.split("-")
    train, valid, test = (
        multi30k(data, part, source, target) for part in ("train", "val", "test_2016_flickr")
    )
    model = None if models is None else models / f"multi30k-{direction}"
    scores = fit_and_score(Translator(), train, valid, test, model)
    remember(results, {"section": direction, **scores})
    show(f"Multi30k {direction}, test_2016_flickr; {_GOALS[direction]}", beside_rivals(scores, ["copy"]))


def toy(results: Path | None) -> None:
    """Words to be reversed, of which names that training never had are copied."""
    draw = np.random.default_rng(0)
    letters = list("abcdefghijklmnopqrstuvwxyz")

    def pairs(count: int) -> Texts:
        rows = []
        for _ in range(count):
            words = [
                str(word) for word in draw.choice(["red", "blue", "green", "one", "two"], draw.integers(2, 6))
            ]
            words.insert(int(draw.integers(len(words) + 1)), "".join(draw.choice(letters, 6)))
            rows.append(words)
        return [" ".join(row) for row in rows], [" ".join(row[::-1]) for row in rows]

    task = Translator(
        copy=True, hidden_size=64, embedding_size=32, epochs=12, learning_rate=0.01, dropout=0.0
    )
    scores = fit_and_score(task, pairs(4000), pairs(200), pairs(500), None)
    remember(results, {"section": "toy", **scores})
    show("Reversal with names to copy; exact_match is to be 1", beside_rivals(scores, ["copy"]))


def speed(data: Path, results: Path | None) -> None:
    """Training steps on the same ragged batches: ours, and the same network written with PyTorch."""
    sources, targets = multi30k(data, "train", "de", "en")
    records = [Pair(*pair) for pair in zip(sources, targets, strict=True)][:8000]
    codec = TranslationCodec("bpe", 5000).fit(records)
    torch.manual_seed(0)
    batches = list(PairBatches(codec, records, 64, train=True))[: 2 * _STEPS]
    ours = PairNetwork(
        codec.source.size, codec.target.size, 256, 256, attention="multiplicative", dropout=0.3,
        label_smoothing=0.1,
    )  # fmt: skip
    rival = Rival(codec.source.size, codec.target.size, 256, 256, dropout=0.3, smoothing=0.1)
    sides = {"longspan": (ours, lambda b: ours.loss(ours(b)[0], b)), "PyTorch": (rival, rival.loss)}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for sample in range(_ROUNDS + 1):
        for name, (network, loss) in sides.items():
            optimizer: Any = torch.optim.Adam(network.parameters(), fused=True)
            if name == "longspan":
                optimizer = optimizers.Adam(1e-3).build(network.parameters())
            part = batches[:_STEPS] if sample % 2 else batches[_STEPS:]
            spent = seconds_of(lambda n=network, o=optimizer, f=loss, p=part: _steps(n, o, f, p))
            seconds[name] += [spent] if sample else []
    tokens = sum(int(b.x.lengths.sum() + b.x.steps.sum()) for b in batches) / 2
    ratio = median(a / b for a, b in zip(seconds["PyTorch"], seconds["longspan"], strict=True))
    rows: dict[str, dict[str, object]] = {
        name: {"tokens a second": round(tokens / median(spent))} for name, spent in seconds.items()
    }
    rows["ratio"] = {"tokens a second": f"{ratio:.2f} (goal 2)"}
    remember(results, {"section": "speed", "ratio": ratio, **{n: median(s) for n, s in seconds.items()}})
    show("Training, batches of 64 pairs of unequal length, one thread", rows)


def _steps(network: Any, optimizer: Any, loss: Any, batches: Sequence[Batch]) -> None:
    for batch in batches:
        loss(batch).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def search(data: Path, models: Path | None, results: Path | None) -> None:
    """A beam of 5 over 100 sentences: ours at once, ours one by one, and a loop by hand over the rival."""
    sources, targets = multi30k(data, "train", "de", "en")
    records = [Pair(*pair) for pair in zip(sources, targets, strict=True)][:4000]
    if models is not None and (models / "multi30k-de-en").exists():
        import longspan

        task = longspan.load(models / "multi30k-de-en")
        codec, network = task.codec_, task.network_
    else:
        codec, network = TranslationCodec("bpe", 5000).fit(records), None
        network = PairNetwork(codec.source.size, codec.target.size, 256, 256)
    network.eval()
    asked = [Pair(source) for source in multi30k(data, "val", "de", "en")[0][:_SENTENCES]]
    whole = list(PairBatches(codec, asked, 64, train=False))
    single = list(PairBatches(codec, asked, 1, train=False))
    with torch.no_grad():
        lengths = [
            len(row[0].tokens) for batch in whole for row in network.predict(batch, beam_size=_BEAM).rows
        ]
        together = seconds_of(lambda: [network.predict(batch, beam_size=_BEAM) for batch in whole])
        apart = seconds_of(lambda: [network.predict(batch, beam_size=_BEAM) for batch in single])
        loop = seconds_of(
            lambda: [_loop(network, batch.x, n) for batch, n in zip(single, lengths, strict=True)]
        )
    rows = {
        "longspan, batches": {"seconds": together},
        "longspan, one by one": {"seconds": apart, "ratio": apart / together},
        "a loop for each sentence": {"seconds": loop, "ratio": loop / together},
    }
    remember(results, {"section": "search", "together": together, "apart": apart, "loop": loop})
    show(f"A beam of {_BEAM} over {_SENTENCES} sentences; goal 3 times a loop for each sentence", rows)


def _loop(network: PairNetwork, inputs: PairInputs, steps: int) -> list[int]:
    """A beam as one writes it for one sentence: the beginnings as a batch, Python's lists around it."""
    state = network._begin(inputs)
    state = state.select(torch.zeros(_BEAM, dtype=torch.int64))
    beams: list[tuple[float, list[int]]] = [(0.0, [SPECIAL.index(START)])] + [(-1e9, [0])] * (_BEAM - 1)
    for _ in range(steps + 1):
        tokens = torch.tensor([words[-1] for _, words in beams])
        logits, state, _ = network.decoder.step(tokens, state)
        values, best = logits.log_softmax(-1).topk(_BEAM)
        longer = [
            (score + values[row, place].item(), [*words, int(best[row, place])], row)
            for row, (score, words) in enumerate(beams)
            for place in range(_BEAM)
        ]
        longer = sorted(longer, key=lambda one: -one[0])[:_BEAM]
        beams = [(score, words) for score, words, _ in longer]
        state = state.select(torch.tensor([row for _, _, row in longer]))
        if beams[0][1][-1] == SPECIAL.index(END):
            break
    return beams[0][1]


def main(arguments: Sequence[str]) -> int:
    """Run the sections that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.translation", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--models", type=Path)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for section in options.sections.split(","):
        if section == "toy":
            toy(options.results)
        elif section == "speed":
            speed(options.data, options.results)
        elif section == "search":
            search(options.data, options.models, options.results)
        else:
            translate(options.data, section, options.models, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
