"""The base classes of the tasks' networks: forward, loss, prediction, and a step where a task streams."""

from __future__ import annotations

import abc
from typing import Any

from torch import Tensor, nn

from longspan.data.batches import Batch


class TaskNetwork(nn.Module, abc.ABC):
    """A network with the loss that it is trained by and the prediction that it is asked for. Abstract.

    Outputs have whatever form the network likes: `loss` and `predict` are the only ones that read them.
    Outputs with lengths of their own (CTC) carry these lengths with them. A loss that differs between
    training and validation (sampled against full softmax) asks `self.training`.
    """

    @abc.abstractmethod
    def forward(self, batch: Batch, state: Any = None) -> tuple[Any, Any]:
        """Outputs and state.

        Args:
            batch: what the task's `batches` give.
            state: the state after the batch before where `batch.continues` is True, else None.
        """

    @abc.abstractmethod
    def loss(self, output: Any, batch: Batch) -> Tensor:
        """The number that training minimises; output: as `forward` gave it for the batch."""

    @abc.abstractmethod
    def predict(self, batch: Batch) -> Any:
        """The predictions for a batch, without gradients; the codec's `decode` gets the list of all batches'.

        A task's options of the group "predict", such as a beam size, come as keywords of the same names,
        which the network declares one by one.
        """


class StreamingNetwork(TaskNetwork):
    """A network that is asked step by step, by a stream or by a search over sequences. Abstract."""

    @abc.abstractmethod
    def initial_state(self) -> Any:
        """The state before the first step."""

    @abc.abstractmethod
    def step(self, inputs: Any, state: Any) -> tuple[Any, Any]:
        """The output after one more step, and the state after it."""
