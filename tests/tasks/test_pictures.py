"""Pictures of series, forecasts, classes and gates show what they are given."""

from __future__ import annotations

import numpy as np
import torch

from longspan.data.forecasts import Forecasts
from longspan.data.panel import Columns, Origins, Panel, read_panel
from longspan.tasks import pictures
from longspan.tasks.exhibits import Choice, Curves, HeatMap, Marked


def panel(series: int = 1, rows: int = 30) -> Panel:
    return read_panel([np.arange(float(rows)) + 100 * place for place in range(series)], Columns())


def found(of: Panel, rows: list[int]) -> Forecasts:
    points = np.zeros((len(rows), 4, 1))
    spread = points[..., None] + np.array([-1.0, 0.0, 1.0])
    scale, origins = np.ones((len(rows), 1)), Origins(of, np.array(rows))
    return Forecasts(points, spread, points + 1, points + 2, points + 3, scale, origins, (0.1, 0.5, 0.9))


def test_a_series_alone_is_no_choice() -> None:
    one = pictures.series(panel())
    assert isinstance(one, Curves) and list(one.lines[0].y) == list(range(30))
    many = pictures.series(panel(9))
    assert isinstance(many, Choice) and len(many.options) == 6 and next(iter(many.options)) == "0"


def test_forecasts_stand_after_what_was_known() -> None:
    ahead = pictures.next_forecasts(found(panel(), [28]))
    assert isinstance(ahead, Curves) and ahead.title == "value from here on"
    known, model, season = ahead.lines
    assert list(known.x)[-1] == 29 and list(model.x) == [28, 29, 30, 31] and list(season.y) == [3] * 4
    assert ahead.marks[0][0] == 27 and [band.name for band in ahead.bands] == ["model 80 %"]
    past = pictures.past_forecasts(found(panel(2), [10, 20, 40]))
    assert list(past.options) == ["0 9", "0 19", "1 9"]


def test_scores_beside_those_of_the_plain_forecasts() -> None:
    names = [
        f"{rival}{kind}"
        for rival in ("", "naive_", "seasonal_naive_")
        for kind in ("mae", "rmse", "smape", "mase")
    ]
    table = pictures.against(dict(zip(names, range(12), strict=True)))
    assert [list(row) for row in table.rows] == [
        ["model", 0, 1, 2, 3], ["last value", 4, 5, 6, 7], ["last season", 8, 9, 10, 11]
    ]  # fmt: skip
    curves = pictures.by_step(found(panel(), [10]))
    assert [(line.name, list(line.y)) for line in curves.lines] == [
        ("model", [1.0] * 4), ("last value", [1.0] * 4), ("last season", [2.0] * 4)
    ]  # fmt: skip
    assert pictures.covered(found(panel(), [10])).rows == [["80 %", "100.0 %", 2.0]]


def test_gates_have_a_row_a_unit_and_a_column_a_step() -> None:
    layer = {"f": torch.rand(2, 5, 3), "c": torch.randn(2, 5, 3)}
    shown = pictures.gates([layer, layer], panel(), 20)
    assert list(shown.options) == ["layer 1", "layer 2"]
    parts = shown.options["layer 2"]
    assert isinstance(parts, list)
    seen, gate, state = parts
    assert isinstance(seen, Curves) and list(seen.lines[0].x) == [15, 16, 17, 18, 19]
    assert isinstance(gate, HeatMap) and isinstance(state, HeatMap)
    assert gate.title == "forget gate (f)" and (gate.low, gate.high) == (0.0, 1.0)
    assert gate.values.shape == (3, 5) and state.low is None


def test_a_class_has_its_precision_and_recall() -> None:
    classes, answers, truths = ["a", "b", "c"], np.array([0, 0, 1]), np.array([0, 1, 1])
    matrix = pictures.confusion(classes, answers, truths)
    assert np.array_equal(np.asarray(matrix.values), [[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    said, there = (np.eye(3, dtype=bool)[one] for one in (answers, truths))
    assert pictures.by_class(classes, said, there).rows == [
        ["a", 1, 0.5, 1.0, 2 / 3], ["b", 2, 1.0, 0.5, 2 / 3], ["c", 0, None, None, None]
    ]  # fmt: skip


def test_how_often_answers_are_right_stands_over_how_sure_they_are() -> None:
    answers, perfect = pictures.reliability([(0.55, 0.4, 7), (0.95, 1.0, 3)]).lines
    assert (list(answers.x), list(answers.y)) == ([0.55, 0.95], [0.4, 1.0]) and perfect.style == "dash"


def test_words_that_mattered_are_marked_and_steps_are_a_curve() -> None:
    words = pictures.mattered(["yes"], [[("good", 1.0), (7, -0.5)]], words=True)
    assert isinstance(words, Marked) and words.texts == [("yes", [("good", 1.0), ("7", -0.5)])]
    steps = pictures.mattered(["up", "down"], [[(0, 0.1), (1, 1.0)], [(0, -1.0)]], words=False)
    assert isinstance(steps, Curves) and [line.name for line in steps.lines] == [
        "record 0: up",
        "record 1: down",
    ]
    assert (list(steps.lines[0].x), list(steps.lines[0].y)) == ([0, 1], [0.1, 1.0])
