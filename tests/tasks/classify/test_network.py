"""The classifier's network: padding changes no output; pooling, attribution and dropout are right."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from longspan.data import Batch
from longspan.data.labels import IGNORED
from longspan.networks.pooling import POOLS, Pool
from longspan.tasks.classify.network import (
    Convolutions,
    Ensemble,
    MaskedBatchNorm1d,
    SequenceClassifier,
    Subwords,
    TextInputs,
    TokenEmbedding,
    cross_entropy,
    stack_frames,
)

LENGTHS = torch.tensor([5, 2, 7])


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("channels", [(), (4, 6)])
def test_padding_does_not_change_the_scores_of_a_row(pool: str, channels: tuple[int, ...]):
    torch.manual_seed(0)
    kernels = (4, 3)[: len(channels)]
    recurrent = {"hidden_size": 5, "bidirectional": True}
    reader = SequenceClassifier(
        3, 2, recurrent=recurrent, pool=pool, filters=channels, kernel_sizes=kernels
    ).eval()
    x = torch.randn(3, 7, 3)
    together = reader(x * (torch.arange(7) < LENGTHS.unsqueeze(1)).unsqueeze(-1), LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = reader(x[row : row + 1, :length], LENGTHS[row : row + 1])
        torch.testing.assert_close(alone[0], together[row], rtol=1e-5, atol=1e-5)


def test_batch_norm_of_padded_rows_equals_torchs_of_the_real_steps():
    torch.manual_seed(0)
    norm: Any = MaskedBatchNorm1d(3)
    plain: Any = nn.BatchNorm1d(3)
    x = torch.randn(3, 3, 7)
    real = (torch.arange(7) < LENGTHS.unsqueeze(1)).unsqueeze(1).float()
    found = norm(x, real)
    steps = x.transpose(1, 2)[real[:, 0] > 0]
    torch.testing.assert_close(found.transpose(1, 2)[real[:, 0] > 0], plain(steps), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_mean, plain.running_mean)
    unbiased = 0.9 + (norm.running_var - 0.9) * 14 / 13  # torch keeps the variance of 14 steps over 13
    torch.testing.assert_close(unbiased, plain.running_var, rtol=1e-4, atol=1e-5)
    norm.running_var.copy_(plain.running_var)
    torch.testing.assert_close(norm.eval()(x), plain.eval()(x), rtol=1e-4, atol=1e-5)


def test_convolutions_ignore_the_values_of_padding():
    torch.manual_seed(0)
    block, x = Convolutions(3, (4, 5), (8, 3)), torch.randn(3, 7, 3)
    padding = (torch.arange(7) >= LENGTHS.unsqueeze(1)).unsqueeze(-1)
    first, second = (block(x.masked_fill(padding, value), LENGTHS) for value in (0.0, 9e9))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert not first.masked_select(padding).any() and first.masked_select(~padding).any()


def test_an_empty_row_pools_to_zeros():
    for kind in POOLS:
        x = torch.zeros(2, 3, 4) if kind == "last" else torch.randn(2, 3, 4)
        assert (Pool(kind, 4)(x, torch.tensor([0, 2]))[0] == 0).all(), kind


def test_n_grams_are_averaged_and_added():
    tokens = TokenEmbedding(6, 4, buckets=5).eval()
    assert tokens.parts is not None
    subwords = Subwords(torch.tensor([[1, 0]]), torch.tensor([3, 0, 4]), torch.tensor([0, 1]))
    x = TextInputs(torch.tensor([[2, 1]]), subwords)
    expected = tokens.own.weight[[2, 1]] + torch.stack(
        [(tokens.parts.weight[0] + tokens.parts.weight[4]) / 2, tokens.parts.weight[3]]
    )
    torch.testing.assert_close(tokens(x)[0], expected)


def test_word_dropout_hides_words_and_never_padding():
    tokens = TokenEmbedding(9, 4, word_dropout=0.9).train()
    with torch.no_grad():
        tokens.own.weight.copy_(torch.arange(9.0).unsqueeze(1).expand(9, 4))
    found = tokens(TextInputs(torch.tensor([[5] * 500 + [0]])))[0, :, 0]
    assert found[-1] == 0 and set(found[:-1].tolist()) == {1.0, 5.0}


def test_attribution_is_gradient_times_input():
    torch.manual_seed(0)
    readers = Ensemble(
        [SequenceClassifier(2, 3, recurrent={"hidden_size": 4}, pool="mean") for _ in range(2)]
    )
    batch = Batch(torch.randn(2, 5, 2), lengths=torch.tensor([5, 3]))
    found = readers.attribution(batch, torch.tensor([1, 2]))
    assert found.shape == (2, 5, 2) and (found[1, 3:] == 0).all() and found[0].abs().sum() > 0
    assert all(p.grad is None for p in readers.parameters())
    scores = readers(batch)[0]
    shares = readers.combine(scores).exp()
    torch.testing.assert_close(shares, scores.softmax(-1).mean(1))


def test_every_member_of_the_ensemble_has_its_own_vectors():
    torch.manual_seed(0)
    made = [SequenceClassifier(4, 3, recurrent={"hidden_size": 2}, pool="max") for _ in range(2)]
    readers = Ensemble(made, [TokenEmbedding(6, 4), TokenEmbedding(6, 4)])
    batch = Batch(TextInputs(torch.tensor([[2, 3], [4, 0]])), lengths=torch.tensor([2, 1]))
    scores = readers(batch)[0]
    assert scores.shape == (2, 2, 3)
    scores[:, 1].sum().backward()
    first, second = (next(tokens.parameters()).grad for tokens in readers.embeddings)
    assert first is None or not first.any()
    assert second is not None and second[2:5].any()
    torch.testing.assert_close(scores[:, 0], made[0](readers.embed(batch)[0], batch.lengths))
    found, (x, other) = readers.attribution(batch, torch.tensor([0, 1])), readers.embed(batch)
    one, two = (
        torch.autograd.grad(reader(each, batch.lengths)[[0, 1], [0, 1]].sum(), each)[0] * each / 2
        for reader, each in zip(made, (x, other), strict=True)
    )
    torch.testing.assert_close(found, one + two)


@pytest.mark.parametrize("labels", ["multiclass", "multilabel", "token"])
def test_the_loss_counts_a_row_by_its_weight(labels: str):
    torch.manual_seed(0)
    shape = {"multiclass": (3,), "multilabel": (3, 2), "token": (3, 4)}[labels]
    y = torch.randint(2, shape)
    if labels == "token":
        y[1, 2:] = IGNORED
    output = torch.randn(3, 1, *([4] if labels == "token" else []), 2)
    y = y.float() if labels == "multilabel" else y
    weight = torch.rand(shape) + 0.5
    plain = float(cross_entropy(output, Batch(None, y)))
    if labels == "token":
        real = y != IGNORED
        expected = torch.nn.functional.cross_entropy(output[:, 0][real], y[real])
        assert plain == pytest.approx(float(expected)), "padding does not count"
    assert float(cross_entropy(output, Batch(None, y, weight=torch.ones(shape)))) == pytest.approx(plain)
    assert float(cross_entropy(output, Batch(None, y, weight=3 * torch.ones(shape)))) == pytest.approx(
        3 * plain
    )
    assert float(cross_entropy(output, Batch(None, y, weight=weight))) != pytest.approx(plain)


def test_stacked_frames_hold_every_step_and_padding_changes_nothing() -> None:
    x = torch.arange(10.0).view(1, 5, 2)
    assert stack_frames(x, 2).tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 0]]]
    reader = SequenceClassifier(
        2, 3, recurrent={"hidden_size": 4}, pool="max", filters=(4,), kernel_sizes=(3,), frame=2
    ).eval()
    padded = torch.cat([x, torch.zeros(1, 6, 2)], 1)
    torch.testing.assert_close(reader(padded, torch.tensor([5])), reader(x))
    reader = SequenceClassifier(2, 3, recurrent={"hidden_size": 4}, pool="max", whole=7).eval()
    torch.testing.assert_close(reader(padded, torch.tensor([5])), reader(x))
    assert not reader(x.flip(1)).equal(reader(x)) and reader.head.in_features == 4 + 4


def test_a_member_learns_nothing_from_its_fold() -> None:
    scores = torch.randn(4, 2, 3, requires_grad=True)
    weight = torch.tensor([[0.0, 2.0], [2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
    y = torch.tensor([0, 1, 2, 0])
    loss = cross_entropy(scores, Batch(None, y, weight=weight))
    (gradient,) = torch.autograd.grad(loss, scores)
    assert (gradient.abs().sum(2) > 0).equal(weight > 0)
    torch.testing.assert_close(
        loss, torch.nn.functional.cross_entropy(scores[weight > 0], y), rtol=1e-5, atol=1e-5
    )
