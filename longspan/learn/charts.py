"""Draws the measured curves of the page as SVG, each with a table of its numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from html import escape
from statistics import median
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _RIGHT, _TOP = 660, 300, 70, 44, 110, 14
NAMES = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM"}


def _chart(
    title: str,
    x_label: str,
    y_label: str,
    x_marks: Mapping[str, float],
    y_marks: Mapping[str, float],
    curves: Sequence[tuple[str, str, Sequence[tuple[float, float]]]],
) -> str:
    """An SVG of curves whose points are shares of width and height, from the lower left.

    Args:
        title: what it shows; x_label, y_label: of the axes; x_marks, y_marks: labels with their places.
        curves: the class, the name at the end, and the points of each.
    """

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _BOTTOM - _TOP
        return _LEFT + x * across, _TOP + (1 - y) * up

    parts = list[str]()
    for label, y in y_marks.items():
        x0, y0 = place(0, y)
        x1, _ = place(1, y)
        parts.append(f'<path class="grid" d="M{x0:g} {y0:.1f}H{x1:g}"/>')
        parts.append(f'<text class="small" x="{x0 - 8:g}" y="{y0 + 4:.1f}" text-anchor="end">{label}</text>')
    for label, x in x_marks.items():
        x0, y0 = place(x, 0)
        parts.append(f'<text class="small" x="{x0:.1f}" y="{y0 + 18:g}" text-anchor="middle">{label}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text class="small" x="{middle:g}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
    )
    turn = (_TOP + _HEIGHT - _BOTTOM) / 2
    beside = f'transform="translate(14 {turn:g}) rotate(-90)" text-anchor="middle"'
    parts.append(f'<text class="small" {beside}>{escape(y_label)}</text>')
    for kind, _, points in curves:
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in (place(*point) for point in points))
        parts.append(f'<path class="curve {kind}" d="{path}"/>')
    heights = _apart([place(*points[-1])[1] for _, _, points in curves])
    for (kind, name, points), y in zip(curves, heights, strict=True):
        x, _ = place(*points[-1])
        parts.append(f'<text class="name {kind}" x="{x + 6:.1f}" y="{y + 4:.1f}">{escape(name)}</text>')
    label = escape(title)
    return (
        f'<div class="wide"><svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{label}">'
        f"<title>{label}</title>{''.join(parts)}</svg></div>"
    )


def _apart(heights: Sequence[float], least: float = 16) -> list[float]:
    """Heights moved apart until no two are nearer than `least`, in the same order."""
    moved = list(heights)
    for _ in range(100):
        ranks = sorted(range(len(moved)), key=moved.__getitem__)
        for upper, lower in itertools.pairwise(ranks):
            overlap = least - (moved[lower] - moved[upper])
            if overlap > 0:
                moved[upper] -= overlap / 2
                moved[lower] += overlap / 2
    return moved


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    table = f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return f"<details><summary>The numbers</summary><div class='wide'>{table}</div></details>"


def gradients(measured: Mapping[str, Any]) -> str:
    """The gradient by lag on a logarithmic scale: networks as they begin, and the best after training."""
    curves = measured["gradients"]
    length = len(curves["rnn"]["before"])
    lowest = -22

    def points(norms: Sequence[float]) -> list[tuple[float, float]]:
        levels = [max(lowest, math.log10(max(norm, 1e-30))) for norm in norms]
        return [(k / (length - 1), (level - lowest) / (2 - lowest)) for k, level in enumerate(levels)]

    drawn = [(cell, f"{NAMES[cell]}", points(curves[cell]["before"])) for cell in ("rnn", "gru", "lstm")]
    drawn += [
        (f"{cell} after", f"{NAMES[cell]}, trained", points(curves[cell]["after"]))
        for cell in ("gru", "lstm")
    ]
    y_marks = {f"10{_power(p)}": (p - lowest) / (2 - lowest) for p in range(-20, 3, 4)}
    x_marks = {str(k): k / (length - 1) for k in range(0, length, 20)}
    title = "How much the loss at the end changes with the input k steps before it, by k"
    rows = [
        [str(k), *(f"{curves[cell][when][k]:.1e}" for when in ("before", "after") for cell in NAMES)]
        for k in (0, 1, 2, 5, 10, 20, 40, 60, 80, length - 1)
    ]
    head = ["k", *(f"{name}{after}" for after in ("", ", trained") for name in NAMES.values())]
    chart = _chart(title, "steps back, k", "gradient, that of k = 0 is 1", x_marks, y_marks, drawn)
    return chart + _table(head, rows)


def _power(exponent: int) -> str:
    digits = "⁰¹²³⁴⁵⁶⁷⁸⁹"
    return ("⁻" if exponent < 0 else "") + "".join(digits[int(digit)] for digit in str(abs(exponent)))


def errors(measured: Mapping[str, Any]) -> str:
    """The error of the adding problem by length: the median of the seeds."""
    lengths, by_cell = measured["lengths"], measured["errors"]
    low, high = -4.0, -0.5

    def scale(error: float) -> float:
        return (max(low, math.log10(error)) - low) / (high - low)

    across = [math.log(length / lengths[0]) / math.log(lengths[-1] / lengths[0]) for length in lengths]
    curves = [
        (
            cell,
            NAMES[cell],
            [(x, scale(median(by_cell[cell][str(n)]))) for x, n in zip(across, lengths, strict=True)],
        )
        for cell in NAMES
    ]
    guess = scale(1 / 6)
    curves.append(("guess", "guessing 1", [(0.0, guess), (1.0, guess)]))
    x_marks = {str(n): x for x, n in zip(across, lengths, strict=True)}
    y_marks = {f"10{_power(p)}": (p - low) / (high - low) for p in range(-4, 0)}
    title = "Mean squared error of the adding problem by length of the sequence"
    rows = [
        [str(n), *(", ".join(f"{e:.4f}" for e in by_cell[cell][str(n)]) for cell in NAMES)] for n in lengths
    ]
    chart = _chart(title, "steps", "mean squared error", x_marks, y_marks, curves)
    return chart + _table(["steps", *NAMES.values()], rows)
