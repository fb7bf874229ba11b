"""Collects the values of charts as JSON, which the page's script shows under the pointer.

Every collection has `boxes`, the plot's frame within the wide and the narrow picture, as shares of its
sides: left, top, width, height. Curves have limits of x and points; grids and bars have labels and numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from .elements import BarChart, HeatMap, LineChart

_DAY = 86_400_000_000  # microseconds; x of times is in days since 1970, as matplotlib has it

Points = tuple[np.ndarray, np.ndarray]  # x and y of a curve as it is drawn
Frame = tuple[float, float, float, float]  # left, top, width, height


def as_json(values: Mapping[str, Any], frames: Mapping[str, Frame]) -> str:
    """The collection as JSON that may stand in a page; frames: width of the picture -> the plot's frame."""
    boxes = {width: [round(float(side), 4) for side in frame] for width, frame in frames.items()}
    text = json.dumps({**values, "boxes": boxes}, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c")


def curves(
    chart: LineChart,
    limits: tuple[float, float],
    points: Callable[[Any, Any], Points],
    roles: Mapping[str, str],
) -> dict[str, Any]:
    """The points of a chart's lines and bands.

    Args:
        limits: of x, as numbers; points: x and y of a curve, thinned as it is drawn.
        roles: line or band -> its colour's role.
    """
    drawn = [
        {"n": line.name, "c": roles[line.name], **_curve(*points(line.x, line.y))} for line in chart.lines
    ]
    for band in chart.bands:
        x, low = points(band.x, band.low)
        _, high = points(band.x, band.high)
        drawn.append({"n": band.name, "c": roles[band.name], **_curve(x, low), "z": _numbers(high)})
    first = next((line.x for line in chart.lines if len(line.x)), ())
    x, _ = points(first, np.zeros(len(first)))
    texts = [str(name) for name in first] if np.asarray(first).dtype.kind in "US" else []
    return {
        "kind": "curves",
        "time": bool(np.issubdtype(x.dtype, np.datetime64)),
        "x": [round(float(limit), 6) for limit in limits],
        "label": chart.x_label,
        "texts": texts,
        "curves": drawn,
    }


def grid(heat_map: HeatMap, values: np.ndarray) -> dict[str, Any]:
    """The numbers of a heat map's cells; values: (R, C)."""
    rows, columns = values.shape
    return {
        "kind": "grid",
        "label": heat_map.x_label,
        "side": heat_map.y_label,
        "columns": _labels(heat_map.x, columns),
        "rows": _labels(heat_map.y, rows),
        "cells": [_numbers(row) for row in values],
    }


def bars(chart: BarChart) -> dict[str, Any]:
    """The heights of bars, by label."""
    values = [
        {"n": name, "c": f"hue{place}", "y": _numbers(heights)}
        for place, (name, heights) in enumerate(chart.values.items(), 1)
    ]
    return {"kind": "bars", "columns": [str(label) for label in chart.labels], "curves": values}


def _curve(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Points; x as first, step and count where it is regular."""
    numbers = x.astype("datetime64[us]").astype(np.int64) / _DAY if x.dtype.kind == "M" else x.astype(float)
    steps = np.diff(numbers)
    regular = len(steps) > 1 and bool(np.allclose(steps, steps[0], rtol=1e-6))
    places = (
        {"s": [round(float(numbers[0]), 6), float(steps[0]), len(numbers)]}
        if regular
        else {"x": [round(float(value), 5) for value in numbers]}
    )
    return {**places, "y": _numbers(y)}


def _numbers(values: Any) -> list[float | None]:
    """To five digits; None where there is none."""
    numbers = [np.nan if value is None else float(value) for value in values]
    return [float(f"{number:.5g}") if np.isfinite(number) else None for number in numbers]


def _labels(names: Sequence[Any] | np.ndarray, count: int) -> list[str]:
    if not len(names):
        return [str(number + 1) for number in range(count)]
    return [
        str(np.array(name, "datetime64[m]")).replace("T", " ")
        if isinstance(name, (np.datetime64, datetime))
        else str(name)
        for name in names
    ]
