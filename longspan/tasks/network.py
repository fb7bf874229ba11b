"""The base classes of the tasks' networks: forward, loss, prediction, and single steps for streams."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from longspan.data.batches import Batch, rows_of, take_rows
from longspan.training.objective import LossTerm


class TaskNetwork(nn.Module, abc.ABC):
    """A network with its training loss and its predictions. Abstract.

    Outputs may have any form, since only `loss` and `predict` read them. Outputs with lengths of their own
    (CTC) contain these lengths. A loss that differs between training and validation (sampled softmax, full
    softmax) reads `self.training`.

    joins: whether `predict` gives a tensor or a tuple of tensors with a row for every row of the batch, which
    the other rows do not change: then several sources are predicted at once.
    """

    joins: bool = False

    @abc.abstractmethod
    def forward(self, batch: Batch, state: Any = None) -> tuple[Any, Any]:
        """Outputs and state.

        Args:
            batch: one of the task's `batches`.
            state: the state after the previous batch if `batch.continues`, else None.
        """

    @abc.abstractmethod
    def loss(self, output: Any, batch: Batch) -> Tensor:
        """The loss, one number; output: as `forward` returned it for the batch."""

    def loss_terms(self, output: Any, batch: Batch) -> Sequence[LossTerm]:
        """The means that `loss` adds up in training, each with the number that it was divided by.

        Several processes combine the losses of their rows by these numbers. By default `loss` is one mean
        over `loss_count` things.
        """
        return [LossTerm(self.loss(output, batch), self.loss_count(output, batch))]

    def loss_count(self, output: Any, batch: Batch) -> Tensor | float:
        """What the training loss divides by, such as the number of tokens; by default the rows."""
        return float(rows_of(batch))

    def take_rows(self, batch: Batch, rows: Tensor) -> Batch:
        """Some rows of a training batch, for a process that shares it with others; rows: (R,) int64."""
        return take_rows(batch, rows)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The parameters in an optimizer's groups; of several, the first learns first, see `FineTuning`."""
        return [{"params": list(self.parameters())}]

    @abc.abstractmethod
    def predict(self, batch: Batch) -> Any:
        """The predictions for a batch, without gradients; `Codec.decode` takes the list of all batches' ones.

        A task's options of the group "predict", such as a beam size, are passed as keywords of the same
        names, which a network's `predict` declares.
        """


class StreamingNetwork(TaskNetwork):
    """A network that also predicts step by step, for a stream or a search over sequences. Abstract."""

    @abc.abstractmethod
    def initial_state(self) -> Any:
        """The state before the first step."""

    @abc.abstractmethod
    def step(self, inputs: Any, state: Any) -> tuple[Any, Any]:
        """The output after one more step, and the state after it."""
