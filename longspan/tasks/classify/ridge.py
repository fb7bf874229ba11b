"""Fits ridge regression to features of series, and selects its penalty by leave-one-out errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

ALPHAS = tuple(10.0**power for power in range(-3, 6))  # candidates for the penalty
_INTERCEPT = 10.0  # the constant feature's value, divided by the square root of the number of features
_CONSTANT = 1e-6  # standard deviation up to which a feature is constant and not used


class Ridge:
    """Linear classification by ridge regression on targets of -1 and 1 (Hoerl and Kennard 1970).

    Features are standardised. The penalty is the one with the smallest squared leave-one-out error, which
    one eigendecomposition gives for every penalty (Golub et al. 1979, "Generalized cross-validation").

    Attributes after fit: weights (F, C) and bias (C,) of features in their own units; mean (F,), that of the
    training rows; alpha, the penalty; left_out (N, C), the scores of training rows by fits to the others.

    >>> x = torch.tensor([[0.0], [0.1], [1.0], [0.9]])
    >>> ridge = Ridge().fit(x, torch.tensor([[-1.0], [-1.0], [1.0], [1.0]]))
    >>> (ridge.scores(x) > 0).flatten().tolist()
    [False, False, True, True]
    """

    def __init__(self) -> None:
        self.weights, self.bias = torch.zeros(0, 0), torch.zeros(0)
        self.mean, self.alpha, self.left_out = torch.zeros(0), 1.0, torch.zeros(0, 0)

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        sample_weight: Tensor | None = None,
        *,
        deviations: Tensor | None = None,
    ) -> Ridge:
        """Fit to features (N, F) and targets (N, C) of -1 and 1; returns itself.

        Args:
            sample_weight: (N,), the factor of each row's squared error; None for 1.
            deviations: (F,), the standard deviation to which each feature is scaled; None for 1.
        """
        self.mean, scale = x.mean(0), x.std(0, correction=0)
        scale = torch.where(scale > _CONSTANT, scale, torch.inf)
        if deviations is not None:
            scale = scale / deviations
        root = torch.ones(len(x)) if sample_weight is None else sample_weight.float().sqrt()
        root = root.unsqueeze(1)
        constant = _INTERCEPT * x.shape[1] ** 0.5
        z = torch.cat([(x - self.mean) / scale, x.new_full((len(x), 1), constant)], 1) * root
        target = (y * root).double()
        spectrum = _decomposed(z)
        self.alpha = min(
            ALPHAS, key=lambda alpha: float(_left_out_errors(spectrum, target, alpha).square().sum())
        )
        self.left_out = (y - _left_out_errors(spectrum, target, self.alpha) / root).float()
        solution = z.T @ _dual(spectrum, target, self.alpha).float()
        self.weights = solution[:-1] / scale.unsqueeze(1)
        self.bias = constant * solution[-1] - self.mean @ self.weights
        return self

    def scores(self, x: Tensor) -> Tensor:
        """Scores (N, C) of features (N, F): about 1 for a class that holds, -1 for one that does not."""
        return x @ self.weights + self.bias

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `from_state` takes."""
        return {"weights": self.weights, "bias": self.bias, "mean": self.mean, "alpha": self.alpha}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Ridge:
        """The fit that gave this state, without `left_out`."""
        ridge = cls()
        ridge.weights, ridge.bias = state["weights"], state["bias"]
        ridge.mean, ridge.alpha = state["mean"], state["alpha"]
        return ridge


class _Spectrum(NamedTuple):
    """Left singular vectors (N, R) of the rows, and the squared singular values (R,), float64."""

    vectors: Tensor
    values: Tensor


def _decomposed(z: Tensor) -> _Spectrum:
    """The decomposition of rows (N, F), by the smaller one of their two Gram matrices."""
    if len(z) <= z.shape[1]:
        values, vectors = torch.linalg.eigh((z @ z.T).double())
        return _Spectrum(vectors, values.clamp_min(0))
    values, vectors = torch.linalg.eigh((z.T @ z).double())
    kept = values > values[-1] * 1e-9
    values = values[kept]
    return _Spectrum((z.double() @ vectors[:, kept]) / values.sqrt(), values)


def _dual(spectrum: _Spectrum, target: Tensor, alpha: float) -> Tensor:
    """The dual coefficients (N, C): the inverse of Gram matrix plus penalty, times the targets (N, C)."""
    vectors, values = spectrum
    projected = vectors.T @ target
    inside = vectors @ (projected / (values + alpha).unsqueeze(1))
    return inside + (target - vectors @ projected) / alpha


def _left_out_errors(spectrum: _Spectrum, target: Tensor, alpha: float) -> Tensor:
    """The error (N, C) at each row of the fit to the other rows."""
    vectors, values = spectrum
    squares = vectors.square()
    diagonal = squares @ (1 / (values + alpha)) + (1 - squares.sum(1)).clamp_min(0) / alpha
    return _dual(spectrum, target, alpha) / diagonal.unsqueeze(1)
