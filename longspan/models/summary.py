"""Prints a model as a table: its layers, the shapes between them, how many numbers they learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from longspan.layers import Layer
from longspan.text_table import text_table

_HEADS = ("Layer (type)", "Output Shape", "Param #")


def summary(name: str, layers: Sequence[Layer]) -> str:
    """The table that Keras prints; shapes are unknown before the model is built."""
    table = text_table(_HEADS, [_row(layer) for layer in layers], left=2, ruled=True)
    return "\n".join([f'Model: "{name}"', table, *_totals(layers)])


def _row(layer: Layer) -> tuple[str, str, str]:
    kind = f"{layer.name} ({type(layer).__name__})"
    if not layer.built:
        return kind, "?", "0 (unbuilt)"
    return kind, _shape(layer.output_shape), f"{layer.count_params():,}"


def _shape(shape: Any) -> str:
    if shape and isinstance(shape[0], tuple):
        return "[" + ", ".join(_shape(part) for part in shape) + "]"
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
