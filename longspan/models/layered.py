"""Gives a model its layers, the shapes between them, its weights, and a table of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from longspan import errors
from longspan.layers import RNN, Bidirectional, Layer
from longspan.layers.recurrent import RNNBase
from longspan.layers.structure import flatten, map_shapes, map_structure
from longspan.layers.symbolic import KerasTensor, trial_call
from longspan.layers.weights import Weight, sum_of

from .graph import Graph
from .structures import arranged, is_nested, leaf_names
from .summary import summary

# The layers that can explain which kernel runs them.
EXPLAINABLE_LAYERS = (RNNBase, Bidirectional, RNN)


class LayeredModel(Layer):
    """A layer of layers: a graph of calls, or layers that are attributes. Abstract; see Model."""

    graph: Graph | None
    _output_structure: Any

    @property
    def layers(self) -> list[Any]:
        """The layers: of a graph in Keras' order with the inputs, of a class of your own its attributes."""
        return list(self.graph.layers) if self.graph is not None else list(dict.fromkeys(self.inner_layers()))

    @layers.setter
    def layers(self, layers: Any) -> None:
        expected, way_out = "no assignment, since they follow from the model", "make another model of them"
        raise AttributeError(errors.message(f"layers of {self.name}", expected, "one", way_out))

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """The layer of this name or at this place."""
        layers = self.layers
        if index is not None:
            return layers[index]
        names = [layer.name for layer in layers]
        return layers[names.index(errors.check_choice("layer", name, names))]

    @property
    def inputs(self) -> list[KerasTensor]:
        """The symbolic inputs in a list."""
        return self.graph_of_calls().inputs

    @property
    def outputs(self) -> list[KerasTensor]:
        """The symbolic outputs in a list."""
        return self.graph_of_calls().outputs

    @property
    def input(self) -> Any:
        """The symbolic input, or inputs as they were given."""
        return self.graph_of_calls().input_structure

    @property
    def output(self) -> Any:
        """The symbolic output, or outputs as they were given."""
        return self.graph_of_calls().output_structure

    def graph_of_calls(self) -> Graph:
        """The layer calls between the symbolic inputs and outputs.

        Raises:
            ValueError: the model is of a class of your own, or not built.
        """
        if self.graph is None:
            expected, way_out = "a model of symbolic tensors", "make it with Model(inputs, outputs)"
            raise errors.unset_error(self.name, expected, "a class with a call of its own", way_out)
        return self.graph

    @property
    def input_shape(self) -> Any:
        """(None, …) once built; a list of shapes for several inputs."""
        if self.graph is None:
            return self._shape_of(self._built_shape)
        shapes = [tensor.shape for tensor in self.graph.inputs]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def output_shape(self) -> Any:
        """(None, …) once built; a list of shapes for several outputs."""
        if self.graph is None:
            return self._shape_of(super().output_shape)
        shapes = [tensor.shape for tensor in self.graph.outputs]
        return shapes[0] if len(shapes) == 1 else shapes

    def _shape_of(self, shape: Any) -> Any:
        if shape is None:
            raise errors.unset_error(
                self.name, "a model that is built", "one without shapes", "call build(shape)"
            )
        return shape

    @property
    def input_names(self) -> list[str] | None:
        """The names of the inputs, or the keys of a dict of inputs; None for a class of your own."""
        return None if self.graph is None else leaf_names(self.graph.input_structure)

    @property
    def output_names(self) -> list[str] | None:
        """The names of the output layers, or the keys of a dict of outputs; None before they are known."""
        if self.graph is not None:
            return leaf_names(self.graph.output_structure)
        if self._output_structure is None:
            return None
        if isinstance(self._output_structure, Mapping) and not is_nested(self._output_structure):
            return [str(key) for key in self._output_structure]
        count = len(flatten(self._output_structure))
        return ["output"] if count == 1 else [f"output_{index + 1}" for index in range(count)]

    @property
    def input_structure(self) -> Any:
        """The symbolic inputs as they were given; None for a class of your own."""
        return None if self.graph is None else self.graph.input_structure

    @property
    def output_structure(self) -> Any:
        """The outputs in the lists, tuples and dicts of the model; None before they are known."""
        return self._output_structure

    def may_be_absent(self, index: int, value: Any) -> bool:
        """Whether an input is not given.

        Raises:
            ValueError: the value is None, and the Input is not optional.
        """
        if value is not None:
            return False
        tensor = None if self.graph is None else self.graph.inputs[index]
        if tensor is None or not tensor.optional:
            name = index if tensor is None else tensor.name
            way_out = "pass an array, or make it Input(optional=True)"
            raise errors.value_error(f"input {name}", "an array, since it is not optional", None, way_out)
        return True

    @property
    def declared_shapes(self) -> list[Any]:
        """The (B, …) shape of every input, None for one that is open."""
        return [None] if self.graph is None else [tensor.shape for tensor in self.graph.inputs]

    @property
    def first_layer(self) -> Layer | None:
        """The layer that reads the only input, None where there are several."""
        if self.graph is None or len(self.graph.inputs) != 1:
            return None
        first = [node for node in self.graph.nodes if node.args and node.args[0] is self.graph.inputs[0]]
        return first[0].layer if len(first) == 1 else None  # pyright: ignore[reportReturnType]

    def compute_output_shape(self, input_shape: Any) -> Any:
        outputs = self.compute_output_spec(map_shapes(KerasTensor, input_shape))
        return map_structure(lambda output: output.shape, outputs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        if self.graph is None:
            return trial_call(self, args, kwargs)
        outputs = iter(self.graph.specs(self._in_order(args[0])))
        return map_structure(lambda _: next(outputs), self.graph.output_structure)

    def _in_order(self, x: Any) -> list[Any]:
        """The inputs in a list, from a tensor, list, tuple or dict."""
        names = self.input_names
        if names is None or len(names) == 1:
            if isinstance(x, Mapping) and names is not None and len(x) > 1 and self.graph is not None:
                x = self._only_input(x, names[0])
            parts = flatten(x)
            if len(parts) != 1 and names is not None and self.graph is not None:
                expected = f"one array for {names[0]}"
                raise errors.value_error(
                    f"input of {self.name}", expected, f"{len(parts)} arrays", "pass one"
                )
            return parts if len(parts) == 1 else [x]
        return arranged(f"input of {self.name}", x, names, self.input_structure)

    def _only_input(self, x: Mapping[str, Any], name: str) -> Any:
        """The one input among others in a dict, of which a notice tells."""
        if name not in x:
            expected = f"an array for {name}"
            raise errors.value_error(f"input of {self.name}", expected, f"{', '.join(x)}", "use this name")
        if not isinstance(x[name], KerasTensor):
            others = ", ".join(key for key in x if key != name)
            errors.notice(
                "The structure of `inputs` doesn't match the expected structure: "
                f"{self.name} takes {name} and leaves out {others}."
            )
        return x[name]

    def _packed(self, output: Any) -> Any:
        """Several outputs in the structure that the model was made with."""
        if not isinstance(self._output_structure, (list, tuple, dict)):
            return output
        parts = iter(output if isinstance(output, (tuple, list)) else (output,))
        return map_structure(lambda _: next(parts), self._output_structure)

    # Weights.

    def keras_weights(self) -> list[Weight]:
        """Every weight, layer by layer in Keras' order."""
        return [weight for part in self.weighted_parts() for weight in part]

    def weighted_parts(self) -> list[list[Weight]]:
        """The weights of every layer; those that a class of your own adds itself come first."""
        own = sorted(self.own_weights, key=lambda weight: not weight.trainable)
        return [*([own] if own else []), *(layer.keras_weights() for layer in self.layers)]

    @property
    def trainable(self) -> bool:
        """Whether fitting changes any layer; setting it sets every layer's."""
        return self._trainable

    @trainable.setter
    def trainable(self, wanted: bool) -> None:
        self._trainable = errors.check_bool("trainable", wanted)
        for layer in self.layers:
            layer.trainable = wanted

    def regularization_loss(self) -> Tensor | None:
        """The sum of the weights' regularization losses; None without regularizers."""
        return sum_of([layer.regularization_loss() for layer in self.layers])

    def reset_states(self) -> None:
        """Reset the states of stateful layers."""
        for layer in self.layers:
            layer.reset_states()

    # Showing.

    def summary(
        self,
        line_length: int | None = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
    ) -> None:
        """Print the layers, the shapes between them and how many numbers they learn.

        Args:
            line_length: accepted without effect: the table is as wide as its content.
            print_fn: called with the text in the place of print.
            expand_nested: also list the layers of inner models.
        """
        (print_fn or print)(summary(self.name, self.layers, self.graph, expand_nested))

    def explain(self, x: Any) -> str:
        """Explain which kernel runs each recurrent layer on x (B, …), and why the others do not."""
        lines: list[str] = []

        def note(layer: Any, args: Any, kwargs: Any) -> None:
            lines.append(layer.explain(args[0], kwargs.get("mask")))

        hooks = [
            layer.register_forward_pre_hook(note, with_kwargs=True) for layer in self._layers_to_explain()
        ]
        try:
            with torch.no_grad():
                self(x)
        finally:
            for hook in hooks:
                hook.remove()
        return "\n".join(lines) or "no recurrent layer: every layer is plain PyTorch."

    def chain(self) -> list[Any] | None:
        """The layers where the model calls one after the other and does nothing else; else None."""
        return None

    def _layers_to_explain(self) -> list[Layer]:
        """The recurrent layers, also those of inner models, without the parts of Bidirectional and RNN."""
        found: list[Layer] = []
        for layer in self.layers:
            if isinstance(layer, LayeredModel):
                found += layer._layers_to_explain()
            elif isinstance(layer, EXPLAINABLE_LAYERS):
                found.append(layer)
        return found
