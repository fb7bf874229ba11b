"""A detector with a Forecaster inside: predictions, streams, saving, and what it refuses."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import longspan as ls
from longspan.errors import LongspanWarning
from longspan.training import CheckpointConfig, LambdaCallback

INNER: dict[str, Any] = {"horizon": 1, "hidden_size": 8, "epochs": 3, "context_length": 24}


def wave(rows: int, seed: int = 0) -> np.ndarray:
    return np.sin(np.arange(rows) / 5) + 0.05 * np.random.default_rng(seed).normal(size=rows)


def loaded(path: Path) -> ls.AnomalyDetector:
    task = ls.load(path)
    assert isinstance(task, ls.AnomalyDetector)
    return task


@pytest.fixture(scope="module")
def given() -> ls.Forecaster:
    return ls.Forecaster(**INNER)


@pytest.fixture(scope="module")
def fitted(given: ls.Forecaster) -> ls.AnomalyDetector:
    return ls.AnomalyDetector(forecaster=given).fit(wave(800), verbose=0)


def expected_of(task: ls.AnomalyDetector, source: Any) -> np.ndarray:
    (batch,) = task.batches(task.codec_, task.read(source, use="predict"), train=False)
    return task.network_.predict(batch).numpy()


def test_predictions_are_those_of_the_forecaster_inside(
    fitted: ls.AnomalyDetector, given: ls.Forecaster, tmp_path: Path
) -> None:
    inner = fitted.forecaster_
    assert isinstance(inner, ls.Forecaster) and not hasattr(given, "codec_") and given.target == ()
    alone = ls.Forecaster(**INNER, target="channel 0").fit(pl.DataFrame({"channel 0": wave(800)}), verbose=0)
    assert inner.predict()["point"].item() == alone.predict()["point"].item()
    series = wave(300, 1)
    found = alone.backtest(pl.DataFrame({"channel 0": series}), 1)["point"].to_numpy()
    codec = fitted.codec_
    expected = expected_of(fitted, series)[1:, 0]
    assert np.isnan(expected[:23]).all(), "no whole context before them"
    again = np.sinh(expected) * codec.features.scale[0] + codec.features.center[0]
    assert np.allclose(again[23:], found[23:], atol=1e-5)
    fitted.save(tmp_path / "model")
    after = loaded(tmp_path / "model")
    assert after.forecaster_ is not None and after.forecaster_.predict().equals(inner.predict())
    assert after.get_params()["forecaster"].get_params() == given.get_params()
    assert after.predict(series).equals(fitted.predict(series))


def test_a_stop_within_the_range_is_found(fitted: ls.AnomalyDetector) -> None:
    series = wave(500, 1)
    assert len(fitted.alarms(series)) == 0
    series[300:340] = series[300]
    assert fitted.alarms(series)["start"].is_between(300, 350).all() and len(fitted.alarms(series)) == 1


def test_the_stream_continues_after_loading(fitted: ls.AnomalyDetector, tmp_path: Path) -> None:
    fitted.save(tmp_path / "start")
    straight, broken = loaded(tmp_path / "start"), loaded(tmp_path / "start")
    whole, again = wave(900)[800:].tolist(), []
    for place, value in enumerate(whole):
        if place == 50:
            broken.save(tmp_path / "middle")
            broken = loaded(tmp_path / "middle")
        again.append(broken.update(value))
    assert again == [straight.update(value) for value in whole]
    assert not any(alarm for _, alarm in again) and straight.update(9.0)[1]


def machines(rows: int, begin: int, names: str = "ab") -> pl.DataFrame:
    """Hourly readings of machines at work from eight to six: load, a mode that is no number, and a gap."""
    parts = []
    for seed, name in enumerate(names):
        times = [datetime(2024, 1, 1) + timedelta(hours=begin + at) for at in range(rows)]
        draw = np.random.default_rng([seed, begin])
        load = np.array([5.0 if 8 <= time.hour < 18 else 1.0 for time in times]) + 0.1 * draw.normal(
            size=rows
        )
        load[7] = np.nan
        mode = ["day" if 8 <= time.hour < 18 else "night" for time in times]
        table = pl.DataFrame({"time": times, "unit": name, "load": load, "heat": load + 1.0, "mode": mode})
        parts.append(table.filter(pl.int_range(pl.len()) != 30))
    return pl.concat(parts)


@pytest.fixture(scope="module")
def plant() -> ls.AnomalyDetector:
    task = ls.AnomalyDetector(
        forecaster=ls.Forecaster(**INNER, future_covariates="mode"), id="unit", target=("load",)
    )
    with pytest.warns(LongspanWarning, match="missing in the 1 h grid"):
        return task.fit(machines(600, 0), verbose=0)


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
def test_one_by_one_gives_what_predict_gives_with_entities_gaps_and_covariates(
    plant: ls.AnomalyDetector,
) -> None:
    assert plant.forecaster_ is not None
    assert plant.notes_ and plant.forecaster_.codec_.encoder.template.ids == ("a", "b")
    new = machines(120, 700, "c")
    one_by_one = [plant.update(row)[0] for row in new.to_dicts()]
    assert np.allclose(one_by_one, plant.predict(new)["score"].to_numpy(), atol=1e-4)


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
def test_known_anomalies_are_missing_values_to_the_forecaster() -> None:
    series, flags = wave(800), np.zeros(800, dtype=bool)
    series[300:310], flags[300:310] = 50.0, True
    task = ls.AnomalyDetector(forecaster=ls.Forecaster(**INNER)).fit(series, flags, verbose=0)
    assert task.forecaster_ is not None
    assert task.forecaster_.codec_.encoder.statistics.table.scale[0, 0] < 1.0
    assert task.evaluate(series, flags)["f1"] == 1.0


def test_the_typical_width_is_the_median_over_the_training_data(fitted: ls.AnomalyDetector) -> None:
    widths = expected_of(fitted, wave(800))[:, 1]
    scorer: Any = fitted.codec_.scorer
    assert scorer.typical_width == [pytest.approx(np.nanmedian(widths), rel=1e-6)]
    new_widths = expected_of(fitted, wave(300, 1))[:, 1]
    assert scorer.typical_width[0] == pytest.approx(np.nanmedian(new_widths), rel=0.25)


def refused(said: str, source: Any = None, **options: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=said) as error:
        ls.AnomalyDetector(**options).fit(wave(200) if source is None else source, verbose=0)
    assert str(error.value).count(". ") == 0 and str(error.value).endswith(".")


def test_options_that_do_not_fit_are_refused_in_one_sentence(plant: ls.AnomalyDetector) -> None:
    one = ls.Forecaster(**INNER)
    refused("forecaster: expected one with a horizon of 1, received 24", forecaster=ls.Forecaster())
    refused("forecaster: expected none to reconstruct", forecaster=one, method="autoencoder")
    refused("forecaster: expected a Forecaster, or text for one", forecaster=3)
    refused("option: expected one of the options of Forecaster, received 'contxt'", forecaster="contxt=3")
    refused("expected a whole number", forecaster="context_length=many")
    refused("expected the detector's id, received its own id", forecaster=ls.Forecaster(**INNER, id="unit"))
    refused("no static", forecaster=ls.Forecaster(**INNER, static_covariates="unit"))
    refused("one series, or entities with names", [wave(99), wave(99)], forecaster=one)
    table = machines(99, 0, "a").drop("unit")
    refused("columns of numbers, with a forecaster, load, heat", table, forecaster=one, target=("mode",))
    refused("a column of numbers to foretell", table.select("time", "mode"), forecaster=one)
    row = {"unit": "a", "load": 1.0, "heat": 1.0, "mode": "day"}
    for time in (datetime(2024, 2, 10, 10, 30), None):
        with pytest.raises(ValueError, match="time: expected"):
            plant.update({**row, "unit": "d", "time": time})
    plant.update({**row, "unit": "d", "time": datetime(2024, 2, 10, 10)})
    with pytest.raises(ValueError, match=r"time: expected one after the last reading's"):
        plant.update({**row, "unit": "d", "time": datetime(2024, 2, 10, 10)})


def test_the_cause_is_the_channel_that_deviates() -> None:
    both = np.column_stack([wave(600), wave(600, 1)])
    task = ls.AnomalyDetector(forecaster="context_length=24 hidden_size=8 epochs=3")
    task.fit(both[:500], validation_data=both[500:], verbose=0)
    new = np.column_stack([wave(300, 2), wave(300, 3)])
    new[150:160, 1] = 4.0
    assert {cause.split(", ")[0] for cause in task.alarms(new)["cause"]} == {"channel 1"}
    assert task.forecaster_ is not None
    assert task.update([0.0, 9.0])[1] and task.forecaster_.get_params()["target"] == (
        "channel 0",
        "channel 1",
    )


def test_an_interrupted_fit_resumes_to_the_same_forecaster(given: ls.Forecaster, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(epoch: int, logs: Any) -> None:
        if epoch == 1:
            raise Killed

    task = ls.AnomalyDetector(forecaster=given)
    with pytest.raises(Killed):
        callback = LambdaCallback(on_epoch_end=kill)
        task.fit(
            wave(300),
            verbose=0,
            resume=CheckpointConfig(tmp_path / "checkpoint", steps=1),
            callbacks=[callback],
        )
    steps: list[int] = []
    count = LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    task.fit(
        wave(300), verbose=0, resume=CheckpointConfig(tmp_path / "checkpoint", steps=1), callbacks=[count]
    )
    whole = ls.AnomalyDetector(forecaster=given).fit(wave(300), verbose=0)
    assert task.predict(wave(200, 1)).equals(whole.predict(wave(200, 1)))
    assert len(steps) < 3 * len(whole.history_.history["loss"])
