"""Makes a model of the layers of another one, anew or changed."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from longspan import errors
from longspan.layers import Input, InputLayer, Layer
from longspan.layers.functions import Operation
from longspan.layers.structure import flatten, map_structure
from longspan.layers.symbolic import KerasTensor

from .graph import Graph
from .model import Model
from .sequential import Sequential
from .structures import paths


def clone_model(
    model: Model,
    input_tensors: Any = None,
    clone_function: Callable[[Any], Any] | None = None,
    call_function: Callable[..., Any] | None = None,
    recursive: bool = False,
) -> Any:
    """A model of the same layers with weights drawn afresh, compiled in the same way.

    Args:
        model: the model; of a class of your own, which its `get_config` describes, none of the others.
        input_tensors: symbolic tensors to build the copy upon, in the structure of the model's inputs.
        clone_function: called on every layer but the inputs, returns the layer of the copy; None makes an
            equal layer. Returning the layer itself shares its weights.
        call_function: (layer, *args, **kwargs) -> output, called where the copy calls a layer; it may call
            further layers before or after. Not for a Sequential.
        recursive: clone the layers inside of inner models in the same way, instead of the models as a whole.

    Raises:
        ValueError: input_tensors have another structure, or the model does not take an argument.

    >>> from longspan.layers import Dense
    >>> model = Sequential([Input((3,)), Dense(2)])
    >>> def wider(layer):
    ...     return Dense(layer.units * 2)
    >>> clone_model(model, clone_function=wider).output_shape
    (None, 4)
    """
    return _Cloner(clone_function, call_function, recursive).clone(model, input_tensors)


class _Cloner:
    """The copies of the layers of one model: a layer that is called twice has one copy."""

    def __init__(
        self,
        clone_function: Callable[[Any], Any] | None,
        call_function: Callable[..., Any] | None,
        recursive: bool,
    ) -> None:
        self._function, self._call, self._recursive = clone_function, call_function, recursive
        self._copies: dict[int, Any] = {}

    def clone(self, model: Model, inputs: Any = None) -> Any:
        """The copy of a model, upon these symbolic inputs."""
        if isinstance(model, Sequential):
            copy = self._sequential(model, inputs)
        elif model.graph is not None and (type(model) is Model or self._changes(inputs)):
            copy = self._graph(model, model.graph, inputs)
        elif self._changes(inputs):
            expected = "a Sequential or a model of symbolic tensors"
            way_out = "leave the other arguments out"
            raise errors.type_error("model", expected, model, way_out)
        else:
            copy = type(model).from_config(model.get_config())
        compile_alike(copy, model)
        return copy

    def _changes(self, inputs: Any) -> bool:
        return not (self._function is self._call is inputs is None)

    def _layer(self, layer: Any) -> Any:
        if id(layer) not in self._copies:
            inner = isinstance(layer, Sequential) or (isinstance(layer, Model) and layer.graph is not None)
            if self._recursive and inner:
                inside = self if not isinstance(layer, Sequential) else self._without_calls()
                self._copies[id(layer)] = inside.clone(layer)
            elif self._function is None or isinstance(layer, Operation):
                self._copies[id(layer)] = type(layer).from_config(layer.get_config())
            else:
                self._copies[id(layer)] = self._function(layer)
        return self._copies[id(layer)]

    def _without_calls(self) -> _Cloner:
        """The same for a Sequential, whose layers are listed and not called."""
        inside = _Cloner(self._function, None, self._recursive)
        inside._copies = self._copies
        return inside

    def _sequential(self, model: Sequential, inputs: Any) -> Sequential:
        if self._call is not None:
            way_out = "give clone_function, or make the model of symbolic tensors"
            raise errors.value_error("call_function", "None for a Sequential", "a function", way_out)
        first: list[Any] = []
        if inputs is not None:
            first = [_input(tensor) for tensor in _checked("input_tensors", inputs, "one symbolic tensor", 1)]
        elif model.input_layer is not None:
            first = [InputLayer.from_config(model.input_layer.get_config())]
        layers = [self._layer(layer) for layer in model.layers]
        return Sequential([*first, *layers], model.trainable, model.name)

    def _graph(self, model: Model, graph: Graph, inputs: Any) -> Model:
        structure = graph.input_structure
        if inputs is None:
            inputs = map_structure(_fresh, structure)
        elif [path for path, _ in paths(inputs)] != [path for path, _ in paths(structure)]:
            expected = f"the structure of the model's inputs, {_outline(structure)}"
            raise errors.value_error("input_tensors", expected, _outline(inputs), "nest them in the same way")
        tensors = map_structure(_input, inputs)
        values = dict(zip(map(id, graph.inputs), flatten(tensors), strict=True))

        def value_of(part: Any) -> Any:
            return values[id(part)] if isinstance(part, KerasTensor) else part

        for node in graph.nodes:
            layer = self._layer(node.layer)
            call = layer if self._call is None else _calling(self._call, layer)
            output = call(*map_structure(value_of, node.args), **map_structure(value_of, node.kwargs))
            values |= dict(zip(map(id, node.outputs), flatten(output), strict=True))
        return Model(tensors, map_structure(value_of, graph.output_structure), name=model.name)


def _calling(call_function: Callable[..., Any], layer: Layer) -> Callable[..., Any]:
    return lambda *args, **kwargs: call_function(layer, *args, **kwargs)


def _fresh(tensor: KerasTensor) -> KerasTensor:
    """A new input like that of a model; of an inner tensor, one of its shape."""
    layer = None if tensor.node is None else tensor.node.layer
    if isinstance(layer, InputLayer):
        return InputLayer.from_config(layer.get_config()).output
    return Input(batch_shape=tensor.shape, dtype=tensor.dtype)


def _input(tensor: Any) -> KerasTensor:
    """The symbolic tensor, which an Input returns if no layer does."""
    if not isinstance(tensor, KerasTensor):
        raise errors.type_error("input_tensors", "symbolic tensors", tensor, "pass what Input returns")
    return InputLayer(input_tensor=tensor).output if tensor.node is None else tensor


def _checked(argument: str, tensors: Any, expected: str, count: int) -> list[Any]:
    flat = flatten(tensors)
    if len(flat) != count:
        raise errors.value_error(argument, expected, f"{len(flat)} values", "pass as many as the model takes")
    return flat


def _outline(structure: Any) -> str:
    return str(
        map_structure(lambda tensor: getattr(tensor, "name", None) or type(tensor).__name__, structure)
    )


def compile_alike(copy: Model, model: Model) -> None:
    """Compile a copy as the model is, with an optimizer and metrics of its own."""
    options, arguments = model.optimizer_config, model.compile_arguments
    if options is not None and arguments is not None:
        copied = deepcopy(arguments)
        copy.compile(
            type(options).from_config(options.get_config()),
            copied.loss,
            copied.loss_weights,
            copied.metrics,
            copied.weighted_metrics,
        )
