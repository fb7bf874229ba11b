"""Windows and forecasts of a stream equal those of whole tables."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import longspan as ls
from longspan.tasks.forecast import windows
from longspan.tasks.forecast.panel import Origins
from longspan.tasks.forecast.series_buffer import SeriesBuffer
from longspan.tasks.forecast.streaming import read_row

pytestmark = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")


def table(rows: int, begin: int = 0, name: str = "a") -> pl.DataFrame:
    at = np.arange(begin, begin + rows)
    values = 5 + np.sin(at / 4) + 0.05 * np.random.default_rng(begin).normal(size=rows)
    times = [datetime(2024, 1, 1) + timedelta(hours=int(one)) for one in at]
    words = ["up" if one % 3 else "down" for one in at]
    return pl.DataFrame(
        {
            "id": name,
            "kind": name,
            "time": times,
            "y": values,
            "other": -values,
            "load": at % 5,
            "word": words,
            "push": at % 7,
        }
    )


OPTIONS: list[dict[str, Any]] = [
    {"target": ("y", "other")},
    {"target": "y", "horizon": 3, "past_covariates": ("load", "word"), "future_covariates": "push"},
    {"target": "y", "offset": "season", "season_length": 6, "transform": "log", "calendar": False},
    {"target": "y", "static_covariates": "kind", "scaling": "window", "distribution": "normal"},
]


def fitted(**options: Any) -> ls.Forecaster:
    small: dict[str, Any] = {"horizon": 1, "context_length": 12, "hidden_size": 4, "epochs": 1}
    source = pl.concat([table(200), table(200, 30, "b")])
    return ls.Forecaster(**{**small, "id": "id", "time": "time", **options}).fit(source, verbose=0)


@pytest.mark.parametrize("options", OPTIONS)
def test_a_window_built_row_by_row_equals_the_tables(options: dict[str, Any]) -> None:
    task = fitted(**options)
    encoder, rows = task.codec_.encoder, table(90, 200).filter(~pl.int_range(pl.len()).is_in([40, 41, 60]))
    panel = task.panel(rows, encoder.template, need_target=False)
    buffer = SeriesBuffer.from_panel(encoder, panel.cut(panel.starts[:1], np.array([30])))
    for row in rows[30:].to_dicts():
        parsed, _ = read_row(encoder.template, row, buffer.end)
        _, buffer = task.fitted_.running.step(parsed, "a", buffer)
        last = Origins(panel, np.array([parsed.step - int(panel.first[0])]))
        seen = panel.cut(panel.starts[:1], last.rows + 1)  # what comes later is not known yet
        place = windows.window_index(Origins(seen, last.rows))
        expected = encoder.encode(seen, place, encoder.statistics.of_name("a"), with_targets=False).x
        window = task.fitted_.running._window(buffer, buffer.count - 1).x
        assert all(torch.equal(one, other) for one, other in zip(window, expected, strict=True))


@pytest.mark.parametrize("options", OPTIONS)
def test_a_stream_equals_the_table_and_continues_from_its_saved_state(options: dict[str, Any]) -> None:
    task, rows = fitted(**options), table(150, 200)
    expected, _ = task.predict_stream(rows)
    _, state = task.predict_stream(rows[:30])
    answers = []
    for place, row in enumerate(rows[30:].to_dicts()):
        if place % 50 == 20:
            state = SeriesBuffer.from_state(task.codec_.encoder, state.state())
        quantiles, state = task.step(row, state)
        answers.append(quantiles)
    np.testing.assert_allclose(np.stack(answers), expected[30:], rtol=1e-4)
