"""Checks that two networks agree in outputs, states and every gradient, before their speed is measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Module

LIMIT = 1e-4  # of the largest number compared; float32, sums over up to T * B steps

Forward = Callable[[Tensor], Sequence[Tensor]]


class Check(NamedTuple):
    """One comparison: what was compared, and the largest difference over the largest number."""

    name: str
    error: float

    @property
    def passed(self) -> bool:
        """Whether the difference is within the limit; NaN is not."""
        return self.error <= LIMIT


def compare(
    name: str, x: Tensor, ours: tuple[Forward, Module], theirs: tuple[Forward, Module], seed: int = 0
) -> Check:
    """Run both on x with equal parameters: outputs and gradients by x and by every parameter.

    A side is a function x -> outputs and the module with its parameters, of the same names on both sides.
    """
    found, expected = (gradients(forward, module, x, seed) for forward, module in (ours, theirs))
    if found.keys() != expected.keys():
        return Check(
            f"{name}, {', '.join(sorted(found.keys() ^ expected.keys()))} on one side only", math.nan
        )
    return Check(name, max(difference(found[key], expected[key]) for key in expected))


def gradients(forward: Forward, module: Module, x: Tensor, seed: int) -> Mapping[str, Tensor]:
    """Outputs and gradients, by name, of a random weighting of the outputs."""
    module.zero_grad(set_to_none=True)
    x = x.detach().requires_grad_()
    torch.manual_seed(seed)  # both sides draw the same masks
    outs = forward(x)
    chance = torch.Generator().manual_seed(seed)
    loss = sum(((out * torch.randn(out.shape, generator=chance)).sum() for out in outs), torch.zeros(()))
    loss.backward()
    named = {name: parameter.grad for name, parameter in module.named_parameters()}
    outputs = {f"output {i}": out.detach() for i, out in enumerate(outs)}
    return {key: value for key, value in {**outputs, **named, "x": x.grad}.items() if value is not None}


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference over the largest number expected."""
    scale = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    return ((found - expected).abs().max() / scale).item()


def failures(checks: Iterable[Check]) -> list[str]:
    """A sentence for each check that did not pass."""
    return [
        f"{check.name}: expected a difference of at most {LIMIT:.0e}, received {check.error:.1e}."
        for check in checks
        if not check.passed
    ]
