"""The benchmark of speech splits by recording, joins digits of one speaker, and compares equal networks."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")
pytest.importorskip("kaldi_native_fbank", reason="kaldi-native-fbank is not installed")
pytest.importorskip("jiwer", reason="jiwer is not installed")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two speakers with seven recordings of each of three digits; a speaker's sounds are of one length."""
    folder = tmp_path / "speech/fsdd"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "fsdd_recordings.zip", "w") as archive:
        for digit in range(3):
            for speaker, length in (("ada", 1600), ("bob", 2000)):
                for recording in range(7):
                    sound = 0.3 * np.sin(np.arange(length) * (0.2 + 0.3 * digit))
                    content = io.BytesIO()
                    soundfile.write(content, sound, 8000, format="WAV")
                    archive.writestr(f"{digit}_{speaker}_{recording}.wav", content.getvalue())
    return tmp_path


def test_the_split_is_by_recording(benchmark_module: Callable[[str], ModuleType], data: Path) -> None:
    train, test = benchmark_module("speech").split(data)
    assert {one.recording for one in test} == {0, 1, 2, 3, 4} and {one.recording for one in train} == {5, 6}
    assert len(test) == 30 and len(train) == 12


def test_strings_join_digits_of_one_speaker(
    benchmark_module: Callable[[str], ModuleType], data: Path
) -> None:
    speech = benchmark_module("speech")
    train, _ = speech.split(data)
    sounds, texts = speech.strings(train, 40, 1)
    assert texts == speech.strings(train, 40, 1)[1] != speech.strings(train, 40, 2)[1]
    for (sound, rate), text in zip(sounds, texts, strict=True):
        count = len(text.split())
        assert 3 <= count <= 7 and rate == 8000 and len(sound) in (1600 * count, 2000 * count)


def test_the_rival_has_the_same_sizes(
    benchmark_module: Callable[[str], ModuleType],
    data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speech = benchmark_module("speech")
    monkeypatch.setattr(speech, "_ROUNDS", 1)
    monkeypatch.setattr(speech, "_SPEED_STRINGS", 24)
    assert speech.main(["--data", str(data), "--sections", "speed"]) == 0
    assert "ratio" in capsys.readouterr().out
