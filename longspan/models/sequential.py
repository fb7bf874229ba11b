"""Defines Sequential: layers in a row with Keras' methods, trained by the library's training loop."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from longspan import errors, losses, metrics, optimizers
from longspan.callbacks import History
from longspan.data.batches import Batch
from longspan.data.splits import split_for_validation
from longspan.layers import RNN, Bidirectional, Embedding, InputLayer, Layer
from longspan.layers.base import Shape, Weight, assign, to_tensor, unique_name
from longspan.layers.config import from_config, to_config
from longspan.layers.recurrent import RNNBase
from longspan.training.loop import evaluate, train

from . import inputs, saving
from .identity import identified
from .summary import summary
from .train_step import CompiledLoss, CompiledMetric, TrainingAdapter

# The layers that can explain which kernel runs them.
EXPLAINABLE_LAYERS = (RNNBase, Bidirectional, RNN)


class Sequential(nn.Module):
    """Layers in a row: keras.Sequential's verbs, on PyTorch; also an nn.Module that can be iterated.

    Args:
        layers: layers of longspan.layers, an `Input` first or not at all.
        trainable: whether fitting changes the weights.
        name: None makes one.

    Attributes:
        layers: a list, without the `Input`.
        optimizer: the optimizer of the weights once the model is built, else its options.
        history: the History of the last `fit`.

    Raises:
        TypeError, ValueError: something is no layer, or shapes do not fit; the sentence names the layer.

    >>> from longspan.layers import LSTM, Dense
    >>> model = Sequential([LSTM(8), Dense(1)])
    >>> model.compile("adam", "mse")
    >>> history = model.fit(np.zeros((4, 5, 1)), np.zeros(4), epochs=2, verbose=0)
    >>> model.predict(np.zeros((3, 5, 1)), verbose=0).shape
    (3, 1)
    """

    def __init__(
        self, layers: Sequence[Layer] | None = None, trainable: bool = True, name: str | None = None
    ) -> None:
        super().__init__()
        self.name = name or unique_name("sequential")
        self.input_layer: InputLayer | None = None
        self.built = False
        self.loss: losses.Loss | None = None
        self.history: History | None = None
        self.stop_training = False
        self.optimizer_config: optimizers.OptimizerConfig | None = None
        self._optimizer: Optimizer | None = None
        self.compiled_metrics: list[tuple[metrics.Metric, bool]] = []
        self._layers: list[Layer] = []
        self.eval()
        for layer in layers or ():
            self.add(layer)
        if not trainable:
            self.trainable = False

    # Building.

    def add(self, layer: Layer) -> None:
        """Put one more layer at the end."""
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

    def pop(self) -> Layer:
        """Take the last layer away."""
        if not self._layers:
            raise errors.value_error("pop", "a model with layers", "an empty one", "add layers first")
        layer = self._layers.pop()
        del self._modules[str(len(self._layers))]
        return layer

    @property
    def declared_input_shape(self) -> Shape | None:
        """The (B, …) shape that an Input or the first layer's input_shape declares; None without one."""
        if self.input_layer is not None:
            return self.input_layer.declared_shape
        return self._layers[0].declared_shape if self._layers else None

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        """Make the weights for inputs of this shape, (B, …)."""
        shape: Any = tuple(input_shape) if input_shape is not None else self.declared_input_shape
        if shape is None:
            way_out = "give the first layer an input_shape, or call the model on data"
            raise errors.value_error("build", "the shape of the input", None, way_out)
        for layer in self._layers:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        self.built = bool(self._layers)

    def build_for(self, x: Tensor, *, ragged: bool = False) -> None:
        """Make the weights, if they are not there, for rows like those of `x`."""
        if not self.built:
            declared = self.declared_input_shape
            shape = (None, None, *x.shape[2:]) if ragged else (None, *x.shape[1:])
            if declared is not None and len(declared) == len(shape):
                shape = tuple(a if a is not None else b for a, b in zip(declared, shape, strict=True))
            self.build(shape)

    @property
    def layers(self) -> list[Layer]:
        """The layers in order."""
        return list(self._layers)

    @property
    def input_shape(self) -> Shape:
        """(None, …) once built."""
        return self._shape_of(self._layers[0].input_shape if self._layers else None)

    @property
    def output_shape(self) -> Any:
        """(None, …) once built."""
        return self._shape_of(self._layers[-1].output_shape if self._layers else None)

    def _shape_of(self, shape: Any) -> Any:
        if shape is None:
            raise errors.value_error(
                self.name, "a model that is built", "one without shapes", "call build(shape)"
            )
        return shape

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of this name or at this place."""
        if index is not None:
            return self._layers[index]
        names = [layer.name for layer in self._layers]
        return self._layers[names.index(errors.check_choice("layer", name, names))]

    # Running.

    def takes_token_ids(self) -> bool:
        """Whether the first layer is an Embedding, which takes whole numbers."""
        return bool(self._layers) and isinstance(self._layers[0], Embedding)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next((p.dtype for p in self.parameters()), torch.get_default_dtype())

    def cast_inputs(self, x: Tensor) -> Tensor:
        """x in the dtype that the first layer takes."""
        if self.takes_token_ids():
            return x if x.dtype == torch.int64 else x.long()
        return x if x.dtype == self.dtype else x.to(self.dtype)

    def run(self, x: Tensor, mask: Tensor | None = None) -> tuple[Any, Tensor | None]:
        """The output for x (B, …) and the output's mask, without changing mode or dtype."""
        for layer in self._layers:
            before = x
            x = layer(before, mask)
            mask = layer.compute_mask(before, mask)
        return x, mask

    def forward(self, x: Any, mask: Tensor | None = None, training: bool | None = None) -> Any:
        """The output of the last layer.

        Args:
            x: (B, …) tensor or array.
            mask: (B, T) bool, False where a step is skipped.
            training: whether dropout acts and averages move; None: as the module's mode says, which is off
                until `train()`.
        """
        x = to_tensor(x)
        self.build_for(x)
        x = self.cast_inputs(x)
        if training is None or training == self.training:
            return self.run(x, mask)[0]
        before = self.training
        self.train(training)
        try:
            return self.run(x, mask)[0]
        finally:
            self.train(before)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, index: int) -> Layer:
        return self._layers[index]

    # Weights.

    def keras_weights(self) -> list[Weight]:
        """Every weight, layer by layer in Keras' order."""
        return [weight for layer in self._layers for weight in layer.keras_weights()]

    @property
    def weights(self) -> list[Tensor]:
        """The weights in Keras' order and layout."""
        return [weight.get() for weight in self.keras_weights()]

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the weights in Keras' order and layout."""
        return [array for layer in self._layers for array in layer.get_weights()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Take weights as `get_weights`, here or in Keras, gives them.

        Raises:
            ValueError: their number or a shape is another; nothing is changed then.
        """
        assign(self.name, self.keras_weights(), weights)

    def count_params(self) -> int:
        """The number of values in all weights."""
        return sum(layer.count_params() for layer in self._layers)

    @property
    def trainable(self) -> bool:
        """Whether fitting changes any layer; setting it sets every layer's."""
        return any(layer.trainable for layer in self._layers)

    @trainable.setter
    def trainable(self, wanted: bool) -> None:
        for layer in self._layers:
            layer.trainable = wanted

    def regularization_loss(self) -> Tensor | None:
        """The sum of the weights' regularization losses; None without regularizers."""
        terms = [term for layer in self._layers if (term := layer.regularization_loss()) is not None]
        return torch.stack(terms).sum() if terms else None

    def reset_states(self) -> None:
        """Reset the states of stateful layers."""
        for layer in self._layers:
            layer.reset_states()

    def reset_state(self) -> None:
        """The same by Keras' other name."""
        self.reset_states()

    # Training.

    def compile(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        optimizer: str | optimizers.OptimizerConfig | Optimizer = "rmsprop",
        loss: Any = None,
        metrics: Sequence[Any] | None = None,
        weighted_metrics: Sequence[Any] | None = None,
        run_eagerly: bool = False,
        jit_compile: bool | str = "auto",
        steps_per_execution: int = 1,
    ) -> None:
        """Set the optimizer, the loss and the metrics of training.

        Args:
            optimizer: a name ("adam", "adamw", "sgd", "rmsprop"), one of longspan.optimizers, or a running
                torch.optim optimizer over the model's parameters.
            loss: a name ("mse", "categorical_crossentropy", …), one of longspan.losses, or a function
                (y_true, y_pred) -> one value a row.
            metrics: names ("accuracy", "mae", "auc", …), metrics, or functions.
            weighted_metrics: the same, weighted by sample and class weights.
            run_eagerly, jit_compile, steps_per_execution: accepted without effect.

        Raises:
            ValueError: a name is unknown; the nearest is given.
        """
        self.optimizer_config = None if isinstance(optimizer, Optimizer) else optimizers.get(optimizer)
        self._optimizer = optimizer if isinstance(optimizer, Optimizer) else None
        self.loss = None if loss is None else losses.get(loss)
        self.compiled_metrics = [(_metric(metric), False) for metric in _flat(metrics)]
        self.compiled_metrics += [(_metric(metric), True) for metric in _flat(weighted_metrics)]

    @property
    def optimizer(self) -> Any:
        """The optimizer of the weights, made once the model is built."""
        if self._optimizer is None and self.optimizer_config is not None and self.built:
            learned = [p for p in self.parameters() if p.requires_grad]
            if not learned:
                way_out = "set trainable=True on a layer"
                raise errors.value_error(self.name, "a weight that may change", "none", way_out)
            self._optimizer = self.optimizer_config.build(learned)
        return self._optimizer or self.optimizer_config

    @property
    def metrics_names(self) -> list[str]:
        """ "loss", then the metrics."""
        return ["loss", *(metric.name for metric, _ in self.compiled_metrics)]

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Sequence[Any] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
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
                (x, y).
            y: (N, …) targets; None if x gives them.
            batch_size: rows a step, 32 where None.
            epochs: the number of the last epoch; initial_epoch: the epochs that are done already.
            verbose: 0 silent, 1 or "auto" a progress bar, 2 a line an epoch.
            callbacks: objects of longspan.callbacks or with their methods.
            validation_split: the fraction of rows, the last ones, to validate on instead of training.
            validation_data: (x, y) or (x, y, sample_weight), or batches.
            shuffle: a new order every epoch.
            class_weight: class number -> the weight of its rows.
            sample_weight: (N,) or (N, T), the weights of rows or steps.
            steps_per_epoch, validation_steps: batches to take of an iterable.
            validation_freq: validate every so many epochs.
            resume: a file to go on from and to write to, or a longspan.training.CheckpointConfig. A file of
                another model, optimizer, loss or data is refused.
            clip_norm, clip_value, schedule, precision, processes: see longspan.training.train.

        Returns:
            The History: `.history` has a list a name, "loss", metrics, and the same with "val_".

        Raises:
            ValueError, TypeError: data are empty, not finite or of the wrong shape, a label is out of range,
                or the model is not compiled; the sentence says which.
        """
        loss = self._ready()
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = split_for_validation(
                validation_split, x, y, sample_weight
            )
        batches = self._batches(x, y, batch_size, shuffle, sample_weight, class_weight, steps_per_epoch)
        adapter = TrainingAdapter(self, carries=isinstance(batches, inputs.BPTTChunks))
        check = None
        if validation_data is not None:
            size = validation_batch_size or batch_size
            check = self._validation(validation_data, size, validation_steps)
        limits = {"clip_norm": clip_norm, "clip_value": clip_value}
        try:
            self.history = train(
                adapter,
                batches,
                CompiledLoss(adapter, loss),
                self.optimizer,
                epochs=epochs,
                initial_epoch=initial_epoch,
                validate=check,
                metrics=self._batch_metrics(adapter),
                callbacks=list(callbacks or ()),
                clip_norm=clip_norm,
                clip_value=clip_value,
                schedule=schedule,
                verbose=1 if verbose == "auto" else int(verbose),
                resume=identified(resume, self, batches, check, limits),
                precision=precision,
                processes=processes,
                model=self,
            )
        finally:
            self.eval()
        return self.history

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        return_dict: bool = False,
    ) -> Any:
        """The loss and the metrics on x and y.

        Args: as for `fit`.

        Returns:
            The loss; a list [loss, metrics…] where there are metrics; a dict by name with return_dict.
        """
        loss = self._ready()
        batches = self._batches(x, y, batch_size, False, sample_weight, None, steps)
        adapter = TrainingAdapter(self)
        logs = evaluate(adapter, batches, CompiledLoss(adapter, loss), self._batch_metrics(adapter))
        if verbose not in (0, "auto"):
            print("  ".join(f"{name}: {value:.4f}" for name, value in logs.items()))
        if return_dict:
            return logs
        values = list(logs.values())
        return values if len(values) > 1 else values[0]

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: int | str = "auto", steps: int | None = None
    ) -> Any:
        """The outputs for x as a NumPy array (N, …), a list of arrays where the last layer has several.

        Args:
            x, batch_size, steps: as for `fit`; verbose: accepted without effect.
        """
        if not self._layers:
            raise errors.value_error(self.name, "a model with layers", "an empty one", "add layers first")
        batches = self._batches(x, None, batch_size, False, None, None, steps)
        adapter, state, outputs, was_training = TrainingAdapter(self), None, [], self.training
        self.eval()
        try:
            with torch.no_grad():
                for batch in batches:
                    output, state = adapter(batch, state)
                    outputs.append(output if isinstance(output, tuple) else (output,))
        finally:
            self.train(was_training)
        arrays = [torch.cat(parts).cpu().numpy() for parts in zip(*outputs, strict=True)]
        return arrays if len(arrays) > 1 else arrays[0]

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One step on one batch; the loss before it, with the metrics as `evaluate` gives them."""
        loss = self._ready()
        batch = self._one_batch(x, y, sample_weight, class_weight)
        adapter = TrainingAdapter(self)
        batch_metrics = self._batch_metrics(adapter)
        self.train()
        try:
            output, _ = adapter(batch)
            value = CompiledLoss(adapter, loss)(output, batch)
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()
            self.optimizer.step()
        finally:
            self.eval()
        logs = {"loss": value.item()}
        for metric in batch_metrics:
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
        rows = len(x)
        return self.evaluate(x, y, rows, 0, sample_weight, return_dict=return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """`predict` of one batch."""
        return self.predict(x, batch_size=len(x))

    def _ready(self) -> losses.Loss:
        if not self._layers:
            raise errors.value_error(self.name, "a model with layers", "an empty one", "add layers first")
        if self.loss is None or (self.optimizer_config is None and self._optimizer is None):
            way_out = "call compile(optimizer, loss) first"
            raise errors.value_error(self.name, "a model compiled with a loss", "one without", way_out)
        return self.loss

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
        return self._batches(x, y, batch_size, False, weight, None, None)

    def _one_batch(self, x: Any, y: Any, weight: Any, classes: Mapping[int, float] | None) -> Batch:
        rows = len(x)
        batches = self._batches(x, y, rows, False, weight, classes, None)
        return next(iter(batches))

    def _batch_metrics(self, adapter: TrainingAdapter) -> list[CompiledMetric]:
        return [
            CompiledMetric(adapter, metric, weighted=weighted) for metric, weighted in self.compiled_metrics
        ]

    # Showing and saving.

    def summary(self, line_length: int | None = None, print_fn: Callable[[str], Any] | None = None) -> None:
        """Print the layers, the shapes between them and how many numbers they learn."""
        (print_fn or print)(summary(self.name, self._layers))

    def explain(self, x: Any) -> str:
        """Explain which kernel runs each recurrent layer on x (B, …), and why the others do not."""
        x = to_tensor(x)
        self.build_for(x)
        x, mask, lines = self.cast_inputs(x), None, []
        with torch.no_grad():
            for layer in self._layers:
                before = x
                if isinstance(layer, EXPLAINABLE_LAYERS):
                    lines.append(layer.explain(before, mask))
                x, mask = layer(before, mask), layer.compute_mask(before, mask)
        return "\n".join(lines) or "no recurrent layer: every layer is plain PyTorch."

    def get_config(self) -> dict[str, Any]:
        """The model without its weights, JSON values only."""
        first = [] if self.input_layer is None else [self.input_layer]
        return {"name": self.name, "layers": [to_config(layer) for layer in [*first, *self._layers]]}

    def to_json(self) -> str:
        """`get_config` as text, for longspan.models.model_from_json."""
        return json.dumps({"class_name": "Sequential", "config": self.get_config()})

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Sequential:
        """The model that `get_config`, here or in Keras, described."""
        return cls([from_config(layer, custom_objects) for layer in config["layers"]], name=config["name"])

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


def _flat(metrics: Any) -> list[Any]:
    """The metrics of a single metric, a list, or Keras' list of lists."""
    if metrics is None:
        return []
    if not isinstance(metrics, (list, tuple)):
        return [metrics]
    return [metric for part in metrics for metric in (part if isinstance(part, (list, tuple)) else [part])]


def _metric(identifier: Any) -> metrics.Metric:
    return metrics.get(identifier)
