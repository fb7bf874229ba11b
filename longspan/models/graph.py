"""Runs a model that is a graph of layer calls, from its inputs to its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from longspan import errors
from longspan.layers import Embedding, InputLayer
from longspan.layers.structure import flatten, map_structure, mask_of, with_mask
from longspan.layers.symbolic import KerasTensor, Node


@runtime_checkable
class TokenReader(Protocol):
    """A model, which knows whether its input is of token ids."""

    def takes_token_ids(self) -> bool: ...


class Graph:
    """The layer calls between symbolic inputs and outputs, in an order in which they can run.

    Args:
        inputs, outputs: symbolic tensors, in nested lists, tuples and dicts.

    Attributes:
        inputs, outputs: the symbolic tensors in one list each.
        input_structure, output_structure: as they were given.
        nodes: the calls, each after those whose outputs it takes.
        layers: the layers in Keras' order, with the inputs.

    Raises:
        TypeError, ValueError: something is no symbolic tensor, or an output needs an input that is missing.
    """

    def __init__(self, inputs: Any, outputs: Any) -> None:
        self.input_structure, self.output_structure = inputs, outputs
        self.inputs, self.outputs = _symbolic("inputs", inputs), _symbolic("outputs", outputs)
        self.nodes, layers = _ordered(self.inputs, self.outputs)
        self.inner_inputs = [_input_for(tensor) for tensor in self.inputs if not is_input(tensor)]
        self.layers: list[Any] = [*self.inner_inputs, *layers]
        _check_names(self.layers)
        self._steps = self._planned()

    def chain(self) -> list[Any] | None:
        """The layers but for the input where each reads the one before alone, once; else None."""
        if len(self.inputs) != 1 or len(self.outputs) != 1 or isinstance(self.output_structure, dict):
            return None
        current, layers = self.inputs[0], []
        for node in self.nodes:
            reads_current = len(node.args) == 1 and not node.kwargs and node.args[0] is current
            if not reads_current or len(node.outputs) != 1 or node.layer in layers:
                return None
            current = node.outputs[0]
            layers.append(node.layer)
        return layers if current is self.outputs[0] else None

    def _planned(self) -> list[tuple[Any, int | None, Node, list[int]]]:
        """Every call as (layer, slot of its only argument or None, node, slots of its outputs)."""
        slots = {id(tensor): slot for slot, tensor in enumerate(self.inputs)}
        steps: list[tuple[Any, int | None, Node, list[int]]] = []
        for node in self.nodes:
            single = len(node.args) == 1 and not node.kwargs and isinstance(node.args[0], KerasTensor)
            source = slots[id(node.args[0])] if single else None
            outputs = []
            for tensor in node.outputs:
                slots.setdefault(id(tensor), len(slots))
                outputs.append(slots[id(tensor)])
            steps.append((node.layer, source, node, outputs))
        self._slots = slots
        return steps

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_steps", "_slots")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._steps = self._planned()

    def run(self, inputs: Sequence[Any], masks: Sequence[Tensor | None]) -> tuple[list[Any], list[Any]]:
        """The outputs for inputs (B, …) each, and the outputs' masks."""
        values: list[Any] = [*inputs, *[None] * (len(self._slots) - len(inputs))]
        for slot, mask in enumerate(masks):
            if mask is not None:
                values[slot] = with_mask(values[slot], mask)
        for layer, source, node, slots in self._steps:
            if source is None:
                output = layer(*self._filled(node.args, values), **self._filled(node.kwargs, values))
            else:
                output = layer(values[source])
            if len(slots) == 1 and isinstance(output, Tensor):
                values[slots[0]] = output
                continue
            for slot, value in zip(slots, flatten(output), strict=True):
                values[slot] = value
        outputs = [values[self._slots[id(tensor)]] for tensor in self.outputs]
        return outputs, [mask_of(output) for output in outputs]

    def _filled(self, arguments: Any, values: Sequence[Any]) -> Any:
        """The arguments with values in the place of symbolic tensors."""

        def value_of(part: Any) -> Any:
            return values[self._slots[id(part)]] if isinstance(part, KerasTensor) else part

        return map_structure(value_of, arguments)

    def specs(self, inputs: Sequence[KerasTensor]) -> list[KerasTensor]:
        """Symbolic tensors for the outputs at inputs of other shapes."""
        values: list[Any] = [*inputs, *[None] * (len(self._slots) - len(inputs))]
        for layer, _, node, slots in self._steps:
            args, kwargs = self._filled(node.args, values), self._filled(node.kwargs, values)
            output = layer.compute_output_spec(*args, **kwargs)
            for slot, spec in zip(slots, flatten(output), strict=True):
                values[slot] = spec
        return [values[self._slots[id(tensor)]] for tensor in self.outputs]

    def takes_token_ids(self, index: int) -> bool:
        """Whether an input goes to an Embedding or holds whole numbers."""
        tensor = self.inputs[index]
        readers = [node.layer for node in self.nodes if any(part is tensor for part in node.inputs)]
        return tensor.dtype.startswith(("int", "uint")) or any(_embeds(layer) for layer in readers)


def _embeds(layer: Any) -> bool:
    """Whether a layer, or the first one inside a wrapper or model, is an Embedding."""
    return isinstance(layer, Embedding) or (isinstance(layer, TokenReader) and layer.takes_token_ids())


def _symbolic(argument: str, value: Any) -> list[KerasTensor]:
    tensors = flatten(value)
    for tensor in tensors:
        if not isinstance(tensor, KerasTensor):
            way_out = "start with Input(shape) and call layers on it"
            raise errors.type_error(argument, "symbolic tensors", tensor, way_out)
    if not tensors:
        raise errors.value_error(argument, "at least one symbolic tensor", "none", "pass Input(shape)")
    return tensors


def is_input(tensor: KerasTensor) -> bool:
    """Whether an Input returned the symbolic tensor."""
    return tensor.node is not None and isinstance(tensor.node.layer, InputLayer)


def _input_for(tensor: KerasTensor) -> InputLayer:
    """The Input that stands among the layers for an inner tensor which is an input of the model."""
    return InputLayer(batch_shape=tensor.shape, dtype=tensor.dtype, name=f"{tensor.name}_input")


def _ordered(inputs: Sequence[KerasTensor], outputs: Sequence[KerasTensor]) -> tuple[list[Node], list[Any]]:
    """The calls from the inputs to the outputs, each after those it depends on, and the layers' order.

    Layers come by their distance from the outputs, the farthest first, as in Keras: the order of the weights.
    """
    starts = {id(tensor) for tensor in inputs}
    nodes: dict[int, Node] = {}
    visited: dict[Any, int] = {}  # the layers, in the order in which a search from the outputs meets them
    for output in outputs:
        stack: list[tuple[KerasTensor, bool]] = [(output, False)]
        while stack:
            tensor, ready = stack.pop()
            node = tensor.node
            if node is None or id(node) in nodes:
                continue
            visited.setdefault(node.layer, len(visited))
            is_start = id(tensor) in starts
            if isinstance(node.layer, InputLayer) and not is_start:
                expected, way_out = "every Input that the outputs need", "add it to the inputs"
                raise errors.value_error("inputs", expected, f"no {tensor.name} among them", way_out)
            if ready or is_start:
                if not is_start or isinstance(node.layer, InputLayer):
                    nodes[id(node)] = node
            else:
                stack.append((tensor, True))
                stack += [(source, False) for source in reversed(node.inputs)]
    order = list(nodes.values())
    depths = _depths(order)
    layers = sorted(depths, key=lambda layer: (-depths[layer], visited[layer]))
    unused = [tensor.node.layer for tensor in inputs if tensor.node is not None]
    layers += [layer for layer in unused if isinstance(layer, InputLayer) and layer not in depths]
    return [node for node in order if not isinstance(node.layer, InputLayer)], layers


def _depths(order: Sequence[Node]) -> dict[Any, int]:
    """The largest number of calls between a layer and an output, by layer."""
    of_nodes: dict[int, int] = {}
    of_layers: dict[Any, int] = {}
    for node in reversed(order):
        depth = max(of_nodes.get(id(node), 0), of_layers.get(node.layer, 0))
        of_layers[node.layer] = depth
        for source in node.inputs:
            if source.node is not None:
                of_nodes[id(source.node)] = max(depth + 1, of_nodes.get(id(source.node), 0))
    return of_layers


def _check_names(layers: Sequence[Any]) -> None:
    names = [layer.name for layer in layers]
    for name in names:
        if names.count(name) > 1:
            raise errors.value_error(
                "layer", "a name no other layer has", repr(name), "give it a name of its own"
            )
