"""Generates sounds of tones, whose texts are the names of the tones, and fits small recognizers to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from longspan import SpeechRecognizer

soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")
pytest.importorskip("kaldi_native_fbank", reason="kaldi-native-fbank is not installed")
pytest.importorskip("soxr", reason="soxr is not installed")

RATE = 8000
STEPS = {"low": 0.15, "mid": 0.4, "high": 0.9}  # radians a sample
OPTIONS: dict[str, Any] = {
    "hidden_size": 16,
    "filters": 16,
    "mel_bins": 16,
    "num_layers": 1,
    "epochs": 6,
    "batch_size": 8,
    "learning_rate": 0.02,
    "frequency_masks": 0,
    "time_masks": 0,
    "speed_perturbation": (),
    "dropout": 0.0,
}
Sounds = tuple[list[np.ndarray], list[str]]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_melodies(count: int, seed: int, longest: int = 3) -> Sounds:
    """Sounds (N,) of one to `longest` tones at 8000 samples a second, and the names of their tones."""
    draw = np.random.default_rng(seed)
    sounds, texts = [], []
    for _ in range(count):
        names = [str(name) for name in draw.choice(list(STEPS), draw.integers(1, longest + 1))]
        tones = [0.3 * np.sin(np.arange(draw.integers(700, 1100)) * STEPS[name]) for name in names]
        sound = np.concatenate([np.concatenate([tone, np.zeros(300)]) for tone in tones])
        sounds.append((sound + 0.01 * draw.standard_normal(len(sound))).astype(np.float32))
        texts.append(" ".join(names))
    return sounds, texts


@pytest.fixture(scope="session")
def melodies() -> Callable[..., Sounds]:
    return make_melodies


@pytest.fixture(scope="session")
def options() -> dict[str, Any]:
    return OPTIONS


@pytest.fixture(scope="session")
def words() -> SpeechRecognizer:
    """Hears in one direction, labels are words, an n-gram is there for a beam search."""
    task = SpeechRecognizer(**OPTIONS, bidirectional=False, ngram=2)
    return task.fit(*make_melodies(120, 0), rate=RATE, verbose=0)


@pytest.fixture(scope="session")
def spelled() -> SpeechRecognizer:
    """Hears in both directions, labels are characters."""
    task = SpeechRecognizer(**OPTIONS, token_level="characters")
    return task.fit(*make_melodies(120, 0), rate=RATE, verbose=0)


@pytest.fixture(scope="session")
def commands() -> SpeechRecognizer:
    """Every sound is one tone; hears in one direction."""
    task = SpeechRecognizer(**OPTIONS, bidirectional=False)
    return task.fit(*make_melodies(90, 0, 1), rate=RATE, verbose=0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of six sounds a.wav to f.wav without texts; it is the working directory."""
    sounds, _ = make_melodies(6, 3)
    for name, sound in zip("abcdef", sounds, strict=True):
        soundfile.write(tmp_path / f"{name}.wav", sound, RATE)
    monkeypatch.chdir(tmp_path)
    return tmp_path
