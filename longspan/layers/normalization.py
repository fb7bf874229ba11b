"""Batch and layer normalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Unpack

from longspan import errors
from longspan.initializers import InitializerLike
from longspan.regularizers import RegularizerLike

from .base import Layer, LayerOptions, required_size
from .structure import Shape
from .weights import Weight


class BatchNormalization(Layer):
    """Each feature to mean beta and spread gamma over the batch: keras.layers.BatchNormalization.

    In training by the batch's own mean and (biased) variance, in which masked steps do not count, while
    moving averages follow; otherwise, and with trainable=False, by these averages. Ioffe and Szegedy 2015,
    arXiv 1502.03167. Weights in Keras' order: gamma, beta, moving_mean, moving_variance, each (C,).

    Args:
        axis: of the features.
        momentum: what the moving averages keep at every batch.
        epsilon: added to the variance.
        center, scale: whether there are beta and gamma.
        beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer,
        beta_regularizer, gamma_regularizer: as for other layers.

    >>> BatchNormalization()(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 5, 3])
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: InitializerLike = "zeros",
        gamma_initializer: InitializerLike = "ones",
        moving_mean_initializer: InitializerLike = "zeros",
        moving_variance_initializer: InitializerLike = "ones",
        beta_regularizer: RegularizerLike = None,
        gamma_regularizer: RegularizerLike = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        self.axis, self.epsilon = axis, epsilon
        self.momentum = errors.check_fraction("momentum", momentum)
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None
        self._starts = (
            gamma_initializer,
            beta_initializer,
            moving_mean_initializer,
            moving_variance_initializer,
        )
        self._regularizers = (gamma_regularizer, beta_regularizer)
        self._scale, self._center = errors.check_bool("scale", scale), errors.check_bool("center", center)

    def create_weights(self, shape: Shape) -> None:
        axis = _axis(self, self.axis, len(shape))
        size = (required_size(self, shape[axis], "the features"),)
        gamma, beta, mean, variance = self._starts
        for wanted, name, torch_name, start, regularizer in (
            (self._scale, "gamma", "weight", gamma, self._regularizers[0]),
            (self._center, "beta", "bias", beta, self._regularizers[1]),
        ):
            if wanted:
                delattr(self, torch_name)
                source = self.parameter(torch_name, size)
                self.own_weights.append(Weight(name, size, start, [source], regularizer=regularizer))
        for name, torch_name, start in (
            ("moving_mean", "running_mean", mean),
            ("moving_variance", "running_var", variance),
        ):
            self.register_buffer(torch_name, torch.empty(size))
            self.own_weights.append(Weight(name, size, start, [(self, torch_name)], trainable=False))

    def call(self, x: Tensor, mask: Tensor | None) -> Tensor:
        axis = _axis(self, self.axis, x.dim())
        wide = [1] * x.dim()
        wide[axis] = x.shape[axis]
        if self.training and self.trainable:
            mean, variance = self._moments(x, mask, [d for d in range(x.dim()) if d != axis])
            self._follow(mean, variance)
        else:
            mean, variance = self.running_mean, self.running_var
        scale = (variance + self.epsilon).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        shift = -mean * scale if self.bias is None else self.bias - mean * scale
        return x * scale.view(wide) + shift.view(wide)

    def _moments(self, x: Tensor, mask: Tensor | None, over: list[int]) -> tuple[Tensor, Tensor]:
        if mask is None:
            variance, mean = torch.var_mean(x, over, correction=0)
            return mean, variance
        counts = mask.to(x.dtype).unsqueeze(-1).expand_as(x)
        total = counts.sum(over, keepdim=True)
        mean = (x * counts).sum(over, keepdim=True) / total
        variance = ((x - mean).square() * counts).sum(over, keepdim=True) / total
        return mean.flatten(), variance.flatten()

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        self.running_mean.lerp_(mean, 1.0 - self.momentum)
        self.running_var.lerp_(variance, 1.0 - self.momentum)

    running_mean: Tensor
    running_var: Tensor


class LayerNormalization(Layer):
    """Each row to mean beta and spread gamma over its features: keras.layers.LayerNormalization.

    Ba et al. 2016, arXiv 1607.06450. Weights in Keras' order: gamma, beta.

    Args:
        axis: of the features, one or several that follow each other up to the last.
        epsilon: added to the variance.
        center, scale: whether there are beta and gamma.
        beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer: as for other layers.

    >>> LayerNormalization()(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 5, 3])
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: InitializerLike = "zeros",
        gamma_initializer: InitializerLike = "ones",
        beta_regularizer: RegularizerLike = None,
        gamma_regularizer: RegularizerLike = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        self.axis, self.epsilon = axis, epsilon
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None
        self._starts = (gamma_initializer, beta_initializer)
        self._regularizers = (gamma_regularizer, beta_regularizer)
        self._wanted = (errors.check_bool("scale", scale), errors.check_bool("center", center))

    def create_weights(self, shape: Shape) -> None:
        axes = sorted(_axis(self, axis, len(shape)) for axis in self._axes())
        if axes != list(range(axes[0], len(shape))):
            raise errors.value_error(
                "axis", "dimensions up to the last one", self.axis, "permute the input before"
            )
        self.features = tuple(required_size(self, shape[axis], "the features") for axis in axes)
        for wanted, name, torch_name, start, regularizer in zip(
            self._wanted, ("gamma", "beta"), ("weight", "bias"), self._starts, self._regularizers, strict=True
        ):
            if wanted:
                delattr(self, torch_name)
                source = self.parameter(torch_name, self.features)
                self.own_weights.append(Weight(name, self.features, start, [source], regularizer=regularizer))

    def _axes(self) -> Sequence[int]:
        return (self.axis,) if isinstance(self.axis, int) else self.axis

    def call(self, x: Tensor, mask: Tensor | None) -> Any:
        return F.layer_norm(x, self.features, self.weight, self.bias, self.epsilon)


def _axis(layer: Layer, axis: int, dimensions: int) -> int:
    if not -dimensions <= axis < dimensions:
        expected = f"a dimension of an input with {dimensions}"
        raise errors.value_error(f"axis of {layer.name}", expected, axis, "-1 is the last one")
    return axis % dimensions
