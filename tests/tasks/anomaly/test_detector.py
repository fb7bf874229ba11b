"""AnomalyDetector finds planted anomalies, streams the scores that it predicts, and refuses bad input."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

import longspan as ls
from longspan import errors
from longspan.tasks.anomaly.scoring import MIN_THRESHOLD

SMALL: dict[str, Any] = {"hidden_size": 8, "epochs": 10, "context_length": 40}


def wave(rows: int, seed: int = 0) -> np.ndarray:
    return np.sin(np.arange(rows) / 5) + 0.05 * np.random.default_rng(seed).normal(size=rows)


@pytest.fixture(scope="module")
def fitted() -> ls.AnomalyDetector:
    return ls.AnomalyDetector(**SMALL).fit(wave(800), verbose=0)


def test_a_planted_stop_is_one_alarm(fitted: ls.AnomalyDetector) -> None:
    series = wave(500, 1)
    series[300:320] = 2.5
    found = fitted.predict(series)
    assert found.columns == ["time", "score", "alarm", "cause"] and len(found) == 500
    assert not found["alarm"][:300].any() and found["alarm"][300]
    alarms = fitted.alarms(series)
    first = alarms.row(0, named=True)
    assert first["start"] == 300 and first["end"] >= 301 and first["cause"] == "channel 0"
    assert first["severity"] == pytest.approx(found["score"].max())


def test_a_value_within_the_range_is_found_by_its_context(fitted: ls.AnomalyDetector) -> None:
    series = wave(500, 1)
    series[300:340] = series[300]
    assert (np.abs(series[300:340]) < 1.0).all()
    alarms = fitted.alarms(series)
    assert alarms["start"].is_between(300, 345).any()


@pytest.mark.parametrize("method", ["forecast", "autoencoder"])
def test_update_gives_the_scores_of_predict(method: str) -> None:
    task = ls.AnomalyDetector(**{**SMALL, "id": "name", "context_length": 20}, method=method)
    parts = [pl.DataFrame({"name": n, "y": wave(300, s)}) for s, n in enumerate("ab")]
    task.fit(pl.concat(parts), verbose=0)
    new = parts[0].head(120).with_columns(name=pl.lit("new"), y=pl.Series([None, *wave(119, 5).tolist()]))
    one_by_one = [task.update(row)[0] for row in new.to_dicts()]
    assert np.allclose(one_by_one, task.predict(new)["score"].to_numpy(), atol=1e-4)


def loaded(path: Path) -> ls.AnomalyDetector:
    task = ls.load(path)
    assert isinstance(task, ls.AnomalyDetector)
    return task


def test_the_stream_continues_after_loading(fitted: ls.AnomalyDetector, tmp_path: Path) -> None:
    fitted.save(tmp_path / "start")
    task = loaded(tmp_path / "start")
    whole, again = wave(900)[800:].tolist(), []
    expected = [loaded(tmp_path / "start").update(value) for value in whole[:1]]
    for place, value in enumerate(whole):
        if place == 50:
            task.save(tmp_path / "middle")
            task = loaded(tmp_path / "middle")
        again.append(task.update(value))
    straight = loaded(tmp_path / "start")
    assert again == [straight.update(value) for value in whole] and again[:1] == expected
    assert not any(alarm for _, alarm in again)


def test_a_lasting_shift_stops_raising_alarms() -> None:
    task = ls.AnomalyDetector(**SMALL, history=200).fit(wave(600), verbose=0)
    alarms = [task.update(value)[1] for value in (wave(800, 2) + 4.0).tolist()]
    assert any(alarms[:10]) and sum(alarms[500:]) < 15


@pytest.mark.parametrize("rate", [0.0, 0.005, 0.01])
def test_at_most_the_false_positive_rate_of_held_out_readings_are_alarms(rate: float) -> None:
    series, options = np.random.default_rng(0).normal(size=4000), {**SMALL, "epochs": 1, "history": 100}
    task = ls.AnomalyDetector(**options, false_positive_rate=rate, validation_fraction=0.5)
    task.fit(series, verbose=0)
    scorer: Any = task.codec_.scorer
    allowed = int(rate * 2000)
    assert scorer.held_out == {"readings": 2000, "over": scorer.held_out["over"], "allowed": allowed}
    (batch,) = task.batches(task.codec_, task.read(series), train=False)
    predicted = task.codec_.predicted(task.read(series)[0], task.network_.predict(batch).detach())
    scores, _, _ = scorer.run(scorer.new_state(), predicted, training=True)
    false_alarms = int((scores[2000:] >= scorer.threshold).sum())
    assert scorer.threshold > MIN_THRESHOLD and false_alarms == scorer.held_out["over"] == allowed


def events(rows: int, odd: int | None) -> pl.DataFrame:
    draw = np.random.default_rng(rows)
    place = ["home" if at % 2 else "work" for at in range(rows)]
    amount = draw.normal(20, 2, rows)
    if odd is not None:
        place[odd] = "abroad"
    return pl.DataFrame({"timestamp": list(range(rows)), "place": place, "amount": amount})


def test_an_unknown_category_is_named_as_the_cause() -> None:
    task = ls.AnomalyDetector(**{**SMALL, "epochs": 20}, target=("place",)).fit(events(600, None), verbose=0)
    found = task.predict(events(300, 200))
    assert found["alarm"][200] and found["cause"][200] == "place"
    assert found["time"].to_list() == list(range(300))


def test_bad_input_is_one_sentence(fitted: ls.AnomalyDetector, tmp_path: Path) -> None:
    make = ls.AnomalyDetector
    dead = np.column_stack([wave(200), np.full(200, np.nan)])
    with pytest.raises(
        ValueError, match=r"column channel 1: expected at least one number, received NaN only"
    ):
        make(**SMALL).fit(dead, verbose=0)
    with pytest.raises(ValueError, match=r"target: expected of the columns"):
        make(**SMALL, target=("nothing",)).fit(wave(100), verbose=0)
    with pytest.raises(ValueError, match=r"at least 5 readings"):
        make(**SMALL).fit(wave(3), verbose=0)
    with pytest.raises(ValueError, match=r"finite numbers"):
        make(**SMALL).fit([1.0, np.inf, 2.0, 3.0, 4.0, 5.0], verbose=0)
    with pytest.raises(ValueError, match=r"label: expected the column with the known anomalies"):
        fitted.evaluate(wave(100))
    with pytest.raises(ValueError, match=r"reading: expected 1 values, received 2"):
        fitted.update([1.0, 2.0])
    with pytest.raises(FileNotFoundError, match=r"expected a table"):
        make().fit(str(tmp_path / "none.csv"))
    task = make(**SMALL).fit(events(200, None), verbose=0)
    task.update({"timestamp": 500, "place": "home", "amount": 20.0})
    with pytest.raises(
        ValueError, match=r"time: expected one not before the last reading's \(500\), received 499"
    ):
        task.update({"timestamp": 499, "place": "work", "amount": 20.0})
    with pytest.raises(ValueError, match=r"none called amount"):
        task.update({"timestamp": 501, "place": "work"})


def test_validation_data_may_be_a_source_of_its_own_without_flags() -> None:
    task = ls.AnomalyDetector(**SMALL).fit(wave(300), validation_data=wave(100, 1), verbose=0)
    assert len(task.history_.history["val_loss"]) == len(task.history_.history["loss"])


def table(**columns: Any) -> pl.DataFrame:
    """Forty readings of x, at times 0 to 39, not flagged, with columns replaced or added."""
    plain: dict[str, Any] = {"time": range(40), "x": wave(40), "bad": [0] * 40, "who": ["a", "b"] * 20}
    return pl.DataFrame({**plain, **columns})


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        (table(bad=pl.Series([None] * 40, dtype=pl.Int64)), {"label": "bad"}, "received no value in any row"),
        (table(bad=["no"] * 40), {"label": "bad"}, "label bad: expected numbers, received 'no' in row 1"),
        (table(bad=[1] * 40), {"label": "bad"}, "flags: expected readings that are no known anomaly"),
        (table().drop("bad"), {"label": "bad"}, "label: expected a column of source"),
        (table(who=[None] + ["a"] * 39), {"id": "who"}, "column who: expected an entity in every row"),
        (
            table(time=[None, *range(39)]),
            {},
            "column time: expected a time in every row, received none in row 1",
        ),
        (
            table(time=["noon"] * 40),
            {},
            "column time: expected dates, date-times or numbers, received 'noon'",
        ),
        (table(time=["2024-01-01"] * 39 + ["noon"]), {}, "times in one form, received 'noon' in row 40"),
        (table().select("time"), {}, "at least one column to watch"),
        ([], {}, "source: expected at least one row, received no data"),
        (["a"] * 9, {}, r"source: expected numbers \(T,\) or \(T, C\)"),
    ],
)
def test_sources_that_cannot_be_learnt_from_are_one_sentence(source: Any, options: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        ls.AnomalyDetector(**SMALL, **options).fit(source, verbose=0)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_columns_are_matched_by_name_and_missing_ones_are_refused(tmp_path: Path) -> None:
    task = ls.AnomalyDetector(**SMALL).fit(table(), verbose=0)
    usual = task.predict(table())
    with pytest.warns(errors.LongspanWarning, match="Left out, since fit did not have them: more"):
        mixed = task.predict(table(more=1.0).select("who", "more", "x", "bad", "time"))
    assert mixed.equals(usual)
    with pytest.raises(ValueError, match="source: expected the column x that fit had, received bad, who"):
        task.predict(table().drop("x"))
    with pytest.raises(ValueError, match="column x: expected numbers, as in fit, received 'high'"):
        task.predict(table(x=[None, "high"] * 20))
    with pytest.raises(ValueError, match=r"'x' in row 2; .* or name the column by categorical="):
        ls.AnomalyDetector(**SMALL).fit(table(who=["7", "x"] * 20), verbose=0)
    codes = ls.AnomalyDetector(**SMALL, categorical=("who",)).fit(table(who=["7", "x"] * 20), verbose=0)
    numbers = codes.predict(table(who=[7] * 40))
    assert numbers.equals(codes.predict(table(who=["7"] * 40))), "a column that happens to hold numbers"


def test_dates_are_ordered_as_dates_whatever_they_look_like() -> None:
    times = [f"{place % 28 + 1}.{place // 28 + 1}.2024" for place in range(40)]
    task = ls.AnomalyDetector(**SMALL)
    in_order: Any = task.read(table(time=times))[0].times
    assert in_order == times
    with pytest.warns(errors.LongspanWarning, match="sorted"):
        in_order = task.read(table(time=times[::-1]))[0].times
    assert in_order == times


def test_missing_or_uniform_flags_give_a_warning(fitted: ls.AnomalyDetector) -> None:
    gaps = table(bad=[None, 1] + [0] * 38)
    with pytest.warns(errors.LongspanWarning, match="1 of 40 readings have no bad; they count as ordinary"):
        ls.AnomalyDetector(**SMALL, label="bad").read(gaps)
    with pytest.warns(errors.LongspanWarning, match="No reading is flagged"):
        fitted.evaluate(wave(200), np.zeros(200))
    with pytest.raises(ValueError, match="y: expected flags, 1 or 0, received could not convert"):
        fitted.evaluate(wave(3), ["yes", "no", "no"])
    with pytest.raises(ValueError, match="y: expected 2 arrays of flags, received 6"):
        ls.AnomalyDetector(**SMALL).fit([wave(9), wave(9)], [0] * 6, verbose=0)


def test_stream_times_that_cannot_be_ordered_are_refused(fitted: ls.AnomalyDetector, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    task = loaded(tmp_path / "model")
    expected = "time: expected a number, or a date and time such as 2024-01-31 18:00, received '31/1/2024'"
    with pytest.raises(ValueError, match=expected):
        task.update(0.0, time="31/1/2024")
    first = task.update(0.0, time=7)
    with pytest.raises(ValueError, match=r"one like the last reading's \(7\), received '2024-01-31'"):
        task.update(0.0, time="2024-01-31")
    with pytest.raises(ValueError, match="not before the last"):
        task.update(0.0, time=float("nan"))
    again = loaded(tmp_path / "model")
    assert again.update(0.0, time=7) == first
    assert task.update(0.1, time=8) == again.update(0.1, time=8), "what was refused has left no trace"


def test_unsorted_times_are_sorted_with_a_note() -> None:
    frame = events(200, None)
    with pytest.warns(errors.LongspanWarning, match="order of timestamp"):
        task = ls.AnomalyDetector(**SMALL).fit(frame.reverse(), verbose=0)
    assert task.notes_ == ["The rows were not in the order of timestamp and have been sorted."]


def flagged_wave(rows: int, bad: slice, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    series, flags = wave(rows, seed), np.zeros(rows, dtype=bool)
    series[bad], flags[bad] = 2.5, True
    return series, flags


def test_known_anomalies_are_left_out_of_training() -> None:
    series, flags = flagged_wave(600, slice(300, 310))
    task = ls.AnomalyDetector(**SMALL).fit(series, flags, verbose=0)
    assert task.evaluate(series, flags) == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    again = flagged_wave(400, slice(200, 205), 3)[0]
    assert task.alarms(again)["start"].to_list() == [200]


def test_flags_given_as_y_belong_to_their_rows() -> None:
    parts, known = [], []
    for place, name in enumerate("ab"):
        series, flags = flagged_wave(300, slice(100 + 50 * place, 110 + 50 * place), place)
        parts.append(pl.DataFrame({"time": range(300), "name": name, "y": series}))
        known.append(flags)
    frame = pl.concat(parts).with_columns(bad=np.concatenate(known)).sort("time", maintain_order=True)
    task = ls.AnomalyDetector(**SMALL, id="name")
    mixed = task.read(frame.drop("bad"), frame["bad"].to_numpy())
    assert [np.flatnonzero(flags)[0] for flags in task.codec().truth(mixed)] == [100, 150]
    inside = ls.AnomalyDetector(**SMALL, id="name", label="bad").read(frame)
    both = zip(task.codec().truth(mixed), task.codec().truth(inside), strict=True)
    assert all(np.array_equal(one, other) for one, other in both)
    with pytest.raises(ValueError, match="y: expected 600 flags, received 3"):
        task.read(frame.drop("bad"), np.zeros(3))
    with pytest.raises(ValueError, match="y: expected 300 and 300 flags, received 300 and 2"):
        task.read([wave(300), wave(300)], [np.zeros(300), np.zeros(2)])


@pytest.fixture(scope="module")
def dynamic() -> ls.AnomalyDetector:
    return ls.AnomalyDetector(**SMALL, threshold="dynamic", min_gap=2).fit(wave(2400), verbose=0)


def test_the_dynamic_threshold_finds_a_stop_in_long_telemetry(dynamic: ls.AnomalyDetector) -> None:
    series = wave(3500, 1)
    series[2800:2860] = series[2800]
    alarms = dynamic.alarms(series)
    assert len(alarms) == 1 and alarms["cause"][0] == "channel 0"
    assert alarms["start"][0] < 2860 and alarms["end"][0] >= 2800
    assert len(dynamic.alarms(wave(3500, 2))) == 0


def test_a_higher_false_positive_rate_lowers_the_noise_floor(
    dynamic: ls.AnomalyDetector,
) -> None:
    loose = ls.AnomalyDetector(**SMALL, threshold="dynamic", false_positive_rate=0.5).fit(
        wave(2400), verbose=0
    )
    low, high = cast(Any, loose.codec_.scorer), cast(Any, dynamic.codec_.scorer)
    assert 0.0 < low.noise_floor[0] < high.noise_floor[0]


def test_dynamic_alarms_continue_after_loading(dynamic: ls.AnomalyDetector, tmp_path: Path) -> None:
    dynamic.save(tmp_path / "model")
    series = wave(2900)[2400:]
    series[200:260] = 3.0
    straight, broken = loaded(tmp_path / "model"), loaded(tmp_path / "model")
    found, again = [], []
    for place, value in enumerate(series.tolist()):
        found.append(straight.update(value))
        if place == 230:
            broken.save(tmp_path / "middle")
            broken = loaded(tmp_path / "middle")
        again.append(broken.update(value))
    assert found == again
    over = [alarm for _, alarm in found]
    assert any(over[200:340]) and not any(over[:200])


def test_a_report_shows_scores_and_alarms(fitted: ls.AnomalyDetector, dynamic: ls.AnomalyDetector) -> None:
    for task in (fitted, dynamic):
        titles = [one.title for one in task.sections(wave(300, 1))]
        assert [one for one in titles if one != "Held-out part"][:3] == ["Summary", "Readings", "Alarms"]
        assert task.sections()[0].title == "Summary"


def test_the_cause_is_the_channel_that_deviates() -> None:
    both = np.column_stack([wave(600), wave(600, 1)])
    task = ls.AnomalyDetector(**SMALL).fit(both, verbose=0)
    new = np.column_stack([wave(300, 2), wave(300, 3)])
    new[150:160, 1] = 4.0
    assert {cause.split(", ")[0] for cause in task.alarms(new)["cause"]} == {"channel 1"}
    assert task.update([0.0, 9.0])[1]


@pytest.mark.parametrize(
    ("first", "later", "before"),
    [
        (999, 1000.5, 998.5),
        ("2024-05-01T09:00:00", datetime(2024, 5, 1, 10), "2024-05-01 08:59:00"),
        (np.datetime64("2024-05-01T09:00"), "2024-05-01T09:00:00.500000", datetime(2024, 5, 1, 9)),
        ("2024-05-01T09:00:00+02:00", "2024-05-01T08:00:00+00:00", "2024-05-01T09:30:00+02:00"),
    ],
)
def test_times_of_any_kind_have_to_be_in_order(
    fitted: ls.AnomalyDetector, first: object, later: object, before: object, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "model")
    task = loaded(tmp_path / "model")
    task.update(0.0, time=first)
    task.update(0.0, time=later)
    task.save(tmp_path / "model")
    with pytest.raises(ValueError, match="sort the readings by time before they are fed"):
        loaded(tmp_path / "model").update(0.0, time=before)


def test_columns_outside_the_target_are_inputs_and_never_a_cause() -> None:
    table = np.column_stack([wave(400), wave(400, 1), (np.arange(400) % 9 == 0).astype(float)])
    task = ls.AnomalyDetector(**SMALL, target=("channel 0",)).fit(table, verbose=0)
    assert task.codec_.sizes["inputs"] == 3 + 2 + 2 and task.codec_.features.monitored == ["channel 0"]
    new = table[:200].copy()
    new[150:160, 0] = 4.0
    assert set(task.predict(new)["cause"].drop_nulls()) == {"channel 0"}
