"""Defines Model: a graph of layers, or a class with a `call` of its own, with Keras' methods on PyTorch."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from longspan import errors, losses, metrics, optimizers
from longspan.callbacks import BackupAndRestore, Callback, CallbackList, History
from longspan.data.batches import Batch
from longspan.layers import RNN, Bidirectional, Layer
from longspan.layers.base import unique_name
from longspan.layers.recurrent import RNNBase
from longspan.layers.structure import (
    Shape,
    flatten,
    map_shapes,
    map_structure,
    mask_of,
    shapes_of,
    to_tensors,
    with_mask,
)
from longspan.layers.symbolic import KerasTensor, trial_call
from longspan.layers.weights import Weight, sum_of
from longspan.optimizers import KerasOptimizer
from longspan.training.checkpoint import CheckpointConfig
from longspan.training.epoch_batches import length_of
from longspan.training.loop import evaluate, train

from . import inputs, own_steps, saving
from .compiled import CompileArguments, OutputTarget
from .graph import Graph
from .graph_config import graph_config, graph_from_config
from .identity import identified
from .summary import summary
from .train_step import CompiledLoss, TrainingAdapter, batch_metrics

# The layers that can explain which kernel runs them.
EXPLAINABLE_LAYERS = (RNNBase, Bidirectional, RNN)


class Model(own_steps.OwnSteps):
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
        self.stop_training = False
        self.optimizer_config: optimizers.OptimizerConfig | None = None
        self._optimizer: Optimizer | None = None
        self._optimizer_state: Any = None  # of a copied optimizer that is not made again yet
        self.compile_arguments: CompileArguments | None = None
        self.loss_tracker = metrics.Mean("loss")
        self._targets: list[OutputTarget] | None = None
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

    # Layers and shapes.

    @property
    def layers(self) -> list[Any]:
        """The layers: of a graph in Keras' order with the inputs, of a class of your own its attributes."""
        return list(self.graph.layers) if self.graph is not None else list(dict.fromkeys(self.inner_layers()))

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
        return None if self.graph is None else _names(self.graph.input_structure)

    @property
    def output_names(self) -> list[str] | None:
        """The names of the output layers, or the keys of a dict of outputs; None before they are known."""
        if self.graph is not None:
            return _names(self.graph.output_structure)
        if self._output_structure is None:
            return None
        if isinstance(self._output_structure, Mapping):
            return [str(key) for key in self._output_structure]
        count = len(flatten(self._output_structure))
        return ["output"] if count == 1 else [f"output_{index + 1}" for index in range(count)]

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

    # Building and running.

    def build(self, input_shape: Any = None) -> None:
        """Make the weights for inputs of this shape, (B, …), or for a list of shapes."""
        if self.graph is None and not self.built:
            x = map_shapes(_zeros, input_shape)
            if not isinstance(x, Tensor):
                self.input_keys = list(x) if isinstance(x, dict) else list
                x = tuple(flatten(x))
            self.build_for(x)

    def build_from(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the layers of a class of your own make their weights as `call` calls them."""

    def build_for(self, x: Any, *, ragged: bool = False) -> None:
        """Make the weights, if they are not there, for rows like those of `x`."""
        if self.graph is None and not self.built:
            few = tuple(part[:2] for part in x) if isinstance(x, tuple) else x[:2]
            self.train(False)
            with torch.no_grad():
                self.run(self.cast_inputs(few))

    def takes_token_ids(self, index: int = 0) -> bool:
        """Whether an input is of whole numbers, for an Embedding."""
        return self.graph is not None and self.graph.takes_token_ids(index)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next((p.dtype for p in self.parameters()), torch.get_default_dtype())

    def input_dtype(self) -> torch.dtype | None:
        """The dtype of the only input; None for several, or for a class of your own."""
        if self.graph is None or len(self.graph.inputs) > 1:
            return None
        return torch.int64 if self.takes_token_ids() else self.dtype

    def cast_input(self, x: Tensor, index: int = 0) -> Tensor:
        """An input in the dtype that the layers take."""
        if self.graph is None and not x.is_floating_point():
            return x
        if self.takes_token_ids(index):
            return x if x.dtype == torch.int64 else x.long()
        return x if x.dtype == self.dtype else x.to(self.dtype)

    def cast_inputs(self, x: Any) -> Any:
        """The input, or the tuple of all inputs, in the dtypes that the layers take."""
        if isinstance(x, (tuple, list)):
            return tuple(self.cast_input(part, index) for index, part in enumerate(x))
        return self.cast_input(x)

    def run(self, x: Any, mask: Any = None) -> tuple[Any, Any]:
        """The output for x (B, …) and the output's mask, without changing mode or dtype.

        Several inputs are a tuple; several outputs are a tuple, their masks a list.
        """
        if self.graph is None:
            return self._run_call(x, mask)
        values = list(x) if isinstance(x, (tuple, list)) else [x]
        masks = list(mask) if isinstance(mask, (tuple, list)) else [mask, *[None] * (len(values) - 1)]
        outputs, masks = self.graph.run(values, masks)
        return (outputs[0], masks[0]) if len(outputs) == 1 else (tuple(outputs), masks)

    def _run_call(self, x: Any, mask: Any) -> tuple[Any, Any]:
        """`run` for a class of your own; remembers what its outputs look like."""
        if isinstance(x, tuple) and isinstance(self.input_keys, list):
            x = dict(zip(self.input_keys, x, strict=True))
        elif isinstance(x, tuple):
            x = list(x)
        output = super().forward(x, mask=mask)
        self._note_call(x, output)
        if isinstance(output, Tensor):
            return output, mask_of(output)
        parts = tuple(flatten(output))
        masks = [mask_of(part) for part in parts]
        return parts, None if all(part is None for part in masks) else masks

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The output for x, with its mask attached.

        Args:
            x: a tensor or array (B, …); a list, tuple or dict for several inputs.
            mask: (B, T) bool, False where a step is skipped; None: what is attached to x.
            training: whether dropout acts and averages move; None: as the module's mode says, which is off
                until `train()`.
        """
        if self._calls_itself():
            output = super().forward(x, *args, **kwargs)
            self._note_call(x, output)
            return output
        return self._forward(x, *args, **kwargs)

    def _note_call(self, x: Any, output: Any) -> None:
        """Remember the shapes of the first call of a class of your own, whose layers now have weights."""
        if not self.built:
            self._output_structure = map_structure(lambda _: None, output)
            self._finish_build(shapes_of(x))

    def _calls_itself(self) -> bool:
        return self.graph is None

    def _forward(self, x: Any, mask: Any = None, training: bool | None = None) -> Any:
        values = self._in_order(to_tensors(x))
        masks = list(mask) if isinstance(mask, (list, tuple)) else [mask, *[None] * (len(values) - 1)]
        masks = [mask_of(v) if own is None else own for v, own in zip(values, masks, strict=True)]
        single = len(values) == 1
        if single:
            self.build_for(values[0])
        before = self.training
        if training is not None and training != before:
            self.train(training)
        try:
            x = self.cast_inputs(values[0] if single else tuple(values))
            output, mask = self.run(x, masks[0] if single else masks)
        finally:
            if self.training != before:
                self.train(before)
        return self._packed(with_mask(output, mask))

    def _in_order(self, x: Any) -> list[Any]:
        """The inputs in a list, from a tensor, list, tuple or dict."""
        names = self.input_names
        if names is None or len(names) == 1:
            parts = flatten(x)
            return parts if len(parts) == 1 else [x]
        return inputs.arranged(f"input of {self.name}", x, names)

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

    # Training.

    def compile(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        optimizer: str | optimizers.OptimizerConfig | Optimizer = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
    ) -> None:
        """Set the optimizer, the loss and the metrics of training.

        Args:
            optimizer: a name ("adam", "adamw", "sgd", "rmsprop"), one of longspan.optimizers, or a running
                torch.optim optimizer over the model's parameters.
            loss: a name ("mse", "categorical_crossentropy", …), one of longspan.losses, or a function
                (y_true, y_pred) -> one value a row. For several outputs one for all, a list, or a dict by
                the outputs' names; None for an output that is not trained.
            loss_weights: by which the losses of several outputs are multiplied before they are added, a list
                or a dict; None: 1 each.
            metrics: names ("accuracy", "mae", "auc", …), metrics, or functions. For several outputs a list
                with a metric or list for each, or a dict by name.
            weighted_metrics: the same, weighted by sample and class weights.
            run_eagerly, steps_per_execution, jit_compile: accepted without effect.

        Raises:
            ValueError: a name is unknown; the nearest is given.
        """
        self.optimizer_config = None if isinstance(optimizer, Optimizer) else optimizers.get(optimizer)
        self._optimizer = optimizer if isinstance(optimizer, Optimizer) else None
        self._optimizer_state = None
        if isinstance(optimizer, Optimizer) and self._projections():
            way_out = "give one of longspan.optimizers, or leave the constraints out"
            raise errors.type_error(
                "optimizer", "one that applies constraints of weights", optimizer, way_out
            )
        self.compile_arguments = CompileArguments(loss, loss_weights, metrics, weighted_metrics)
        self._targets = None
        if self.output_names is not None:
            self._targets = self.compile_arguments.targets(self.output_names)

    @property
    def targets(self) -> list[OutputTarget]:
        """The loss, its weight and the metrics of every output, once the outputs are known."""
        if self.compile_arguments is None:
            return [OutputTarget(name, None) for name in self.output_names or ["output"]]
        if self._targets is None:
            self._targets = self.compile_arguments.targets(self.output_names or ["output"])
        return self._targets

    @property
    def loss(self) -> losses.Loss | list[losses.Loss | None] | None:
        """The loss, None before `compile`; of several outputs a list."""
        every = [target.loss for target in self.targets]
        return every[0] if len(every) == 1 else every

    @property
    def compiled_metrics(self) -> list[tuple[metrics.Metric, bool]]:
        """The metrics of all outputs, each with whether sample weights count."""
        return [pair for target in self.targets for pair in target.metrics]

    @property
    def optimizer(self) -> Any:
        """The optimizer of the weights, made once the model is built."""
        if self._optimizer is None and self.optimizer_config is not None and self.built:
            learned = [p for p in self.parameters() if p.requires_grad]
            if not learned:
                warnings.warn(
                    f"{self.name}: no weight may change, so that fit changes nothing.", stacklevel=3
                )
            self._optimizer = self.optimizer_config.build(learned)
            self._optimizer.projections += self._projections()
            if self._optimizer_state is not None:
                self._optimizer.load_state_dict(self._optimizer_state)
                self._optimizer_state = None
        return self._optimizer or self.optimizer_config

    def _projections(self) -> list[Callable[[], None]]:
        """What applies the weights' constraints after a step of the optimizer."""
        return [weight.project for weight in self.keras_weights() if weight.constraint is not None]

    @property
    def metrics(self) -> list[metrics.Metric]:
        """The metrics of `compile`, those of all outputs; of a class with steps of its own the loss first."""
        compiled = [metric for metric, _ in self.compiled_metrics]
        return [self.loss_tracker, *compiled] if self.has_own_steps() else compiled

    @property
    def metrics_names(self) -> list[str]:
        """ "loss", of several outputs the loss of each, then the metrics."""
        adapter = TrainingAdapter(self)
        loss = CompiledLoss(adapter, self.targets)
        return ["loss", *(metric.name for metric in batch_metrics(adapter, self.targets, loss))]

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Sequence[Any] | Callback | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        schedule: Any = None,
        resume: Any = None,
        precision: str | None = None,
        processes: int | None = None,
    ) -> History:
        """Fit the weights.

        Args:
            x: (N, …) numbers as an array, tensor, frame or list; a ragged list of sequences, padded and
                masked by itself; or a DataLoader, longspan.data.Batches or BPTTChunks, or any iterable of
                (x, y). For several inputs a list of arrays, or a dict by the inputs' names.
            y: (N, …) targets; None if x gives them; for several outputs a list, or a dict by their names.
            batch_size: rows a step, 32 where None.
            epochs: the number of the last epoch; initial_epoch: the epochs that are done already.
            verbose: 0 silent, 1 or "auto" a progress bar, 2 a line an epoch.
            callbacks: objects of longspan.callbacks, or one.
            validation_split: the fraction of rows, the last ones, to validate on instead of training.
            validation_data: (x, y) or (x, y, sample_weight), or batches.
            shuffle: a new order every epoch.
            class_weight: class number -> the weight of its rows.
            sample_weight: (N,) or (N, T), the weights of rows or steps; of several outputs one for all, or a
                list or dict.
            steps_per_epoch: batches of an epoch; the next epoch goes on where it ended. None for all.
            validation_steps: batches of a validation, from the first on; None for all.
            validation_freq: validate every so many epochs; or a list of epochs, counted from 1.
            resume: a file to go on from and to write to, or a longspan.training.CheckpointConfig. A file of
                another model, optimizer, loss or data is refused.
            clip_norm, clip_value, schedule, precision, processes: see longspan.training.train.

        Returns:
            The History: `.history` has a list a name, "loss", metrics, and the same with "val_".

        Raises:
            ValueError, TypeError: data are empty, not finite or of the wrong shape, a label is out of range,
                or the model is not compiled; the sentence says which.
        """
        self._check_compiled()
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = inputs.split_validation(
                self, validation_split, x, y, sample_weight
            )
        batches = self._batches(x, y, batch_size, shuffle, sample_weight, class_weight, steps_per_epoch)
        adapter, loss, measured, engine = self._training_parts(isinstance(batches, inputs.BPTTChunks))
        check = None
        if validation_data is not None:
            size = validation_batch_size or batch_size
            check = self._validation(validation_data, size, validation_steps)
        hooks = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or ())
        backup = next((callback for callback in hooks if isinstance(callback, BackupAndRestore)), None)
        if backup is not None:
            resume = _checkpoint(backup, resume)
        if resume is not None and isinstance(batches, inputs.LimitedBatches):
            way_out = "leave it out, or fit without resume"
            raise errors.value_error("steps_per_epoch", "None beside resume", steps_per_epoch, way_out)
        limits = {"clip_norm": clip_norm, "clip_value": clip_value, "validation_freq": validation_freq}
        try:
            self.history = train(
                adapter,
                batches,
                loss,
                self.optimizer,
                epochs=epochs,
                initial_epoch=initial_epoch,
                validate=check,
                validation_freq=validation_freq,
                metrics=measured,
                callbacks=hooks,
                clip_norm=clip_norm,
                clip_value=clip_value,
                schedule=schedule,
                verbose=1 if verbose == "auto" else int(verbose),
                resume=identified(resume, self, batches, check, limits),
                precision=precision,
                processes=processes,
                model=self,
                engine=engine,
            )
        finally:
            self.eval()
        if isinstance(self._optimizer, KerasOptimizer):
            self._optimizer.finalize_variable_values()
        if backup is not None:
            backup.delete()
        return self.history

    def _training_parts(self, carries: bool) -> tuple[Any, Any, list[Any], Any]:
        """What the training loop calls: network, loss, metrics, and an engine or None for the usual one."""
        if self.has_own_steps():
            steps = own_steps.StepAdapter(self)
            return steps, own_steps.logged_loss, [own_steps.StepLogs(self)], own_steps.StepEngine(steps)
        adapter = TrainingAdapter(self, carries=carries)
        loss = CompiledLoss(adapter, self.targets)
        return adapter, loss, batch_metrics(adapter, self.targets, loss), None

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Sequence[Any] | Callback | None = None,
        return_dict: bool = False,
    ) -> Any:
        """The loss and the metrics on x and y.

        Args: as for `fit`; steps: batches to evaluate on, None for all.

        Returns:
            The loss; a list [loss, metrics…] where there are metrics; a dict by name with return_dict.
        """
        self._check_compiled()
        batches = self._batches(x, y, batch_size, False, sample_weight, None, steps)
        adapter, loss, measured, _ = self._training_parts(False)
        logs = evaluate(adapter, batches, loss, measured, callbacks=callbacks or (), model=self)
        if verbose not in (0, "auto"):
            print("  ".join(f"{name}: {value:.4f}" for name, value in logs.items()))
        if return_dict:
            return logs
        values = list(logs.values())
        return values if len(values) > 1 else values[0]

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Sequence[Any] | Callback | None = None,
    ) -> Any:
        """The outputs for x as a NumPy array (N, …); a list or dict of arrays where there are several.

        Args:
            x, batch_size, callbacks: as for `fit`; verbose: accepted without effect.
            steps: batches to predict for, None for all.
        """
        self._check_layers()
        batches = self._batches(x, None, batch_size, False, None, None, steps)
        hooks = CallbackList(callbacks or ())
        hooks.attach(self, {"steps": length_of(batches), "verbose": verbose})
        adapter, state, outputs, was_training = TrainingAdapter(self), None, [], self.training
        hooks.call("on_predict_begin", {})
        self.eval()
        try:
            with torch.no_grad():
                for index, batch in enumerate(batches):
                    hooks.call("on_predict_batch_begin", index, {})
                    output, state = self._predicted(adapter, batch, state)
                    hooks.call("on_predict_batch_end", index, {"outputs": output})
                    outputs.append(output if isinstance(output, tuple) else (output,))
        finally:
            self.train(was_training)
        hooks.call("on_predict_end", {})
        arrays = [torch.cat(parts).cpu().numpy() for parts in zip(*outputs, strict=True)]
        if len(arrays) == 1 and not isinstance(self._output_structure, dict):
            return arrays[0]
        packed = self._packed(arrays)
        return list(packed) if isinstance(packed, tuple) else packed

    def _predicted(self, adapter: TrainingAdapter, batch: Batch, state: Any) -> tuple[Any, Any]:
        if not self.has_own_prediction():
            return adapter(batch, state)
        output = self.predict_step(self.inputs_as_given(self.cast_inputs(batch.x)))
        return (output if isinstance(output, Tensor) else tuple(flatten(output))), None

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One step on one batch; the loss before it, with the metrics as `evaluate` gives them."""
        self._check_compiled()
        batch = self._one_batch(x, y, sample_weight, class_weight)
        adapter = TrainingAdapter(self)
        loss = CompiledLoss(adapter, self.targets)
        self.train()
        try:
            output, _ = adapter(batch)
            value = loss(output, batch)
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()
            self.optimizer.step()
        finally:
            self.eval()
        logs = {"loss": value.item()}
        for metric in batch_metrics(adapter, self.targets, loss):
            metric.reset()
            metric.update(output, batch)
            logs[metric.name] = float(metric.result())
        if return_dict:
            return logs
        return list(logs.values()) if len(logs) > 1 else logs["loss"]

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """`evaluate` of one batch."""
        rows = inputs.count_rows(x)
        return self.evaluate(x, y, rows, 0, sample_weight, return_dict=return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """`predict` of one batch."""
        return self.predict(x, batch_size=inputs.count_rows(x))

    def _check_layers(self) -> None:
        """An error for a model without layers."""

    def _check_compiled(self) -> None:
        self._check_layers()
        if self.has_own_steps():
            return
        has_loss = self.compile_arguments is not None and self.compile_arguments.loss is not None
        if not has_loss or (self.optimizer_config is None and self._optimizer is None):
            way_out = "call compile(optimizer, loss) first"
            raise errors.value_error(self.name, "a model compiled with a loss", "one without", way_out)

    def _batches(
        self,
        x: Any,
        y: Any,
        batch_size: int | None,
        shuffle: bool,
        sample_weight: Any,
        class_weight: Mapping[int, float] | None,
        steps: int | None,
    ) -> Any:
        if x is None:
            raise errors.value_error("x", "data", None, "pass x and y, or batches as x")
        return inputs.batches_of(
            self,
            x,
            y,
            batch_size=batch_size,
            shuffle=shuffle,
            sample_weight=sample_weight,
            class_weight=class_weight,
            steps=steps,
        )

    def _validation(self, data: Any, batch_size: int | None, steps: int | None) -> Any:
        """validation_data as batches."""
        if inputs.is_stream(data):
            return self._batches(data, None, None, False, None, None, steps)
        if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
            way_out = "pass both in a tuple"
            raise errors.type_error("validation_data", "(x, y) or (x, y, sample_weight)", data, way_out)
        x, y, weight = (*data, None)[:3]
        batches = self._batches(x, y, batch_size, False, weight, None, None)
        return batches if steps is None else inputs.FirstBatches(batches, steps)

    def _one_batch(self, x: Any, y: Any, weight: Any, classes: Mapping[int, float] | None) -> Batch:
        rows = inputs.count_rows(x)
        batches = self._batches(x, y, rows, False, weight, classes, None)
        return next(iter(batches))

    # Showing and saving.

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

    def _layers_to_explain(self) -> list[Layer]:
        """The recurrent layers, also those of inner models, without the parts of Bidirectional and RNN."""
        found: list[Layer] = []
        for layer in self.layers:
            if isinstance(layer, Model):
                found += layer._layers_to_explain()
            elif isinstance(layer, EXPLAINABLE_LAYERS):
                found.append(layer)
        return found

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
        return cls(inputs, outputs, name=config.get("name"), trainable=config.get("trainable", True))

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


def _zeros(shape: Shape) -> Tensor:
    """Zeros of a shape, two where the size is open."""
    return torch.zeros([2 if size is None else size for size in shape])


def _checkpoint(backup: BackupAndRestore, resume: Any) -> CheckpointConfig:
    """The file of a BackupAndRestore and how often it is written; `resume`: of `fit`, None beside it."""
    if resume is not None:
        raise errors.value_error("resume", "None beside BackupAndRestore", resume, "leave one of them out")
    backup.backup_dir.mkdir(parents=True, exist_ok=True)
    every = backup.save_freq if isinstance(backup.save_freq, int) else None
    return CheckpointConfig(backup.path, every, seconds=None, epochs=every is None)


def _names(structure: Any) -> list[str]:
    """The keys of a dict of symbolic tensors, else their layers' names, made different."""
    if isinstance(structure, Mapping):
        return [str(key) for key in structure]
    names: list[str] = []
    for tensor in flatten(structure):
        same = sum(name == tensor.name for name in names)
        names.append(f"{tensor.name}_{same}" if same else str(tensor.name))
    return names
