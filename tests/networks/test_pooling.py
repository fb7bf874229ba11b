"""Pooling over time counts the real steps alone, and its gradients are those of torch's operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from longspan.networks.encoder import Encoder
from longspan.networks.pooling import POOLS, Pool, max_over_time, mean_over_time, real_steps


def plainly(x: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is None:
        return x.amax(1)
    real = (torch.arange(x.shape[1]) < lengths.unsqueeze(1)).unsqueeze(-1)
    return x.masked_fill(~real, -torch.inf).amax(1).masked_fill(~real.any(1), 0.0)


@pytest.mark.parametrize("lengths", [None, [6, 6, 6, 6], [6, 4, 5, 6], [1, 6, 2, 6], [0, 6, 3, 0]])
def test_the_largest_over_time_and_its_gradient(lengths: list[int] | None):
    torch.manual_seed(1)
    x, grad = torch.randn(4, 6, 5), torch.randn(4, 5)
    x[:, 0] = x[:, 1] = 3.0  # the largest twice: each gets half
    given = None if lengths is None else torch.tensor(lengths)
    found = []
    for largest in (max_over_time, plainly):
        leaf = x.clone().requires_grad_()
        out = largest(leaf, given)
        out.backward(grad)
        found.append((out, leaf.grad))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])
    assert torch.equal(max_over_time(x, given), found[1][0])


def test_what_lies_beyond_a_length_changes_nothing_even_if_it_is_no_number():
    x = torch.randn(2, 4, 3)
    x[1, 2:] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    leaf = x.clone().requires_grad_()
    out = max_over_time(leaf, torch.tensor([4, 2]))
    out.sum().backward()
    assert leaf.grad is not None and torch.equal(out[1], x[1, :2].amax(0))
    assert leaf.grad[1, 2:].count_nonzero() == 0 and leaf.grad.sum() == 6


def test_the_largest_is_differentiated_twice():
    x = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([4, 1, 3])
    assert torch.autograd.gradgradcheck(lambda x: max_over_time(x.square(), lengths), x)


@pytest.mark.parametrize("kind", POOLS)
def test_every_way_ignores_what_padding_holds(kind: str):
    torch.manual_seed(0)
    pool, x, lengths = Pool(kind, 4), torch.randn(3, 5, 4), torch.tensor([5, 2, 3])
    padding = (torch.arange(5) >= lengths.unsqueeze(1)).unsqueeze(-1)
    first, second = (pool(x.masked_fill(padding, value), lengths) for value in (0.0, 1e6))
    assert torch.equal(first, second)
    torch.testing.assert_close(first[1:2], pool(x[1:2, :2]))


def test_masked_steps_do_not_count():
    torch.manual_seed(0)
    x, mask = torch.randn(2, 4, 3), torch.tensor([[True, False, True, True], [False] * 4])
    lengths = torch.tensor([3, 4])
    real = real_steps(x, lengths, mask)
    kept = x[0, [0, 2]]
    torch.testing.assert_close(max_over_time(x, lengths, mask)[0], kept.amax(0))
    torch.testing.assert_close(mean_over_time(x, real)[0], kept.mean(0))
    assert not max_over_time(x, lengths, mask)[1].any() and not mean_over_time(x, real)[1].any()


@pytest.mark.parametrize("pool", ["last", "mean", "max"])
def test_an_encoder_pools_a_padded_row_as_it_is_alone(pool: str):
    torch.manual_seed(0)
    encoder, x = Encoder(3, 4, bidirectional=True, pool=pool), torch.randn(2, 5, 3)
    together, _ = encoder(x, lengths=torch.tensor([5, 2]))
    alone, _ = encoder(x[1:, :2])
    torch.testing.assert_close(together[1:], alone)
