"""Knows how a model looks as a table: its layers, the shapes between them, how many numbers they learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from longspan.layers import Layer

_HEADS = ("Layer (type)", "Output Shape", "Param #")


def summary(name: str, layers: Sequence[Layer]) -> str:
    """The table that Keras prints; shapes are unknown before the model is built."""
    rows = [_row(layer) for layer in layers]
    widths = [max(len(row[i]) for row in [_HEADS, *rows]) + 1 for i in range(3)]
    bars = {kind: kind[0] + kind[2].join(kind[1] * (w + 1) for w in widths) + kind[3] for kind in _RULES}
    lines = [f'Model: "{name}"', bars[_RULES[0]], _line("┃", _HEADS, widths), bars[_RULES[1]]]
    for place, row in enumerate(rows):
        lines += [*([bars[_RULES[2]]] if place else []), _line("│", row, widths)]
    return "\n".join([*lines, bars[_RULES[3]], *_totals(layers)])


# Left end, line, crossing, right end: above the heads, below them, between rows, below the last.
_RULES = ("┏━┳┓", "┡━╇┩", "├─┼┤", "└─┴┘")


def _line(bar: str, row: Sequence[str], widths: Sequence[int]) -> str:
    first, second, third = row
    cells = f" {first:<{widths[0]}}", f" {second:<{widths[1]}}", f"{third:>{widths[2]}} "
    return bar + bar.join(cells) + bar


def _row(layer: Layer) -> tuple[str, str, str]:
    kind = f"{layer.name} ({type(layer).__name__})"
    if not layer.built:
        return kind, "?", "0 (unbuilt)"
    return kind, _shape(layer.output_shape), f"{layer.count_params():,}"


def _shape(shape: Any) -> str:
    if shape and isinstance(shape[0], tuple):
        return "[" + ", ".join(_shape(one) for one in shape) + "]"
    return str(tuple(shape))


def _totals(layers: Sequence[Layer]) -> list[str]:
    weights = [(layer, weight) for layer in layers for weight in layer.keras_weights()]
    sizes = [(weight.trainable and layer.trainable, weight.get().numel()) for layer, weight in weights]
    learned, all_ = sum(size for learns, size in sizes if learns), sum(size for _, size in sizes)
    labels = ("Total params", all_), ("Trainable params", learned), ("Non-trainable params", all_ - learned)
    return [f" {label}: {count:,} ({_memory(4 * count)})" for label, count in labels]


def _memory(size: float) -> str:
    for unit in ("B", "KB", "MB"):
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} GB"
