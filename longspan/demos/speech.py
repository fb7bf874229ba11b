"""Demonstrates speech recognition on spoken numbers, or on a telephone's tones where nothing can speak.

No recordings of speech come with Python or with a small package. Where the system has the synthesiser
espeak-ng (or espeak), it speaks strings of digits in several voices, speeds and pitches; the recognizer is
then asked about a voice that it has never heard. Where it has none, the strings are dialled: the two tones of
each key of a telephone, in noise. The output says which of them it is.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console

from longspan.optional import require
from longspan.tasks.speech import SpeechRecognizer
from longspan.tasks.speech.sound_files import read_sound, resample

from .written import show_written, write_tables

RATE = 8000  # samples a second of a telephone
SEEN, UNSEEN = 400, 60  # strings to learn from, and to be asked for
SYNTHESISERS = ("espeak-ng", "espeak")
OPTIONS: dict[str, Any] = {
    "hidden_size": 96,
    "filters": 64,
    "bidirectional": False,
    "dropout": 0.1,
    "frequency_masks": 1,
    "time_masks": 0,
    "learning_rate": 0.005,
    "epochs": 70,
}
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_VOICES = ("en-gb", "en-us", "en-gb+f2", "en-us+m3", "en-gb+m7", "en-us+f4")
_UNHEARD_VOICE = "en-gb+f5"
_ROWS, _COLUMNS = (697.0, 770.0, 852.0, 941.0), (1209.0, 1336.0, 1477.0)  # hertz, ITU-T Q.23
_KEYS = ((3, 1), (0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2))  # row, column
_DIGITS = (3, 6)  # of a string
_CHUNK = 0.5  # seconds

Sounds = list[tuple[np.ndarray, int]]


def run(folder: Path) -> None:
    """Sounds, training, scores, a stream, report; the files go into the folder."""
    console = Console(highlight=False)
    program = synthesiser()
    texts = strings(SEEN + UNSEEN)
    if program is None:
        console.print(f"[bold]1[/] Data: {len(texts)} strings of digits dialled in tones, since this system")
        console.print(
            "  has no espeak-ng, which would speak them; the model hears a telephone's keys in noise."
        )
        sounds = dialled(texts)
    else:
        console.print(f"[bold]1[/] Data: {len(texts)} strings of digits spoken by {program}, a synthesiser,")
        console.print(f"  in {len(_VOICES)} voices; it is asked about another one, {_UNHEARD_VOICE}.")
        sounds = spoken(texts, program)
    console.print("[bold]2[/] Training ...")
    began = time.perf_counter()
    model = SpeechRecognizer(**OPTIONS).fit(sounds[:SEEN], texts[:SEEN])
    console.print(f"  done in {time.perf_counter() - began:.0f} s.")
    console.print(f"[bold]3[/] {UNSEEN} strings that it never heard:")
    scores = model.evaluate(sounds[SEEN:], texts[SEEN:])
    console.print(
        f"  word error rate {100 * scores['wer']:.1f} %, {100 * scores['accuracy']:.0f} % all right."
    )
    console.print(f"[bold]4[/] The first of them, as it comes, every {_CHUNK} s; said: {texts[SEEN]}")
    for text in _streamed(model, *sounds[SEEN]):
        console.print(f"  {text}")
    console.print("[bold]5[/] Written:")
    files = _write(model, sounds, texts, folder, program or "tones of a telephone")
    show_written(console, files, folder / "report.html")


def synthesiser() -> str | None:
    """The program of the system that speaks, None for none."""
    return next((name for name in SYNTHESISERS if shutil.which(name)), None)


def strings(count: int) -> list[str]:
    """Strings of digits in words, drawn by a fixed seed."""
    draw = random.Random(0)
    return [" ".join(draw.choices(_WORDS, k=draw.randint(*_DIGITS))) for _ in range(count)]


def spoken(texts: list[str], program: str) -> Sounds:
    """Sounds of a synthesiser; the last UNSEEN of them are of a voice that the others do not have."""
    draw, sounds = random.Random(1), []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.wav"
        for row, text in enumerate(texts):
            voice = draw.choice(_VOICES) if row < len(texts) - UNSEEN else _UNHEARD_VOICE
            speed, pitch = draw.randint(130, 200), draw.randint(30, 70)
            words = [program, "-v", voice, "-s", str(speed), "-p", str(pitch), "-w", str(path), text]
            subprocess.run(words, check=True, capture_output=True)
            sound, rate = read_sound(path)
            sounds.append((resample(sound, rate, RATE), RATE))
    return sounds


def dialled(texts: list[str]) -> Sounds:
    """Sounds of a telephone's keys: two tones a digit of unequal length, with pauses, in noise.

    >>> dialled(["one two"])[0][0].shape[0] > 800
    True
    """
    draw = np.random.default_rng(1)
    sounds: Sounds = []
    for text in texts:
        parts = []
        for word in text.split():
            row, column = _KEYS[_WORDS.index(word)]
            seconds = np.arange(int(draw.integers(500, 1200))) / RATE
            tone = np.sin(2 * np.pi * _ROWS[row] * seconds) + np.sin(2 * np.pi * _COLUMNS[column] * seconds)
            parts += [draw.uniform(0.05, 0.3) * tone, np.zeros(int(draw.integers(300, 900)))]
        sound = np.concatenate(parts)
        sounds.append(((sound + 0.05 * draw.standard_normal(len(sound))).astype(np.float32), RATE))
    return sounds


def _streamed(model: SpeechRecognizer, sound: np.ndarray, rate: int) -> list[str]:
    """The text after every chunk of a sound, and in the end."""
    stream, step = model.stream(rate), int(_CHUNK * rate)
    texts = [stream.step(sound[start : start + step]) for start in range(0, len(sound), step)]
    return [*texts, stream.finish()]


def _write(
    model: SpeechRecognizer, sounds: Sounds, texts: list[str], folder: Path, source: str
) -> dict[Path, str]:
    """Every file, and what it is."""
    soundfile = require("soundfile", "speech", "sound files")
    unheard = folder / "sounds"
    unheard.mkdir(parents=True, exist_ok=True)
    names = [f"{row:03}.wav" for row in range(UNSEEN)]
    for name, (sound, rate) in zip(names, sounds[SEEN:], strict=True):
        soundfile.write(str(unheard / name), sound, rate)
    write_tables(unheard, {"transcripts.csv": pl.DataFrame({"file": names, "text": texts[SEEN:]})})
    model.save(folder / "model")
    write_tables(folder, {"texts.csv": _without_words(model.transcribe(unheard))})
    lead = f"One LSTM writes down strings of digits ({source}). Everything below is about strings unheard."
    model.write_report(folder / "report.html", unheard, title="Digits, heard", lead=lead)
    return {
        unheard: "sounds that it never heard, with transcripts.csv",
        folder / "model": "the model: longspan predict, evaluate, report",
        folder / "texts.csv": "what was heard in them",
        folder / "report.html": "the report, with spectrograms and what was heard when",
    }


def _without_words(found: pl.DataFrame) -> pl.DataFrame:
    """The table without the times of words, which CSV has no form for."""
    return found.drop("words")
