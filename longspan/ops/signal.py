"""Computes Keras' Fourier transforms; complex numbers are pairs of tensors, real and imaginary parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from longspan import errors

from .calling import operation, promote, to_float

Complex = tuple[Tensor, Tensor]  # real and imaginary parts


def _joined(x: Any) -> Tensor:
    real, imaginary = (to_float(part) for part in promote(*x))
    return torch.complex(real, imaginary)


def _parts(x: Tensor) -> Complex:
    return x.real, x.imag


@operation
def fft(x: Any) -> Complex:
    """The Fourier transform over the last dimension of (real, imaginary)."""
    return _parts(torch.fft.fft(_joined(x)))


@operation
def fft2(x: Any) -> Complex:
    """The Fourier transform over the last two dimensions of (real, imaginary)."""
    return _parts(torch.fft.fft2(_joined(x)))


@operation
def ifft2(x: Any) -> Complex:
    """The inverse of `fft2`."""
    return _parts(torch.fft.ifft2(_joined(x)))


@operation
def rfft(x: Any, fft_length: int | None = None) -> Complex:
    """The Fourier transform over the last dimension of real numbers, cut or padded to fft_length."""
    return _parts(torch.fft.rfft(to_float(x), fft_length))


@operation
def irfft(x: Any, fft_length: int | None = None) -> Tensor:
    """The inverse of `rfft`, of (real, imaginary), with fft_length values."""
    return torch.fft.irfft(_joined(x), fft_length)


@operation
def extract_sequences(x: Any, sequence_length: int, sequence_stride: int) -> Tensor:
    """The windows of the last dimension, (..., T) -> (..., windows, sequence_length)."""
    return to_float(x).unfold(-1, sequence_length, sequence_stride)


@operation
def stft(
    x: Any,
    sequence_length: int,
    sequence_stride: int,
    fft_length: int,
    window: Any = "hann",
    center: bool = True,
) -> Complex:
    """The Fourier transforms of windows of the last dimension, (..., T) -> (..., windows, frequencies).

    Args:
        x: real numbers.
        sequence_length, sequence_stride: the length of a window, and the distance to the next one, in steps.
        fft_length: to which a window is padded.
        window: "hann", "hamming", a vector (sequence_length,), or None: no weights.
        center: whether x is reflected at both ends, so that a window's middle is its time.
    """
    signal = to_float(x)
    flat = signal.reshape(-1, signal.shape[-1])
    weights = _window(window, sequence_length, signal)
    options = {"win_length": sequence_length, "center": center, "return_complex": True, "window": weights}
    transformed = torch.stft(flat, fft_length, sequence_stride, **options)
    result = transformed.transpose(-1, -2)
    return _parts(result.reshape(*signal.shape[:-1], *result.shape[-2:]))


def _window(window: Any, length: int, like: Tensor) -> Tensor:
    if window is None:
        return torch.ones(length, dtype=like.dtype, device=like.device)
    if isinstance(window, str):
        windows = {"hann": torch.hann_window, "hamming": torch.hamming_window}
        make = windows[errors.check_choice("window", window, windows)]
        return make(length, dtype=like.dtype, device=like.device)
    return to_float(window).to(like)
