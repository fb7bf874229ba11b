"""Reads sound files and arrays as mono float32 sounds with their rate; resamples them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from longspan import errors
from longspan.optional import require

SOUND_ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au")
RATES = (1_000, 768_000)  # samples a second that are allowed
_SILENT = 1e-4  # largest absolute value of a sound that counts as silent; full scale is 1
_CLIPPED = 0.999, 3  # a sound is clipped where so many samples in a row reach this absolute value


def read_sound(path: Path) -> tuple[np.ndarray, int]:
    """The samples (N,) of a file, float32 in [-1, 1] and mixed to mono, and samples a second.

    Raises:
        ValueError: libsndfile cannot read it, or it holds no sample; one sentence.
    """
    soundfile = require("soundfile", "speech", "sound files")
    try:
        values, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        received = f"a file without a header that libsndfile knows ({error.error_string.rstrip('.')})"
        way_out = "convert it, such as with ffmpeg"
        raise errors.value_error(f"file {path}", "wav, flac or ogg sound", received, way_out) from error
    return checked_sound(values.mean(1), f"file {path}"), int(rate)


def array_sound(array: Any, name: str) -> np.ndarray:
    """The samples (N,) of an array: whole numbers are scaled by their type, channels (N, C) are averaged.

    Args:
        array: (N,) or (N, C), of floats in [-1, 1] or of integers; name: what errors call it.

    Raises:
        ValueError, TypeError: of another shape or type, too loud, empty, or not finite; one sentence.
    """
    values = np.asarray(array)
    if values.dtype.kind not in "fiu":
        raise errors.type_error(name, "an array of samples", array, "give numbers in an array (N,)")
    if values.ndim not in (1, 2) or (values.ndim == 2 and not 1 <= values.shape[1] <= 64):
        way_out = "give samples first, channels second"
        raise errors.value_error(name, "shape (N,) or (N, channels)", values.shape, way_out)
    if values.dtype.kind in "iu":
        limit = 2.0 ** (8 * values.dtype.itemsize - 1)
        values = values.astype(np.float64) / limit - (1.0 if values.dtype.kind == "u" else 0.0)
    values = (values if values.ndim == 1 else values.mean(1)).astype(np.float32)
    loudest = float(np.abs(values).max(initial=0.0))
    if loudest > 2.0:
        way_out = "pass whole numbers in their own type, or divide by 32768"
        raise errors.value_error(name, "floats in [-1, 1]", f"values up to {loudest:g}", way_out)
    return checked_sound(values, name)


def checked_sound(values: np.ndarray, name: str) -> np.ndarray:
    """The sound itself, or an error if it has no sample or one that is not finite."""
    if not len(values):
        raise errors.value_error(name, "at least one sample", "zero seconds of sound", "leave it out")
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise errors.value_error(name, "finite samples", f"{values[row]} in sample {row}", "correct it")
    return np.ascontiguousarray(values)


def check_rate(rate: Any) -> int:
    """Samples a second as an int, or an error in one sentence."""
    way_out = "16000 is usual"
    number = errors.check_int("rate", rate, RATES[0], way_out)
    if number > RATES[1]:
        raise errors.value_error("rate", f"samples a second, at most {RATES[1]}", rate, way_out)
    return number


def resample(sound: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """The sound at `wanted` samples a second, by soxr (high quality)."""
    if rate == wanted:
        return sound
    return require("soxr", "speech", "resampling").resample(sound, rate, wanted)


def note_defects(sounds: Sequence[np.ndarray], names: Sequence[str]) -> None:
    """Notices on sounds that are silent or clipped."""
    silent = [name for sound, name in zip(sounds, names, strict=True) if np.abs(sound).max() < _SILENT]
    clipped = [name for sound, name in zip(sounds, names, strict=True) if _is_clipped(sound)]
    for rows, what in ((silent, "silent"), (clipped, "clipped (samples in a row at full scale)")):
        if rows:
            errors.notice(f"{len(rows)} of {len(sounds)} sounds are {what}, the first is {rows[0]}.")


def _is_clipped(sound: np.ndarray) -> bool:
    level, samples = _CLIPPED
    full = np.abs(sound) >= level
    if int(full.sum()) < samples:
        return False
    return bool((np.convolve(full, np.ones(samples), "valid") >= samples).any())
