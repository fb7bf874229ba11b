"""The benchmark of quantized models runs, and checks parity with plain PyTorch before it measures."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch


@pytest.mark.slow
def test_it_measures_after_parity(
    benchmark_module: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    quantized = benchmark_module("quantized")
    assert quantized.main(["--quick", "--cells", "GRU"]) == 0
    words = capsys.readouterr().out
    assert "Parity: the largest difference of h" in words
    assert "GRU, step, B=1, 1 thread(s)" in words and "forecast" in words and "classify" in words


def test_it_refuses_over_a_red_parity(
    benchmark_module: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quantized = benchmark_module("quantized")
    plain = quantized.plain_lstm_step

    def wrong(layer: object, x: torch.Tensor, *state: torch.Tensor) -> object:
        h, c = plain(layer, x, *state)
        return h + 1e-3, c

    monkeypatch.setattr(quantized, "plain_lstm_step", wrong)
    assert quantized.main(["--quick"]) == 1
    assert "Parity failed" in capsys.readouterr().out
