"""Scales numbers and scales them back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longspan import errors

from .transforms import apply

KINDS = ("standard", "minmax", "robust")
_LEAST = 1e-9  # of the mean, below which a deviation is rounding
_CHUNK = 1 << 16  # numbers that are summed up at once


class Scaler:
    """Every column moved and stretched to one scale, by what the training part of the data showed.

    Args:
        kind: "standard" (mean 0, standard deviation 1), "minmax" (between the ends of `span`), or "robust"
            (median 0, quartiles 1 apart).
        span: the ends of "minmax".

    Columns are the last dimension: x is (N, C) or (N, T, C), or (N,) for a single one. NaN is left out of
    what is learnt and stays NaN. A column that never changes is moved but not stretched.

    Attributes after fit: center_ and scale_, (C,) float64.

    >>> scaler = Scaler("minmax").fit([[0.0], [10.0]])
    >>> scaler.transform([[5.0]]), scaler.inverse_transform([[0.5]])
    (array([[0.5]]), array([[5.]]))
    """

    def __init__(self, kind: str = "standard", span: tuple[float, float] = (0.0, 1.0)) -> None:
        self.kind = errors.check_choice("kind", kind, KINDS)
        if not span[0] < span[1]:
            raise errors.value_error("span", "two numbers in order", span, "such as (-1.0, 1.0)")
        self.span = span
        self.center_: np.ndarray | None = None
        self.scale_: np.ndarray | None = None

    def fit(self, x: Any) -> Scaler:
        """Learn the scale of every column; call it on the training part alone.

        Raises:
            ValueError, TypeError: there are no numbers, or a column has none but NaN.
        """
        values, _ = _unwrap(x)
        columns = values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values.reshape(-1, 1)
        if columns.shape[0] == 0:
            raise errors.value_error("x", "at least one row", "no data", "check what was read")
        if np.isinf(columns).any():
            raise errors.value_error("x", "finite numbers or NaN", "infinity", "drop it first")
        empty = np.flatnonzero(np.isnan(columns).all(0))
        if len(empty):
            received = f"NaN only in column {empty[0]}"
            raise errors.value_error("x", "a number in every column", received, "leave it out")
        center, scale = self._learn(columns)
        self.center_, self.scale_ = center, np.where(scale > 0, scale, 1.0)
        return self

    def _learn(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.kind == "standard":
            return np.nanmean(columns, 0), np.nanstd(columns, 0)
        if self.kind == "robust":
            low, middle, high = np.nanquantile(columns, [0.25, 0.5, 0.75], axis=0)
            return middle, high - low
        low, high = np.nanmin(columns, 0), np.nanmax(columns, 0)
        scale = (high - low) / (self.span[1] - self.span[0])
        return low - self.span[0] * np.where(scale > 0, scale, 1.0), scale

    def transform(self, x: Any) -> Any:
        """x on the scale, in the kind and floating dtype it came in."""
        values, wrap = _unwrap(x)
        center, scale = self._learnt(values, None)
        return wrap((values - center) / scale)

    def inverse_transform(self, x: Any, columns: int | list[int] | None = None) -> Any:
        """x in its own units again.

        Args:
            columns: which columns x has, where it has only some of those the scaler was fitted on, such as
                the target's.
        """
        values, wrap = _unwrap(x)
        center, scale = self._learnt(values, columns)
        return wrap(values * scale + center)

    def fit_transform(self, x: Any) -> Any:
        """fit and transform; for the training part alone."""
        return self.fit(x).transform(x)

    def _learnt(self, values: np.ndarray, columns: int | list[int] | None) -> tuple[np.ndarray, np.ndarray]:
        if self.center_ is None or self.scale_ is None:
            raise errors.value_error(
                "scaler", "a fitted one", "one before fit", "call fit on the training part"
            )
        center, scale = self.center_, self.scale_
        if columns is not None:
            chosen = [columns] if isinstance(columns, int) else columns
            center, scale = center[chosen], scale[chosen]
        width = values.shape[-1] if values.ndim > 1 else 1
        if len(center) not in (1, width) or (values.ndim == 1 and len(center) != 1):
            expected = f"{len(center)} columns as in fit"
            raise errors.value_error("x", expected, f"shape {values.shape}", "say which by columns=")
        return center, scale

    def state(self) -> dict[str, Any]:
        """Plain values that `from_state` makes the same scaler from."""
        fitted = self.center_ is not None and self.scale_ is not None
        return {
            "kind": self.kind,
            "span": list(self.span),
            "center": self.center_.tolist() if fitted and self.center_ is not None else None,
            "scale": self.scale_.tolist() if fitted and self.scale_ is not None else None,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Scaler:
        """The scaler that gave this state."""
        scaler = cls(state["kind"], (state["span"][0], state["span"][1]))
        if state["center"] is not None:
            scaler.center_, scaler.scale_ = np.array(state["center"]), np.array(state["scale"])
        return scaler


def moments(
    values: np.ndarray, transform: str = "none", floor: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of columns; 0 and 1 where there is nothing, 1 where nothing changes.

    Args:
        values: (T, C), NaN where missing; transform, floor: as for `transforms.apply`, taken of them
            part by part.

    Returns:
        (C,) and (C,) float64.

    >>> moments(np.array([[1.0, 5.0], [3.0, 5.0]]))
    (array([2., 5.]), array([1., 1.]))
    """
    chunk = max(1, _CHUNK // max(1, values.shape[1]))

    def parts() -> Iterator[np.ndarray]:
        return (apply(values[at : at + chunk], transform, floor) for at in range(0, len(values), chunk))

    none = np.zeros(values.shape[1])
    count = np.maximum(sum((np.count_nonzero(~np.isnan(part), 0) for part in parts()), none), 1)
    mean = sum((np.nansum(part, 0) for part in parts()), none) / count
    square = sum((np.nansum((part - mean) ** 2, 0) for part in parts()), none)
    spread = np.sqrt(square / count)
    return mean, np.where(spread > _LEAST * np.maximum(np.abs(mean), 1e-30), spread, 1.0)


def _unwrap(x: Any) -> tuple[np.ndarray, Any]:
    """The numbers as float64, and what brings an array back into the kind that x came in."""
    if isinstance(x, Tensor):
        kind = x.dtype if x.is_floating_point() else torch.get_default_dtype()
        return _numbers(x.detach().cpu().numpy()), lambda out: torch.from_numpy(out).to(x.device, kind)
    if isinstance(x, np.ndarray):
        wanted = x.dtype if x.dtype.kind == "f" else np.dtype(np.float64)
        return _numbers(x), lambda out: out.astype(wanted, copy=False)
    if isinstance(x, (list, tuple)):
        return _numbers(np.asarray(x)), lambda out: out
    return _numbers(np.asarray(x)), lambda out: _rewrapped(x, out)


def _numbers(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        received = f"{array.dtype} of shape {array.shape}"
        way_out = "leave out or encode the columns that are no numbers"
        raise TypeError(errors.message("x", "numbers (N,), (N, C) or (N, T, C)", received, way_out))
    return array.astype(np.float64)


def _rewrapped(like: Any, values: np.ndarray) -> Any:
    """A frame or series like the one given, with other numbers."""
    import narwhals  # only here: most data are arrays

    try:
        frame = narwhals.from_native(like, eager_only=True, allow_series=True)
    except TypeError:
        return values
    make = narwhals.new_series
    if isinstance(frame, narwhals.Series):
        named = frame.to_frame()
        name = named.columns[0]
        new = make(name, values, backend=frame.implementation)
        return named.with_columns(new)[name].to_native()
    columns = [make(c, values[:, i], backend=frame.implementation) for i, c in enumerate(frame.columns)]
    return frame.with_columns(*columns).to_native()
