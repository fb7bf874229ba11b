"""What the benchmarks of translations and summaries share: data, scores, a model written with PyTorch."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import process_time, thread_time
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from longspan.data.batches import Batch
from longspan.tasks.pair_codec import IGNORED, PairInputs
from longspan.tasks.pair_task import PairTask

Texts = tuple[list[str], list[str]]  # sources and targets


def lines(path: Path) -> list[str]:
    """The lines of a gzipped file."""
    return gzip.decompress(path.read_bytes()).decode().split("\n")[:-1]


def fit_and_score(
    task: PairTask, train: Texts, valid: Texts, test: Texts, model: Path | None
) -> dict[str, Any]:
    """Seconds of the processor of a fit, and the metrics of the test part; model: where to save it."""
    began = process_time()
    pairs = list(zip(*valid, strict=True))
    checkpoint = None if model is None else model.with_suffix(".checkpoint")
    task.fit(*train, validation_data=pairs, resume=checkpoint, verbose=2)
    spent = process_time() - began
    if model is not None:
        task.save(model)
    return {"seconds": spent, "epochs": len(task.history_.epoch), **task.evaluate(*test)}


def show(title: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """A table with a row a model and a column a metric."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = Table(title=title, title_justify="left")
    for name in ("", *columns):
        table.add_column(name, justify="right" if name else "left")
    for name, row in rows.items():
        cells = (row.get(column, "") for column in columns)
        table.add_row(name, *(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells))
    Console(width=160).print(table)


def beside_rivals(scores: Mapping[str, Any], rivals: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The scores of one fit as a row for the model and one for each rival."""
    rows: dict[str, dict[str, Any]] = {"longspan": {}, **{rival: {} for rival in rivals}}
    for name, value in scores.items():
        rival = next((rival for rival in rivals if name.startswith(f"{rival}_")), None)
        rows[rival or "longspan"][name.removeprefix(f"{rival}_")] = value
    return rows


def remember(results: Path | None, entry: Mapping[str, Any]) -> None:
    """Add a line of JSON to the file of results."""
    if results is not None:
        with results.open("a") as file:
            file.write(json.dumps(entry) + "\n")


class Rival(nn.Module):
    """The network of a Translator as one writes it with PyTorch: nn.LSTM, packed batches, torch's losses."""

    def __init__(self, source: int, target: int, E: int, H: int, *, dropout: float, smoothing: float) -> None:
        super().__init__()
        self.read, self.write = nn.Embedding(source, E), nn.Embedding(target, E)
        self.encoder = nn.LSTM(E, H, batch_first=True, bidirectional=True)
        self.first, self.second = nn.LSTM(E, H, batch_first=True), nn.LSTM(3 * H, H, batch_first=True)
        self.query, self.key = nn.Linear(H, H, bias=False), nn.Linear(2 * H, H, bias=False)
        self.bridge = nn.Linear(2 * H, 4 * H)
        self.combine, self.output = nn.Linear(3 * H, E), nn.Linear(E, target)
        self.output.weight = self.write.weight
        self.drop, self.smoothing = nn.Dropout(dropout), smoothing

    def forward(self, inputs: PairInputs) -> Tensor:
        """Logits (B, T, V)."""
        assert inputs.previous is not None and inputs.steps is not None
        memory = self.drop(_packed(self.encoder, self.drop(self.read(inputs.source)), inputs.lengths))
        seen = torch.arange(memory.shape[1]) < inputs.lengths.unsqueeze(1)
        mean = memory.sum(1) / inputs.lengths.unsqueeze(1)
        h1, c1, h2, c2 = self.bridge(mean).chunk(4, -1)
        begins = [(h.tanh().unsqueeze(0), c.unsqueeze(0)) for h, c in ((h1, c1), (h2, c2))]
        x = _packed(self.first, self.drop(self.write(inputs.previous)), inputs.steps, begins[0])
        scores = self.query(x) @ self.key(memory).transpose(1, 2) * x.shape[-1] ** -0.5
        context = scores.masked_fill(~seen.unsqueeze(1), -torch.inf).softmax(-1) @ memory
        both = torch.cat([self.drop(x), self.drop(context)], -1)
        x = _packed(self.second, both, inputs.steps, begins[1])
        return self.output(self.drop(self.combine(torch.cat([x, context], -1)).tanh()))

    def loss(self, batch: Batch) -> Tensor:
        """Smoothed cross entropy."""
        logits = self(batch.x)
        return F.cross_entropy(
            logits.flatten(0, 1), batch.y.flatten(), ignore_index=IGNORED, label_smoothing=self.smoothing
        )


def _packed(layer: nn.LSTM, x: Tensor, lengths: Tensor, state: Any = None) -> Tensor:
    """A layer over the real steps of padded rows (B, T, I)."""
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(layer(packed, state)[0], batch_first=True, total_length=x.shape[1])[0]


def seconds_of(work: Callable[[], Any]) -> float:
    """Seconds of this thread that a call takes: others on the machine do not count."""
    start = thread_time()
    work()
    return thread_time() - start
