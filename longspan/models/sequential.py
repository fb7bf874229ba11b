"""Defines Sequential: layers in a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from longspan import errors
from longspan.layers import Embedding, Input, InputLayer, Layer
from longspan.layers.config import from_config, to_config
from longspan.layers.naming import unique_name
from longspan.layers.structure import Shape, map_structure, mask_of, with_mask
from longspan.layers.symbolic import KerasTensor

from .graph import Graph
from .model import Model


class Sequential(Model):
    """Layers in a row: keras.Sequential's verbs, on PyTorch; also an nn.Module that can be iterated.

    Args:
        layers: layers of longspan.layers or models, an `Input` first or not at all.
        trainable: whether fitting changes the weights.
        name: None makes one.

    Attributes:
        layers: a list, without the `Input`.
        optimizer, history: as of a Model.

    Raises:
        TypeError, ValueError: something is no layer, or shapes do not fit; the sentence names the layer.

    >>> import numpy as np
    >>> from longspan.layers import LSTM, Dense
    >>> model = Sequential([LSTM(8), Dense(1)])
    >>> model.compile("adam", "mse")
    >>> history = model.fit(np.zeros((4, 5, 1)), np.zeros(4), epochs=2, verbose=0)
    >>> model.predict(np.zeros((3, 5, 1)), verbose=0).shape
    (3, 1)
    """

    def __init__(
        self, layers: Sequence[Any] | None = None, trainable: bool = True, name: str | None = None
    ) -> None:
        super().__init__(name=name or unique_name("sequential"))
        self.input_layer: InputLayer | None = None
        self._layers: list[Any] = []
        self._tensors: list[Any] = []  # the symbolic input and what every layer returned for it
        for layer in layers or ():
            self.add(layer)
        if not trainable:
            self.trainable = False

    # Building.

    def add(self, layer: Any) -> None:
        """Put one more layer at the end."""
        if isinstance(layer, KerasTensor) and layer.node is not None:
            layer = layer.node.layer
        if not isinstance(layer, Layer):
            way_out = "take one from longspan.layers"
            raise errors.type_error("layer", "a layer", layer, way_out)
        if isinstance(layer, InputLayer):
            if self._layers or self.input_layer is not None:
                way_out = "make it the first, or leave it out"
                raise errors.value_error("Input", "the first place in the model", "a later one", way_out)
            self.input_layer = layer
            return
        if any(layer is other or layer.name == other.name for other in self._layers):
            raise errors.value_error(
                "layer", "a name no other layer has", repr(layer.name), "give it a name of its own"
            )
        self.add_module(str(len(self._layers)), layer)
        self._layers.append(layer)
        layer.train(self.training)
        self.built = False
        shape = self.declared_input_shape
        if shape is not None and all(size is not None for size in shape[2:]):
            self.build(shape)

    def pop(self) -> Any:
        """Take the last layer away."""
        if not self._layers:
            raise errors.value_error("pop", "a model with layers", "an empty one", "add layers first")
        layer = self._layers.pop()
        del self._modules[str(len(self._layers))]
        self._tensors = self._tensors[: len(self._layers) + 1]
        self._take_outputs()
        return layer

    @property
    def declared_input_shape(self) -> Shape | None:
        """The (B, …) shape that an Input or the first layer's input_shape declares; None without one."""
        if self.input_layer is not None:
            return self.input_layer.declared_shape
        first = self._layers[0] if self._layers else None
        if isinstance(first, Sequential):
            return first.declared_input_shape
        if isinstance(first, Model):
            return first.declared_shapes[0]
        return None if first is None else first.declared_shape

    @property
    def declared_shapes(self) -> list[Any]:
        return [self.declared_input_shape]

    def build(self, input_shape: Any = None) -> None:
        """Make the weights for inputs of this shape, (B, …)."""
        shape: Any = tuple(input_shape) if input_shape is not None else self.declared_input_shape
        if shape is None:
            way_out = "give the first layer an input_shape, or call the model on data"
            raise errors.value_error("build", "the shape of the input", None, way_out)
        self._check_declared(shape)
        if not self._tensors or self._tensors[0].shape[1:] != shape[1:]:
            dtype = "int32" if self.takes_token_ids() else "float32"
            source = None if self.input_layer is None else self.input_layer.output
            if source is None or tuple(source.shape) != tuple(shape):
                source = Input(batch_shape=(None, *shape[1:]), dtype=dtype)
            self._tensors = [source]
        for layer in self._layers[len(self._tensors) - 1 :]:
            self._tensors.append(layer(self._tensors[-1]))
        self.built = bool(self._layers)
        self._take_outputs()

    def _check_declared(self, shape: Shape) -> None:
        """An error for a shape that the model's Input excludes."""
        declared = None if self.input_layer is None else self.input_layer.declared_shape
        if declared is None:
            return
        sizes = zip(declared[1:], shape[1:], strict=False)
        if len(declared) != len(shape) or any(None not in (a, b) and a != b for a, b in sizes):
            way_out = "leave the Input out, or give its shape"
            raise errors.value_error("build", f"shape {declared} of the Input", shape, way_out)

    def _take_outputs(self) -> None:
        self._built_shape = self._tensors[0].shape if self._tensors else None
        self._output_structure = self._tensors[-1] if len(self._tensors) > 1 else None

    def build_from(self, *args: Any, **kwargs: Any) -> None:
        self.build(args[0].shape)

    def build_for(self, x: Any, *, ragged: bool = False) -> None:
        self._check_layers()
        if not self.built and not isinstance(x, Tensor):
            self._build_by_call(x)
        elif not self.built:
            declared = self.declared_input_shape
            shape = (None, None, *x.shape[2:]) if ragged else (None, *x.shape[1:])
            if declared is not None and len(declared) == len(shape):
                shape = tuple(a if a is not None else b for a, b in zip(declared, shape, strict=True))
            try:
                self.build(shape)
            except NotImplementedError:  # a layer of one's own that does not say its output's shape
                self._build_by_call(x)

    def _build_by_call(self, x: Any) -> None:
        """Let the layers make their weights as they are called on x, whose shapes are then known alone."""
        self._tensors, self._built_shape, self.built = [], map_structure(_open_shape, x), True

    @property
    def layers(self) -> list[Any]:
        """The layers in order."""
        return list(self._layers)

    @layers.setter
    def layers(self, layers: Any) -> None:
        expected, way_out = "no assignment", "change them with add and pop"
        raise AttributeError(errors.message(f"layers of {self.name}", expected, "one", way_out))

    @property
    def input_shape(self) -> Shape:
        """(None, …) once built."""
        return self._shape_of(self._built_shape)

    @property
    def output_shape(self) -> Any:
        """(None, …) once built."""
        self._shape_of(self._built_shape)
        return self._layers[-1].compute_output_shape(self._layers[-1].input_shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        for layer in self._layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        output = args[0]
        for layer in self._layers:
            output = layer.compute_output_spec(output)
        return output

    def graph_of_calls(self) -> Graph:
        if len(self._tensors) < 2:
            way_out = "give the first layer an Input, or call build(shape)"
            raise errors.unset_error(self.name, "a model that is built", "one without shapes", way_out)
        return Graph(self._tensors[0], self._tensors[-1])

    @property
    def input_names(self) -> list[str] | None:
        """The name of the input."""
        return ["input" if self.input_layer is None else self.input_layer.name]

    @property
    def output_names(self) -> list[str] | None:
        """The name of the last layer."""
        return [self._layers[-1].name if self._layers else "output"]

    @property
    def first_layer(self) -> Layer | None:
        return self._layers[0] if self._layers else None

    # Running.

    def takes_token_ids(self, index: int = 0) -> bool:
        """Whether the first layer is an Embedding, which takes whole numbers."""
        first = self._layers[0] if self._layers else None
        return first.takes_token_ids() if isinstance(first, Model) else isinstance(first, Embedding)

    def input_dtype(self) -> torch.dtype | None:
        return torch.int64 if self.takes_token_ids() else self.dtype

    def cast_input(self, x: Tensor, index: int = 0) -> Tensor:
        dtype = torch.int64 if self.takes_token_ids() else self.dtype
        return x if x.dtype == dtype else x.to(dtype)

    def cast_inputs(self, x: Any) -> Any:
        return self.cast_input(x) if isinstance(x, Tensor) else map_structure(self.cast_input, x)

    def run(self, x: Any, mask: Any = None) -> tuple[Any, Any]:
        if mask is not None:
            x = with_mask(x, mask)
        for layer in self._layers:
            x = layer(x)
        return x, mask_of(x)

    def chain(self) -> list[Layer] | None:
        return list(self._layers) if type(self) is Sequential else None

    def _calls_itself(self) -> bool:
        return False

    def __iter__(self) -> Iterator[Any]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, index: int) -> Any:
        return self._layers[index]

    def _check_layers(self) -> None:
        if not self._layers:
            raise errors.value_error(self.name, "a model with layers", "an empty one", "add layers first")

    # Saving.

    def get_config(self) -> dict[str, Any]:
        """The model without its weights, JSON values only."""
        first = [] if self.input_layer is None else [self.input_layer]
        return {"name": self.name, "layers": [to_config(layer) for layer in [*first, *self._layers]]}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Sequential:
        """The model that `get_config`, here or in Keras, described."""
        return cls([from_config(layer, custom_objects) for layer in config["layers"]], name=config["name"])


def _open_shape(x: Tensor) -> Shape:
    return (None, *x.shape[1:])
