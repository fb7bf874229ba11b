"""Trains the small networks of the page that explains the LSTM, and measures what the page shows.

python -m benchmarks.explained models    # longspan/learn/models.json
python -m benchmarks.explained measured  # longspan/learn/measured.json
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import longspan as ls
from longspan.cells import CELLS

FOLDER = Path(__file__).parents[1] / "longspan" / "learn"
CELL_NAMES = ("rnn", "gru", "lstm")
WORDS = ["a", "the", "cat", "dog", "sat", "ran", "on", "mat", "log", "and", "big", "red", "sun", "saw", "me"]
BRACKETS = ("()", "[]", "{}")
ALPHABET = " .()[]{}" + "".join(sorted(set("".join(WORDS))))
TEXT_UNITS, SERIES_UNITS, ADDING_UNITS = 20, 8, 32
TEXT_STEPS, LONGER_STEPS = (
    3500,
    6000,
)  # of training; the longer one for the RNN alone, to see whether it learns late
LENGTHS = (10, 25, 50, 100, 200)
ADDING_STEPS, ADDING_BATCH = 1500, 32
GRADIENT_LENGTH = 100
SEEDS = (0, 1, 2)
DIGITS = 4  # after the point, of exported weights


class Network(nn.Module):
    """A recurrent layer and a linear one over its outputs.

    Args:
        cell: the name of a cell; inputs, units, outputs: widths.
    """

    def __init__(self, cell: str, inputs: int, units: int, outputs: int) -> None:
        super().__init__()
        self.layer = ls.nn.Recurrent(cell, inputs, units, batch_first=True)
        self.head = nn.Linear(units, outputs)
        if "f" in CELLS[cell].gates:  # remember at first (Gers et al. 2000)
            with torch.no_grad():
                first = CELLS[cell].gates.index("f") * units
                dict(self.layer.named_parameters())["bias_ih_l0"][first : first + units] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, I) -> (B, T, O)."""
        return self.head(self.layer(x)[0])


def seed_all(seed: int) -> random.Random:
    torch.manual_seed(seed)
    return random.Random(seed)


# ---- the text with brackets


def sentence(draw: random.Random) -> str:
    """Words, some of them inside a pair of brackets, and a full stop."""
    parts = [draw.choice(WORDS) for _ in range(draw.randint(1, 4))]
    for _ in range(draw.randint(0, 2)):
        left, right = draw.choice(BRACKETS)
        parts.append(left + " ".join(draw.choice(WORDS) for _ in range(draw.randint(1, 5))) + right)
        parts += [draw.choice(WORDS) for _ in range(draw.randint(0, 2))]
    return " ".join(parts) + ". "


def text_batch(draw: random.Random, rows: int, length: int) -> Tensor:
    """Numbers of characters (rows, length)."""
    texts = []
    for _ in range(rows):
        text = ""
        while len(text) < length:
            text += sentence(draw)
        texts.append([ALPHABET.index(character) for character in text[:length]])
    return torch.tensor(texts)


def train_text(cell: str, seed: int = 0, steps: int = TEXT_STEPS) -> tuple[Network, dict[str, float]]:
    """A network that foretells characters, and the share of closing brackets that it gets right."""
    draw = seed_all(seed)
    network = Network(cell, len(ALPHABET), TEXT_UNITS, len(ALPHABET))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        codes = text_batch(draw, 32, 65)
        logits = network(F.one_hot(codes[:, :-1], len(ALPHABET)).float())
        loss = F.cross_entropy(logits.flatten(0, 1), codes[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    codes = text_batch(random.Random(1000 + seed), 300, 121)
    with torch.no_grad():
        logits = network(F.one_hot(codes[:, :-1], len(ALPHABET)).float())
    truth = codes[:, 1:]
    loss = float(F.cross_entropy(logits.flatten(0, 1), truth.flatten()))
    closing = torch.tensor([ALPHABET.index(right) for _, right in BRACKETS])
    at = torch.isin(truth, closing)
    right = logits[at][:, closing].argmax(1) == torch.searchsorted(closing, truth[at])
    return network, {"nats": loss, "closing": float(right.float().mean())}


# ---- the series


def series_batch(rows: int, length: int) -> Tensor:
    """Waves of two frequencies, some of them squared off (rows, length, 1)."""
    time = torch.arange(length)
    period, phase, height = (torch.rand(rows, 1) for _ in range(3))
    wave = torch.sin(2 * torch.pi * (time / (6 + 18 * period) + phase)) * (0.3 + 0.7 * height)
    square = torch.rand(rows, 1) < 0.4
    shaped = torch.where(square, wave.sign() * (0.3 + 0.7 * height), wave)
    return (shaped + 0.03 * torch.randn(rows, length))[..., None]


def train_series(cell: str, seed: int = 0, steps: int = 2000) -> tuple[Network, dict[str, float]]:
    """A network that foretells the next value, and its mean squared error."""
    seed_all(seed)
    network = Network(cell, 1, SERIES_UNITS, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x = series_batch(32, 60)
        loss = F.mse_loss(network(x[:, :-1]), x[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    x = series_batch(500, 60)
    with torch.no_grad():
        error = float(F.mse_loss(network(x[:, :-1])[:, 10:], x[:, 11:]))
        last = float(F.mse_loss(x[:, 10:-1], x[:, 11:]))
    return network, {"mse": error, "last_value_mse": last}


def exported(network: Network) -> dict[str, Any]:
    """The weights, rounded: W and R by rows, the two biases, and the output layer."""
    named = {name: value.detach() for name, value in network.layer.named_parameters()}
    weights = {
        "W": named["weight_ih_l0"], "R": named["weight_hh_l0"], "bx": named["bias_ih_l0"],
        "br": named["bias_hh_l0"], "V": network.head.weight, "bv": network.head.bias,
    }  # fmt: skip
    return {name: rounded(value) for name, value in weights.items()}


def rounded(value: Tensor) -> Any:
    if value.dim() > 1:
        return [rounded(row) for row in value]
    return [round(number, DIGITS) + 0.0 for number in value.tolist()]


def models() -> dict[str, Any]:
    """Every network of the page with its weights and how good it is."""
    result: dict[str, Any] = {
        "alphabet": ALPHABET,
        "text": {"units": TEXT_UNITS, "steps": TEXT_STEPS, "cells": {}},
        "series": {"units": SERIES_UNITS, "cells": {}},
    }
    for cell in CELL_NAMES:
        for kind, train in (("text", train_text), ("series", train_series)):
            network, quality = train(cell)
            print(kind, cell, quality, file=sys.stderr, flush=True)
            figures = {name: round(value, 5) for name, value in quality.items()}
            result[kind]["cells"][cell] = {**exported(network), "quality": figures}
    late = train_text("rnn", steps=LONGER_STEPS)[1]["closing"]
    result["text"]["rnn_later"] = {"steps": LONGER_STEPS, "closing": round(late, 5)}
    return result


# ---- the long memory


def adding_batch(rows: int, length: int) -> tuple[Tensor, Tensor]:
    """Numbers and two marks, x (rows, length, 2), and the sums of the marked numbers (rows,).

    The adding problem (Hochreiter and Schmidhuber 1997, experiment 4), with a mark in each half.
    """
    numbers, marks, row = torch.rand(rows, length), torch.zeros(rows, length), torch.arange(rows)
    first, second = torch.randint(length // 2, (rows,)), torch.randint(length // 2, length, (rows,))
    marks[row, first] = marks[row, second] = 1.0
    return torch.stack((numbers, marks), -1), numbers[row, first] + numbers[row, second]


def begun(cell: str, seed: int) -> Network:
    """A network for the adding problem before training."""
    seed_all(seed)
    return Network(cell, 2, ADDING_UNITS, 1)


def train_adding(cell: str, length: int, seed: int, steps: int = ADDING_STEPS) -> Network:
    """A network that is asked, after `length` steps, for the sum of the two marked numbers."""
    network = begun(cell, seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    for _ in range(steps):
        x, total = adding_batch(ADDING_BATCH, length)
        loss = F.mse_loss(network(x)[:, -1, 0], total)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return network


def adding_error(network: Network, length: int) -> float:
    """The mean squared error on 2,000 sequences; always answering 1 has 1/6."""
    x, total = adding_batch(2000, length)
    with torch.no_grad():
        return float(F.mse_loss(network(x)[:, -1, 0], total))


def gradient_by_lag(network: Network, length: int = GRADIENT_LENGTH) -> list[float]:
    """The norm of the gradient of the loss at the end by the input k steps before it, for k = 0, 1, ...

    The mean over 64 sequences, divided by the norm at k = 0.
    """
    torch.manual_seed(99)
    x, total = adding_batch(64, length)
    x.requires_grad_()
    F.mse_loss(network(x)[:, -1, 0], total, reduction="sum").backward()
    assert x.grad is not None
    norms = x.grad.norm(dim=2).mean(0).flip(0)
    return (norms / norms[0]).tolist()


def measured(lengths: Sequence[int] = LENGTHS, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """The error by length, and the gradient by lag as networks begin and after training."""
    errors: dict[str, Any] = {cell: {} for cell in CELL_NAMES}
    gradients: dict[str, Any] = {}
    for cell in CELL_NAMES:
        for length in lengths:
            trained = [train_adding(cell, length, seed) for seed in seeds]
            reached = [round(adding_error(network, length), 4) for network in trained]
            errors[cell][str(length)] = reached
            print(cell, length, reached, file=sys.stderr, flush=True)
            if length == GRADIENT_LENGTH:
                both = {"before": begun(cell, seeds[0]), "after": trained[0]}
                gradients[cell] = {
                    when: [float(f"{norm:.3g}") for norm in gradient_by_lag(network)]
                    for when, network in both.items()
                }
    return {
        "units": ADDING_UNITS, "steps": ADDING_STEPS, "batch": ADDING_BATCH, "seeds": list(seeds),
        "lengths": list(lengths), "errors": errors, "gradients": gradients,
    }  # fmt: skip


def main() -> int:
    """Write one of the two files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["models", "measured"])
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    content = models() if asked.part == "models" else measured()
    path = asked.output or FOLDER / f"{asked.part}.json"
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
