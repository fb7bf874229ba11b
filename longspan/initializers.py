"""Knows how weights start, by Keras' names and spreads; the numbers come from PyTorch's generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from longspan import errors

# A name of INITIALIZERS, or shape -> tensor.
Initializer = str | Callable[[tuple[int, ...]], Tensor]

# The standard deviation of a normal distribution cut at two of its deviations.
_CUT = 0.87962566103423978


def _generator(seed: int | None) -> torch.Generator | None:
    return None if seed is None else torch.Generator().manual_seed(seed)


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """How many values each unit reads and feeds, for a kernel (..., in, out) as Keras lays it out.

    >>> fans((3, 8, 16))
    (24, 48)
    """
    if len(shape) < 2:
        size = shape[0] if shape else 1
        return size, size
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


@dataclass(frozen=True)
class Zeros:
    """All 0."""

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros(shape)


@dataclass(frozen=True)
class Ones:
    """All 1."""

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        return torch.ones(shape)


@dataclass(frozen=True)
class Constant:
    """All `value`."""

    value: float = 0.0

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        return torch.full(shape, self.value)


@dataclass(frozen=True)
class RandomUniform:
    """Uniform in [minval, maxval)."""

    minval: float = -0.05
    maxval: float = 0.05
    seed: int | None = None

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        return torch.empty(shape).uniform_(self.minval, self.maxval, generator=_generator(self.seed))


@dataclass(frozen=True)
class RandomNormal:
    """Normal with this mean and standard deviation."""

    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        return torch.empty(shape).normal_(self.mean, self.stddev, generator=_generator(self.seed))


@dataclass(frozen=True)
class TruncatedNormal:
    """As RandomNormal, drawn again beyond two standard deviations from the mean."""

    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        low, high = self.mean - 2 * self.stddev, self.mean + 2 * self.stddev
        made = torch.empty(shape)
        generator = _generator(self.seed)
        return torch.nn.init.trunc_normal_(made, self.mean, self.stddev, low, high, generator=generator)


@dataclass(frozen=True)
class VarianceScaling:
    """Zero mean and a variance of scale / n, where n is the fan in, the fan out or their mean.

    Source: Glorot and Bengio 2010; He et al. 2015, arXiv 1502.01852; LeCun et al. 1998.

    Args:
        scale: the variance times n.
        mode: "fan_in", "fan_out" or "fan_avg".
        distribution: "truncated_normal", "untruncated_normal" or "uniform".
        seed: None draws from PyTorch's own generator.
    """

    scale: float = 1.0
    mode: str = "fan_in"
    distribution: str = "truncated_normal"
    seed: int | None = None

    def __post_init__(self) -> None:
        errors.check_choice("mode", self.mode, ("fan_in", "fan_out", "fan_avg"))
        kinds = ("truncated_normal", "untruncated_normal", "uniform")
        errors.check_choice("distribution", self.distribution, kinds)

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        reads, feeds = fans(shape)
        count = {"fan_in": reads, "fan_out": feeds, "fan_avg": (reads + feeds) / 2}[self.mode]
        spread = math.sqrt(self.scale / max(1.0, count))
        if self.distribution == "uniform":
            limit = math.sqrt(3.0) * spread
            return RandomUniform(-limit, limit, self.seed)(shape)
        if self.distribution == "untruncated_normal":
            return RandomNormal(0.0, spread, self.seed)(shape)
        return TruncatedNormal(0.0, spread / _CUT, self.seed)(shape)


@dataclass(frozen=True)
class Orthogonal:
    """Orthonormal rows or columns times gain (Saxe et al. 2013, arXiv 1312.6120)."""

    gain: float = 1.0
    seed: int | None = None

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        if len(shape) < 2:
            raise errors.value_error(
                "Orthogonal", "a shape with two dimensions or more", shape, "choose another"
            )
        flat = torch.empty(math.prod(shape[:-1]), shape[-1])
        return torch.nn.init.orthogonal_(flat, self.gain, generator=_generator(self.seed)).reshape(shape)


@dataclass(frozen=True)
class Identity:
    """The identity matrix times gain."""

    gain: float = 1.0

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        if len(shape) != 2:
            raise errors.value_error("Identity", "a shape with two dimensions", shape, "choose another")
        return torch.eye(*shape) * self.gain


@dataclass(frozen=True, eq=False)
class Fixed:
    """A tensor that is there already."""

    value: Tensor

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        return self.value


@dataclass(frozen=True)
class UnitForgetBias:
    """A bias (4*H,) with 1 at the forget gate, the second of i, f, c, o (Jozefowicz et al. 2015).

    Args:
        units: H.
        others: how the other gates' biases start.
    """

    units: int
    others: Initializer

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        bias = get(self.others)(shape)
        bias[self.units : 2 * self.units] = 1.0
        return bias


def _scaling(scale: float, mode: str, distribution: str) -> Callable[[int | None], VarianceScaling]:
    def make(seed: int | None = None) -> VarianceScaling:
        return VarianceScaling(scale, mode, distribution, seed)

    return make


GlorotUniform = _scaling(1.0, "fan_avg", "uniform")
GlorotNormal = _scaling(1.0, "fan_avg", "truncated_normal")
HeUniform = _scaling(2.0, "fan_in", "uniform")
HeNormal = _scaling(2.0, "fan_in", "truncated_normal")
LecunUniform = _scaling(1.0, "fan_in", "uniform")
LecunNormal = _scaling(1.0, "fan_in", "truncated_normal")

# Keras' name -> what makes the initializer, with Keras' defaults.
INITIALIZERS: dict[str, Callable[..., Callable[[tuple[int, ...]], Tensor]]] = {
    "zeros": Zeros,
    "ones": Ones,
    "constant": Constant,
    "uniform": RandomUniform,
    "random_uniform": RandomUniform,
    "normal": RandomNormal,
    "random_normal": RandomNormal,
    "truncated_normal": TruncatedNormal,
    "variance_scaling": VarianceScaling,
    "orthogonal": Orthogonal,
    "identity": Identity,
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "lecun_uniform": LecunUniform,
    "lecun_normal": LecunNormal,
}


def get(initializer: Initializer) -> Callable[[tuple[int, ...]], Tensor]:
    """The initializer of a name; one that is made already is itself.

    Raises:
        ValueError: the name is unknown; the nearest is given.

    >>> get("ones")((2,))
    tensor([1., 1.])
    """
    if callable(initializer):
        return initializer
    return INITIALIZERS[errors.check_choice("initializer", initializer, INITIALIZERS)]()
