"""Computes log-mel features as Kaldi does, normalizes them, and masks them in training (SpecAugment)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from longspan.optional import require

from .sound_files import resample

FRAME_SHIFT = 0.01  # seconds from one frame to the next
_FRAME_LENGTH = 0.025  # seconds of a frame's window
_FULL_SCALE = 32_768.0  # Kaldi's features are those of 16-bit samples
_LARGEST = 5.0  # standard deviations to which normalized features are clipped


class LogMel:
    """Logarithms of mel filters' energies, by kaldi-native-fbank without dither.

    Args:
        rate: of the sounds; bins: M, mel filters from 20 Hz to half the rate.

    Frames are 25 ms long, 10 ms apart, and lie within the sound: a frame needs no later samples.
    """

    def __init__(self, rate: int, bins: int) -> None:
        self.rate, self.bins = rate, bins
        library = require("kaldi_native_fbank", "speech", "log-mel features")
        options = library.FbankOptions()
        options.frame_opts.samp_freq = rate
        options.frame_opts.dither = 0.0
        options.frame_opts.frame_shift_ms = 1000 * FRAME_SHIFT
        options.frame_opts.frame_length_ms = 1000 * _FRAME_LENGTH
        options.frame_opts.snip_edges = True
        options.mel_opts.num_bins = bins
        self._new = lambda: library.OnlineFbank(options)

    def __call__(self, sound: np.ndarray, rate: int | None = None) -> Tensor:
        """The features (T, M) of a sound (N,); rate: of the sound, which is resampled if it is another."""
        stream = self.stream()
        return stream.read(resample(sound, rate or self.rate, self.rate))

    def stream(self) -> LogMelStream:
        """Features chunk by chunk, equal to those of the whole sound."""
        # as Kaldi computes it, in floats of 32 bits
        shift = int(np.float32(self.rate) * np.float32(0.001) * np.float32(1000 * FRAME_SHIFT))
        return LogMelStream(self._new(), self.rate, self.bins, shift)


class LogMelStream:
    """Gives the frames that become complete with every chunk of a sound.

    Args:
        fbank: kaldi-native-fbank's; rate, bins: as of `LogMel`; shift: samples from one frame to the next.
    """

    def __init__(self, fbank: Any, rate: int, bins: int, shift: int) -> None:
        self._fbank, self._rate, self._bins, self._shift = fbank, rate, bins, shift
        self._frames = 0  # given so far
        self._rest = np.zeros(0, np.float32)  # samples from the beginning of the next frame on

    def read(self, chunk: np.ndarray) -> Tensor:
        """The new frames (T, M) after a chunk (N,) of samples."""
        if len(chunk):
            self._fbank.accept_waveform(self._rate, chunk * np.float32(_FULL_SCALE))
        ready = self._fbank.num_frames_ready
        frames = np.empty((ready - self._frames, self._bins), np.float32)
        for row in range(len(frames)):  # copied, since a frame's memory is freed by pop
            frames[row] = self._fbank.get_frame(self._frames + row)
        self._fbank.pop(len(frames))
        self._frames = ready
        self._rest = np.concatenate([self._rest, chunk])[len(frames) * self._shift :].copy()
        return torch.from_numpy(frames)

    def state(self) -> Tensor:
        """The samples of which no frame has been made; with them `restore` goes on to the same frames."""
        return torch.from_numpy(self._rest)

    def restore(self, state: Tensor) -> None:
        """Take what `state` returned, in a stream that has read nothing."""
        self.read(state.numpy())


class Normalizer:
    """Subtracts the training part's mean of every mel bin and divides by its standard deviation."""

    def __init__(self) -> None:
        self.mean, self.stddev = torch.zeros(1), torch.ones(1)

    def fit(self, rows: Sequence[Tensor]) -> Self:
        """Learn from features, (T_i, M) each."""
        frames = torch.cat(list(rows)).double()
        self.mean = frames.mean(0).float()
        self.stddev = frames.std(0, correction=0).clamp(min=1e-3).float()
        return self

    def __call__(self, features: Tensor) -> Tensor:
        """Normalized features (T, M), clipped to 5 standard deviations."""
        return ((features - self.mean) / self.stddev).clamp_(-_LARGEST, _LARGEST)

    def state(self) -> dict[str, Tensor]:
        """Tensors that `restore` takes."""
        return {"mean": self.mean, "stddev": self.stddev}

    def restore(self, state: dict[str, Tensor]) -> Self:
        """Take what `state` returned."""
        self.mean, self.stddev = state["mean"], state["stddev"]
        return self


class SpecAugment(NamedTuple):
    """Masks of SpecAugment (Park et al. 2019, arXiv 1904.08779, without time warping).

    frequency_masks, time_masks: masks a sound; frequency_width: of M the share that a mask covers at most;
    time_width: of the frames the share that a mask covers at most.
    """

    frequency_masks: int = 2
    frequency_width: float = 0.2
    time_masks: int = 2
    time_width: float = 0.1

    def __call__(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Features (B, T, M) with masked values at 0, their mean; drawn from torch's global generator."""
        B, T, M = x.shape
        bins = torch.full((B,), M)
        hidden = _bands(self.frequency_masks, self.frequency_width, bins, M).unsqueeze(1)
        hidden = hidden | _bands(self.time_masks, self.time_width, lengths, T).unsqueeze(2)
        return x.masked_fill(hidden, 0.0)


def _bands(count: int, share: float, sizes: Tensor, length: int) -> Tensor:
    """(B, length) bool: `count` bands a row, each up to `share` of the row's size (B,), at a random place."""
    draws = torch.rand(2, len(sizes), count, 1)
    widths = draws[0] * (share * sizes).reshape(-1, 1, 1)
    begins = draws[1] * (sizes.reshape(-1, 1, 1) - widths)
    places = torch.arange(length) + 0.5
    return ((places >= begins) & (places < begins + widths)).any(1)
