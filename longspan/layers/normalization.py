"""Normalization over batches, features and groups of them, and of kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Unpack

from longspan import errors
from longspan.initializers import Initializer, InitializerLike, TruncatedNormal, get
from longspan.regularizers import RegularizerLike

from .base import Layer, LayerOptions, required_size, warn_mask_ends
from .structure import Shape
from .weights import Weight, register_weight
from .wrapper import Wrapper


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
        renorm: in training correct the batch's statistics towards averages of them (Ioffe 2017, arXiv
            1702.03275), by weights moving_stddev, renorm_mean and renorm_stddev more.
        renorm_clipping: limits of the correction: "rmin" and "rmax" of its factor, "dmax" of its shift.
        renorm_momentum: what these averages keep at every batch.
        synchronized: accepted for False.

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
        renorm: bool = False,
        renorm_clipping: Mapping[str, float] | None = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        if synchronized:
            way_out = "each device normalizes by its own rows"
            raise errors.value_error("synchronized", "False", synchronized, way_out)
        self.renorm = errors.check_bool("renorm", renorm)
        self.renorm_clipping = checked_clipping(renorm_clipping)
        self.renorm_momentum = errors.check_fraction("renorm_momentum", renorm_momentum)
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
        kept = [("moving_mean", "running_mean", mean), ("moving_variance", "running_var", variance)]
        if self.renorm:
            stddev = SquareRoot(variance)
            kept += [("moving_stddev", "running_stddev", stddev), ("renorm_mean", "batch_mean", mean)]
            kept.append(("renorm_stddev", "batch_stddev", stddev))
        for name, torch_name, start in kept:
            self.register_buffer(torch_name, torch.empty(size))
            self.own_weights.append(Weight(name, size, start, [(self, torch_name)], trainable=False))

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        axis = _axis(self, self.axis, x.dim())
        wide = [1] * x.dim()
        wide[axis] = x.shape[axis]
        if self.training and self.trainable:
            mean, variance = self._moments(x, mask, [d for d in range(x.dim()) if d != axis])
            if self.renorm:
                return self._renormalized(x, mean, variance, wide)
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
        total = counts.sum(over, keepdim=True).clamp_min(1.0)  # where nothing counts, the mean is 0
        mean = (x * counts).sum(over, keepdim=True) / total
        variance = ((x - mean).square() * counts).sum(over, keepdim=True) / total
        return mean.flatten(), variance.flatten()

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        self.running_mean.lerp_(mean, 1.0 - self.momentum)
        self.running_var.lerp_(variance, 1.0 - self.momentum)

    def _renormalized(self, x: Tensor, mean: Tensor, variance: Tensor, wide: list[int]) -> Tensor:
        """The output in training with renorm: by the batch's statistics, corrected by constants r and d."""
        stddev = (variance + self.epsilon).sqrt()
        r, d = self._correction(mean.detach(), stddev.detach())
        scale = r / stddev
        shift = d - mean * scale
        if self.weight is not None:
            scale, shift = scale * self.weight, shift * self.weight
        if self.bias is not None:
            shift = shift + self.bias
        self._follow_both(mean, stddev)
        return x * scale.view(wide) + shift.view(wide)

    def _correction(self, mean: Tensor, stddev: Tensor) -> tuple[Tensor, Tensor]:
        """The factor and the shift from the batch's statistics to their averages, within the limits."""
        limits, root = self.renorm_clipping, self.batch_stddev.clamp_min(math.sqrt(self.epsilon))
        r, d = stddev / root, (mean - self.batch_mean) / root
        r = r.clamp(limits.get("rmin", 0.0), limits.get("rmax", math.inf))
        return r, d.clamp(-limits.get("dmax", math.inf), limits.get("dmax", math.inf))

    @torch.no_grad()
    def _follow_both(self, mean: Tensor, stddev: Tensor) -> None:
        self.batch_mean.lerp_(mean, 1.0 - self.renorm_momentum)
        self.batch_stddev.lerp_(stddev, 1.0 - self.renorm_momentum)
        self.running_mean.lerp_(mean, 1.0 - self.momentum)
        self.running_stddev.lerp_(stddev, 1.0 - self.momentum)
        self.running_var.copy_((self.running_stddev.square() - self.epsilon).relu())

    running_mean: Tensor
    running_var: Tensor
    running_stddev: Tensor
    batch_mean: Tensor
    batch_stddev: Tensor


@dataclass(frozen=True)
class SquareRoot(Initializer):
    """The square root of what another initializer draws: of a standard deviation beside a variance.

    Args:
        variance: the other initializer.
    """

    variance: InitializerLike

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        return get(self.variance)(shape).sqrt()


def checked_clipping(limits: Mapping[str, float] | None) -> dict[str, float]:
    """The limits of a renormalization, or an error for an unknown or an impossible one."""
    known, limits = ("rmax", "rmin", "dmax"), dict(limits or {})
    for key in limits:
        errors.check_choice("key of renorm_clipping", key, known)
    if limits.get("rmax", math.inf) < limits.get("rmin", 0.0):
        raise errors.value_error("renorm_clipping", "an rmax of at least rmin", limits, "rmin is below 1")
    if limits.get("dmax", 0.0) < 0.0:
        raise errors.value_error("renorm_clipping", "a dmax of at least 0", limits, "5 is usual")
    return limits


class LayerNormalization(Layer):
    """Each row to mean beta and spread gamma over its features: keras.layers.LayerNormalization.

    Ba et al. 2016, arXiv 1607.06450. Weights in Keras' order: gamma, beta.

    Args:
        axis: of the features, one or several that follow each other up to the last.
        epsilon: added to the variance.
        center, scale: whether there are beta and gamma.
        beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer: as for other layers.
        rms_scaling: divide by the standard deviation alone, without the mean and beta; `RMSNormalization` is
            what is wanted mostly.

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
        rms_scaling: bool = False,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        if not isinstance(axis, (int, list, tuple)):
            raise errors.type_error("axis", "a dimension, or a list of them", axis, "-1 is the last one")
        self.axis, self.epsilon = axis, epsilon
        self.rms_scaling = errors.check_bool("rms_scaling", rms_scaling)
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None
        self._starts = (gamma_initializer, beta_initializer)
        self._regularizers = (gamma_regularizer, beta_regularizer)
        wanted = (errors.check_bool("scale", scale), errors.check_bool("center", center))
        self._wanted = (True, False) if rms_scaling else wanted

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

    def call(self, x: Tensor, mask: Tensor | None = None) -> Any:
        if not self.rms_scaling:
            return F.layer_norm(x, self.features, self.weight, self.bias, self.epsilon)
        over = list(range(x.dim() - len(self.features), x.dim()))
        scaled = x * (x.var(over, correction=0, keepdim=True) + self.epsilon).rsqrt()
        return scaled if self.weight is None else scaled * self.weight


class GroupNormalization(Layer):
    """Groups of features to mean beta and spread gamma, row by row: keras.layers.GroupNormalization.

    Wu and He 2018, arXiv 1803.08494. Weights in Keras' order: gamma, beta, each (C,).

    Args:
        groups: how many groups the C features make; -1 for a group a feature.
        axis: of the features.
        epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer: as
            for `LayerNormalization`.

    >>> GroupNormalization(groups=2)(torch.zeros(2, 5, 4)).shape
    torch.Size([2, 5, 4])
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
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
        if groups != -1:
            errors.check_int("groups", groups, 1, "or -1 for a group a feature")
        self.groups, self.axis, self.epsilon = groups, axis, epsilon
        self._wanted = (errors.check_bool("scale", scale), errors.check_bool("center", center))
        self._starts = (gamma_initializer, beta_initializer)
        self._regularizers = (gamma_regularizer, beta_regularizer)
        self.gamma: Tensor | None = None
        self.beta: Tensor | None = None

    def create_weights(self, shape: Shape) -> None:
        size = required_size(self, shape[_axis(self, self.axis, len(shape))], "the features")
        self.groups = size if self.groups == -1 else self.groups
        if size % self.groups:
            expected = f"a divisor of {size} features"
            raise errors.value_error(f"groups of {self.name}", expected, self.groups, "choose another")
        for wanted, name, start, regularizer in zip(
            self._wanted, ("gamma", "beta"), self._starts, self._regularizers, strict=True
        ):
            if wanted:
                delattr(self, name)
                source = self.parameter(name, (size,))
                self.own_weights.append(Weight(name, (size,), start, [source], regularizer=regularizer))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        _axis(self, self.axis, len(input_shape))
        return tuple(input_shape)

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        axis = _axis(self, self.axis, x.dim())
        out = F.group_norm(x.movedim(axis, 1), self.groups, self.gamma, self.beta, self.epsilon)
        return out.movedim(1, axis)


class RMSNormalization(Layer):
    """Features divided by the root of their mean square, times scale: keras.layers.RMSNormalization.

    Zhang and Sennrich 2019, arXiv 1910.07467. Weight: scale (C,).

    Args:
        axis: of the features, one or several.
        epsilon: added to the mean square.

    >>> RMSNormalization()(torch.ones(1, 2)).detach()
    tensor([[1.0000, 1.0000]])
    """

    def __init__(
        self, axis: int | Sequence[int] = -1, epsilon: float = 1e-6, **shared: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**shared)
        self.axis, self.epsilon = axis, epsilon

    ends_mask = True
    scale: Tensor

    def _axes(self, dimensions: int) -> list[int]:
        axes = [self.axis] if isinstance(self.axis, int) else self.axis
        return sorted(_axis(self, axis, dimensions) for axis in axes)

    def create_weights(self, shape: Shape) -> None:
        size = [required_size(self, shape[axis], "the features") for axis in self._axes(len(shape))]
        self.own_weights.append(Weight("scale", size, "ones", [self.parameter("scale", size)]))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        self._axes(len(input_shape))
        return tuple(input_shape)

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        axes = self._axes(x.dim())
        wide = [x.shape[axis] if axis in axes else 1 for axis in range(x.dim())]
        root = (x.square().mean(axes, keepdim=True) + self.epsilon).rsqrt()
        return x * root * self.scale.view(wide)

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> None:
        warn_mask_ends(self, mask)


class UnitNormalization(Layer):
    """Features divided by their norm: keras.layers.UnitNormalization.

    Args:
        axis: of the features, one or several.

    >>> UnitNormalization()(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """

    def __init__(self, axis: int | Sequence[int] = -1, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)
        if not isinstance(axis, (int, list, tuple)):
            raise errors.type_error("axis", "a dimension, or a list of them", axis, "-1 is the last one")
        self.axis = axis

    def _axes(self, dimensions: int) -> list[int]:
        axes = [self.axis] if isinstance(self.axis, int) else self.axis
        return [_axis(self, axis, dimensions) for axis in axes]

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        self._axes(len(input_shape))
        return tuple(input_shape)

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x * x.square().sum(self._axes(x.dim()), keepdim=True).clamp_min(1e-12).rsqrt()


class SpectralNormalization(Wrapper):
    """A layer whose kernel is divided by its largest singular value: keras.layers.SpectralNormalization.

    In training the kernel itself is changed, as in Keras, before the layer runs (Miyato et al. 2018, arXiv
    1802.05957). Weights: the kernel, vector_u (1, outputs), which fitting does not change, the bias.

    Args:
        layer: one with a kernel or embeddings.
        power_iterations: steps of the power method at every call.

    >>> from longspan.layers import Dense
    >>> SpectralNormalization(Dense(4))(torch.zeros(2, 3)).shape
    torch.Size([2, 4])
    """

    def __init__(self, layer: Layer, power_iterations: int = 1, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(layer, **shared)
        self.power_iterations = errors.check_int("power_iterations", power_iterations, 1, "1 is usual")

    vector_u: Tensor

    def create_weights(self, shape: Shape) -> None:
        self.layer.build(shape)
        start = TruncatedNormal(stddev=0.02)
        size = (1, self._kernel().shape[-1])
        source = register_weight(self, "vector_u", size, trainable=False)
        self.own_weights.append(Weight("vector_u", size, start, [source], trainable=False))

    def _kernel(self) -> Weight:
        for weight in self.layer.keras_weights():
            if weight.name in ("kernel", "embeddings"):
                return weight
        way_out = "wrap Dense, a convolution or Embedding"
        raise errors.value_error("layer", "a layer with a kernel", self.layer.name, way_out)

    def keras_weights(self) -> list[Weight]:
        kernel = self._kernel()
        rest = [weight for weight in self.layer.keras_weights() if weight is not kernel]
        return [kernel, *self.own_weights, *rest]

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.training:
            self._normalize()
        return self.layer(x)

    @torch.no_grad()
    def _normalize(self) -> None:
        weight = self._kernel()
        kernel = weight.get()
        rows = kernel.reshape(-1, kernel.shape[-1])
        if not rows.any():
            return
        u = self.vector_u
        v = u @ rows.T
        for _ in range(self.power_iterations):
            v = F.normalize(u @ rows.T)
            u = F.normalize(v @ rows)
        self.vector_u.copy_(u)
        weight.set(kernel / (v @ rows @ u.T))

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> None:
        warn_mask_ends(self, mask)


def _axis(layer: Layer, axis: int, dimensions: int) -> int:
    if not -dimensions <= axis < dimensions:
        expected = f"a dimension of an input with {dimensions}"
        raise errors.value_error(f"axis of {layer.name}", expected, axis, "-1 is the last one")
    return axis % dimensions
