"""The values that a page shows under the pointer are those of its charts."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import numpy as np
import pytest

from longspan.report.elements import Band, BarChart, HeatMap, Line, LineChart
from longspan.report.figures import render

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


def values_of(element: object) -> dict:
    return json.loads(render(element, "figure-1").values)


def test_curves_have_their_points_and_the_frame_of_the_plot() -> None:
    hours = [datetime(2024, 2, 29) + timedelta(hours=n) for n in range(5)]
    band = Band("model 90 %", hours[3:], [1.0, 2.0], [3.0, 4.0])
    chart = LineChart("", "time", "", [Line("actual", hours, [1.0, None, 3.0, 4.0, 5.5])], [band])
    values = values_of(chart)
    assert values["time"] and values["curves"][0]["n"] == "actual" and values["curves"][0]["c"] == "ink"
    first, step, count = values["curves"][0]["s"]
    assert (first, round(step * 24, 4), count) == (19_782.0, 1.0, 5)
    assert values["curves"][0]["y"] == [1.0, None, 3.0, 4.0, 5.5]
    assert values["curves"][1]["y"] == [1.0, 2.0] and values["curves"][1]["z"] == [3.0, 4.0]
    for left, top, width, height in values["boxes"].values():
        assert 0 < left < 0.3 and 0 <= top < 0.2 and 0.6 < width <= 1 - left and 0.4 < height <= 1 - top


def test_grids_and_bars_have_their_labels() -> None:
    times = np.array(["2024-01-01T00:00", "2024-01-01T06:00"], "datetime64[m]")
    grid = values_of(HeatMap("", "time", "unit", times, [[0.25, 1.0]]))
    assert grid["columns"] == ["2024-01-01 00:00", "2024-01-01 06:00"] and grid["rows"] == ["1"]
    assert grid["cells"] == [[0.25, 1.0]]
    bars = values_of(BarChart("", ["a", "b"], {"here": [1, 2], "there": [None, 4]}))
    assert bars["curves"][1] == {"n": "there", "c": "hue2", "y": [None, 4.0]}


def test_a_name_cannot_end_the_script() -> None:
    chart = LineChart("", "x", "", [Line("</script><b>", [1, 2], [1, 2])])
    assert "</script>" not in render(chart, "figure-1").values
    assert values_of(chart)["curves"][0]["n"] == "</script><b>"
