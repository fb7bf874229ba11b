"""The parts of a classifier's network: padding changes nothing, pools are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from longspan.branches import POOLS, Convolutions, Norm, Pool, Reader, Readers, Tokens, Wide
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


def test_every_reader_learns_from_vectors_of_its_own():
    torch.manual_seed(0)
    made = [Reader(4, 3, recurrent={"hidden_size": 2}, pool="max") for _ in range(2)]
    readers = Readers(made, [Tokens(6, 4), Tokens(6, 4)])
    batch = Batch(torch.tensor([[2, 3], [4, 0]]), lengths=torch.tensor([2, 1]))
    scores = readers(batch)[0]
    assert scores.shape == (2, 2, 3)
    scores[:, 1].sum().backward()
    first, second = (next(tokens.parameters()).grad for tokens in readers.tokens)
    assert first is None or not first.any()
    assert second is not None and second[2:5].any()
    torch.testing.assert_close(scores[:, 0], made[0](readers.embed(batch)[0], batch.lengths))
    found, (x, other) = readers.matter(batch, torch.tensor([0, 1])), readers.embed(batch)
    one, two = (
        torch.autograd.grad(reader(each, batch.lengths)[[0, 1], [0, 1]].sum(), each)[0] * each / 2
        for reader, each in zip(made, (x, other), strict=True)
    )
    torch.testing.assert_close(found, (one + two).sum(-1))


def flat(rows: list[dict[int, float]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    numbers = torch.tensor([number for row in rows for number in row])
    weights = torch.tensor([weight for row in rows for weight in row.values()])
    starts = torch.tensor([0, *(len(row) for row in rows[:-1])]).cumsum(0)
    return numbers, weights, starts


@pytest.mark.parametrize("strength", [0.5, 5.0])
def test_the_linear_model_is_scikit_learns_regression_of_weighed_features(strength: float):
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    draw = np.random.default_rng(0)
    rows = [
        {int(n): float(draw.uniform(0.2, 1)) for n in draw.choice(7, 3, replace=False) + 1} for _ in range(60)
    ]
    rows[5] = {}
    y = np.array([int(draw.random() < (0.8 if 1 in row else 0.3)) for row in rows])
    dense = np.zeros((60, 8))
    for place, row in enumerate(rows):
        dense[place, list(row)] = list(row.values())
    shares = [1.0 + (dense[y == one] > 0).sum(0) for one in (0, 1)]
    ratio = np.log(shares[1] / shares[1].sum()) - np.log(shares[0] / shares[0].sum())
    # two classes have twice the values, so the half of the strength
    plain = linear.LogisticRegression(C=2 * strength, tol=1e-8, max_iter=1000).fit(dense * ratio, y)
    wide = Wide(8, 2).learn(*flat(rows), torch.from_numpy(y), strength=strength)
    found = wide.scores(*flat(rows)).softmax(-1)
    np.testing.assert_allclose(found, plain.predict_proba(dense * ratio), atol=2e-3)
    weighed = Wide(8, 2).learn(
        *flat(rows), torch.from_numpy(y), strength=strength, importance=torch.from_numpy(1.0 + 4.0 * (y == 1))
    )
    assert (weighed.scores(*flat(rows)).softmax(-1)[:, 1].mean() - found[:, 1].mean()) > 0.1


def test_the_linear_model_learns_many_labels():
    rows = [{1: 1.0}, {2: 1.0}, {1: 0.7, 2: 0.7}, {3: 1.0}]
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    found = Wide(4, 2).learn(*flat(rows), y, strength=100.0).scores(*flat(rows))
    assert ((found > 0) == (y > 0)).all()


def test_padded_n_grams_give_what_they_give_end_to_end():
    torch.manual_seed(0)
    wide = Wide(6, 3, (1, 2))
    wide.table.normal_()
    numbers = torch.tensor([[[1, 0], [2, 4]], [[5, 0], [0, 0]]])
    weights = torch.tensor([[[0.5, 0.0], [0.3, 0.8]], [[1.0, 0.0], [0.0, 0.0]]])
    expected = wide.scores(numbers.flatten(), weights.flatten(), torch.tensor([0, 4]))
    torch.testing.assert_close(wide(numbers, weights), expected)
    spoke = wide.matter(numbers, weights, torch.tensor([2, 0]))
    torch.testing.assert_close(spoke.sum(1), torch.stack([expected[0, 2], expected[1, 0]]))
    pair = 0.8 * wide.table[4, 2] / 2
    torch.testing.assert_close(spoke[0], torch.stack([0.5 * wide.table[1, 2], 0.3 * wide.table[2, 2]]) + pair)


def test_the_linear_model_counts_by_its_share_and_not_in_training():
    torch.manual_seed(0)
    reader = Reader(4, 3, recurrent={"hidden_size": 2}, pool="max")
    readers = Readers([reader], [Tokens(6, 4)], wide=Wide(5, 3, (1, 2))).eval()
    assert readers.wide is not None
    readers.wide.table.normal_()
    numbers, grams = torch.tensor([[2, 3]]), torch.tensor([[[1, 0], [2, 3]]])
    weights = (grams > 0).float()
    batch = Batch((numbers, grams, weights), lengths=torch.tensor([2]))
    alone = readers.together(readers(Batch(numbers, lengths=torch.tensor([2])))[0])
    torch.testing.assert_close(readers.together(readers(batch)[0]), alone)
    for share in (0.0, 2.0):
        readers.wide.share.fill_(share)
        torch.testing.assert_close(readers.answer(batch), alone + share * readers.wide(grams, weights))
    spoke = readers.matter(batch, torch.tensor([1]))
    readers.wide.share.fill_(0.0)
    other = readers.matter(batch, torch.tensor([1]))
    torch.testing.assert_close(spoke - other, 2 * readers.wide.matter(grams, weights, torch.tensor([1])))
