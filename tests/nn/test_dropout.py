"""Dropout keeps the mean in training and does nothing elsewhere."""

from __future__ import annotations

import pytest
import torch

from longspan.nn.dropout import Dropout


def test_dropout_keeps_the_mean_and_is_off_where_it_should_be():
    torch.manual_seed(2)
    x, drop = torch.ones(400, 100), Dropout(0.3)
    out = drop(x)
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert float((out == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert drop.eval()(x) is x
    assert Dropout(1.0)(x).count_nonzero() == 0 and torch.equal(Dropout(0.0)(x), x)
