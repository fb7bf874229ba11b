"""Trains a model whose class defines steps of its own: train_step, test_step, predict_step, compute_loss."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from longspan import errors, metrics
from longspan.data.batches import Batch, rows_of
from longspan.layers import Layer
from longspan.layers.structure import flatten
from longspan.layers.weights import sum_of

from .compiled import JointLoss, OutputTarget
from .running import RunningModel

Logs = dict[str, Any]


class Stepping(Protocol):
    """A model with steps, as the training loop needs it; see `Model`."""

    metrics: Any
    training: bool

    def train_step(self, data: Any) -> Any: ...
    def test_step(self, data: Any) -> Any: ...
    def cast_inputs(self, x: Any) -> Any: ...
    def inputs_as_given(self, x: Any) -> Any: ...


class StepAdapter(nn.Module):
    """A model with steps of its own as the training loop calls it: the output of a batch is the step's logs.

    Args:
        model: the model, built.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, batch: Batch, state: Any = None) -> tuple[Logs, Any]:
        model: Stepping = self.model
        x = model.inputs_as_given(model.cast_inputs(batch.x))
        data = x if batch.y is None else (x, batch.y) if batch.weight is None else (x, batch.y, batch.weight)
        step = model.train_step if self.training else model.test_step
        logs = step(data)
        return (logs if isinstance(logs, dict) else {"loss": logs}), None


class StepEngine:
    """Steps that the model takes itself."""

    rank, world, is_padding = 0, 1, False

    def __init__(self, adapter: StepAdapter) -> None:
        self.forward = adapter

    def step(self, value: Tensor, output: Any, batch: Batch) -> None:
        """Nothing: the model's own step is done."""

    def whole_step(self, loss: Any) -> None:
        """None: the model's own step takes every batch."""

    def rows(self, batch: Batch) -> int:
        """The number of rows that count."""
        return rows_of(batch)

    def gather(self, value: Any) -> list[Any]:
        """The value."""
        return [value]

    def state(self) -> Any:
        """Nothing for checkpoints."""
        return {}

    def restore(self, state: Any) -> None:
        """Nothing."""


def logged_loss(output: Logs, batch: Batch) -> Tensor:
    """The loss among a step's logs, 0 where there is none."""
    value = output.get("loss", 0.0)
    return (value.detach() if isinstance(value, Tensor) else torch.tensor(float(value))).float()


class StepLogs:
    """The logs of the last step, as a metric of the loop; the model's metrics start afresh with it."""

    name, direction = "logs", None

    def __init__(self, model: Any) -> None:
        self._model: Stepping = model
        self._last: Logs = {}

    def update(self, output: Logs, batch: Batch) -> None:
        """Keep the logs of a step."""
        self._last = {
            name: float(value.detach() if isinstance(value, Tensor) else value)
            for name, value in _flat(output).items()
        }

    def result(self) -> Logs:
        """The last logs by name."""
        return self._last

    def reset(self) -> None:
        """Let the model's metrics start afresh."""
        self._last = {}
        for metric in flatten(self._model.metrics):
            metric.reset_state()

    def state(self) -> Any:
        """The logs, for checkpoints."""
        return dict(self._last)

    def restore(self, state: Any) -> None:
        """Take back what `state` gave."""
        self._last = dict(state)


def _flat(logs: Logs) -> Logs:
    """The logs without the dicts among them, whose names stand for themselves."""
    flat: Logs = {}
    for name, value in logs.items():
        flat.update(_flat(value) if isinstance(value, dict) else {name: value})
    return flat


# Methods that a model's own class may define, and that `fit` and `evaluate` then call for every batch.
_STEPS = ("train_step", "test_step", "compute_loss", "compute_metrics")


class OwnSteps(RunningModel):
    """A model whose steps, loss and metrics a class of your own may define. Abstract; see Model."""

    loss_tracker: metrics.Mean
    optimizer: Any
    input_keys: Any

    @property
    @abstractmethod
    def targets(self) -> list[OutputTarget]:
        """The loss, its weight and the metrics of every output."""

    @property
    @abstractmethod
    def joint_losses(self) -> list[JointLoss]:
        """The losses of several outputs together."""

    def has_own_steps(self) -> bool:
        """Whether the class defines steps, a loss or metrics of its own, which `fit` and `evaluate` call."""
        if any(getattr(type(self), name) is not getattr(OwnSteps, name) for name in _STEPS):
            return True
        return type(self).is_own and bool(self.own_metrics())

    def own_metrics(self) -> list[metrics.Metric]:
        """The metrics that are attributes of the model or of its layers of a user's class, also in lists."""
        targets = [] if self.output_names is None else self.targets
        compiled = {id(metric) for target in targets for metric, _ in target.metrics}
        parts = (part for part in self.modules() if isinstance(part, Layer) and part.is_own)
        attributes = dict.fromkeys(metric for part in parts for metric in _attributes(part))
        return [metric for metric in attributes if id(metric) not in compiled]

    def has_own_prediction(self) -> bool:
        """Whether the class defines a `predict_step` of its own."""
        return type(self).predict_step is not OwnSteps.predict_step

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on a batch: x, (x, y) or (x, y, sample_weight), as tensors.

        A class of your own may define the step otherwise; `fit` then shows what it returns.

        Returns:
            The loss and the metrics so far in the epoch, by name.
        """
        x, y, weight = as_parts(data)
        output = self(x, training=True)
        loss = self._loss_of(x, y, output, weight, True)
        self.optimizer.zero_grad(set_to_none=True)
        if loss.requires_grad:
            loss.backward()
            self.optimizer.step()
        return self._step_logs(loss, x, y, output, weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        """`train_step` without a change of the weights."""
        x, y, weight = as_parts(data)
        output = self(x, training=False)
        loss = self._loss_of(x, y, output, weight, False)
        return self._step_logs(loss, x, y, output, weight)

    def predict_step(self, data: Any) -> Any:
        """The outputs for a batch."""
        return self(as_parts(data)[0], training=False)

    def _loss_of(self, x: Any, y: Any, output: Any, weight: Any, training: bool) -> Tensor:
        """`compute_loss`, which in a class written for older versions of Keras does not take `training`."""
        takes = "training" in inspect.signature(self.compute_loss).parameters
        return self.compute_loss(x, y, output, weight, *((training,) if takes else ()))

    def _step_logs(self, loss: Tensor, x: Any, y: Any, output: Any, weight: Any) -> dict[str, Any]:
        rows = flatten(x)[0].shape[0]
        self.loss_tracker.update_state(loss.detach(), sample_weight=torch.tensor(float(rows)))
        return {"loss": self.loss_tracker.result(), **self.compute_metrics(x, y, output, weight)}

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """The loss of a batch: that of `compile` for every output, and what layers and weights add."""
        outputs, truths = flatten(y_pred), flatten(y)
        weights = flatten(sample_weight)
        weights = weights * len(outputs) if len(weights) == 1 else weights
        parts = [
            target.loss(truth, output, weight) * target.weight
            for target, truth, output, weight in zip(self.targets, truths, outputs, weights, strict=True)
            if target.loss is not None
        ]
        weight = weights[0] if len(set(map(id, weights))) == 1 else None
        parts += [joint(truths, outputs, weight) * joint.weight for joint in self.joint_losses]
        total = sum_of([*parts, *self.losses])
        if total is None:
            way_out = "give compile a loss, or define compute_loss"
            raise errors.value_error(self.name, "a loss", "none", way_out)
        return total

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """The metrics of `compile` after a batch, and those that are attributes of the model, by name."""
        logs: dict[str, Any] = {}
        for target, truth, output in zip(self.targets, flatten(y), flatten(y_pred), strict=False):
            for metric, weighted in target.metrics:
                metric.update_state(truth, output, sample_weight if weighted else None)
                logs[metric.name] = metric.result()
        for metric in self.own_metrics():
            logs[metric.name] = metric.result()
        return logs

    def get_metrics_result(self) -> dict[str, Any]:
        """The metrics so far, by name."""
        results: dict[str, Any] = {}
        for metric in self.metrics:
            value = metric.result()
            results.update(value if isinstance(value, dict) else {metric.name: value})
        return results

    def reset_metrics(self) -> None:
        """Let all metrics start afresh."""
        for metric in self.metrics:
            metric.reset_state()

    def inputs_as_given(self, x: Any) -> Any:
        """Inputs in a tuple in the structure that the model takes: a dict or list."""
        if not isinstance(x, tuple):
            return x
        keys = self.input_keys if isinstance(self.input_keys, list) else None
        return list(x) if keys is None else dict(zip(keys, x, strict=True))


def _attributes(part: Layer) -> list[metrics.Metric]:
    """The metrics among the attributes of a layer of a user's class."""
    values = [value for name, value in vars(part).items() if name not in ("_targets", "loss_tracker")]
    return [metric for value in values for metric in flatten(value) if isinstance(metric, metrics.Metric)]


def as_parts(data: Any) -> tuple[Any, Any, Any]:
    """x, y and sample_weight of a batch, None for those that are not there."""
    parts = data if isinstance(data, tuple) else (data,)
    x, y, weight, *_ = (*parts, None, None)
    return x, y, weight
