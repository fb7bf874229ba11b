"""Ridge regression leaves out every row as if it were fitted without it, and is scikit-learn's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from longspan.tasks.classify import ridge as module
from longspan.tasks.classify.ridge import Ridge


def data(rows: int, features: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    x = torch.randn(rows, features) * 3 + 1
    return x, torch.stack([x[:, 0] + torch.randn(rows), x[:, 1]], 1).sign()


@pytest.mark.parametrize("features", [4, 60], ids=["more rows", "more features"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_row_left_out_is_judged_by_the_others(
    features: int, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ALPHAS", (5.0,))
    x, y = data(20, features)
    x = (x - x.mean(0)) / x.std(0, correction=0)  # so that leaving one out changes no scale
    weight = torch.linspace(0.5, 2, 20) if weighted else None
    left_out = Ridge().fit(x, y, weight).left_out
    root = torch.ones(20, 1) if weight is None else weight.sqrt().unsqueeze(1)
    design = torch.cat([x, torch.full((20, 1), 10.0 * features**0.5)], 1).double()
    for row in (0, 7):
        rest = torch.arange(20) != row
        z, target = (design * root)[rest], (y * root).double()[rest]
        penalty = 5.0 * torch.eye(features + 1).double()
        solution = torch.linalg.solve(z.T @ z + penalty, z.T @ target)
        torch.testing.assert_close(left_out[row], (design[row] @ solution).float(), rtol=1e-3, atol=1e-3)


def test_the_penalty_is_the_one_that_foretells_rows_left_out() -> None:
    torch.manual_seed(0)
    noise = torch.randn(40, 200)
    blank = Ridge().fit(noise, torch.randn(40, 1).sign())
    clear = Ridge().fit(noise, noise[:, :20].sum(1, keepdim=True).sign())
    assert blank.alpha > clear.alpha


def test_constant_features_and_large_units_change_nothing() -> None:
    x, y = data(30, 5)
    plain = Ridge().fit(x, y)
    odd = Ridge().fit(torch.cat([x * 1000, torch.full((30, 1), 7.0)], 1), y)
    torch.testing.assert_close(
        odd.scores(torch.cat([x * 1000, torch.full((30, 1), 7.0)], 1)), plain.scores(x), rtol=0.05, atol=0.05
    )
    assert odd.weights[5].abs().max() == 0


def test_a_saved_fit_gives_the_same_scores() -> None:
    x, y = data(30, 5)
    ridge = Ridge().fit(x, y)
    assert Ridge.from_state(ridge.state()).scores(x).equal(ridge.scores(x))
    assert ((ridge.scores(x)[:, 1] > 0) == (y[:, 1] > 0)).float().mean() > 0.9
