"""Draws a model's layers and the calls between them as an SVG picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from longspan import errors
from longspan.atomic_file import atomic_write
from longspan.layers.symbolic import KerasTensor

from .model import Model

_CHARACTER, _LINE = 7.2, 18  # width and height of a character of the text, in pixels
_MARGIN, _GAP, _ROW_GAP = 12, 28, 44  # around the text, between boxes of a row, between rows, in pixels
_STYLE = "font-family:monospace;font-size:12px"


def plot_model(
    model: Model,
    to_file: str | os.PathLike[str] = "model.svg",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
) -> str:
    """Write a picture of a model: keras.utils.plot_model, as SVG and without Graphviz.

    Args:
        model: a built Sequential or Model(inputs, outputs).
        to_file: the file. A name with another suffix than .svg is written with .svg, and a notice says so.
        show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable: what the boxes say
            beside the layers' classes.
        rankdir: "TB", from top to bottom.
        expand_nested: False: a model inside the model is one box.
        dpi: accepted without effect, since SVG has no pixels.

    Returns:
        The SVG text.

    Raises:
        ValueError: the model has no symbolic tensors, or an option is another one.
    """
    errors.check_choice("rankdir", rankdir, ("TB",))
    if expand_nested:
        raise errors.value_error("expand_nested", "False", True, "plot the inner model by itself")
    tensors: list[KerasTensor] = [*model.inputs]
    boxes: list[tuple[list[str], list[int]]] = []  # the lines of every box, and the boxes that it reads
    sources: dict[int, int] = {}  # id of a symbolic tensor -> its box
    shown = (show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable)
    for tensor in tensors:
        sources[id(tensor)] = len(boxes)
        boxes.append((_lines(tensor.node.layer if tensor.node else None, [tensor], shown), []))
    for node in model.graph_of_calls().nodes:
        for tensor in node.outputs:
            sources[id(tensor)] = len(boxes)
        read = sorted({sources[id(tensor)] for tensor in node.inputs})
        boxes.append((_lines(node.layer, node.outputs, shown), read))
    picture = _svg(model.name, boxes)
    path = Path(to_file)
    if path.suffix != ".svg":
        errors.notice(f"plot_model writes SVG: {path.with_suffix('.svg')} in the place of {path}")
        path = path.with_suffix(".svg")
    with atomic_write(path) as target:
        target.write(picture.encode())
    return picture


def _lines(layer: Any, outputs: Sequence[KerasTensor], shown: tuple[bool, ...]) -> list[str]:
    """The text of a box."""
    shapes, dtypes, names, activations, trainable = shown
    kind = "Input" if layer is None else layer.class_name()
    lines = [f"{layer.name} ({kind})" if names and layer is not None else kind]
    activation = None if layer is None else layer.get_config().get("activation")
    if activations and activation is not None:
        lines.append(f"activation: {activation}")
    if shapes:
        lines.append("output: " + ", ".join(str(tensor.shape) for tensor in outputs))
    if dtypes:
        lines.append("dtype: " + ", ".join(tensor.dtype for tensor in outputs))
    if trainable and layer is not None:
        lines.append("trainable" if layer.trainable else "not trainable")
    return lines


def _svg(name: str, boxes: Sequence[tuple[list[str], list[int]]]) -> str:
    """The picture: a row of boxes for every distance from the inputs, and a line for every call."""
    rows: list[list[int]] = []
    depth: list[int] = []
    for index, (_, read) in enumerate(boxes):
        depth.append(max((depth[source] + 1 for source in read), default=0))
        rows += [[] for _ in range(depth[index] + 1 - len(rows))]
        rows[depth[index]].append(index)
    widths = [max(map(len, lines)) * _CHARACTER + 2 * _MARGIN for lines, _ in boxes]
    heights = [len(lines) * _LINE + _MARGIN for lines, _ in boxes]
    row_widths = [sum(widths[i] for i in row) + _GAP * (len(row) - 1) for row in rows]
    whole, top = max(row_widths) + 2 * _GAP, float(_GAP)
    corners: dict[int, tuple[float, float]] = {}
    for row, wide in zip(rows, row_widths, strict=True):
        left = (whole - wide) / 2
        for index in row:
            corners[index] = (left, top)
            left += widths[index] + _GAP
        top += max(heights[i] for i in row) + _ROW_GAP
    calls = [(source, target) for target, (_, read) in enumerate(boxes) for source in read]
    parts = [_edge(corners, widths, heights, source, target) for source, target in calls]
    parts += [_box(lines, corners[i], widths[i], heights[i]) for i, (lines, _) in enumerate(boxes)]
    high = top - _ROW_GAP + _GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole:.0f}" height="{high:.0f}" style="{_STYLE}">'
    )
    arrow = (
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>'
    )
    return "\n".join([head, f"<title>{escape(name)}</title>", arrow, *parts, "</svg>", ""])


def _edge(
    corners: Mapping[int, tuple[float, float]],
    widths: Sequence[float],
    heights: Sequence[float],
    source: int,
    target: int,
) -> str:
    x1, y1 = corners[source][0] + widths[source] / 2, corners[source][1] + heights[source]
    x2, y2 = corners[target][0] + widths[target] / 2, corners[target][1]
    middle = (y1 + y2) / 2
    path = f"M{x1:.1f} {y1:.1f}C{x1:.1f} {middle:.1f} {x2:.1f} {middle:.1f} {x2:.1f} {y2:.1f}"
    return f'<path d="{path}" fill="none" stroke="#555" marker-end="url(#arrow)"/>'


def _box(lines: Sequence[str], corner: tuple[float, float], wide: float, high: float) -> str:
    left, top = corner
    size = f'x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{high:.1f}"'
    texts = [
        f'<text x="{left + _MARGIN:.1f}" y="{top + _LINE * (row + 1):.1f}">{escape(line)}</text>'
        for row, line in enumerate(lines)
    ]
    return f'<rect {size} rx="4" fill="#f4f6f8" stroke="#555"/>' + "".join(texts)
