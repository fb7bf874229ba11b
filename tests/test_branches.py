"""The parts of a classifier's network: padding changes nothing, pools are what they say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from longspan.branches import POOLS, Convolutions, Norm, Pool, Reader, Readers, Tokens
from longspan.data import Batch

LENGTHS = torch.tensor([5, 2, 7])


def nan_padded(width: int) -> torch.Tensor:
    x = torch.randn(3, 7, width)
    x[torch.arange(7) >= LENGTHS.unsqueeze(1)] = 9e9
    return x


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("channels", [(), (4, 6)])
def test_a_padded_row_gives_what_it_gives_alone(pool: str, channels: tuple[int, ...]):
    torch.manual_seed(0)
    kernels = (4, 3)[: len(channels)]
    recurrent = {"hidden_size": 5, "bidirectional": True}
    reader = Reader(3, 2, recurrent=recurrent, pool=pool, channels=channels, kernels=kernels).eval()
    x = torch.randn(3, 7, 3)
    together = reader(x * (torch.arange(7) < LENGTHS.unsqueeze(1)).unsqueeze(-1), LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = reader(x[row : row + 1, :length], LENGTHS[row : row + 1])
        torch.testing.assert_close(alone[0], together[row], rtol=1e-5, atol=1e-5)


def test_norm_of_padded_rows_is_torchs_of_the_real_steps():
    torch.manual_seed(0)
    norm, plain = Norm(3), nn.BatchNorm1d(3)
    x = torch.randn(3, 3, 7)
    real = (torch.arange(7) < LENGTHS.unsqueeze(1)).unsqueeze(1).float()
    found = norm(x, real)
    steps = x.transpose(1, 2)[real[:, 0] > 0]
    torch.testing.assert_close(found.transpose(1, 2)[real[:, 0] > 0], plain(steps), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_mean, plain.running_mean)
    torch.testing.assert_close(norm.eval()(x), plain.eval()(x), rtol=1e-1, atol=1e-1)


def test_convolutions_ignore_what_padding_holds():
    block = Convolutions(3, (4, 5), (8, 3))
    first, second = (
        block(nan_padded(3).where(torch.tensor(True), torch.tensor(0.0)), LENGTHS) for _ in range(2)
    )
    assert first.isfinite().all() and second.isfinite().all()
    assert (first[1, 2:] == 0).all()


def test_an_empty_row_pools_to_zeros():
    for kind in POOLS:
        x = torch.zeros(2, 3, 4) if kind == "last" else torch.randn(2, 3, 4)
        assert (Pool(kind, 4)(x, torch.tensor([0, 2]))[0] == 0).all(), kind


def test_n_grams_are_averaged_and_added():
    tokens = Tokens(6, 4, buckets=5).eval()
    assert tokens.parts is not None
    x = (torch.tensor([[2, 1]]), torch.tensor([[1, 0]]), torch.tensor([3, 0, 4]), torch.tensor([0, 1]))
    expected = tokens.own.weight[[2, 1]] + torch.stack(
        [(tokens.parts.weight[0] + tokens.parts.weight[4]) / 2, tokens.parts.weight[3]]
    )
    torch.testing.assert_close(tokens(x)[0], expected)


def test_word_dropout_hides_words_and_never_padding():
    tokens = Tokens(9, 4, word_dropout=0.9).train()
    with torch.no_grad():
        tokens.own.weight.copy_(torch.arange(9.0).unsqueeze(1).expand(9, 4))
    found = tokens(torch.tensor([[5] * 500 + [0]]))[0, :, 0]
    assert found[-1] == 0 and set(found[:-1].tolist()) == {1.0, 5.0}


def test_what_matters_is_the_gradient_times_the_input():
    torch.manual_seed(0)
    readers = Readers([Reader(2, 3, recurrent={"hidden_size": 4}, pool="mean") for _ in range(2)])
    batch = Batch(torch.randn(2, 5, 2), lengths=torch.tensor([5, 3]))
    found = readers.matter(batch, torch.tensor([1, 2]))
    assert found.shape == (2, 5) and (found[1, 3:] == 0).all() and found[0].abs().sum() > 0
    assert all(p.grad is None for p in readers.parameters())
    scores = readers(batch)[0]
    shares = readers.together(scores).exp()
    torch.testing.assert_close(shares, scores.softmax(-1).mean(1))
