"""Looking up rows of a table gives what torch's own operations give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longspan.nn.embedding import Embedding, bag_means, lookup

ROWS = 2000  # of a table so large that its gradient lies in memory that is given back
TABLE = (ROWS, 64)


def draw(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(TABLE), torch.randint(0, 50, (4, 9)), torch.randn(4, 9, TABLE[1])


@pytest.mark.parametrize("kind", [torch.int64, torch.int32])
def test_lookup_and_its_gradient_are_those_of_torch(kind: torch.dtype):
    values, numbers, grad = draw()
    found = []
    for look in (lookup, lambda table, numbers: F.embedding(numbers, table)):
        table = values.clone().requires_grad_()
        for _ in range(2):  # the second time adds to what is there
            look(table, numbers.to(kind)).backward(grad)
        found.append((look(table, numbers.to(kind)), table.grad))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])


def test_a_gradient_that_is_kept_is_not_written_over_by_the_next_step():
    values, numbers, grad = draw()
    table = values.requires_grad_()
    (first,) = torch.autograd.grad(lookup(table, numbers), table, grad)
    kept = first.clone()
    (second,) = torch.autograd.grad(lookup(table, numbers + 50), table, grad)
    assert torch.equal(first, kept) and not torch.equal(first, second)
    assert first[100:].count_nonzero() == 0 and second[:50].count_nonzero() == 0


def test_lookup_is_differentiated_twice_and_by_functions_of_functions():
    table = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    numbers = torch.tensor([[0, 2, 2], [4, 0, 2]])
    assert torch.autograd.gradgradcheck(lambda table: lookup(table, numbers).square(), table)
    found = torch.func.grad(lambda table: lookup(table, numbers).square().sum())(table.detach())
    count = torch.tensor([2.0, 0, 3, 0, 1]).unsqueeze(1)
    torch.testing.assert_close(found, 2 * table.detach() * count)


def test_an_embedding_is_torchs_with_its_weights_and_errors():
    own, torchs = Embedding(7, 3), nn.Embedding(7, 3)
    own.load_state_dict(torchs.state_dict())
    numbers = torch.tensor([6, 0])
    assert torch.equal(own(numbers), torchs(numbers))
    with pytest.raises(IndexError):
        own(torch.tensor([7]))


def test_means_and_their_gradient_are_those_of_torch():
    values, numbers, _ = draw()
    flat, starts, grad = numbers.reshape(-1), torch.tensor([0, 4, 4, 5, 30]), torch.randn(5, TABLE[1])
    found = []
    for look in (
        bag_means,
        lambda table, numbers, starts: F.embedding_bag(numbers, table, starts, mode="mean"),
    ):
        table = values.clone().requires_grad_()
        out = look(table, flat, starts)
        found.append((out, *torch.autograd.grad(out, table, grad)))
    torch.testing.assert_close(found[0], found[1])
    small = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    args = torch.tensor([5, 0, 5, 2]), torch.tensor([0, 3, 3])
    assert torch.autograd.gradgradcheck(lambda table: bag_means(table, *args).square(), small)
