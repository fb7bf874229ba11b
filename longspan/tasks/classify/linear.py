"""Knows the linear model of n-grams that stands beside readers: how it is fitted, and how much it counts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PENALTIES = (1.0, 10.0, 100.0)  # that are tried, see `NBSVM.fit`
_SHARES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)  # of the linear model's scores that are tried
_ITERATIONS = 30  # of the solver
Rows = tuple[Tensor, Tensor, Tensor]  # n-grams end to end: numbers, weights (S,), where each row begins (B,)


class NBSVM(nn.Module):
    """A linear model of weighted n-grams: scores of C classes. It is fitted by itself, not with the readers.

    The wide part beside a deep one (Cheng et al. 2016, arXiv 1606.07792), of the words and pairs of words by
    which linear models are hard to beat on short texts (Wang and Manning 2012, "Baselines and bigrams").

    Args:
        ngrams: V, numbers in use, 0 among them for none.
        classes: C.
        runs: units of the n-gram in each column of n-grams, see `longspan.tasks.classify.ngrams.NGrams`.

    Attributes:
        table (V, C), bias (C,): what an n-gram and none at all speak for.
        share: how much its scores count beside those of the readers.
    """

    table: Tensor
    bias: Tensor
    share: Tensor

    def __init__(self, ngrams: int, classes: int, runs: Sequence[int] = (1,)) -> None:
        super().__init__()
        self.runs = tuple(runs)
        self.register_buffer("table", torch.zeros(ngrams, classes))
        self.register_buffer("bias", torch.zeros(classes))
        self.register_buffer("share", torch.ones(()))

    def forward(self, numbers: Tensor, weights: Tensor) -> Tensor:
        """Scores (B, C).

        Args:
            numbers, weights: (B, T, R), a column for each of `runs`.
        """
        return self.bias + _summed(self.table, numbers.flatten(1), weights.flatten(1))

    def scores(self, numbers: Tensor, weights: Tensor, starts: Tensor) -> Tensor:
        """Scores (B, C) of rows that lie end to end, see `learn`."""
        return self.bias + _summed(self.table, numbers, weights, starts)

    def attribution(self, numbers: Tensor, weights: Tensor, classes: Tensor) -> Tensor:
        """How much each unit spoke for its row's class, (B, T): an n-gram's part is shared by its units.

        Args:
            numbers, weights: as for `forward`; classes: (B,).
        """
        spoke = self.table[numbers, classes.view(-1, 1, 1)] * weights
        found = torch.zeros_like(spoke[..., 0])
        for column, units in enumerate(self.runs):
            for back in range(min(units, spoke.shape[1])):
                found[:, : spoke.shape[1] - back] += spoke[:, back:, column] / units
        return found

    def fit(
        self,
        numbers: Tensor,
        weights: Tensor,
        starts: Tensor,
        y: Tensor,
        *,
        strength: float,
        importance: Tensor | None = None,
    ) -> NBSVM:
        """Fit it to rows: logistic regression by L-BFGS; returns itself.

        A value is held the less, the better its n-gram tells the class: it is a number times the logarithm of
        how much more often the class's rows have the n-gram than the others (Wang and Manning 2012, NBSVM).

        Args:
            numbers, weights: (S,), all rows' n-grams end to end; starts: (B,), where each row's begin.
            y: (B,) class numbers, or (B, C) zeros and ones.
            strength: how little large numbers are punished: half their squared norm, over it, is added to the
                sum of the rows' losses.
            importance: (B,) or (B, C), how much each answer counts; None for alike.
        """
        x = _sparse(numbers, weights, starts, len(self.table))
        back, ratio = x.t().coalesce(), _ratio(x, y, self.table.shape[1])
        values, bias = self.table / ratio.where(ratio != 0, 1.0), self.bias.clone()
        solver = torch.optim.LBFGS([values, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            scores = (bias + torch.sparse.mm(x, ratio * values)).requires_grad_()
            with torch.enable_grad():
                if y.is_floating_point():
                    each = F.binary_cross_entropy_with_logits(scores, y, reduction="none")
                else:
                    each = F.cross_entropy(scores, y, reduction="none")
                total = (each if importance is None else each * importance).sum() / len(y)
                (slope,) = torch.autograd.grad(total, scores)
            ease = 1.0 / (strength * len(y))
            values.grad = ratio * torch.sparse.mm(back, slope) + ease * values
            bias.grad = slope.sum(0)
            return total.detach() + ease / 2 * values.square().sum()

        with torch.no_grad():
            solver.step(loss)  # pyright: ignore[reportArgumentType] it takes tensors too
        self.table, self.bias = ratio * values, bias
        return self


def _ratio(x: Tensor, y: Tensor, classes: int) -> Tensor:
    """(V, C): the log ratio of an n-gram's share in a class's rows to that in the others, counts from 1."""
    have = torch.sparse_coo_tensor(x.indices(), (x.values() > 0).float(), x.shape, check_invariants=True).t()
    right = y if y.is_floating_point() else F.one_hot(y, classes).float()
    inside, outside = (1 + torch.sparse.mm(have, one) for one in (right, 1 - right))
    return (inside / inside.sum(0)).log() - (outside / outside.sum(0)).log()


def _summed(table: Tensor, numbers: Tensor, weights: Tensor, starts: Tensor | None = None) -> Tensor:
    return F.embedding_bag(numbers, table, starts, mode="sum", per_sample_weights=weights)


def _sparse(numbers: Tensor, weights: Tensor, starts: Tensor, width: int) -> Tensor:
    """(B, width), from rows that lie end to end."""
    rows = torch.bucketize(torch.arange(len(numbers)), starts, right=True) - 1
    places, size = torch.stack([rows, numbers]), (len(starts), width)
    return torch.sparse_coo_tensor(places, weights, size, check_invariants=True).coalesce()


def fit_path(
    wide: NBSVM, rows: Rows, y: Tensor, strengths: Sequence[float], importance: Tensor | None = None
) -> dict[float, NBSVM]:
    """Copies of a linear model by their strength, each fitted from the one before on.

    Args:
        wide: where to begin; y, importance: as for `NBSVM.fit`.
    """
    found: dict[float, NBSVM] = {}
    for strength in strengths:
        wide = copy.deepcopy(wide).fit(*rows, y, strength=strength, importance=importance)
        found[strength] = wide
    return found


@dataclass
class LinearHeadSelection:
    """How strongly a linear model is held down and how much it counts, as held-out records say.

    Attributes:
        wides: those to choose from, by their strength; strength, share: what was chosen, where nothing was
            held out the usual.
    """

    wides: dict[float, NBSVM] = field(default_factory=dict)
    strength: float = 10.0
    share: float = 1.0

    def decide(self, rows: Rows, scores: Tensor, loss: Callable[[Tensor], float]) -> NBSVM:
        """The model that, beside the readers, makes the least of a loss, its share set.

        Args:
            rows: n-grams of the held-out records; scores: (B, C), those of the readers; loss: of scores.
        """
        own = {strength: wide.scores(*rows) for strength, wide in self.wides.items()}
        tried = [(strength, share) for strength in own for share in _SHARES]
        self.strength, self.share = min(tried, key=lambda one: loss(scores + one[1] * own[one[0]]))
        self.wides[self.strength].share.fill_(self.share)
        return self.wides[self.strength]

    @property
    def path(self) -> list[float]:
        """The strengths up to the chosen one, by which it is fitted once more."""
        return [one for one in PENALTIES if one <= self.strength]
