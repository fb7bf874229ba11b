"""Exports a trained Sequential as one ONNX graph with open batch and time, layer by layer."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from longspan import errors
from longspan.atomic_file import atomic_write

from . import conv_lstm, recurrence
from .activations import activation
from .graph import Graph
from .layer_info import Described, ModelLike, check_sequential, described_layers


@dataclass
class Flow:
    """The output of the layers converted so far.

    Args:
        value: the name of the last layer's output, (B, …).
        rank: its number of dimensions.
        mask: the name of its mask, (B, T) bool, None where every step counts.
        states: whether recurrent layers take their states from inputs and return them as outputs.
        final_states: (name, value, units) of each state that is returned.
    """

    value: str
    rank: int
    mask: str | None = None
    states: bool = False
    final_states: list[tuple[str, str, int]] = field(default_factory=list)


def to_onnx(model: ModelLike, path: str | os.PathLike[str] | None = None, *, states: bool = False) -> bytes:
    """A built Sequential as an ONNX graph, float32, batch and time open. Needs onnx.

    The input is "input" (B, …), the output "output" (B, …). Masking and Embedding(mask_zero=True) travel
    inside the graph. Dropout is left out.

    Args:
        model: a Sequential of any layers but those with cells of your own.
        path: where to write it; None to write nothing.
        states: let every LSTM, GRU and SimpleRNN start from the inputs "{layer}.h" (and "{layer}.c"), (B, H),
            and return its last states as "{layer}.h_out" (and "{layer}.c_out"), to serve a stream piece by
            piece.

    Returns:
        The file's bytes.

    Raises:
        ImportError: onnx is not installed.
        ValueError: the model is not built, or a layer or an activation has no operator.
    """
    if not model.built:
        raise errors.value_error(
            "model", "one that is built", "one without weights", "call build or fit first"
        )
    check_sequential(model, "model")
    graph, shape = Graph(), list(model.input_shape)
    names = ["batch", *("time" if i == 1 and len(shape) > 2 else f"size_{i}" for i in range(1, len(shape)))]
    if model.takes_token_ids():
        names[1] = "time"
    sizes = [
        name if size is None or name in ("batch", "time") else size
        for name, size in zip(names, shape, strict=True)
    ]
    flow = Flow(graph.input("input", sizes, integers=model.takes_token_ids()), len(shape), states=states)
    for described, layer in zip(described_layers(model), model.layers, strict=True):
        convert(graph, flow, described, layer.get_weights())
    out = [f"out_{i}" if i else "batch" for i in range(flow.rank)]
    if flow.rank > 1 and isinstance(model.layers[-1].output_shape[-1], int):
        out[-1] = model.layers[-1].output_shape[-1]
    graph.output("output", flow.value, out)
    for name, value, units in flow.final_states:
        graph.output(name, value, ("batch", units))
    content = graph.model(model.name).SerializeToString()
    if path is not None:
        with atomic_write(path) as file:
            file.write(content)
    return content


def convert(graph: Graph, flow: Flow, described: Described, weights: Sequence[np.ndarray]) -> None:
    """Adds one layer to the graph and updates the flow."""
    kind, config = described["class_name"], described["config"]
    if kind not in _LAYERS:
        expected = f"one of {', '.join(sorted(_LAYERS))}"
        raise errors.value_error(
            f"layer {config['name']}", expected, kind, "leave it out of the exported model"
        )
    _LAYERS[kind](graph, flow, config, list(weights))


Config = Mapping[str, Any]
Weights = list[np.ndarray]


def _same(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
    """A layer that does nothing once trained."""


def _dense(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
    value = graph.add("MatMul", flow.value, graph.floats(weights[0]))
    if config["use_bias"]:
        value = graph.add("Add", value, graph.floats(weights[1]))
    flow.value = activation(graph, value, config["activation"])


def _embedding(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
    ids = flow.value
    flow.value = graph.add("Gather", graph.floats(weights[0]), ids, axis=0)
    if config["mask_zero"]:
        flow.mask = graph.add("Not", graph.add("Equal", ids, graph.int_scalar(0)))
    flow.rank += 1


def _masking(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
    differs = graph.add("Not", graph.add("Equal", flow.value, graph.floats(config["mask_value"])))
    count = graph.add("ReduceMax", graph.add("Cast", differs, to=1), axes=[flow.rank - 1], keepdims=1)
    mask = graph.add("Cast", count, to=9)
    flow.value = graph.add("Where", mask, flow.value, graph.floats(0.0))
    flow.mask = graph.add("Squeeze", mask, graph.int_vector(flow.rank - 1))


def _activation(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
    flow.value = activation(graph, flow.value, config["activation"])


def _relu(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
    flow.value = graph.add("LeakyRelu", flow.value, alpha=float(config["negative_slope"]))
    if config.get("max_value") is not None:
        flow.value = graph.add("Min", flow.value, graph.floats(config["max_value"]))


def _flatten(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
    flow.value, flow.rank, flow.mask = graph.add("Reshape", flow.value, graph.int_vector(0, -1)), 2, None


def _reshape(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
    target = config["target_shape"]
    shape = graph.int_vector(0, *target) if -1 in target else graph.int_vector(-1, *target)
    flow.value, flow.rank, flow.mask = graph.add("Reshape", flow.value, shape), len(target) + 1, None


def _permute(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
    flow.value, flow.mask = graph.add("Transpose", flow.value, perm=[0, *config["dims"]]), None


def _repeat(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
    row = graph.add("Unsqueeze", flow.value, graph.int_vector(1))
    flow.value, flow.rank, flow.mask = graph.add("Expand", row, graph.int_vector(1, config["n"], 1)), 3, None


def _channels_first(graph: Graph, flow: Flow, op: str, inputs: Sequence[str], **attributes: Any) -> None:
    """Adds a node that takes (B, C, …) in place of (B, …, C)."""
    last = flow.rank - 1
    transposed = graph.add("Transpose", flow.value, perm=[0, last, *range(1, last)])
    out = graph.add(op, transposed, *inputs, **attributes)
    flow.value, flow.mask = graph.add("Transpose", out, perm=[0, *range(2, last + 1), 1]), None


def _padding(padding: str, windows: Sequence[int]) -> dict[str, Any]:
    if padding == "same":
        return {"auto_pad": "SAME_UPPER"}
    return {"pads": [windows[0] - 1, 0]} if padding == "causal" else {}


def _per_axis(sizes: Any, rank: int) -> list[int]:
    return [sizes] * rank if isinstance(sizes, int) else list(sizes)


def _convolution(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
    rank = flow.rank - 2
    kernel = _per_axis(config["kernel_size"], rank)
    dilations = _per_axis(config["dilation_rate"], rank)
    order = (rank + 1, rank, *range(rank))
    inputs = [graph.floats(weights[0].transpose(order)), *map(graph.floats, weights[1:])]
    windows = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    options = {"kernel_shape": kernel, "strides": _per_axis(config["strides"], rank), "dilations": dilations}
    options |= {"group": config["groups"]} | _padding(config["padding"], windows)
    if config["padding"] == "same" and max(dilations) > 1:  # onnxruntime's auto_pad ignores them
        before = [(window - 1) // 2 for window in windows]
        after = [window - 1 - pad for window, pad in zip(windows, before, strict=True)]
        del options["auto_pad"]
        options["pads"] = [*before, *after]
    _channels_first(graph, flow, "Conv", inputs, **options)
    flow.value = activation(graph, flow.value, config["activation"])


def _pooling(op: str) -> Callable[[Graph, Flow, Config, Weights], None]:
    def add(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
        rank = flow.rank - 2
        size = _per_axis(config["pool_size"], rank)
        steps = size if config["strides"] is None else _per_axis(config["strides"], rank)
        _channels_first(
            graph, flow, op, [], kernel_shape=size, strides=steps, **_padding(config["padding"], size)
        )

    return add


def _global(op: str) -> Callable[[Graph, Flow, Config, Weights], None]:
    def add(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
        axes, keep = list(range(1, flow.rank - 1)), int(config["keepdims"])
        if op == "ReduceMean" and flow.mask is not None:
            weight = graph.add("Unsqueeze", graph.add("Cast", flow.mask, to=1), graph.int_vector(2))
            total = graph.add(
                "ReduceSum", graph.add("Mul", flow.value, weight), graph.int_vector(1), keepdims=keep
            )
            count = graph.add("ReduceSum", weight, graph.int_vector(1), keepdims=keep)
            flow.value = graph.add("Div", total, count)
        else:
            flow.value = graph.add(op, flow.value, axes=axes, keepdims=keep)
        flow.rank, flow.mask = flow.rank if keep else 2, None

    return add


def _batch_norm(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
    left = list(weights)
    gamma = left.pop(0) if config["scale"] else np.float32(1.0)
    beta = left.pop(0) if config["center"] else np.float32(0.0)
    mean, variance = left
    scale = gamma / np.sqrt(variance + config["epsilon"])
    shape = [1] * flow.rank
    shape[config["axis"]] = -1
    scaled = graph.add("Mul", flow.value, graph.floats(scale.reshape(shape)))
    flow.value = graph.add("Add", scaled, graph.floats((beta - mean * scale).reshape(shape)))


def _layer_norm(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
    axes = config["axis"] if isinstance(config["axis"], (list, tuple)) else [config["axis"]]
    first = min(axis % flow.rank for axis in axes)
    left = list(weights)
    if not left and not config["scale"]:
        expected, way_out = "scale=True or center=True", "leave one of them on"
        raise errors.value_error(f"layer {config['name']}", expected, "neither", way_out)
    gamma = left.pop(0) if config["scale"] else np.ones_like(left[0])
    inputs = [flow.value, graph.floats(gamma), *([graph.floats(left[0])] if config["center"] else [])]
    flow.value = graph.add("LayerNormalization", *inputs, axis=first, epsilon=config["epsilon"])


def _time_distributed(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
    """The inner layer over (B * T, …)."""
    inner, mask = config["layer"], flow.mask
    outer = graph.add("Shape", flow.value)
    rest = graph.add("Slice", outer, graph.int_vector(2), graph.int_vector(flow.rank), graph.int_vector(0))
    flow.value = graph.add("Reshape", flow.value, graph.add("Concat", graph.int_vector(-1), rest, axis=0))
    flow.rank, flow.mask = flow.rank - 1, None
    convert(graph, flow, inner, weights)
    after = graph.add("Shape", flow.value)
    rest = graph.add("Slice", after, graph.int_vector(1), graph.int_vector(flow.rank), graph.int_vector(0))
    lead = graph.add("Slice", outer, graph.int_vector(0), graph.int_vector(2), graph.int_vector(0))
    flow.value = graph.add("Reshape", flow.value, graph.add("Concat", lead, rest, axis=0))
    flow.rank, flow.mask = flow.rank + 1, mask


def _attention(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
    """Attention of a sequence to itself, as in a Sequential."""
    if config.get("score_mode", "dot") != "dot":
        way_out = "train with score_mode='dot'"
        raise errors.value_error(f"layer {config['name']}", "score_mode='dot'", config["score_mode"], way_out)
    scores = graph.add("MatMul", flow.value, graph.add("Transpose", flow.value, perm=[0, 2, 1]))
    if config["use_scale"]:
        scores = graph.add("Mul", scores, graph.floats(weights[0]))
    if flow.mask is not None:
        hidden = graph.add("Cast", graph.add("Not", flow.mask), to=1)
        off = graph.add("Unsqueeze", graph.add("Mul", hidden, graph.floats(1e9)), graph.int_vector(1))
        scores = graph.add("Sub", scores, off)
    value = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), flow.value)
    if flow.mask is not None:
        valid = graph.add("Unsqueeze", graph.add("Cast", flow.mask, to=1), graph.int_vector(2))
        value = graph.add("Mul", value, valid)
    flow.value = value


def _recurrent(kind: str) -> Callable[[Graph, Flow, Config, Weights], None]:
    def add(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
        _run_over_time(graph, flow, [recurrence.Direction(kind, config, weights)], config)

    return add


def _check_one_output(config: Config) -> None:
    if config.get("return_state"):
        way_out = "export with states=True instead"
        raise errors.value_error(f"layer {config['name']}", "return_state=False", True, way_out)


def _run_over_time(
    graph: Graph, flow: Flow, directions: list[recurrence.Direction], config: Config, merge: str | None = None
) -> None:
    _check_one_output(config)
    starts: list[str] = []
    states = "hc" if directions[0].kind == "LSTM" else "h"
    if flow.states and len(directions) == 1:
        starts = [graph.input(f"{config['name']}.{s}", ("batch", directions[0].units)) for s in states]
    output = recurrence.run(graph, flow.value, flow.mask, directions, starts, merge)
    if starts:
        names = zip(states, output.states, strict=True)
        flow.final_states += [(f"{config['name']}.{s}_out", value, directions[0].units) for s, value in names]
    flow.value = output.value
    if not directions[0].config.get("return_sequences", False):
        flow.rank, flow.mask = 2, None


def _bidirectional(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
    inner = config["layer"]
    half = len(weights) // 2
    ahead = {**inner["config"], "zero_output_for_mask": True}
    back = {
        **(config.get("backward_layer") or inner)["config"],
        "zero_output_for_mask": True,
        "go_backwards": True,
    }
    pair = [
        recurrence.Direction(inner["class_name"], ahead, weights[:half]),
        recurrence.Direction(inner["class_name"], back, weights[half:]),
    ]
    if config["merge_mode"] is None:
        way_out = "merge the two directions"
        raise errors.value_error(f"layer {config['name']}", "one output", "merge_mode=None", way_out)
    _run_over_time(
        graph,
        flow,
        pair,
        {"name": config["name"], "return_state": ahead.get("return_state")},
        config["merge_mode"],
    )


def _rnn(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
    """Cells on top of each other, one layer each."""
    cells = config["cell"] if isinstance(config["cell"], list) else [config["cell"]]
    left, shared = list(weights), {k: config.get(k, False) for k in ("return_sequences", "go_backwards")}
    for i, cell in enumerate(cells):
        if not isinstance(cell, Mapping) or cell["class_name"] == "Cell":
            way_out = "use LSTM, GRU or SimpleRNN"
            raise errors.value_error(f"layer {config['name']}", "a cell that ONNX has", repr(cell), way_out)
        options = {**cell["config"], **shared, "name": f"{config['name']}.{i}"}
        options["return_sequences"] = i < len(cells) - 1 or shared["return_sequences"]
        options["go_backwards"] = shared["go_backwards"] and i == 0
        count = (3 if cell["config"]["use_bias"] else 2) + (2 if left[1].dtype == np.int8 else 0)  # scales
        _recurrent(cell["class_name"].removesuffix("Cell"))(graph, flow, options, left[:count])
        left = left[count:]


def _conv_lstm(graph: Graph, flow: Flow, config: Config, weights: Weights) -> None:
    _check_one_output(config)
    flow.value = conv_lstm.run(graph, flow.value, config, weights)
    if not config.get("return_sequences", False):
        flow.rank, flow.mask = 4, None


_LAYERS: Mapping[str, Callable[[Graph, Flow, Config, Weights], None]] = {
    **dict.fromkeys(("Dropout", "SpatialDropout1D"), _same),
    "Dense": _dense,
    "Embedding": _embedding,
    "Masking": _masking,
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": _relu,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "RepeatVector": _repeat,
    "Conv1D": _convolution,
    "Conv2D": _convolution,
    "MaxPooling1D": _pooling("MaxPool"),
    "MaxPooling2D": _pooling("MaxPool"),
    "AveragePooling1D": _pooling("AveragePool"),
    "AveragePooling2D": _pooling("AveragePool"),
    "GlobalMaxPooling1D": _global("ReduceMax"),
    "GlobalMaxPooling2D": _global("ReduceMax"),
    "GlobalAveragePooling1D": _global("ReduceMean"),
    "GlobalAveragePooling2D": _global("ReduceMean"),
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "TimeDistributed": _time_distributed,
    "Attention": _attention,
    "LSTM": _recurrent("LSTM"),
    "GRU": _recurrent("GRU"),
    "SimpleRNN": _recurrent("SimpleRNN"),
    "Bidirectional": _bidirectional,
    "RNN": _rnn,
    "ConvLSTM2D": _conv_lstm,
}
