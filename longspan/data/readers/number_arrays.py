"""Reads series out of arrays, tensors and lists of them: (T, C) float64 each, NaN where missing."""

from __future__ import annotations

from typing import Any

import numpy as np

from longspan import errors

from .frames import KINDS, is_frame_like, library
from .numeric import LARGEST, within_range

_SHAPES = "numbers (T,) or (T, C), or a list of such arrays"


def number_arrays(source: Any) -> list[np.ndarray]:
    """The series of a source, (T, C) each; a list of numbers is one series, a list of arrays several.

    >>> [one.shape for one in number_arrays([[1.0, 2.0], [3.0]])]
    [(2, 1), (1, 1)]

    Raises:
        ValueError, TypeError: it holds something else, or nothing; one sentence.
    """
    if library(source) == "torch":
        source = source.detach().cpu().numpy()
    if isinstance(source, np.ndarray):
        parts = [source]
    elif isinstance(source, (list, tuple)):
        parts = list(source) if len(source) and not _is_scalar(source[0]) else [source]
    else:
        raise errors.type_error("source", KINDS, source, "convert it to one of these")
    series = [_array(part) for part in parts]
    if not series or not all(one.size for one in series):
        raise errors.value_error("source", "at least one row", "no data", "check what was read")
    widths = {one.shape[1] for one in series}
    if len(widths) > 1:
        received = " and ".join(str(one.shape) for one in series[:3])
        raise errors.value_error("source", "arrays (T,) or (T, C) of one width", received, "make them so")
    return series


def _is_scalar(value: Any) -> bool:
    return (
        value is None or isinstance(value, (str, bytes)) or np.isscalar(value) or library(value) == "decimal"
    )


def _array(part: Any) -> np.ndarray:
    if library(part) == "torch":
        part = part.detach().cpu().numpy()
    if is_frame_like(part):
        way_out = "join the frames into one with a column that names the series"
        raise errors.type_error("source", f"{_SHAPES}; no list of frames", part, way_out)
    if isinstance(part, np.ma.MaskedArray):
        part = np.ma.filled(part.astype(np.float64), np.nan)
    try:
        values = (
            np.array(part, dtype=np.float64) if _is_plain(part) else np.array(_without_na(part), np.float64)
        )
    except (ValueError, TypeError, OverflowError) as error:
        received = str(error).splitlines()[0].rstrip(".") or type(part).__name__
        way_out = "put columns of text into a frame, or leave them out"
        raise errors.value_error("source", _SHAPES, received, way_out) from error
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2:
        way_out = "pass one array a series"
        raise errors.value_error("source", "arrays (T,) or (T, C)", f"shape {values.shape}", way_out)
    too_large = (values > LARGEST) | (values < -LARGEST)
    if too_large.any():
        place = np.argwhere(too_large)[0]
        number = float(values[tuple(place)])
        received = f"{number} at {place.tolist()}"
        raise errors.value_error("source", within_range(number), received, "correct it or make it NaN")
    return values


def _is_plain(part: Any) -> bool:
    return isinstance(part, np.ndarray) and part.dtype.kind in "biuf"


def _without_na(part: Any) -> Any:
    """Values of an object array or a list, pd.NA as NaN; text is refused by its conversion."""
    array = np.asarray(part)
    if array.dtype.kind in "mMSU":
        raise TypeError(repr(array.ravel()[0].item()) if array.size else f"values of {array.dtype}")
    if array.dtype != object:
        return array
    missing = np.array([type(value).__name__ in ("NAType", "NaTType") for value in array.ravel()])
    text = next((value for value in array.ravel() if isinstance(value, (str, bytes))), None)
    if text is not None:
        raise TypeError(f"{text!r}")
    flat = array.ravel().copy()
    flat[missing] = np.nan
    return flat.reshape(array.shape)
