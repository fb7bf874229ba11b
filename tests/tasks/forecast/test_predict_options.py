"""A forecast at another horizon or other levels, cross-validation, and the plot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from longspan import Forecaster

SMALL: dict[str, Any] = {"horizon": 6, "context_length": 16, "epochs": 1}
SERIES = np.sin(np.arange(220) / 4) + 0.01 * np.arange(220)


@pytest.fixture(scope="module")
def model() -> Forecaster:
    return Forecaster(**SMALL).fit(SERIES, verbose=0)


def test_a_shorter_horizon_is_the_beginning_of_the_trained_one(model: Forecaster) -> None:
    whole, short = model.predict(), model.predict(horizon=2)
    assert len(whole) == 6 and short.equals(whole.head(2))
    with pytest.raises(ValueError, match="horizon: expected at most 6, the horizon of fit, received 7"):
        model.predict(horizon=7)
    with pytest.raises(ValueError, match="horizon"):
        model.predict(horizon=0)


def test_levels_between_the_trained_ones_are_interpolated(model: Forecaster) -> None:
    whole = model.predict()
    other = model.predict(quantiles=(0.25, 0.5, 0.6, 0.95))
    assert other.columns == ["time", "target", "point", "q0.25", "q0.5", "q0.6", "q0.95"]
    for level in ("q0.25", "q0.95"):
        assert np.allclose(other[level], whole[level])
    assert np.allclose(other["q0.5"], whole["point"])
    assert ((other["q0.6"] > other["q0.5"]) & (other["q0.6"] < whole["q0.75"])).all()
    with pytest.raises(ValueError, match=r"quantiles: expected levels from 0.05 to 0.95.*received 0.99"):
        model.predict(quantiles=[0.99])


def test_another_option_is_refused(model: Forecaster) -> None:
    with pytest.raises(ValueError, match="option: expected horizon or quantiles, received 'beam_size'"):
        model.predict(beam_size=3)


@pytest.mark.parametrize("refit", [True, False])
def test_each_fold_is_forecast_from_the_rows_before_it(refit: bool) -> None:
    frame = Forecaster(**SMALL).cross_validate(SERIES, folds=2, stride=5, refit=refit)
    assert isinstance(frame, pl.DataFrame) and frame["origin"].unique(maintain_order=True).to_list() == [
        208,
        213,
    ]
    assert np.allclose(frame["actual"], [*SERIES[209:215], *SERIES[214:220]])
    alone = Forecaster(**SMALL).fit(SERIES[: 214 if refit else 209], verbose=0)
    again = alone.backtest(SERIES, 214)
    assert np.allclose(frame["point"].tail(6), again["point"])


def test_folds_answer_in_the_library_of_the_source() -> None:
    times = pd.date_range("2024-01-01", periods=100, freq="D")
    table = pd.concat([pd.DataFrame({"unique_id": n, "ds": times, "y": SERIES[:100] + n}) for n in (1, 2)])
    frame = Forecaster(**SMALL).cross_validate(table, folds=1)
    assert isinstance(frame, pd.DataFrame) and list(frame.columns[:3]) == ["origin", "unique_id", "ds"]
    assert len(frame) == 12
    with pytest.raises(ValueError, match="source: expected more than 156 rows for 26 folds"):
        Forecaster(**SMALL).cross_validate(table, folds=26)


def test_the_plot_shows_the_rows_before_and_the_forecast(model: Forecaster) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from matplotlib.figure import Figure

    axes = model.plot(axes=Figure().add_subplot())
    actual, forecast = axes.lines
    assert list(actual.get_ydata()) == pytest.approx(SERIES[-24:].tolist(), abs=1e-5)
    assert list(forecast.get_ydata()) == pytest.approx(model.predict()["point"].to_list())
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "actual",
        "forecast",
        "90 %",
        "50 %",
    ]
    with pytest.raises(ValueError, match="target"):
        model.plot(target="none", axes=axes)
