"""The benchmark of the output layer runs, checks parity first and says what it measured on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import pytest
import torch


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_it_measures_after_parity(
    benchmark_module: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    output = benchmark_module("output")
    assert output.main(["--quick", "--threads", "1"]) == 0
    words = capsys.readouterr().out
    assert words.startswith("cpu: ") and "Parity: the largest relative difference" in words
    assert "Output layer, 1 thread(s)" in words


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_step_needs_a_small_part_of_the_pairs_memory(
    benchmark_module: Callable[[str], ModuleType],
) -> None:
    output = benchmark_module("output")
    size = (1500, 32, 4000)  # logits of 23 MiB
    assert output.memory("ours", size) < output.memory("pair", size) / 4


def test_it_refuses_over_a_red_parity(
    benchmark_module: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = benchmark_module("output")
    monkeypatch.setattr(
        output, "ours", lambda x, weight, bias, target: output.pair(x, weight, bias, target) * 1.01
    )
    assert output.main(["--quick"]) == 1
    assert "nothing is measured" in capsys.readouterr().out
    assert torch.is_grad_enabled()
