"""Declares what the parts of this package use of a Sequential, so that they need not import its class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from longspan.layers import Layer
from longspan.losses import Loss
from longspan.metrics import Metric
from longspan.optimizers import OptimizerConfig


class Model(Protocol):
    """The attributes and methods of a Sequential that feeding, training and saving use."""

    name: str
    built: bool
    training: bool
    loss: Loss | None
    optimizer_config: OptimizerConfig | None
    compiled_metrics: list[tuple[Metric, bool]]

    @property
    def layers(self) -> list[Layer]: ...
    @property
    def declared_input_shape(self) -> Any: ...
    @property
    def input_shape(self) -> Any: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def optimizer(self) -> Any: ...
    def takes_token_ids(self) -> bool: ...
    def cast_inputs(self, x: Tensor) -> Tensor: ...
    def build(self, input_shape: Sequence[int | None] | None = None) -> None: ...
    def build_for(self, x: Tensor, *, ragged: bool = False) -> None: ...
    def run(self, x: Tensor, mask: Tensor | None = None) -> tuple[Any, Tensor | None]: ...
    def regularization_loss(self) -> Tensor | None: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def get_config(self) -> dict[str, Any]: ...
    def get_weights(self) -> list[np.ndarray]: ...
    def set_weights(self, weights: Sequence[Any]) -> None: ...
    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Sequence[Any] | None = None,
        weighted_metrics: Sequence[Any] | None = None,
    ) -> None: ...
