"""Adapts a model to the training loop: batches in, losses and metrics of each output under its mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from longspan import errors, losses, metrics
from longspan.data.batches import Batch, input_mask, rows_of
from longspan.layers.base import Layer
from longspan.layers.calling import inside_call
from longspan.layers.conv_lstm import ConvLSTMBase
from longspan.layers.recurrent import RNNBase
from longspan.layers.weights import sum_of
from longspan.training import objective

from .compiled import JointLoss, OutputTarget
from .native_step import NativeStep, OutputMask, Unfit, chain_of, check_surroundings
from .protocol import Model


class TrainingAdapter(nn.Module):
    """A model as the training loop calls it: (batch, state) -> (output, state).

    Args:
        model: the model, built.
        carries: pass states from a batch to the next one that continues; else only stateful layers do.

    Attributes:
        last_mask: the mask of the last output, (B, T) bool or None, which the loss and the metrics apply; of
            several outputs a list of masks or None.
    """

    def __init__(self, model: Model, *, carries: bool = False) -> None:
        super().__init__()
        self.model, self.carries, self.last_mask = model, carries, OutputMask()
        self.training = model.training
        self._native: tuple[tuple[bool, ...], NativeStep] | None = None
        self._inference: NativeStep | None = None
        self._has_inference: bool | None = None  # None: not known yet
        self._dtype = model.input_dtype()
        self._adding = [part for part in model.modules() if isinstance(part, Layer) and _may_add(part)]
        self._recurrent = [
            part
            for part in model.modules()
            if isinstance(part, (RNNBase, ConvLSTMBase)) and (carries or part.stateful)
        ]

    def forward(self, batch: Batch, state: Any = None) -> tuple[Any, Any]:
        if not self._adding:
            return self._run(batch, state)
        for layer in self._adding:
            layer.added_losses.clear()
        with inside_call():
            return self._run(batch, state)

    def _run(self, batch: Batch, state: Any) -> tuple[Any, Any]:
        if not self.training and not self._recurrent and not torch.is_grad_enabled():
            output = self._predicted(batch)
            if output is not None:
                return output, None
        x = batch.x
        if type(x) is not Tensor or x.dtype != self._dtype:
            x = self.model.cast_inputs(x)
        if not self._recurrent:
            output, self.last_mask.mask = self.model.run(x, input_mask(batch))
            return output, None
        return self._carried(x, batch, state)

    def _predicted(self, batch: Batch) -> Tensor | None:
        """The output by one call of compiled code; None where the model does not run so."""
        if self._has_inference is False:
            return None
        try:
            check_surroundings(self.model)
            if self._inference is None:
                self._has_inference = False  # if the next line raises an error
                self._inference = NativeStep(chain_of(self.model), None, self.last_mask)
                self._has_inference = True
        except Unfit:
            return None
        return self._inference.predict(batch)

    def whole_step(self, loss: CompiledLoss) -> NativeStep | None:
        """The step in one call of compiled code; None where the general loop has to train the model."""
        try:
            return self._whole_step(loss)
        except Unfit:
            self._native = None
            return None

    def explain_fit(self, loss: CompiledLoss) -> str:
        """Which step trains the model, and why the other one does not, in one line."""
        try:
            self._whole_step(loss)
        except Unfit as reason:
            return f"fit: the general loop, since {reason}."
        return "fit: one compiled step a batch, of forward, loss and backward."

    def _whole_step(self, loss: CompiledLoss) -> NativeStep:
        if self.carries:
            raise Unfit("states are carried from batch to batch")
        check_surroundings(self.model)
        learning = tuple([parameter.requires_grad for parameter in self.model.parameters()])
        if self._native is None or self._native[0] != learning:
            self._native = learning, NativeStep(chain_of(self.model), loss.plain_loss(), self.last_mask)
        return self._native[1]

    def set_states(self, state: Any) -> None:
        """Set the states of stateful layers, as `forward` returned them; None changes nothing."""
        for index, layer in enumerate(self._recurrent):
            if layer.stateful and state is not None:
                layer.states = state[index]

    def _carried(self, x: Any, batch: Batch, state: Any) -> tuple[Any, Any]:
        was_stateful = [layer.stateful for layer in self._recurrent]
        for index, layer in enumerate(self._recurrent):
            if state is not None:
                layer.states = state[index]
            elif self.carries and not batch.continues and not layer.stateful:
                layer.states = None
            layer.stateful = True
        try:
            output, self.last_mask.mask = self.model.run(x, input_mask(batch))
        finally:
            for layer, stateful in zip(self._recurrent, was_stateful, strict=True):
                layer.stateful = stateful
        return output, [layer.states for layer in self._recurrent]

    @property
    def may_add_losses(self) -> bool:
        """Whether a layer's call may add to the loss."""
        return bool(self._adding)

    def added_losses(self) -> list[Tensor]:
        """What the layers added to the loss in the last call."""
        return [loss for layer in self._adding for loss in layer.added_losses]

    def with_output_mask(self, batch: Batch) -> Batch:
        """The batch with the mask of its output, which the layers may have dropped or made."""
        if self.last_mask.mask is None and batch.mask is None and batch.lengths is None:
            return batch
        return Batch(batch.x, batch.y, None, self.last_mask.mask, batch.weight)

    def for_output(self, batch: Batch, index: int) -> Batch:
        """The batch as one of several outputs sees it: with its targets, its mask and its weights."""
        masks, weight = self.last_mask.mask, batch.weight
        return Batch(
            batch.x,
            None if batch.y is None else batch.y[index],
            None,
            None if masks is None else masks[index],
            weight[index] if isinstance(weight, tuple) else weight,
        )


def _may_add(layer: Layer) -> bool:
    """Whether a layer's call may add to the loss."""
    return layer.is_own or layer.activity_regularizer is not None


class CompiledLoss:
    """The loss as the training loop calls it: under the output's mask, with regularization losses.

    Args:
        adapter: the model.
        targets: one for each output; of several outputs the losses are added up by their weights.
        joint: losses of several outputs together.

    Attributes:
        names: of the terms of the sum, where there are several: outputs, then joint losses.
        last: the terms' values in the last batch, without their weights; None for an output without a loss.
    """

    def __init__(
        self, adapter: TrainingAdapter, targets: Sequence[OutputTarget], joint: Sequence[JointLoss] = ()
    ) -> None:
        self._adapter, self._targets, self._joint = adapter, targets, joint
        self._losses = [None if t.loss is None else objective.MaskedLoss(t.loss) for t in targets]
        self._has_regularizers = adapter.model.regularization_loss() is not None
        self.names = [target.name for target in targets] + [term.name for term in joint]
        self.last: list[Tensor | None] = []
        self._is_sum = len(self.names) > 1
        self._has_losses = bool(self.terms())

    def __call__(self, output: Any, batch: Batch) -> Tensor:
        parts: list[Tensor | None] = [self._of_targets(output, batch)] if self._has_losses else []
        if self._has_regularizers:
            parts.append(self._adapter.model.regularization_loss())
        parts += self._adapter.added_losses()
        total = parts[0] if len(parts) == 1 else sum_of(parts)
        if total is None:
            expected, way_out = "a model compiled with a loss", "call compile(optimizer, loss) first"
            raise errors.value_error(self._adapter.model.name, expected, "one without", way_out)
        return total

    def _of_targets(self, output: Any, batch: Batch) -> Tensor:
        if batch.y is None:
            raise errors.value_error("y", "a target for every row", None, "pass y, or batches (x, y)")
        return self._sum(output, batch) if self._is_sum else self._single(output, batch)

    def plain_loss(self) -> losses.Loss:
        """The loss of the only output, where nothing is added to it.

        Raises:
            Unfit: there is more to the loss.
        """
        target = self._targets[0]
        if self._is_sum or target.loss is None or target.weight != 1.0:
            raise Unfit("the loss is a sum of several")
        if self._has_regularizers or self._adapter.may_add_losses:
            raise Unfit("something is added to the loss, such as a regularizer")
        return target.loss

    def _single(self, output: Any, batch: Batch) -> Tensor:
        loss: Any = self._losses[0]
        weight = self._targets[0].weight
        value = loss(output, self._adapter.with_output_mask(batch))
        return value if weight == 1.0 else value * weight

    def _sum(self, outputs: Sequence[Any], batch: Batch) -> Tensor:
        parts: list[Tensor] = []
        self.last = [None] * len(self.names)
        single = isinstance(outputs, Tensor)
        for index, (loss, target) in enumerate(zip(self._losses, self._targets, strict=True)):
            if loss is not None:
                own = (
                    self._adapter.with_output_mask(batch)
                    if single
                    else self._adapter.for_output(batch, index)
                )
                value = loss(outputs if single else outputs[index], own)
                self.last[index] = value.detach()
                parts.append(value if target.weight == 1.0 else value * target.weight)
        truths, predictions = ([batch.y], [outputs]) if single else (batch.y, outputs)
        for index, term in enumerate(self._joint, len(self._losses)):
            value = term(truths, predictions, batch.weight)
            self.last[index] = value.detach()
            parts.append(value if term.weight == 1.0 else value * term.weight)
        return torch.stack(parts).sum()

    def terms(self) -> dict[str, list[int]]:
        """Name of a term -> the places of its values in `last`; of one output these may be several."""
        has_loss = [loss is not None for loss in self._losses] + [True] * len(self._joint)
        places: dict[str, list[int]] = {}
        for index, name in enumerate(self.names):
            if has_loss[index]:
                places.setdefault(name, []).append(index)
        return places

    def count(self, output: Any, batch: Batch) -> Tensor:
        """The denominator of the mean; the number of rows for a sum of several losses."""
        loss = self._losses[0]
        if len(self._losses) > 1 or loss is None:
            return torch.tensor(float(rows_of(batch)))
        return loss.count(output, self._adapter.with_output_mask(batch))

    def loss_terms(self, output: Any, batch: Batch) -> list[objective.LossTerm]:
        """The loss with its denominator, by which several processes combine those of their rows."""
        only = self._losses[0] if len(self._losses) == 1 else None
        count = None if only is not None and only.loss.reduction == "sum" else self.count(output, batch)
        return [objective.LossTerm(self(output, batch), count)]


class CompiledMetric:
    """A metric as the training loop calls it: under the output's mask.

    Args:
        adapter: the model.
        metric: the metric; weighted: whether sample weights count.
        output: which of several outputs it measures, and the output's name; None for the only one.
    """

    def __init__(
        self,
        adapter: TrainingAdapter,
        metric: metrics.Metric,
        *,
        weighted: bool,
        output: tuple[int, str] | None = None,
    ) -> None:
        self._adapter, self._metric = adapter, objective.BatchMetric(metric, weighted)
        self._index = None if output is None else output[0]
        self.name = metric.name if output is None else f"{output[1]}_{metric.name}"
        self.direction = metric.direction

    def update(self, output: Any, batch: Batch) -> None:
        """Add a batch."""
        if self._index is None:
            self._metric.update(output, self._adapter.with_output_mask(batch))
        else:
            self._metric.update(output[self._index], self._adapter.for_output(batch, self._index))

    def result(self) -> Tensor:
        """The metric of the batches so far."""
        return self._metric.result()

    def reset(self) -> None:
        """Start afresh."""
        self._metric.reset()

    def state(self) -> Any:
        """The sums by name, for checkpoints."""
        return self._metric.state()

    def restore(self, state: Any) -> None:
        """Take back what `state` gave."""
        self._metric.restore(state)


class OutputLoss:
    """The mean loss of one of several outputs, as a metric of the training loop: Keras' "name_loss"."""

    direction = "down"

    def __init__(self, loss: CompiledLoss, places: Sequence[int], name: str) -> None:
        """`places`: of the values in the loss's `last` that are added up."""
        self._loss, self._places, self.name = loss, places, f"{name}_loss"
        self.reset()

    def update(self, output: Any, batch: Batch) -> None:
        """Add the loss that was computed last, by the batch's rows."""
        rows = rows_of(batch)
        for place in self._places:
            value = self._loss.last[place]
            self._sums["total"] = self._sums["total"] + (0.0 if value is None else value.double() * rows)
        self._sums["count"] = self._sums["count"] + rows

    def result(self) -> float:
        """The mean over the rows so far."""
        return float(self._sums["total"]) / max(float(self._sums["count"]), 1.0)

    def reset(self) -> None:
        """Start afresh."""
        self._sums: dict[str, Any] = {"total": 0.0, "count": 0.0}

    def state(self) -> Any:
        """The sums by name, for checkpoints."""
        return dict(self._sums)

    def restore(self, state: Any) -> None:
        """Take back what `state` gave."""
        self._sums = dict(state)


def batch_metrics(
    adapter: TrainingAdapter, targets: Sequence[OutputTarget], loss: CompiledLoss
) -> list[CompiledMetric | OutputLoss]:
    """The metrics of every output; of several outputs, each output's loss before them."""
    terms = loss.terms()
    losses: list[CompiledMetric | OutputLoss] = [
        OutputLoss(loss, places, name) for name, places in terms.items() if len(terms) > 1
    ]
    if len(targets) == 1:
        only = targets[0].metrics
        return losses + [CompiledMetric(adapter, metric, weighted=weighted) for metric, weighted in only]
    return losses + [
        CompiledMetric(adapter, metric, weighted=weighted, output=(index, target.name))
        for index, target in enumerate(targets)
        for metric, weighted in target.metrics
    ]
