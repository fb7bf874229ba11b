"""Measures the accuracy and the speed of LanguageModel, with its defaults, on two public texts.

    python -m benchmarks.language --data FOLDER [--sections tinyshakespeare,ptb,speed,generation]
        [--minutes N] [--models FOLDER]

FOLDER is that of the data sets. Minutes are processor minutes of training, so that a machine which others use
too gives the same figures: 20 are 10 minutes of 2 cores. A test part is touched once, by the fitted model.
Fitted models are saved in the folder of models, where one is named, and a killed run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any, NamedTuple
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from longspan import LanguageModel
from longspan.data.batches import Batch
from longspan.networks.decoder import Decoder
from longspan.optimizers import Adam
from longspan.tasks.language import training
from longspan.tasks.language.codec import DEFAULTS, Sizes
from longspan.tasks.language.network import LanguageNetwork
from longspan.training.evaluation import detach_state

METRICS = ("nats_per_token", "perplexity", "bits_per_character")
ROWS = 16  # of a training step, the default of LanguageModel
VOCABULARIES = {"characters": 65, "words": 10_000}
LENGTH = 1000  # characters that are generated
CLIP = 1.0


class Parts(NamedTuple):
    """A text in its parts."""

    train: str
    valid: str
    test: str


def tinyshakespeare(data: Path) -> Parts:
    """90, 5 and 5 % of the characters, as in char-rnn."""
    text = (data / "language_modelling/tinyshakespeare/input.txt").read_text()
    ends = int(0.9 * len(text)), int(0.95 * len(text))
    return Parts(text[: ends[0]], text[ends[0] : ends[1]], text[ends[1] :])


def ptb(data: Path) -> Parts:
    """Mikolov's split of words; the end of a line is a token."""
    with zipfile.ZipFile(data / "language_modelling/ptb/ptb.zip") as archive:
        names = {Path(name).name: name for name in archive.namelist()}
        parts = (names[f"ptb.{part}.txt"] for part in ("train", "valid", "test"))
        return Parts(*(archive.read(name).decode() for name in parts))


SETS: dict[str, tuple[Callable[[Path], Parts], float, str]] = {
    "tinyshakespeare": (tinyshakespeare, 20.0, "at most 1.50 nats a character in 10 minutes of 2 cores"),
    "ptb": (ptb, 30.0, "perplexity at most 100 in 30 processor minutes"),
}


def accuracy(console: Console, name: str, data: Path, minutes: float | None, models: Path | None) -> None:
    """Fit on the training part, validate on the validation part, evaluate on the test part."""
    read, usual, goal = SETS[name]
    parts, minutes = read(data), minutes or usual
    model = LanguageModel(max_minutes=minutes, epochs=1000)
    resume = None if models is None else models / f"{name}-{minutes:g}.checkpoint"
    with mock.patch.object(training, "monotonic", process_time):  # minutes of the processor
        model.fit([parts.train], validation_data=[parts.valid], resume=resume, verbose=2)
    if models is not None:
        model.save(models / f"{name}-{minutes:g}")
    scores = model.evaluate([parts.test])
    table = Table(title=f"{name}: {goal}", title_justify="left")
    for heading in ("test part", *METRICS):
        table.add_column(heading, justify="right" if heading in METRICS else "left")
    names = {f"longspan, {minutes:g} minutes": "", "its network alone": "network_", "n-gram alone": "ngram_"}
    for label, prefix in names.items():
        table.add_row(label, *(f"{scores[prefix + metric]:.4f}" for metric in METRICS))
    console.print(table)
    facts = {
        "threads": torch.get_num_threads(),
        "token_level": model.codec_.token_level,
        "weights": sum(weight.numel() for weight in model.network_.parameters()),
        "epochs": len(model.history_.epoch),
        "stopped": model.history_.stopped,
        "validation": model.codec_.validation.get("nats_per_token"),
        **scores,
    }
    console.print(json.dumps(facts), soft_wrap=True)


# ---- speed


class Rival(nn.Module):
    """The same model written by hand in PyTorch."""

    def __init__(self, vocabulary: int, sizes: Sizes) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, sizes.embedding_size)
        self.lstm = nn.LSTM(sizes.embedding_size, sizes.hidden_size, sizes.num_layers, batch_first=True)
        width = sizes.embedding_size if sizes.tied else sizes.hidden_size
        same = width == sizes.hidden_size
        self.project = nn.Identity() if same else nn.Linear(sizes.hidden_size, width)
        self.output = nn.Linear(width, vocabulary)
        if sizes.tied:
            self.output.weight = self.embedding.weight
        self.rate = sizes.dropout

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        out, state = self.lstm(self.drop(self.embedding(tokens)), state)
        return self.output(self.drop(self.project(out))), state

    def drop(self, x: Tensor) -> Tensor:
        """The same values at all steps."""
        if not self.training:
            return x
        return x * x.new_empty(x.shape[0], 1, x.shape[2]).bernoulli_(1 - self.rate).div_(1 - self.rate)


def our_network(vocabulary: int, sizes: Sizes) -> LanguageNetwork:
    decoder = Decoder(
        vocabulary, sizes.embedding_size, sizes.hidden_size, sizes.num_layers, tied=sizes.tied,
        dropout=sizes.dropout, variational=True,
    )  # fmt: skip
    return LanguageNetwork(decoder)


def our_step(vocabulary: int, sizes: Sizes, x: Tensor, y: Tensor) -> Callable[[], object]:
    """A training step of the library, the optimizer's included."""
    network = our_network(vocabulary, sizes)
    optimizer: Any = Adam(1e-3).build(network.parameters())
    batch, states = Batch(x, y, continues=True), [None]

    def step() -> None:
        output, state = network(batch, detach_state(states[0]))
        network.loss(output, batch).backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP, foreach=True)
        optimizer.fused_step()
        optimizer.zero_grad()
        states[0] = state

    return step


def rival_step(vocabulary: int, sizes: Sizes, x: Tensor, y: Tensor) -> Callable[[], object]:
    """A training step of the model by hand."""
    network = Rival(vocabulary, sizes)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=True)
    states: list[Any] = [None]

    def step() -> None:
        logits, state = network(x, states[0])
        F.cross_entropy(logits.flatten(0, 1), y.flatten()).backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP, foreach=True)
        optimizer.step()
        optimizer.zero_grad()
        states[0] = detach_state(state)

    return step


def processor_seconds(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median processor time of each call, called in turn; a machine that others use changes it little."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            begin = process_time()
            call()
            if number:  # the first round warms up
                samples[name].append(process_time() - begin)
    return {name: median(times) for name, times in samples.items()}


def speed(console: Console, rounds: int) -> None:
    """Training steps side by side, in tokens per second of the processor."""
    table = Table(title="training, tokens a processor second (aim: 1.5 times)", title_justify="left")
    for heading in ("tokens", "vocabulary", "sizes", "PyTorch", "longspan", "times"):
        table.add_column(heading, justify="right")
    for level, vocabulary in VOCABULARIES.items():
        sizes = DEFAULTS[level]
        tokens = torch.randint(vocabulary, (ROWS, sizes.chunk_length + 1))
        x, y = tokens[:, :-1], tokens[:, 1:].contiguous()
        calls = {"ours": our_step(vocabulary, sizes, x, y), "rival": rival_step(vocabulary, sizes, x, y)}
        seconds = processor_seconds(calls, 2 * rounds)
        ours, rival = (x.numel() / seconds[name] for name in ("ours", "rival"))
        shape = f"{sizes.num_layers} x {sizes.hidden_size}, B {ROWS}, T {sizes.chunk_length}"
        table.add_row(level, str(vocabulary), shape, f"{rival:,.0f}", f"{ours:,.0f}", f"{ours / rival:.2f}")
    console.print(table)


def generation(console: Console, rounds: int) -> None:
    """1,000 characters one at a time, beside nn.LSTM called a step at a time."""
    text = "".join(chr(33 + number * number % 64) for number in range(2000))
    model = LanguageModel(token_level="characters", max_steps=1).fit([text], verbose=0)
    rival = Rival(model.codec_.tokenizer.size, model.codec_.sizes).eval()

    @torch.inference_mode()
    def by_hand() -> None:
        token, state = torch.zeros(1, 1, dtype=torch.int64), None
        for _ in range(LENGTH):
            logits, state = rival(token, state)
            token = torch.multinomial(logits[0].softmax(-1), 1)

    calls: dict[str, Callable[[], object]] = {"rival": by_hand, "ours": lambda: model.generate("", LENGTH)}
    seconds = processor_seconds(calls, rounds)
    ours, theirs = seconds["ours"], seconds["rival"]
    console.print(
        f"generation of {LENGTH:,} characters: PyTorch {theirs * 1e3:.0f} ms, longspan {ours * 1e3:.0f} ms, "
        f"{theirs / ours:.2f} times (aim: 5)"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure LanguageModel.")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--sections", default="tinyshakespeare,ptb,speed,generation")
    parser.add_argument("--minutes", type=float, help="processor minutes of training; none for the aims' own")
    parser.add_argument("--models", type=Path, help="folder for the fitted models")
    parser.add_argument("--rounds", type=int, default=5, help="of each comparison of speed")
    options = parser.parse_args(argv)
    console = Console(width=120, highlight=False)
    for section in options.sections.split(","):
        if section in SETS:
            accuracy(console, section, options.data, options.minutes, options.models)
        else:
            {"speed": speed, "generation": generation}[section](console, options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
