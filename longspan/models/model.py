"""Defines Model: a graph of layers, or a class with a `call` of its own, with Keras' methods on PyTorch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from longspan import errors, metrics, optimizers
from longspan.callbacks import History
from longspan.layers.naming import unique_name

from . import saving
from .compiled import CompileArguments, JointLoss, OutputTarget
from .graph import Graph
from .graph_config import GRAPH_KEYS, graph_config, graph_from_config
from .trainer import Trainer


class Model(Trainer):
    """A model of Keras' kind, on PyTorch; also a layer, so that models go into models.

    Three ways to make one: of symbolic tensors, `Model(inputs, outputs)`; of layers in a row, `Sequential`;
    or a class of your own with layers as attributes and `call(self, inputs)`.

    Args:
        inputs: what `Input` returned, or a list or dict of such; also inner tensors of another model.
        outputs: what the last layers returned, or a list or dict of such.
        name: None makes one.
        trainable: whether fitting changes the weights.

    Attributes:
        optimizer: the optimizer of the weights once the model is built, else its options.
        history: the History of the last `fit`.
        stop_training, stop_evaluating, stop_predicting: a callback sets one to end `fit` or the others.
        run_eagerly, jit_compile: as `compile` was told; without effect.

    Raises:
        TypeError, ValueError: something is no symbolic tensor, or an input is missing; the sentence names it.

    >>> import numpy as np
    >>> from longspan.layers import LSTM, Concatenate, Dense, Input
    >>> series, extra = Input((5, 1), name="series"), Input((2,), name="extra")
    >>> model = Model([series, extra], Dense(1)(Concatenate()([LSTM(8)(series), extra])))
    >>> model.compile("adam", "mse")
    >>> data = {"series": np.zeros((4, 5, 1)), "extra": np.zeros((4, 2))}
    >>> history = model.fit(data, np.zeros(4), epochs=2, verbose=0)
    >>> model.predict(data, verbose=0).shape
    (4, 1)
    """

    def __init__(
        self, inputs: Any = None, outputs: Any = None, name: str | None = None, trainable: bool = True
    ) -> None:
        super().__init__(name=name or (None if inputs is None else unique_name("functional")))
        self.graph: Graph | None = None
        self.history: History | None = None
        self.stop_training = self.stop_evaluating = self.stop_predicting = False
        self.run_eagerly = self.jit_compile = False
        self.optimizer_config: optimizers.OptimizerConfig | None = None
        self._optimizer: Optimizer | None = None
        self._optimizer_state: Any = None  # of a copied optimizer that is not made again yet
        self.compile_arguments: CompileArguments | None = None
        self.loss_tracker = metrics.Mean("loss")
        self._targets: tuple[list[OutputTarget], list[JointLoss]] | None = None
        self.input_keys: Any = None
        self._output_structure: Any = None
        self.eval()
        if (inputs is None) != (outputs is None):
            received = "inputs alone" if outputs is None else "outputs alone"
            raise errors.value_error("Model", "inputs and outputs", received, "pass both, or none of them")
        if inputs is not None:
            self._take_graph(Graph(inputs, outputs))
        if not trainable:
            self.trainable = False

    def _take_graph(self, graph: Graph) -> None:
        self.graph, self._output_structure = graph, graph.output_structure
        for index, layer in enumerate(graph.layers):
            self.add_module(str(index), layer)
            layer.train(self.training)
        self.built, self._built_shape = True, self.input_shape

    def __getstate__(self) -> dict[str, Any]:
        """The optimizer goes along as its state: it is made again for the parameters of the copy."""
        state = super().__getstate__()
        if self.optimizer_config is not None and isinstance(self._optimizer, Optimizer):
            state.update(_optimizer=None, _optimizer_state=self._optimizer.state_dict())
        return state

    def chain(self) -> list[Any] | None:
        return None if self.graph is None or type(self) is not Model else self.graph.chain()

    # Saving.

    def get_config(self) -> dict[str, Any]:
        """The model without its weights, in Keras' form; of a class of your own the constructor's options."""
        if self.graph is None:
            return super().get_config()
        return {"name": self.name, "trainable": self.trainable, **graph_config(self.graph)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
        """The model that `get_config`, here or in Keras, described."""
        if "input_layers" not in config:
            return cls(**config)
        inputs, outputs = graph_from_config(config, custom_objects)
        options = {key: value for key, value in config.items() if key not in GRAPH_KEYS}
        return cls(inputs=inputs, outputs=outputs, **options)

    def class_name(self) -> str:
        return "Functional" if type(self) is Model else type(self).__name__

    def to_json(self) -> str:
        """`get_config` as text, for longspan.models.model_from_json."""
        return json.dumps({"class_name": self.class_name(), "config": self.get_config()})

    def extra_repr(self) -> str:
        return ""

    def save(self, path: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write layers, weights, the arguments of `compile` and the optimizer's state to one file.

        With a loss, metric or schedule of your own, the last two are left out and a notice says so. The file
        is longspan's own whatever its suffix; longspan.export.to_keras writes Keras'.
        """
        saving.save(self, path, overwrite=overwrite)

    def save_weights(self, path: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write the weights alone."""
        saving.save_weights(self, path, overwrite=overwrite)

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Load the weights of a file of `save`, `save_weights` or Keras (.h5, .keras), layer by layer."""
        saving.load_weights(self, path)
