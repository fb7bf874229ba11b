"""The share of a linear model of series is what records that trained neither part say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from longspan.data.labels import Labels
from longspan.tasks.classify.normalization import fit_best_encoder
from longspan.tasks.classify.series_encoder import MixedInput, SeriesEncoder
from longspan.tasks.classify.series_head import SeriesHead


def waves(count: int = 30) -> tuple[list[np.ndarray], Tensor, Labels]:
    draw = np.random.default_rng(0)
    y = [row % 2 for row in range(count)]
    x = [np.sin((0.5, 1.1)[label] * np.arange(24) + draw.uniform(0, 6))[:, None] for label in y]
    return x, torch.tensor(y), Labels().fit(y)


def fitted() -> tuple[SeriesHead, list[np.ndarray], Tensor]:
    x, y, labels = waves()
    torch.manual_seed(0)
    return SeriesHead(SeriesEncoder().fit(x, with_length=True), labels).fit(x, y), x, y


def test_rows_left_out_are_recognised_and_the_share_follows_the_better_part() -> None:
    head, x, y = fitted()
    assert (head.left_out.argmax(1) == y).float().mean() > 0.9
    mixed = head.select_left_out(torch.randn(30, 2), y)
    assert (mixed.argmax(1) == head.left_out.argmax(1)).all(), "networks that guess"
    head.share = 0.25
    expected = 0.25 * head.scores(x) + 0.75 * torch.ones(30, 2) / head.network_temperature
    torch.testing.assert_close(head.combine(torch.ones(30, 2), x), expected, rtol=1e-4, atol=1e-4)
    head.left_out = torch.randn(30, 2)
    mixed = head.select_left_out(5.0 * F.one_hot(y, 2), y)
    assert head.share <= 0.5 and (mixed.argmax(1) == y).all(), "networks that are right"


def test_the_share_is_the_middle_one_where_all_are_as_good() -> None:
    head, _, y = fitted()
    sure = 50.0 * F.one_hot(y, 2)
    head.left_out = sure
    head.select_left_out(sure, y)
    assert head.share == 0.5


def test_series_that_are_shifted_in_time_are_told_by_their_neighbours() -> None:
    draw = np.random.default_rng(0)
    y = torch.arange(40) % 2
    x = [draw.normal(size=(30, 1)) * 0.1 for _ in y]
    for values, label in zip(x, y.tolist(), strict=True):
        values[draw.integers(5, 9) :] += 1
        values[draw.integers(20, 24) :] -= 1 + label
    torch.manual_seed(0)
    head = SeriesHead(SeriesEncoder().fit(x, with_length=True), Labels().fit(y.tolist())).fit(x, y)
    assert head.nearest is not None and head.nearest.window > 0 and len(head.weights) == 3
    assert (head.nearest.left_out.argmax(1) == y).all() and (head.left_out.argmax(1) == y).all()


def test_a_saved_head_gives_the_same_scores() -> None:
    head, x, y = fitted()
    head.select_left_out(torch.randn(30, 2), y)
    again = SeriesHead.from_state(head.state(), head.encoder, head.labels)
    assert again.combine(torch.ones(30, 2), x).equal(head.combine(torch.ones(30, 2), x))


def test_the_steps_that_tell_the_class_stand_out() -> None:
    draw = np.random.default_rng(0)
    y = torch.arange(40) % 2
    x = [draw.normal(size=(60, 1)) * 0.1 for _ in y]
    for values, label in zip(x, y.tolist(), strict=True):
        values[30:40] += label * np.sin(np.arange(10))[:, None]
    labels = Labels().fit(y.tolist())
    torch.manual_seed(0)
    head = SeriesHead(SeriesEncoder().fit(x, with_length=True), labels).fit(x, y)
    head.share = 1.0
    weights = head.attribution(torch.zeros(40, 60, 1), x, y)
    ones = weights[y == 1].mean(0)
    assert ones[28:42].mean() > 3 * ones[:20].abs().mean()


def test_the_normalization_is_the_one_by_which_rows_left_out_are_told_apart() -> None:
    draw = np.random.default_rng(0)
    x, _, _ = waves()
    levels = draw.normal(size=len(x))
    moved = [values + level for values, level in zip(x, levels, strict=True)]
    by_level = torch.from_numpy(levels > 0).long()
    labels = Labels().fit(by_level.tolist())
    torch.manual_seed(0)
    head = fit_best_encoder(SeriesEncoder(), moved, by_level, None, labels=labels)
    assert head.encoder.normalization == "channel"
    forced = fit_best_encoder(SeriesEncoder(), moved, by_level, None, labels=labels, normalization="series")
    assert forced.encoder.normalization == "series"
    assert head.left_out_loss(by_level) < 0.8 * forced.left_out_loss(by_level)


@pytest.mark.parametrize("with_series", [False, True])
def test_static_values_alone_can_tell_the_class(with_series: bool) -> None:
    draw = np.random.default_rng(0)
    y = torch.arange(40) % 2
    labels = Labels().fit(y.tolist())
    records = [
        MixedInput(draw.normal(size=(12, 1)) if with_series else None, ("ab"[label],)) for label in y.tolist()
    ]
    torch.manual_seed(0)
    head = fit_best_encoder(SeriesEncoder(), records, y, None, labels=labels, static=("kind",))
    assert (head.left_out.argmax(1) == y).all()
    assert (head.scores(records).argmax(1) == y).all()
