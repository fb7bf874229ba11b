"""Fits the linear model of n-grams beside the networks, and selects its penalty and its weight."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INVERSE_PENALTIES = (1.0, 10.0, 100.0)  # candidates for C of `NBSVM.fit`
_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)  # candidates for the factor of the linear model's scores
_ITERATIONS = 30  # of L-BFGS at most
Rows = tuple[Tensor, Tensor, Tensor]  # n-grams end to end: numbers, weights (S,), where each row begins (B,)


class NBSVM(nn.Module):
    """A linear model of weighted n-grams, fitted apart from the networks beside which it scores classes.

    It is the wide part of Wide & Deep (Cheng et al. 2016, arXiv 1606.07792), with the features of NBSVM,
    which is hard to beat on short texts (Wang and Manning 2012, "Baselines and bigrams").

    Args:
        ngrams: V, numbers in use; number 0 stands for unknown n-grams.
        classes: K, the number of classes.
        orders: R, tokens of the n-gram in each column, see `longspan.tasks.classify.ngrams.NGrams`.

    Attributes:
        table: (V, K), the score that each n-gram adds; bias: (K,).
        weight: (), by which its scores are multiplied before they are added to those of the networks.
    """

    table: Tensor
    bias: Tensor
    weight: Tensor

    def __init__(self, ngrams: int, classes: int, orders: Sequence[int] = (1,)) -> None:
        super().__init__()
        self.orders = tuple(orders)
        self.register_buffer("table", torch.zeros(ngrams, classes))
        self.register_buffer("bias", torch.zeros(classes))
        self.register_buffer("weight", torch.ones(()))

    def forward(self, numbers: Tensor, weights: Tensor) -> Tensor:
        """Scores (B, K), not yet multiplied by `weight`.

        Args:
            numbers, weights: (B, T, R), as `NGrams` gives them, padded with 0.
        """
        return self.bias + _summed(self.table, numbers.flatten(1), weights.flatten(1))

    def scores(self, numbers: Tensor, weights: Tensor, starts: Tensor) -> Tensor:
        """Scores (B, K) of rows that lie end to end, see `fit`."""
        return self.bias + _summed(self.table, numbers, weights, starts)

    def attribution(self, numbers: Tensor, weights: Tensor, classes: Tensor) -> Tensor:
        """The score that each token adds to its row's class, (B, T): its equal parts of its n-grams' scores.

        Args:
            numbers, weights: as for `forward`; classes: (B,) class numbers.
        """
        scores = self.table[numbers, classes.view(-1, 1, 1)] * weights
        by_token = torch.zeros_like(scores[..., 0])
        for column, order in enumerate(self.orders):
            for back in range(min(order, scores.shape[1])):
                by_token[:, : scores.shape[1] - back] += scores[:, back:, column] / order
        return by_token

    def fit(
        self,
        numbers: Tensor,
        weights: Tensor,
        starts: Tensor,
        y: Tensor,
        *,
        C: float,
        sample_weight: Tensor | None = None,
    ) -> NBSVM:
        """Fit logistic regression with an L2 penalty to B rows by L-BFGS; returns itself.

        The penalty is on `table` divided by each n-gram's log-count ratio, so that discriminative n-grams
        are regularised less (Wang and Manning 2012, NBSVM).

        Args:
            numbers, weights: (S,), the n-grams of all rows end to end; starts: (B,), where each row begins.
            y: (B,) class numbers, or (B, K) zeros and ones.
            C: scikit-learn's inverse penalty: half the squared norm, divided by C, is added to the sum of
                the rows' losses.
            sample_weight: (B,) or (B, K), the factor of each loss; None for 1.
        """
        x = _sparse(numbers, weights, starts, len(self.table))
        transposed, ratio = x.t().coalesce(), _ratio(x, y, self.table.shape[1])
        values, bias = self.table / ratio.where(ratio != 0, 1.0), self.bias.clone()
        solver = torch.optim.LBFGS([values, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            scores = (bias + torch.sparse.mm(x, ratio * values)).requires_grad_()
            with torch.enable_grad():
                if y.is_floating_point():
                    each = F.binary_cross_entropy_with_logits(scores, y, reduction="none")
                else:
                    each = F.cross_entropy(scores, y, reduction="none")
                total = (each if sample_weight is None else each * sample_weight).sum() / len(y)
                (slope,) = torch.autograd.grad(total, scores)
            penalty = 1.0 / (C * len(y))
            values.grad = ratio * torch.sparse.mm(transposed, slope) + penalty * values
            bias.grad = slope.sum(0)
            return total.detach() + penalty / 2 * values.square().sum()

        with torch.no_grad():
            solver.step(loss)  # pyright: ignore[reportArgumentType] it takes tensors too
        self.table, self.bias = ratio * values, bias
        return self


def _ratio(x: Tensor, y: Tensor, classes: int) -> Tensor:
    """(V, K): log ratios of an n-gram's smoothed frequency in the rows of a class to that in the others."""
    occurs = torch.sparse_coo_tensor(
        x.indices(), (x.values() > 0).float(), x.shape, check_invariants=True
    ).t()
    positive = y if y.is_floating_point() else F.one_hot(y, classes).float()
    inside, outside = (1 + torch.sparse.mm(occurs, rows) for rows in (positive, 1 - positive))
    return (inside / inside.sum(0)).log() - (outside / outside.sum(0)).log()


def _summed(table: Tensor, numbers: Tensor, weights: Tensor, starts: Tensor | None = None) -> Tensor:
    return F.embedding_bag(numbers, table, starts, mode="sum", per_sample_weights=weights)


def _sparse(numbers: Tensor, weights: Tensor, starts: Tensor, width: int) -> Tensor:
    """A sparse (B, width) of rows that lie end to end."""
    rows = torch.bucketize(torch.arange(len(numbers)), starts, right=True) - 1
    indices, size = torch.stack([rows, numbers]), (len(starts), width)
    return torch.sparse_coo_tensor(indices, weights, size, check_invariants=True).coalesce()


def fit_path(
    model: NBSVM, rows: Rows, y: Tensor, Cs: Sequence[float], sample_weight: Tensor | None = None
) -> dict[float, NBSVM]:
    """The regularization path: C -> a copy of a linear model, each fitted from the one before on.

    Args:
        model: the first one starts from its values; y, sample_weight: as for `NBSVM.fit`.
    """
    models: dict[float, NBSVM] = {}
    for C in Cs:
        model = copy.deepcopy(model).fit(*rows, y, C=C, sample_weight=sample_weight)
        models[C] = model
    return models


@dataclass
class LinearHeadSelection:
    """Selects the inverse penalty C and the weight of the linear model by the loss on validation records.

    Attributes:
        models: C -> the model fitted with it.
        C, weight: the selected ones; the defaults where there is no validation part.
    """

    models: dict[float, NBSVM] = field(default_factory=dict)
    C: float = 10.0
    weight: float = 1.0

    def select(self, rows: Rows, scores: Tensor, loss: Callable[[Tensor], float]) -> NBSVM:
        """The model whose scores, weighted and added to the networks', have the lowest loss; sets its weight.

        Args:
            rows: n-grams of the validation records; scores: (B, K), those of the networks; loss: of scores.
        """
        linear = {C: model.scores(*rows) for C, model in self.models.items()}
        candidates = [(C, weight) for C in linear for weight in _WEIGHTS]
        self.C, self.weight = min(candidates, key=lambda pair: loss(scores + pair[1] * linear[pair[0]]))
        self.models[self.C].weight.fill_(self.weight)
        return self.models[self.C]

    @property
    def path(self) -> list[float]:
        """The inverse penalties up to the selected one: the path by which it is fitted once more."""
        return [C for C in INVERSE_PENALTIES if C <= self.C]
