"""Sounds of every form are the same mono samples; what is none is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from longspan import errors
from longspan.tasks.speech.sound_files import array_sound, check_rate, note_defects, read_sound, resample

soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")
WAVE = (0.5 * np.sin(np.arange(4000) * 0.1)).astype(np.float32)


@pytest.mark.parametrize(("ending", "error"), [("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.05)])
def test_files_give_the_samples_that_were_written(tmp_path: Path, ending: str, error: float) -> None:
    soundfile.write(tmp_path / f"a.{ending}", WAVE, 16000)
    sound, rate = read_sound(tmp_path / f"a.{ending}")
    assert rate == 16000 and sound.dtype == np.float32 and sound.shape == WAVE.shape
    assert np.abs(sound - WAVE)[200:-200].max() < error


def test_channels_are_averaged(tmp_path: Path) -> None:
    both = np.stack([WAVE, np.zeros_like(WAVE)], 1)
    soundfile.write(tmp_path / "a.wav", both, 8000, subtype="FLOAT")
    assert np.allclose(read_sound(tmp_path / "a.wav")[0], WAVE / 2, atol=1e-6)
    assert np.allclose(array_sound(both, "sound"), WAVE / 2)


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint8, np.float64])
def test_arrays_are_scaled_by_their_type(kind: type) -> None:
    scale, offset = {np.int16: (32768, 0), np.int32: (2**31, 0), np.uint8: (128, 128)}.get(kind, (1, 0))
    sound = array_sound((WAVE * scale + offset).astype(kind), "sound")
    assert sound.dtype == np.float32 and np.abs(sound - WAVE).max() <= (0.01 if kind is np.uint8 else 1e-4)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"this is no sound at all", "expected wav, flac or ogg sound, received a file without a header"),
        (b"", "expected wav, flac or ogg sound, received a file without a header"),
        (b"RIFF\x24\x00\x00\x00WAVE", "expected wav, flac or ogg sound, received a file without a header"),
    ],
)
def test_a_file_without_a_header_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        read_sound(tmp_path / "a.wav")


def test_zero_seconds_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 8000)
    with pytest.raises(ValueError, match=r"a\.wav: expected at least one sample, received zero seconds"):
        read_sound(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.zeros(0), "expected at least one sample, received zero seconds"),
        (np.array([0.0, np.nan]), "expected finite samples, received nan in sample 1"),
        (WAVE * 32768, r"expected floats in \[-1, 1\], received values up to"),
        (np.zeros((2, 3, 4)), r"expected shape \(N,\) or \(N, channels\), received \(2, 3, 4\)"),
        (np.zeros((2, 4000)), r"expected shape \(N,\) or \(N, channels\), received \(2, 4000\)"),
        (np.array(["a"]), "expected an array of samples"),
    ],
)
def test_arrays_that_are_no_sound_are_refused(values: np.ndarray, sentence: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"sound 3: {sentence}"):
        array_sound(values, "sound 3")


@pytest.mark.parametrize("rate", [16, 0, -8000, 1_000_000, 8000.5, True])
def test_rates_that_are_none_are_refused(rate: object) -> None:
    with pytest.raises((ValueError, TypeError), match="rate: expected"):
        check_rate(rate)


def test_resampling_keeps_a_tone() -> None:
    pytest.importorskip("soxr", reason="soxr is not installed")
    half = resample(WAVE, 16000, 8000)
    assert len(half) == 2000 and np.abs(half - WAVE[::2])[100:-100].max() < 1e-3
    assert resample(WAVE, 8000, 8000) is WAVE


def test_silence_and_clipping_are_told() -> None:
    loud = np.clip(WAVE * 4, -1, 1)
    with pytest.warns(errors.LongspanWarning) as notes:
        note_defects([WAVE, WAVE * 0, loud], ["a", "b", "c"])
    assert [str(note.message) for note in notes] == [
        "1 of 3 sounds are silent, the first is b.",
        "1 of 3 sounds are clipped (samples in a row at full scale), the first is c.",
    ]
