"""Writes the layer calls of a model as JSON values in Keras' form, and makes the symbolic tensors again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from longspan import errors
from longspan.layers import Layer
from longspan.layers.config import from_config, is_operation, to_config
from longspan.layers.structure import map_structure
from longspan.layers.symbolic import KerasTensor

from .graph import Graph, is_input

_TENSOR, _SLICE, _ELLIPSIS, _TUPLE = "__keras_tensor__", "__slice__", "__ellipsis__", "__tuple__"


# What `graph_config` writes; other keys of a model's config are options of its class.
GRAPH_KEYS = ("layers", "input_layers", "output_layers")


def graph_config(graph: Graph) -> dict[str, Any]:
    """{"layers", "input_layers", "output_layers"} of a graph, as Keras' functional models have them."""
    numbers: dict[int, int] = {}  # id of a node -> its number among the graph's calls of its layer
    calls: dict[int, list[Any]] = {id(layer): [] for layer in graph.layers}
    for node in graph.nodes:
        numbers[id(node)] = len(calls[id(node.layer)])
        calls[id(node.layer)].append(node)
    inner = [tensor for tensor in graph.inputs if not is_input(tensor)]
    renamed = {id(tensor): layer.name for tensor, layer in zip(inner, graph.inner_inputs, strict=True)}

    def history(tensor: KerasTensor) -> list[Any]:
        node = tensor.node
        if id(tensor) in renamed or node is None:
            return [renamed[id(tensor)], 0, 0]
        return [node.layer.name, numbers.get(id(node), 0), tensor.index]

    def end(tensor: KerasTensor) -> list[Any]:
        name, number, index = history(tensor)
        inner = tensor.node is not None and _starts_with_a_node(tensor.node.layer)
        return [name, number + (1 if inner else 0), index]

    layers: list[Any] = []
    for layer in graph.layers:
        nodes = [_node(node, history) for node in calls[id(layer)]]
        layers.append({**to_config(layer), "name": layer.name, "inbound_nodes": nodes})
    return {
        "layers": layers,
        "input_layers": map_structure(end, graph.input_structure),
        "output_layers": map_structure(end, graph.output_structure),
    }


def _starts_with_a_node(layer: Any) -> bool:
    """Whether Keras counts the layer's calls from 1, as it does for models of symbolic tensors."""
    return isinstance(layer, Layer) and layer.class_name() == "Functional"


def _node(node: Any, history: Callable[[KerasTensor], list[Any]]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, KerasTensor):
            config = {"shape": list(value.shape), "dtype": value.dtype, "keras_history": history(value)}
            return {"class_name": _TENSOR, "config": config}
        if isinstance(value, slice):
            return {
                "class_name": _SLICE,
                "config": {"start": value.start, "stop": value.stop, "step": value.step},
            }
        if value is Ellipsis:
            return {"class_name": _ELLIPSIS, "config": {}}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        way_out = "put it into a layer of your own, or save the weights alone with save_weights"
        expected = "symbolic tensors, numbers and text"
        raise errors.type_error(f"arguments of {node.layer.name}", expected, value, way_out)

    def structured(value: Any) -> Any:
        if isinstance(value, tuple):
            return {"class_name": _TUPLE, "items": [structured(part) for part in value]}
        if isinstance(value, list):
            return [structured(part) for part in value]
        if isinstance(value, dict):
            return {key: structured(part) for key, part in value.items()}
        return plain(value)

    return {
        "args": [structured(part) for part in node.args],
        "kwargs": {key: structured(part) for key, part in node.kwargs.items()},
    }


def graph_from_config(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None) -> tuple[Any, Any]:
    """The symbolic inputs and outputs of the graph that a config describes.

    Raises:
        ValueError: a layer is unknown, or the calls do not fit together.
    """
    layers: dict[str, Any] = {}
    waiting: list[tuple[Any, Any]] = []
    for entry in _needed(_without_inferred(config["layers"]), config["output_layers"]):
        layer = from_config(entry, custom_objects)
        layers[entry.get("name") or layer.name] = layer
        waiting += [(layer, node) for node in entry["inbound_nodes"] if node]
    while waiting:
        left = [(layer, node) for layer, node in waiting if not _call(layer, node, layers)]
        if len(left) == len(waiting):
            way_out = "save the model again"
            received = f"a call of {left[0][0].name} that needs others"
            raise errors.value_error("config", "layer calls that can be put in an order", received, way_out)
        waiting = left
    return (
        _ends(config["input_layers"], layers),
        _ends(config["output_layers"], layers),
    )


def _without_inferred(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The layers without what Keras adds to their calls: the mode, and masks made by operations.

    Layers here find both by themselves.
    """
    operations = {entry["name"] for entry in entries if is_operation(entry)}

    def keeps(key: str, value: Any) -> bool:
        made = isinstance(value, Mapping) and value.get("class_name") == _TENSOR
        inferred = made and value["config"]["keras_history"][0] in operations and key.endswith("mask")
        return key != "training" and not inferred

    def cleaned(node: Any) -> Any:
        if not isinstance(node, Mapping):
            return node
        return {**node, "kwargs": {k: v for k, v in node["kwargs"].items() if keeps(k, v)}}

    return [{**entry, "inbound_nodes": [cleaned(n) for n in entry["inbound_nodes"]]} for entry in entries]


def _needed(entries: Sequence[dict[str, Any]], ends: Any) -> list[dict[str, Any]]:
    """The layers without operations that no layer and no output takes."""
    used = set(_texts(ends))
    size = -1
    while size != len(used):
        size = len(used)
        for entry in entries:
            if entry.get("name") in used or not is_operation(entry):
                used.update(_texts(entry["inbound_nodes"]))
    return [entry for entry in entries if entry.get("name") in used or not is_operation(entry)]


def _texts(value: Any) -> Iterator[str]:
    """Every text in nested lists and dicts, layers' names among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _texts(part)


class _Missing(LookupError):
    """A call whose inputs are not there yet."""


def _call(layer: Any, node: Any, layers: Mapping[str, Any]) -> bool:
    """Call a layer as a config says; False where a symbolic tensor is not there yet."""
    try:
        args, kwargs = _arguments(node, layers)
    except _Missing:
        return False
    layer(*args, **kwargs)
    return True


def _arguments(node: Any, layers: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(node, Mapping):
        args = [_value(part, layers) for part in node["args"]]
        return args, {key: _value(part, layers) for key, part in node["kwargs"].items()}
    tensors, kwargs = [], {}  # Keras 2: [name, call, output, keyword arguments] of every input
    for name, number, index, *rest in node:
        tensors.append(_tensor(layers, name, number, index))
        kwargs = dict(rest[0]) if rest else kwargs
    kwargs = {key: _older_value(part, layers) for key, part in kwargs.items()}
    return [tensors[0] if len(tensors) == 1 else tensors], kwargs


def _older_value(value: Any, layers: Mapping[str, Any]) -> Any:
    """An argument in a file of Keras 2, where symbolic tensors are [name, call, output]."""
    if isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str) and value[0] in layers:
        return _tensor(layers, value[0], value[1], value[2])
    return [_older_value(part, layers) for part in value] if isinstance(value, list) else value


def _value(value: Any, layers: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_value(part, layers) for part in value]
    if not isinstance(value, Mapping):
        return value
    kind = value.get("class_name")
    if kind == _TENSOR:
        return _tensor(layers, *value["config"]["keras_history"])
    if kind == _TUPLE:
        items = value["items"] if "items" in value else value["config"]
        return tuple(_value(part, layers) for part in items)
    if kind == _SLICE:
        return slice(*(value["config"][key] for key in ("start", "stop", "step")))
    if kind == _ELLIPSIS:
        return Ellipsis
    return {key: _value(part, layers) for key, part in value.items()}


def _tensor(layers: Mapping[str, Any], name: str, number: int, index: int) -> KerasTensor:
    if name not in layers:
        raise errors.value_error("config", "calls of the model's layers", repr(name), "save the model again")
    nodes = layers[name].inbound_nodes
    if number >= len(nodes):
        raise _Missing
    return nodes[number].outputs[index]


def _ends(structure: Any, layers: Mapping[str, Any]) -> Any:
    """The symbolic tensors of "input_layers" or "output_layers", each as [name, call, output]."""
    if isinstance(structure, Mapping):
        return {key: _ends(part, layers) for key, part in structure.items()}
    if _is_end(structure):
        name, number, index = structure
        layer = layers[name]
        return _tensor(layers, name, number - (1 if _starts_with_a_node(layer) else 0), index)
    parts = [_ends(part, layers) for part in structure]
    return tuple(parts) if isinstance(structure, tuple) else parts


def _is_end(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 3 and isinstance(value[0], str)
