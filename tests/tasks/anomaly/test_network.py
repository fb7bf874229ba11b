"""The networks that expect readings: a reading at a time gives what a whole series gives, for every cell."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from longspan.networks.encoder import CELL_NAMES
from longspan.tasks.anomaly.network import Expecting, Foreteller, Mirror, mean_error

SIZES: dict[str, Any] = {"inputs": 5, "numbers": 2, "categories": [3], "context": 6}


def made(kind: type[Foreteller | Mirror], cell: str, layers: int = 1) -> Expecting:
    torch.manual_seed(0)
    return kind(SIZES, 4, {"cell": cell, "num_layers": layers, "dropout": 0.0}).eval()


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("kind", [Foreteller, Mirror])
@torch.no_grad()
def test_step_by_step_gives_what_a_series_gives(kind: type[Foreteller | Mirror], cell: str) -> None:
    network, x = made(kind, cell, layers=2), torch.randn(20, 5)
    expected, after = network.follow(x[:12])
    state, again = None, []
    for row in x[:12].tolist():
        found, state = network.step(row, state)
        again.append([math.nan] * 5 if found is None else found)
    assert expected.shape == (12, 5)
    nothing = 1 if kind is Foreteller else SIZES["context"] - 1
    assert expected[:nothing].isnan().all() and not expected[nothing:].isnan().any()
    torch.testing.assert_close(torch.tensor(again), expected, equal_nan=True)
    whole = network.follow(x)[0]
    for place, row in enumerate(x[12:].tolist(), start=12):
        found, after = network.step(row, after)
        torch.testing.assert_close(torch.tensor(found), whole[place], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_series_shorter_than_a_window_is_only_kept() -> None:
    network, x = made(Mirror, "LSTM"), torch.randn(8, 5)
    expected, state = network.follow(x[:4])
    assert expected.isnan().all() and len(state) == 4
    found, _ = network.step(x[5].tolist(), network.step(x[4].tolist(), state)[1])
    torch.testing.assert_close(torch.tensor(found), network.follow(x[:6])[0][5])


def test_the_error_counts_what_is_there() -> None:
    numbers, logits = torch.tensor([[[1.0, 5.0], [2.0, 5.0]]]), torch.zeros(1, 2, 3)
    targets = torch.tensor([[[0.0, 9.0, 2.0], [5.0, 9.0, 0.0]]])
    weight = torch.tensor([[[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]])
    for squared, off in ((False, 1.0 + 3.0), (True, 1.0 + 9.0)):
        found = mean_error((numbers, [logits]), targets, weight, squared=squared)
        assert found.item() == pytest.approx((off + math.log(3.0)) / 3.0)
    assert mean_error((numbers, [logits]), targets, 0 * weight, squared=True).item() == 0.0
