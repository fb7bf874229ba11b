"""Weights the scores of several models by records that trained none of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_PENALTY = 1.0  # on the squared logarithms of the weights, for the sum of the rows' losses
_ITERATIONS = 100  # of L-BFGS at most


def stacking_weights(scores: Tensor, losses: Callable[[Tensor], Tensor]) -> Tensor:
    """Weights (K,) above 0 of the scores (K, N, C) of K models, so that their sum has a low loss.

    Stacked generalization (Wolpert 1992). A penalty draws the weights to 1 / K, all the more as rows are few.

    Args:
        scores: of rows that the models were not fitted to; losses: of scores (N, C), those of each row (N,).

    >>> good, bad = torch.tensor([[3.0, 0.0], [0.0, 3.0]]), torch.tensor([[0.0, 3.0], [0.0, 3.0]])
    >>> weights = stacking_weights(torch.stack([good, bad]), lambda scores: -scores.log_softmax(1).diag())
    >>> bool(weights[0] > 0.5 > weights[1])
    True
    """
    models, rows = scores.shape[:2]
    if models == 1:
        return torch.ones(1)
    logs = torch.zeros(models, requires_grad=True)
    solver = torch.optim.LBFGS([logs], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        with torch.enable_grad():
            weighted = torch.einsum("k,knc->nc", logs.exp() / models, scores)
            total = losses(weighted).mean() + _PENALTY / rows * logs.square().sum()
            total.backward()
        return total

    solver.step(loss)  # pyright: ignore[reportArgumentType] it takes tensors too
    return logs.detach().exp() / models
