"""Layers that act on every value: activations with options or weights, noise, identity."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Unpack

from longspan import errors
from longspan.initializers import InitializerLike
from longspan.regularizers import L1L2, RegularizerLike

from .base import Layer, LayerOptions, required_size
from .structure import Shape
from .weights import Weight

_SELU_LIMIT = -1.0507009873554805 * 1.6732632423543772  # of SELU for x to minus infinity


class Identity(Layer):
    """The input itself: keras.layers.Identity.

    >>> Identity()(torch.ones(1, 2))
    tensor([[1., 1.]])
    """

    def __init__(self, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x


class ELU(Layer):
    """x above 0 and alpha * (exp(x) - 1) below: keras.layers.ELU (Clevert et al. 2015, arXiv 1511.07289).

    >>> ELU()(torch.tensor([[-1.0, 2.0]]))
    tensor([[-0.6321,  2.0000]])
    """

    def __init__(self, alpha: float = 1.0, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)
        self.alpha = alpha

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return F.elu(x, self.alpha)


class PReLU(Layer):
    """x above 0 and alpha * x below, alpha a weight: keras.layers.PReLU (He et al. 2015, arXiv 1502.01852).

    Args:
        alpha_initializer, alpha_regularizer: as for other layers.
        shared_axes: dimensions, counted from 1, along which one alpha serves all positions.

    >>> PReLU("ones")(torch.tensor([[-1.0, 2.0]])).detach()
    tensor([[-1.,  2.]])
    """

    def __init__(
        self,
        alpha_initializer: InitializerLike = "zeros",
        alpha_regularizer: RegularizerLike = None,
        shared_axes: int | Sequence[int] | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        self._initializer, self._regularizer = alpha_initializer, alpha_regularizer
        axes = (shared_axes,) if isinstance(shared_axes, int) else tuple(shared_axes or ())
        self.shared_axes = tuple(errors.check_int("shared_axes", axis, 1, "count from 1") for axis in axes)

    alpha: Tensor

    def create_weights(self, shape: Shape) -> None:
        sizes = [
            1 if axis in self.shared_axes else required_size(self, shape[axis], f"dimension {axis}")
            for axis in range(1, len(shape))
        ]
        source = self.parameter("alpha", sizes)
        self.own_weights.append(
            Weight("alpha", sizes, self._initializer, [source], regularizer=self._regularizer)
        )

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x.relu() - self.alpha * (-x).relu()


class Softmax(Layer):
    """exp(x) over its sum along an axis, or several: keras.layers.Softmax.

    A mask that broadcasts to the input leaves its False values out, which become 0; one of the steps of
    values (B, T, …), (B, T), does not act. Numbers above 0.5 are True.

    >>> Softmax()(torch.zeros(1, 2))
    tensor([[0.5000, 0.5000]])
    """

    def __init__(self, axis: int | Sequence[int] = -1, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)
        self.axis = axis

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None or (mask.dim() == 2 < x.dim() and mask.shape == x.shape[:2]):
            return self._softmax(x)
        self._check(mask, x)
        hidden = ~mask if mask.dtype == torch.bool else mask <= 0.5
        return self._softmax(x.masked_fill(hidden, torch.finfo(x.dtype).min)).masked_fill(hidden, 0.0)

    def _softmax(self, x: Tensor) -> Tensor:
        if isinstance(self.axis, int):
            return x.softmax(self.axis)
        axes = tuple(self.axis)
        return (x - x.logsumexp(axes, keepdim=True)).exp()

    def _check(self, mask: Tensor, x: Tensor) -> None:
        pairs = zip(mask.shape[::-1], x.shape[::-1], strict=False)
        if mask.dim() > x.dim() or any(size not in (1, wide) for size, wide in pairs):
            expected, way_out = f"a mask that broadcasts to {tuple(x.shape)}", "reshape it"
            raise errors.value_error(f"mask of {self.name}", expected, tuple(mask.shape), way_out)


class GaussianNoise(Layer):
    """Adds normal noise in training: keras.layers.GaussianNoise.

    Args:
        stddev: standard deviation of the noise.
        seed: taken and without effect; PyTorch's generator draws.

    >>> GaussianNoise(0.5).eval()(torch.ones(1, 2))
    tensor([[1., 1.]])
    """

    def __init__(self, stddev: float, seed: int | None = None, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)
        if not stddev >= 0:
            raise errors.value_error("stddev", "a number of at least 0", stddev, "0 adds no noise")
        self.stddev = stddev

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x + torch.randn_like(x) * self.stddev if self.training and self.stddev else x


class GaussianDropout(Layer):
    """Multiplies by normal noise of mean 1 in training: keras.layers.GaussianDropout.

    Args:
        rate: the dropout rate with the same variance, rate / (1 - rate) (Srivastava et al. 2014, section 10).
        seed: taken and without effect; PyTorch's generator draws.

    >>> GaussianDropout(0.5).eval()(torch.ones(1, 2))
    tensor([[1., 1.]])
    """

    def __init__(self, rate: float, seed: int | None = None, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)
        self.rate = errors.check_fraction("rate", rate, below_one=True)

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if not (self.training and self.rate):
            return x
        return x * (1.0 + torch.randn_like(x) * math.sqrt(self.rate / (1.0 - self.rate)))


class AlphaDropout(Layer):
    """Dropout that keeps mean and variance under SELU, in training: keras.layers.AlphaDropout.

    Klambauer et al. 2017, arXiv 1706.02515, section 3.

    Args:
        rate: the share that is set to SELU's negative limit.
        noise_shape: as for `Dropout`.
        seed: taken and without effect; PyTorch's generator draws.

    >>> AlphaDropout(0.5).eval()(torch.ones(1, 2))
    tensor([[1., 1.]])
    """

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        self.rate, self.noise_shape = errors.check_fraction("rate", rate), noise_shape

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if not (self.training and self.rate):
            return x
        sizes = self.noise_shape or x.shape
        shape = [size or wide for size, wide in zip(sizes, x.shape, strict=True)]
        kept = torch.rand(shape, device=x.device, dtype=x.dtype) >= self.rate
        scale = ((1.0 - self.rate) * (1.0 + self.rate * _SELU_LIMIT**2)) ** -0.5
        return torch.where(kept, x, _SELU_LIMIT) * scale - scale * _SELU_LIMIT * self.rate


class ActivityRegularization(Layer):
    """The input itself, of which l1 * sum |x| + l2 * sum x^2 is added to the loss, over the rows.

    keras.layers.ActivityRegularization.

    >>> layer = ActivityRegularization(l1=0.5)
    >>> _ = layer(torch.ones(2, 2))
    >>> layer.losses
    [tensor(1.)]
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**{**shared, "activity_regularizer": L1L2(l1, l2)})
        self.l1, self.l2 = l1, l2

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x


class Rescaling(Layer):
    """x * scale + offset: keras.layers.Rescaling.

    Args:
        scale, offset: a number, or one for each feature.

    >>> Rescaling(1 / 255)(torch.tensor([[255.0, 0.0]]))
    tensor([[1., 0.]])
    """

    def __init__(
        self,
        scale: float | Sequence[float],
        offset: float | Sequence[float] = 0.0,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        self.scale, self.offset = scale, offset

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        floats = x if x.is_floating_point() else x.to(torch.get_default_dtype())
        return floats * torch.as_tensor(self.scale).to(floats) + torch.as_tensor(self.offset).to(floats)
