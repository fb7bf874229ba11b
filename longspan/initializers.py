"""Draws initial weights with Keras' names and distributions, by PyTorch's random generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longspan import errors
from longspan.ops.calling import dtype_named
from longspan.registry import Configured, Registry, by_name, snake_case

InitializerFunction = Callable[[tuple[int, ...]], Tensor]  # shape -> tensor
InitializerLike = str | InitializerFunction  # a name in NAMES, or the function itself

# The standard deviation of a standard normal distribution truncated at -2 and 2.
_TRUNCATED_STDDEV = 0.87962566103423978


def _generator(seed: int | None) -> torch.Generator | None:
    return None if seed is None else torch.Generator().manual_seed(seed)


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """Fan in and fan out of a kernel (..., in, out) in Keras' layout: how many values a unit reads and feeds.

    >>> fans((3, 8, 16))
    (24, 48)
    """
    if len(shape) < 2:
        size = shape[0] if shape else 1
        return size, size
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


class Initializer(Configured):
    """Draws a weight of a shape. Abstract: a subclass defines `draw`, or `__call__` as in Keras.

    >>> Ones()((2,), dtype="float64").dtype
    torch.float64
    """

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """The first values of a weight.

        Args:
            shape: the weight's, in Keras' layout.
            dtype: None for torch's default float dtype.
        """
        weights = self.draw(tuple(shape))
        return weights if dtype is None else weights.to(dtype_named(dtype))

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        """The values in torch's default float dtype."""
        raise NotImplementedError

    def clone(self) -> Initializer:
        """An initializer with the same options."""
        return self.from_config(self.get_config())


@dataclass(frozen=True)
class Zeros(Initializer):
    """All 0."""

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros(shape)


@dataclass(frozen=True)
class Ones(Initializer):
    """All 1."""

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        return torch.ones(shape)


@dataclass(frozen=True)
class Constant(Initializer):
    """All `value`, or the values of an array of the weight's shape."""

    value: Any = 0.0

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        return torch.as_tensor(self.value).to(torch.get_default_dtype()).broadcast_to(shape).clone()


@dataclass(frozen=True)
class RandomUniform(Initializer):
    """Uniform in [minval, maxval)."""

    minval: float = -0.05
    maxval: float = 0.05
    seed: int | None = None

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        return torch.empty(shape).uniform_(self.minval, self.maxval, generator=_generator(self.seed))


@dataclass(frozen=True)
class RandomNormal(Initializer):
    """Normal with this mean and standard deviation."""

    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        return torch.empty(shape).normal_(self.mean, self.stddev, generator=_generator(self.seed))


@dataclass(frozen=True)
class TruncatedNormal(Initializer):
    """As RandomNormal, but values beyond two standard deviations from the mean are drawn again."""

    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        low, high = self.mean - 2 * self.stddev, self.mean + 2 * self.stddev
        weights = torch.empty(shape)
        generator = _generator(self.seed)
        return torch.nn.init.trunc_normal_(weights, self.mean, self.stddev, low, high, generator=generator)


@dataclass(frozen=True)
class VarianceScaling(Initializer):
    """Zero mean and a variance of scale / n, where n is the fan in, the fan out or their mean.

    Source: Glorot and Bengio 2010; He et al. 2015, arXiv 1502.01852; LeCun et al. 1998.

    Args:
        scale: the variance times n.
        mode: "fan_in", "fan_out" or "fan_avg".
        distribution: "truncated_normal", "untruncated_normal" or "uniform".
        seed: None draws from PyTorch's own generator.
        input_axes, output_axes: the dimensions whose sizes make the fans; None for Keras' kernels.
    """

    scale: float = 1.0
    mode: str = "fan_in"
    distribution: str = "truncated_normal"
    seed: int | None = None
    input_axes: tuple[int, ...] | None = None
    output_axes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not self.scale > 0.0:
            raise errors.value_error("scale", "a number above 0", self.scale, "2 is usual with ReLU")
        errors.check_choice("mode", self.mode, ("fan_in", "fan_out", "fan_avg"))
        kinds = ("truncated_normal", "untruncated_normal", "uniform")
        errors.check_choice("distribution", self.distribution, kinds)

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        fan_in, fan_out = fans(shape)
        if self.input_axes is not None and self.output_axes is not None:
            fan_in = math.prod(shape[axis] for axis in self.input_axes)
            fan_out = math.prod(shape[axis] for axis in self.output_axes)
        count = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        stddev = math.sqrt(self.scale / max(1.0, count))
        if self.distribution == "uniform":
            limit = math.sqrt(3.0) * stddev
            return RandomUniform(-limit, limit, self.seed)(shape)
        if self.distribution == "untruncated_normal":
            return RandomNormal(0.0, stddev, self.seed)(shape)
        return TruncatedNormal(0.0, stddev / _TRUNCATED_STDDEV, self.seed)(shape)


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """Orthonormal rows or columns times gain (Saxe et al. 2013, arXiv 1312.6120)."""

    gain: float = 1.0
    seed: int | None = None

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        if len(shape) < 2:
            raise errors.value_error(
                "Orthogonal", "a shape with two dimensions or more", shape, "choose another"
            )
        flat = torch.empty(math.prod(shape[:-1]), shape[-1])
        return torch.nn.init.orthogonal_(flat, self.gain, generator=_generator(self.seed)).reshape(shape)


@dataclass(frozen=True)
class Identity(Initializer):
    """The identity matrix times gain."""

    gain: float = 1.0

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        if len(shape) != 2:
            raise errors.value_error("Identity", "a shape with two dimensions", shape, "choose another")
        return torch.eye(*shape) * self.gain


@dataclass(frozen=True, eq=False)
class Fixed(Initializer):
    """A tensor that is there already."""

    value: Tensor

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        if tuple(shape) != tuple(self.value.shape):
            expected, way_out = f"{tuple(self.value.shape)}, that of the values", "pass values of this shape"
            raise errors.value_error("shape", expected, tuple(shape), way_out)
        return self.value


@dataclass(frozen=True)
class UnitForgetBias(Initializer):
    """A bias (4*H,) with 1 at the forget gate, the second of i, f, c, o (Jozefowicz et al. 2015).

    Args:
        units: H.
        others: how the other gates' biases start.
    """

    units: int
    others: InitializerLike

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        bias = get(self.others)(shape)
        bias[self.units : 2 * self.units] = 1.0
        return bias


@dataclass(frozen=True)
class GlorotUniform(VarianceScaling):
    """Uniform with variance 1 / fan average (Glorot and Bengio 2010)."""

    scale: float = field(default=1.0, init=False)
    mode: str = field(default="fan_avg", init=False)
    distribution: str = field(default="uniform", init=False)


@dataclass(frozen=True)
class GlorotNormal(VarianceScaling):
    """Truncated normal with variance 1 / fan average (Glorot and Bengio 2010)."""

    scale: float = field(default=1.0, init=False)
    mode: str = field(default="fan_avg", init=False)
    distribution: str = field(default="truncated_normal", init=False)


@dataclass(frozen=True)
class HeUniform(VarianceScaling):
    """Uniform with variance 2 / fan in (He et al. 2015)."""

    scale: float = field(default=2.0, init=False)
    mode: str = field(default="fan_in", init=False)
    distribution: str = field(default="uniform", init=False)


@dataclass(frozen=True)
class HeNormal(VarianceScaling):
    """Truncated normal with variance 2 / fan in (He et al. 2015)."""

    scale: float = field(default=2.0, init=False)
    mode: str = field(default="fan_in", init=False)
    distribution: str = field(default="truncated_normal", init=False)


@dataclass(frozen=True)
class LecunUniform(VarianceScaling):
    """Uniform with variance 1 / fan in (LeCun et al. 1998)."""

    scale: float = field(default=1.0, init=False)
    mode: str = field(default="fan_in", init=False)
    distribution: str = field(default="uniform", init=False)


@dataclass(frozen=True)
class LecunNormal(VarianceScaling):
    """Truncated normal with variance 1 / fan in (LeCun et al. 1998)."""

    scale: float = field(default=1.0, init=False)
    mode: str = field(default="fan_in", init=False)
    distribution: str = field(default="truncated_normal", init=False)


_CLASSES: dict[str, Callable[..., InitializerFunction]] = by_name(
    Zeros,
    Ones,
    Constant,
    RandomUniform,
    RandomNormal,
    TruncatedNormal,
    VarianceScaling,
    Orthogonal,
    Identity,
    GlorotUniform,
    GlorotNormal,
    HeUniform,
    HeNormal,
    LecunUniform,
    LecunNormal,
)
_ALIASES = {
    **{snake_case(name): name for name in _CLASSES},
    "uniform": "RandomUniform",
    "normal": "RandomNormal",
    "IdentityInitializer": "Identity",
    "OrthogonalInitializer": "Orthogonal",
}
REGISTRY: Registry[InitializerFunction] = Registry(
    "initializer", "glorot_uniform", "longspan.initializers.NAMES", _CLASSES, _ALIASES
)
NAMES = REGISTRY.names


def with_axes(initializer: Any, inputs: Sequence[int], outputs: Sequence[int]) -> Any:
    """The initializer for a kernel whose inputs and outputs are these dimensions, where it counts them."""
    start = get(initializer)
    if not isinstance(start, VarianceScaling) or start.input_axes is not None:
        return start
    return start.from_config(
        {**start.get_config(), "input_axes": tuple(inputs), "output_axes": tuple(outputs)}
    )


def get(initializer: InitializerLike | Mapping[str, Any] | Tensor | np.ndarray | None) -> Any:
    """The initializer of a name or a saved config, or of values; a function, and None, are themselves.

    Raises:
        ValueError: the name is unknown; the sentence has the nearest one.

    >>> get("ones")((2,))
    tensor([1., 1.])
    """
    if isinstance(initializer, type):
        return initializer()
    if isinstance(initializer, (Tensor, np.ndarray)):
        return Fixed(torch.as_tensor(initializer))
    if isinstance(initializer, (str, Mapping)):
        return REGISTRY.get(initializer)
    if initializer is None or callable(initializer):
        return initializer
    expected = "a name, an initializer, a function or values"
    raise errors.type_error("initializer", expected, initializer, 'pass one such as "zeros"')


deserialize = get


def serialize(initializer: Any) -> dict[str, Any]:
    """What `get` makes an equal initializer from."""
    return REGISTRY.config(initializer, initializer.get_config())
