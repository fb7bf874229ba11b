"""Measures SpeechRecognizer with its defaults: spoken digits, strings of them, streams, speed.

    python -m benchmarks.speech --data FOLDER [--sections digits,strings,stream,speed] [--seeds 0,1,2]
        [--models FOLDER] [--results FILE]

FOLDER is that of the data sets, with the Free Spoken Digit Dataset in speech/fsdd. Its official split has the
recordings 0 to 4 of every digit and speaker in the test part, which is touched once a fit. Strings join three
to seven recordings of one speaker and one part, drawn by a fixed seed. Speed is in seconds of one thread, so
that others on the machine do not count. With --models fits are saved there, with checkpoints, and a fit that
was stopped goes on.
"""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import longspan
from longspan import optimizers
from longspan.data.batches import Batch
from longspan.optional import require
from longspan.tasks.speech import SpeechRecognizer
from longspan.tasks.speech.tokens import BLANK

from .pairs import remember, seconds_of, show

SECTIONS = ("digits", "strings", "stream", "speed")
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEST_RECORDINGS = 5  # of every digit and speaker
_STRING_DIGITS = (3, 7)
_TRAIN_STRINGS, _TEST_STRINGS, _SPEED_STRINGS = 3000, 300, 640
_ROUNDS = 3  # epochs of each side that are timed
_CHUNK = 800  # samples of a chunk of a stream


class Digit(NamedTuple):
    """A recording of one spoken digit."""

    sound: np.ndarray
    rate: int
    digit: int
    speaker: str
    recording: int


Sounds = tuple[list[tuple[np.ndarray, int]], list[str]]  # pairs (sound, rate), and their texts


def digits(data: Path) -> list[Digit]:
    """All recordings of the Free Spoken Digit Dataset."""
    soundfile = require("soundfile", "speech", "sound files")
    found = []
    with zipfile.ZipFile(data / "speech/fsdd/fsdd_recordings.zip") as archive:
        for name in sorted(archive.namelist()):
            digit, speaker, recording = Path(name).stem.split("_")
            sound, rate = soundfile.read(io.BytesIO(archive.read(name)), dtype="float32")
            found.append(Digit(sound, rate, int(digit), speaker, int(recording)))
    return found


def split(data: Path) -> tuple[list[Digit], list[Digit]]:
    """The official training and test recordings."""
    every = digits(data)
    return [one for one in every if one.recording >= _TEST_RECORDINGS], [
        one for one in every if one.recording < _TEST_RECORDINGS
    ]


def single(rows: Sequence[Digit]) -> Sounds:
    """Every recording with its word."""
    return [(one.sound, one.rate) for one in rows], [_WORDS[one.digit] for one in rows]


def strings(rows: Sequence[Digit], count: int, seed: int) -> Sounds:
    """Recordings of one speaker joined to strings of digits, drawn by the seed."""
    draw = np.random.default_rng(seed)
    speakers = sorted({one.speaker for one in rows})
    of = {speaker: [one for one in rows if one.speaker == speaker] for speaker in speakers}
    sounds, texts = [], []
    low, high = _STRING_DIGITS
    for _ in range(count):
        own = of[speakers[int(draw.integers(len(speakers)))]]
        parts = [own[int(place)] for place in draw.integers(len(own), size=int(draw.integers(low, high + 1)))]
        sounds.append((np.concatenate([part.sound for part in parts]), parts[0].rate))
        texts.append(" ".join(_WORDS[part.digit] for part in parts))
    return sounds, texts


def seconds(sounds: Sounds) -> float:
    """Seconds of all sounds."""
    return sum(len(sound) / rate for sound, rate in sounds[0])


def fit_and_score(
    task: SpeechRecognizer, train: Sounds, test: Sounds, model: Path | None
) -> tuple[SpeechRecognizer, dict[str, Any]]:
    """The fitted task and its scores; model: where to save it, or where it has been saved."""
    if model is not None and model.exists():
        saved = longspan.load(model)
        assert isinstance(saved, SpeechRecognizer)
        return saved, {"seconds": None, **saved.evaluate(*test)}
    began = process_time()
    checkpoint = None if model is None else model.with_suffix(".checkpoint")
    task.fit(*train, resume=checkpoint, verbose=2)
    spent = process_time() - began
    if model is not None:
        task.save(model)
    began = process_time()
    scores = task.evaluate(*test)
    factor = (process_time() - began) / seconds(test)
    return task, {"seconds": spent, "epochs": len(task.history_.epoch), **scores, "real-time factor": factor}


def spoken(section: str, data: Path, seed: int, models: Path | None, results: Path | None) -> None:
    """Fit one of digits, strings and stream, and print its scores."""
    train, test = split(data)
    if section == "digits":
        task, sounds, asked = SpeechRecognizer(seed=seed), single(train), single(test)
        title = "FSDD, one digit a sound, official split; goal: accuracy at least 99 % (aim 99.7)"
    else:
        sounds, asked = strings(train, _TRAIN_STRINGS, 1), strings(test, _TEST_STRINGS, 2)
        task = SpeechRecognizer(seed=seed, bidirectional=section == "strings")
        title = f"Strings of FSDD's digits, {section}; goal: WER at most 3 %"
    model = None if models is None else models / f"speech-{section}-{seed}"
    task, scores = fit_and_score(task, sounds, asked, model)
    if section == "stream":
        scores |= streamed(task, asked)
    remember(results, {"section": section, "seed": seed, **scores})
    show(f"{title}; seed {seed}", {"longspan": scores})


def streamed(task: SpeechRecognizer, asked: Sounds) -> dict[str, Any]:
    """How many texts of streams differ from those of whole sounds, and the streams' real-time factor."""
    whole = task.predict(asked[0])
    began = process_time()
    texts = []
    for sound, rate in asked[0]:
        stream = task.stream(rate)
        for start in range(0, len(sound), _CHUNK):
            stream.step(sound[start : start + _CHUNK])
        texts.append(stream.finish())
    factor = (process_time() - began) / seconds(asked)
    differing = sum(text != other for text, other in zip(texts, whole, strict=True))
    return {"streams that differ": differing, "stream's real-time factor": factor}


class Rival(nn.Module):
    """The network of a recognizer as one writes it with PyTorch: nn.LSTM over packed batches, F.ctc_loss."""

    def __init__(self, bins: int, labels: int, *, filters: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.front = nn.ModuleList([nn.Conv1d(bins, filters, 5, 2), nn.Conv1d(filters, filters, 5, 2)])
        self.norms = nn.ModuleList([nn.LayerNorm(filters), nn.LayerNorm(filters)])
        self.drop = nn.Dropout(dropout)
        self.lstm = nn.LSTM(filters, hidden_size, 2, batch_first=True, bidirectional=True, dropout=dropout)
        self.output = nn.Linear(2 * hidden_size, labels)

    def loss(self, batch: Batch) -> Tensor:
        """The CTC loss of a token."""
        assert batch.lengths is not None
        x, lengths = batch.x, batch.lengths
        for front, norm in zip(self.front, self.norms, strict=True):
            x = norm(front(F.pad(x.transpose(1, 2), (4, 0))).transpose(1, 2)).relu()
            lengths = (lengths + 1) // 2
        packed = pack_padded_sequence(self.drop(x), lengths, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])
        log_probs = self.output(self.drop(out)).log_softmax(-1).transpose(0, 1)
        losses = F.ctc_loss(log_probs, batch.y[0], lengths, batch.y[1], BLANK, "sum", zero_infinity=True)
        return losses / batch.y[1].sum()


def speed(data: Path, results: Path | None) -> None:
    """Epochs over the same batches of strings: ours, and the same network written with PyTorch."""
    train, _ = split(data)
    task = SpeechRecognizer(token_level="words", stride=4, speed_perturbation=())
    records = task.read(*strings(train, _SPEED_STRINGS, 1))
    codec = task.codec().fit(records)
    torch.manual_seed(0)
    batches = list(task.batches(codec, records, train=True))
    ours = task.network(codec, records)
    rival = Rival(
        codec.bins, codec.tokens.size, filters=task.filters, hidden_size=task.hidden_size, dropout=0.2
    )
    assert _weights(ours) == _weights(rival)
    sides: dict[str, tuple[nn.Module, Any, Any]] = {
        "longspan": (
            ours, lambda b: ours.loss(ours(b)[0], b), optimizers.Adam(3e-3).build(ours.parameters())
        ),
        "PyTorch": (rival, rival.loss, torch.optim.Adam(rival.parameters(), 3e-3, fused=True)),
    }  # fmt: skip
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for epoch in range(_ROUNDS + 1):
        for name, (network, loss, optimizer) in sides.items():
            taken = seconds_of(lambda n=network, f=loss, o=optimizer: _epoch(n, f, o, batches))
            spent[name] += [taken] if epoch else []
    ratio = median(a / b for a, b in zip(spent["PyTorch"], spent["longspan"], strict=True))
    rows: dict[str, dict[str, Any]] = {
        name: {"seconds an epoch": median(values)} for name, values in spent.items()
    }
    rows["ratio"] = {"seconds an epoch": f"{ratio:.2f} (goal 2)"}
    remember(results, {"section": "speed", "ratio": ratio, **{n: median(v) for n, v in spent.items()}})
    show(f"Training, {len(records)} strings in batches of {task.batch_size}, one thread", rows)


def _weights(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def _epoch(network: nn.Module, loss: Any, optimizer: Any, batches: Sequence[Batch]) -> None:
    for batch in batches:
        loss(batch).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def main(arguments: Sequence[str]) -> int:
    """Run the sections that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speech", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--models", type=Path)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for section in options.sections.split(","):
        if section == "speed":
            speed(options.data, options.results)
            continue
        for seed in options.seeds.split(","):
            spoken(section, options.data, int(seed), options.models, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
