"""The detector's networks give the same predictions step by step and over a whole series, for every cell."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from longspan.data import Batch
from longspan.networks.encoder import CELL_NAMES
from longspan.tasks.anomaly.network import (
    Autoencoder,
    EncodedReading,
    NextStepPredictor,
    Outputs,
    Predictor,
    mixed_loss,
)
from longspan.tasks.anomaly.reading import Reading

SIZES: dict[str, Any] = {"inputs": 5, "numbers": 2, "categories": [3], "context": 6}


def made(kind: type[NextStepPredictor | Autoencoder], cell: str, layers: int = 1) -> Predictor:
    torch.manual_seed(0)
    return kind(SIZES, 4, {"cell": cell, "num_layers": layers, "dropout": 0.0}).eval()


def series(network: Predictor, x: torch.Tensor) -> tuple[torch.Tensor, Any]:
    expected, state = network.predict_series(Batch(x[None]))
    return expected.float(), state


def step(network: Predictor, row: list[float], state: Any) -> tuple[Any, Any]:
    return network.step(EncodedReading(Reading([], [], None, None), row), state)


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("kind", [NextStepPredictor, Autoencoder])
@torch.no_grad()
def test_predictions_step_by_step_equal_those_of_the_series(
    kind: type[NextStepPredictor | Autoencoder], cell: str
) -> None:
    network, x = made(kind, cell, layers=2), torch.randn(20, 5)
    expected, after = series(network, x[:12])
    state, again = network.initial_state(), []
    for row in x[:12].tolist():
        found, state = step(network, row, state)
        again.append([math.nan] * 5 if found is None else found)
    assert expected.shape == (12, 5)
    nothing = 1 if kind is NextStepPredictor else SIZES["context"] - 1
    assert expected[:nothing].isnan().all() and not expected[nothing:].isnan().any()
    torch.testing.assert_close(torch.tensor(again), expected, equal_nan=True)
    whole = series(network, x)[0]
    for place, row in enumerate(x[12:].tolist(), start=12):
        found, after = step(network, row, after)
        torch.testing.assert_close(torch.tensor(found), whole[place], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_series_shorter_than_a_window_is_only_buffered() -> None:
    network, x = made(Autoencoder, "LSTM"), torch.randn(8, 5)
    expected, state = series(network, x[:4])
    assert expected.isnan().all() and len(state) == 4
    found, _ = step(network, x[5].tolist(), step(network, x[4].tolist(), state)[1])
    torch.testing.assert_close(torch.tensor(found), series(network, x[:6])[0][5])


def test_the_loss_leaves_out_missing_targets() -> None:
    numbers, logits = torch.tensor([[[1.0, 5.0], [2.0, 5.0]]]), torch.zeros(1, 2, 3)
    targets = torch.tensor([[[0.0, 9.0, 2.0], [5.0, 9.0, 0.0]]])
    weight = torch.tensor([[[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]])
    for squared, off in ((False, 1.0 + 3.0), (True, 1.0 + 9.0)):
        found = mixed_loss(Outputs(numbers, [logits]), targets, weight, squared=squared)
        assert found.item() == pytest.approx((off + math.log(3.0)) / 3.0)
    assert mixed_loss(Outputs(numbers, [logits]), targets, 0 * weight, squared=True).item() == 0.0
