"""Trains, evaluates and asks a model: fit, evaluate, predict, and the same for one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from longspan import config, errors
from longspan.callbacks import BackupAndRestore, Callback, CallbackList, History, TerminateOnNaN
from longspan.data.batches import Batch, as_batch
from longspan.layers.structure import flatten
from longspan.nn.quantization import check_trainable
from longspan.optimizers import KerasOptimizer
from longspan.training.checkpoint import CheckpointConfig
from longspan.training.epoch_batches import length_of
from longspan.training.loop import evaluate, train

from . import inputs, own_steps
from .compiled_model import CompiledModel
from .identity import identified
from .train_step import CompiledLoss, TrainingAdapter, batch_metrics


class Trainer(CompiledModel):
    """A model that can be trained. Abstract; see Model."""

    history: History | None
    stop_predicting: bool

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
            callbacks: objects of longspan.callbacks, or one. With TerminateOnNaN, NaN in y ends training
                instead of being refused.
            validation_split: the fraction of rows, the last ones, to validate on instead of training.
            validation_data: (x, y) or (x, y, sample_weight), or batches.
            shuffle: a new order every epoch.
            class_weight: class number -> the weight of its rows.
            sample_weight: (N,) or (N, T), the weights of rows or steps; of several outputs one for all, or a
                list or dict.
            steps_per_epoch: batches of an epoch; the next epoch goes on where it ended. The end of the data
                ends an epoch before, as in Keras. None for all batches.
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
        check_trainable(self)
        epochs, steps_per_epoch = _at_most(epochs, steps_per_epoch)
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = inputs.split_validation(
                self, validation_split, x, y, sample_weight
            )
        hooks = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or ())
        finite = not any(isinstance(callback, TerminateOnNaN) for callback in hooks)
        batches = self._batches(
            x, y, batch_size, shuffle, sample_weight, class_weight, steps_per_epoch, finite=finite
        )
        adapter, loss, measured, engine = self._training_parts(isinstance(batches, inputs.BPTTChunks))
        check = None
        if validation_data is not None:
            size = validation_batch_size or batch_size
            check = self._validation(validation_data, size, validation_steps)
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

    def explain(self, x: Any) -> str:
        """Explain which kernel runs each recurrent layer on x (B, …), and how `fit` takes its steps."""
        text = super().explain(x)
        if self.compile_arguments is None or self.has_own_steps():
            return text
        adapter = TrainingAdapter(self)
        return f"{text}\n{adapter.explain_fit(CompiledLoss(adapter, self.targets, self.joint_losses))}"

    def _training_parts(self, carries: bool) -> tuple[Any, Any, list[Any], Any]:
        """What the training loop calls: network, loss, metrics, and an engine or None for the usual one."""
        if self.has_own_steps():
            steps = own_steps.StepAdapter(self)
            return steps, own_steps.logged_loss, [own_steps.StepLogs(self)], own_steps.StepEngine(steps)
        adapter = TrainingAdapter(self, carries=carries)
        loss = CompiledLoss(adapter, self.targets, self.joint_losses)
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
        """The outputs for x as a NumPy array (N, …); several ones in the model's lists, tuples and dicts.

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
        self.stop_predicting = False
        try:
            with torch.no_grad():
                for index, batch in enumerate(map(as_batch, batches)):
                    hooks.call("on_predict_batch_begin", index, {})
                    output, state = self._predicted(adapter, batch, state)
                    hooks.call("on_predict_batch_end", index, {"outputs": output})
                    outputs.append(output if isinstance(output, tuple) else (output,))
                    if self.stop_predicting:
                        break
        finally:
            self.train(was_training)
        hooks.call("on_predict_end", {})
        arrays = [torch.cat(parts).cpu().numpy() for parts in zip(*outputs, strict=True)]
        if len(arrays) == 1 and not isinstance(self._output_structure, dict):
            return arrays[0]
        return self._packed(arrays)

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
        check_trainable(self)
        batch = self._one_batch(x, y, sample_weight, class_weight)
        adapter = TrainingAdapter(self)
        loss = CompiledLoss(adapter, self.targets, self.joint_losses)
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
        if not self.compiled or (self.optimizer_config is None and self._optimizer is None):
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
        *,
        finite: bool = True,
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
            finite=finite,
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


def _checkpoint(backup: BackupAndRestore, resume: Any) -> CheckpointConfig:
    """The file of a BackupAndRestore and how often it is written; `resume`: of `fit`, None beside it."""
    if resume is not None:
        raise errors.value_error("resume", "None beside BackupAndRestore", resume, "leave one of them out")
    backup.backup_dir.mkdir(parents=True, exist_ok=True)
    every = backup.save_freq if isinstance(backup.save_freq, int) else None
    return CheckpointConfig(backup.path, every, seconds=None, epochs=every is None)


def _at_most(epochs: int, steps: int | None) -> tuple[int, int | None]:
    """The epochs and steps of an epoch, at most as many as `longspan.config` allows."""
    most_epochs, most_steps = config.max_epochs(), config.max_steps_per_epoch()
    if most_steps is not None:
        steps = most_steps if steps is None else min(steps, most_steps)
    return (epochs if most_epochs is None else min(epochs, most_epochs)), steps
