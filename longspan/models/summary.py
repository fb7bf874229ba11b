"""Prints a model as a table: its layers, the shapes between them, how many numbers they learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from longspan.layers import Layer
from longspan.layers.symbolic import KerasTensor
from longspan.text_table import text_table

from .graph import Graph

_HEADS = ("Layer (type)", "Output Shape", "Param #")


def summary(
    name: str, layers: Sequence[Layer], graph: Graph | None = None, expand_nested: bool = False
) -> str:
    """The table that Keras prints; shapes are unknown before the model is built.

    Args:
        name: the model's name; layers: its layers.
        graph: of a model of symbolic tensors, whose table also says what each layer is called on, unless the
            layers are a row.
        expand_nested: also list the layers of inner models.
    """
    listed = [pair for layer in layers for pair in _nested(layer, 0, expand_nested)]
    heads, rows = _HEADS, [_row(layer, depth) for layer, depth in listed]
    if graph is not None and not _is_row(graph):
        heads = (*_HEADS, "Connected to")
        rows = [(*row, _sources(graph, layer)) for row, (layer, _) in zip(rows, listed, strict=True)]
    table = text_table(heads, rows, left=2, ruled=True)
    return "\n".join([f'Model: "{name}"', table, *_totals(layers)])


def _is_row(graph: Graph) -> bool:
    """Whether every layer is called once, on the output of the layer before it alone."""
    last = graph.inputs[0]
    for node in graph.nodes:
        if len(node.inputs) != 1 or node.inputs[0] is not last or len(node.outputs) != 1:
            return False
        last = node.outputs[0]
    return len(graph.inputs) == 1


def _sources(graph: Graph, layer: Layer) -> str:
    """What a layer is called on, such as "lstm[0][0]": the layer, its call and the output of it."""
    tensors = [tensor for node in graph.nodes if node.layer is layer for tensor in node.inputs]
    return ", ".join(f"{tensor.name}[{_call(tensor)}][{tensor.index}]" for tensor in tensors) or "-"


def _call(tensor: KerasTensor) -> int:
    node = tensor.node
    return 0 if node is None else node.layer.inbound_nodes.index(node)


@runtime_checkable
class _WithLayers(Protocol):
    """A model inside a model."""

    @property
    def layers(self) -> Sequence[Layer]: ...


def _nested(layer: Layer, depth: int, expand: bool) -> list[tuple[Layer, int]]:
    """A layer, and with `expand` the layers of an inner model, each with how deep it lies."""
    inner = layer.layers if expand and isinstance(layer, _WithLayers) else ()
    return [(layer, depth), *(pair for part in inner for pair in _nested(part, depth + 1, expand))]


def _row(layer: Layer, depth: int) -> tuple[str, ...]:
    kind = f"{'    ' * depth}{layer.name} ({layer.class_name()})"
    if not layer.built:
        return kind, "?", "0 (unbuilt)"
    return kind, _shape(_outputs(layer)), f"{layer.count_params():,}"


def _outputs(layer: Layer) -> Any:
    """The shape of what a layer's first call returned, or of its output for the shape it is built for."""
    if not layer.inbound_nodes:
        return layer.output_shape
    shapes = [tensor.shape for tensor in layer.inbound_nodes[0].outputs]
    return shapes[0] if len(shapes) == 1 else shapes


def _shape(shape: Any) -> str:
    if isinstance(shape, dict):
        shape = list(shape.values())
    if shape and isinstance(shape[0], (tuple, list)):
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
