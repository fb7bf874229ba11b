"""Fine-tunes a pretrained network: its layers start to learn one after the other, the lower ones slowly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from longspan.callbacks import Callback
from longspan.callbacks.base import Logs

_SLOWER = 2.6  # factor by which a layer's learning rate is lower than that of the layer above


class FineTuning(Callback):
    """Gradual unfreezing and discriminative learning rates (ULMFiT: arXiv 1801.06146, sections 3.3 and 3.2).

    In the first epoch only the optimizer's first group of parameters learns; every epoch adds the next one.
    A group's learning rate is that of the group before divided by 2.6.
    """

    def __init__(self) -> None:
        self._learning = 1  # groups that learn

    def _unfreeze(self, groups: int) -> None:
        self._learning = groups
        for number, group in enumerate(self.trainer.optimizer.param_groups):
            for parameter in group["params"]:
                parameter.requires_grad_(number < groups)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._unfreeze(1)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._unfreeze(epoch + 1)

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        rate = self.trainer.learning_rate
        for number, group in enumerate(self.trainer.optimizer.param_groups):
            group["lr"] = rate / _SLOWER**number

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._unfreeze(len(self.trainer.optimizer.param_groups))

    def state(self) -> Any:
        return {"learning": self._learning}

    def restore(self, state: Any) -> None:
        self._unfreeze(state["learning"])


def parameter_groups(parts: Sequence[Sequence[nn.Module]]) -> list[dict[str, Any]]:
    """An optimizer's groups of parameters; parts: modules, those that learn first before the others."""
    return [{"params": [p for part in group for p in part.parameters()]} for group in parts]
