"""Pictures of gates show what they are given."""

from __future__ import annotations

import torch

from longspan.report import charts
from longspan.report.elements import HeatMap, LineChart


def test_gates_have_a_row_a_unit_and_a_column_a_step() -> None:
    layer = {"f": torch.rand(2, 5, 3), "c": torch.randn(2, 5, 3)}
    shown = charts.gates([layer, layer], list(range(15, 20)), [0.0] * 5, "value")
    assert list(shown.options) == ["layer 1", "layer 2"]
    parts = shown.options["layer 2"]
    assert isinstance(parts, list)
    seen, gate, state = parts
    assert isinstance(seen, LineChart) and list(seen.lines[0].x) == [15, 16, 17, 18, 19]
    assert isinstance(gate, HeatMap) and isinstance(state, HeatMap)
    assert gate.title == "forget gate (f)" and (gate.low, gate.high) == (0.0, 1.0)
    assert gate.values.shape == (3, 5) and state.low is None
