"""Forecaster: sources, options, covariates, intervals, back-tests, streams, saving and errors."""

from __future__ import annotations

import re
import warnings
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import longspan as ls
from longspan import errors
from longspan.tasks.forecast.forecaster import Forecaster

quiet = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(**options: Any) -> Forecaster:
    usual: dict[str, Any] = {"horizon": 3, "context_length": 12, "hidden_size": 4, "epochs": 1}
    return Forecaster(**{**usual, **options})


def wave(rows: int = 120, begin: int = 0) -> np.ndarray:
    steps = np.arange(begin, begin + rows)
    return 5 + np.sin(2 * np.pi * steps / 8) + 0.02 * np.random.default_rng(begin).standard_normal(rows)


def times(rows: int = 120, begin: int = 0) -> list[datetime]:
    return [datetime(2024, 1, 1) + timedelta(hours=begin + step) for step in range(rows)]


def table(rows: int = 120, begin: int = 0) -> pl.DataFrame:
    return pl.DataFrame({"time": times(rows, begin), "y": wave(rows, begin)})


@quiet
def test_every_format_of_a_table_gives_the_same_forecast(tmp_path: Path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = table()
    frame.write_csv(tmp_path / "a.csv")
    frame.write_csv(tmp_path / "a.tsv", separator="\t")
    frame.write_csv(tmp_path / "b.csv", separator=";")
    frame.write_parquet(tmp_path / "a.parquet")
    other = pandas.DataFrame({"time": pandas.to_datetime(times()), "y": wave()})
    found = [
        small().fit(source, verbose=0).predict()
        for source in (frame, other, *(tmp_path / name for name in ("a.csv", "a.tsv", "b.csv", "a.parquet")))
    ]
    assert isinstance(found.pop(1), pandas.DataFrame), "answers come in the kind of the source"
    assert all(one.equals(found[0]) for one in found[1:])
    back = small().fit(other, verbose=0).predict()
    assert {name: back[name].tolist() for name in back} == found[0].to_dict(as_series=False)
    assert found[0].columns == ["time", "target", "point", "q0.05", "q0.25", "q0.75", "q0.95"]
    assert found[0]["time"].to_list() == times(3, 120) and found[0]["target"].to_list() == ["y"] * 3
    array = small(calendar=False, season_length=1).fit(wave(), verbose=0).predict()
    listed = small(calendar=False, season_length=1).fit([float(v) for v in wave()], verbose=0).predict()
    assert array.equals(listed) and array["time"].to_list() == [120, 121, 122]


@quiet
def test_long_and_wide_tables_give_the_same_forecast():
    a, b = wave(), 3 * wave(begin=4)
    wide = pl.DataFrame({"time": times(), "a": a, "b": b})
    long = wide.unpivot(index="time", variable_name="name", value_name="y")
    one = small(target=("a", "b"), seed=1).fit(wide, verbose=0).predict()
    two = small(target="y", id="name", seed=1).fit(long, verbose=0).predict()
    assert two.columns[:4] == ["name", "time", "target", "point"] and one.height == two.height == 6
    assert one["target"].to_list() == two["name"].to_list() == ["a"] * 3 + ["b"] * 3
    assert np.allclose(one["point"], two["point"], rtol=0.1)
    both = small().fit(np.stack([a, b], 1), verbose=0).predict()
    assert both["target"].to_list() == ["0"] * 3 + ["1"] * 3


@quiet
def test_covariates_of_every_kind_are_read():
    random = np.random.default_rng(0)
    rows = 400
    push = random.integers(0, 2, rows).astype(float)
    word = np.where(random.integers(0, 2, rows) == 1, "up", "down")
    y = 4 * push + np.where(word == "up", 2.0, -2.0)
    frame = pl.DataFrame(
        {
            "name": ["a"] * 200 + ["b"] * 200,
            "time": times(200) * 2,
            "y": y + 0.05 * random.standard_normal(rows),
            "push": push,
            "word": word,
            "other": random.standard_normal(rows),
            "kind": ["x"] * 200 + ["z"] * 200,
            "size": [1.0] * 200 + [2.0] * 200,
        }
    )
    parts: dict[str, Any] = {
        "future_covariates": ("push", "word"),
        "past_covariates": ("other",),
        "static_covariates": ("kind", "size"),
    }
    f = small(target="y", id="name", epochs=40, patience=None, learning_rate=0.01, batch_size=32, **parts)
    f.fit(frame, verbose=0)
    ahead = frame.with_columns(pl.when(pl.col("time") >= times()[100]).then(None).otherwise("y").alias("y"))
    cut = ahead.filter(pl.col("time") < times()[103])
    found = f.predict(cut)
    truth = frame.filter((pl.col("time") >= times()[100]) & (pl.col("time") < times()[103]))["y"].to_numpy()
    assert np.abs(found["point"].to_numpy() - truth).mean() < 0.6 < np.abs(truth - truth.mean()).mean()
    with pytest.raises(
        ValueError,
        match=r"future_covariates: expected push, word for the 3 steps .* of series 'a', received 2 steps",
    ):
        f.predict(ahead.filter(pl.col("time") < times()[102]))


@quiet
@pytest.mark.parametrize("cell", ["GRU", "RNN", "peephole", "slstm"])
def test_every_cell_is_an_option(cell: str):
    assert small(cell=cell).fit(table(), verbose=0).predict().height == 3


@quiet
@pytest.mark.parametrize("output", ["normal", "laplace", "logistic"])
def test_every_distribution_gives_ordered_intervals_and_beats_the_baseline(output: str):
    f = small(distribution=output, quantiles=(0.1, 0.9), epochs=6).fit(table(400), verbose=0)
    found = f.predict()
    assert (found["q0.1"] < found["point"]).all() and (found["point"] < found["q0.9"]).all()
    assert f.evaluate(table(60, 400))["mase"] < 1


@quiet
def test_gaps_are_masked_not_filled():
    frame = table(300)
    holes = frame.with_row_index().filter(pl.col("index") % 7 != 3).drop("index")
    with pytest.warns(errors.LongspanWarning, match="rows are missing in the 1 h grid"):
        f = small(epochs=3).fit(holes, verbose=0)
    assert f.codec_.encoder.has_gaps and f.codec_.encoder.sizes["values"] == 3
    values = frame.with_columns(pl.when(pl.int_range(pl.len()) % 7 == 3).then(None).otherwise("y").alias("y"))
    assert small(epochs=3).fit(values, verbose=0).predict().equals(f.predict())
    batch = next(iter(f.batches(f.codec_, f.read(holes), train=False)))
    _, seen, since = batch.x[0].unbind(-1)
    assert 0 < (seen == 0).float().mean() < 0.3
    assert torch.equal(since[seen == 1], torch.zeros_like(since[seen == 1])) and (since[seen == 0] > 0).all()


@quiet
def test_update_continues_without_training():
    f = small().fit(table(120), verbose=0)
    weights = {name: value.clone() for name, value in f.network_.state_dict().items()}
    for step in range(5):
        f.update(table(1, 120 + step))
    assert all(torch.equal(weights[name], value) for name, value in f.network_.state_dict().items())
    found = f.predict()
    assert found["time"].to_list() == times(3, 125)
    whole = f.predict(pl.concat([table(120), *(table(1, 120 + step) for step in range(5))]))
    assert np.allclose(found["point"], whole["point"], rtol=1e-5)
    with pytest.raises(ValueError, match="source: expected rows after the last ones"):
        f.update(table(2, 120))


@quiet
def test_the_state_of_update_is_saved(tmp_path: Path):
    f = small().fit(table(120), verbose=0).update(table(2, 120))
    f.save(tmp_path / "model")
    loaded = ls.load(tmp_path / "model")
    assert isinstance(loaded, Forecaster)
    assert loaded.predict().equals(f.predict())
    assert loaded.update(table(1, 122)).predict().equals(f.update(table(1, 122)).predict())


@quiet
def test_backtest_is_rolling_and_refits_nothing():
    f = small(horizon=3).fit(table(120), verbose=0)
    data = table(160)
    found = f.backtest(data, start="2024-01-06 00:00", stride=2)
    assert found.columns[:4] == ["origin", "time", "target", "point"] and found.columns[-1] == "actual"
    assert found["time"][0] == datetime(2024, 1, 6) and found["origin"][0] == datetime(2024, 1, 5, 23)
    assert found["time"][3] - found["time"][0] == timedelta(hours=2)
    assert found["actual"].to_list()[:3] == data["y"].to_list()[120:123]
    assert f.backtest(data, start=120, stride=2).equals(found) and f.backtest(
        data, start=-40, stride=2
    ).equals(found)
    one = f.predict(data[:120])
    assert np.allclose(one["point"], found["point"][:3], rtol=1e-5)
    with pytest.raises(
        ValueError, match="start: expected a row or time with 3 rows from it on, received 159"
    ):
        f.backtest(data, start=159)


@quiet
def test_later_rows_do_not_change_a_forecast():
    f = small().fit(table(120), verbose=0)
    data = table(160)
    changed = data.with_columns(pl.when(pl.int_range(pl.len()) >= 140).then(99.0).otherwise("y").alias("y"))
    one, other = (
        f.backtest(d, start=120).filter(pl.col("origin") < data["time"][140]) for d in (data, changed)
    )
    assert one.drop("actual").equals(other.drop("actual")) and one.height > 50


@quiet
def test_intervals_have_their_nominal_coverage():
    noise = np.random.default_rng(3).standard_normal(3000)
    series = np.convolve(noise, [1, 0.7, 0.3], "valid")
    f = small(context_length=16, epochs=4).fit(series[:2000], verbose=0)
    found = f.evaluate(series[2000:])
    assert 0.86 < found["coverage_90"] < 0.94 and 0.44 < found["coverage_50"] < 0.56
    assert 0.85 < f.codec_.validation_scores["coverage_90"] < 0.95


def test_a_model_worse_than_the_last_value_warns():
    walk = np.cumsum(np.random.default_rng(0).standard_normal(200))
    walk[160:] = walk[160]  # nothing beats the last value of what stands still
    words = "does not beat repeating the last value on the held-out part"
    with pytest.warns(errors.LongspanWarning, match=words):
        f = small(learning_rate=0.5, patience=None, epochs=2).fit(walk, verbose=0)
    assert any(words in note for note in f.notes_)


@quiet
def test_intervals_of_a_random_walk_keep_their_coverage_far_ahead():
    inside = []
    for seed in range(6):
        walk = np.cumsum(np.random.default_rng(seed).standard_normal(300))
        f = small(horizon=12, context_length=None, epochs=2).fit(walk[:240], verbose=0)
        found = f.backtest(walk, start=240)
        bounds = (found["q0.05"] <= found["actual"]) & (found["actual"] <= found["q0.95"])
        inside.append(bounds.to_numpy().reshape(-1, 12))
    coverage = np.concatenate(inside).mean(0)
    assert 0.8 < coverage.mean() < 0.97 and coverage[-3:].mean() > 0.8


@quiet
def test_rows_outside_the_range_of_training_are_noticed():
    f = small().fit(wave(), verbose=0)
    words = r"leave the range of the training part in value \(\d+% of the values\)"
    for ask in (lambda rows: f.evaluate(rows), lambda rows: f.backtest(rows, 20)):
        with pytest.warns(errors.LongspanWarning, match=words):
            ask(2 * wave(60, 120))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ask(wave(60, 120))
        assert not [one for one in caught if "leave the range" in str(one.message)]


def test_a_constant_series_is_forecast_as_constant():
    with pytest.warns(errors.LongspanWarning, match="value is always 7; it is answered with that"):
        f = small().fit(np.full(100, 7.0), verbose=0)
    found = f.predict()
    assert (found["point"] == 7.0).all() and (found["q0.95"] == 7.0).all()


@quiet
def test_a_constant_target_is_answered_with_its_value_where_it_is_missing():
    series = [np.stack([wave(40), np.full(40, 7.0)], 1) for _ in range(2)]
    series[1][:, 1] = np.nan
    found = small().fit(series, verbose=0).predict()
    constant = found.filter(found["target"] == found["target"].unique(maintain_order=True)[1])
    assert constant["id"].n_unique() == 2 and (constant["point"] == 7.0).all()


@quiet
def test_many_constant_series_are_forecast_as_constant():
    f = small().fit([np.full(40, float(level)) for level in range(12)], verbose=0)
    found = f.predict()
    assert np.abs(found["point"].to_numpy() - found["id"].cast(float).to_numpy()).max() < 1e-6


@quiet
def test_series_without_a_known_value_are_left_out():
    values = {"a": [None] * 40, "b": wave(40).tolist(), "c": [None] * 40, "d": wave(40).tolist()}
    frame = pl.concat(
        pl.DataFrame({"id": name, "y": y}, {"id": str, "y": float}) for name, y in values.items()
    )
    f = small(id="id", target="y").fit(frame, verbose=0)
    for found in (f.predict(), f.predict(frame)):
        assert found["id"].unique(maintain_order=True).to_list() == ["b", "d"]
        assert found["point"][: len(found) // 2].equals(found["point"][len(found) // 2 :])


@quiet
def test_unsorted_times_are_sorted():
    frame = table()
    with pytest.warns(errors.LongspanWarning, match="not in order"):
        found = small().fit(frame.sample(fraction=1.0, shuffle=True, seed=1), verbose=0).predict()
    assert small().fit(frame, verbose=0).predict().equals(found)


@quiet
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "file .*: expected a table with a header, received an empty file"),
        ("time,y\n", "file .*: expected at least one row, received a header only"),
        ("time,y\n2024-01-01,1\n2024-01-02,x\n2024-01-03,2\n", "target y: expected numbers, received 'x'"),
        ("time,y\n2024-01-01,1\n2024-01-01,2\n", "time time: expected each time once, received 2024-01-01"),
        ("time,y\n2024-01-01,\n2024-01-02,\n", "target y: expected at least one number, received NaN"),
        ("time,y\n2024-01-01,1\n2024-01-02,inf\n", "target y: expected finite numbers, received inf"),
        (
            "time,y\n2024-01-01,1\n2024-02-30,2\n2024-03-01,2\n",
            "time time: expected times in one form, received '2024-02-30' in row 2",
        ),
        (
            "time,y\n2024-01-01 00:00:00,1\n2024-01-01 00:00:01,2\n2024-06-01 00:00:00,3\n",
            "time: expected times on a regular step",
        ),
    ],
)  # fmt: skip
def test_unusable_files_are_refused_in_one_sentence(text: str, words: str, tmp_path: Path):
    path = tmp_path / "data.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as error:
        small(target="y", time="time").fit(path, verbose=0)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


@quiet
def test_unusable_sources_are_refused_in_one_sentence(tmp_path: Path):
    table().write_csv(tmp_path / "data.csv")
    with pytest.raises(
        FileNotFoundError, match=r"expected a table, received nothing there; the nearest is 'data.csv'"
    ):
        small().fit(tmp_path / "date.csv")
    with pytest.raises(
        ValueError, match=r"target: expected a column of source .*received 'Y'; the nearest is 'y'"
    ):
        small(target="Y").fit(table())
    with pytest.raises(
        ValueError,
        match="least 41 rows for a horizon of 20, received 30; the largest horizon that works is 14",
    ):
        small(horizon=20, context_length=None).fit(wave(30))
    with pytest.raises(
        ValueError, match="and a context of 20, received 30; the largest horizon that works is 9"
    ):
        small(horizon=10, context_length=20).fit(wave(30))
    with pytest.raises(
        ValueError, match=re.escape("source: expected finite numbers, received inf at [5, 0]")
    ):
        small().fit(np.where(np.arange(50) == 5, np.inf, 1.0))
    with pytest.raises(ValueError, match=re.escape("from -1e+100 to 1e+100, received 1e+200 at [5, 0]")):
        small().fit(np.where(np.arange(50) == 5, 1e200, 1.0))
    with pytest.raises(ValueError, match="name the column of the series by id="):
        small(target="y").fit(pl.concat([table(), table()]))
    with pytest.raises(TypeError, match="source: expected a path to a table"):
        small().fit(7)
    with pytest.raises(ValueError, match="target: expected one column of numbers"):
        small().fit(table().with_columns(z=pl.col("y")))
    with pytest.raises(ValueError, match="y: expected none"):
        small().fit(table(), wave())


def growth(rows: int) -> np.ndarray:
    """Doubles every 40 rows, with a season of 8 that grows with it."""
    steps = np.arange(rows)
    noise = 0.02 * np.random.default_rng(0).standard_normal(rows)
    return np.exp(0.0173 * steps + 0.5 * np.sin(2 * np.pi * steps / 8) + noise)


@quiet
def test_exponential_growth_is_learnt_on_a_log_scale(tmp_path: Path):
    f = small(horizon=8, context_length=24, epochs=3).fit(growth(400)[:360], verbose=0)
    assert f.codec_.encoder.config.transform == "log" and f.codec_.encoder.positive
    found = f.backtest(growth(400), start=360)
    assert (found["q0.05"] > 0).all()
    plain = small(horizon=8, context_length=24, epochs=3, transform="none").fit(growth(400)[:360], verbose=0)
    other = plain.backtest(growth(400), start=360)
    gaps = [(one["point"] - one["actual"]).abs().mean() for one in (found, other)]
    assert gaps[0] < 0.9 * gaps[1]
    f.save(tmp_path / "model")
    assert ls.load(tmp_path / "model").backtest(growth(400), start=360).equals(found)  # pyright: ignore
    assert f.predict(np.append(growth(40), [0.0, -5.0]))["point"].is_finite().all()


@quiet
def test_a_transform_outside_its_domain_is_refused():
    with pytest.raises(ValueError, match="transform: expected one of none for these values, received 'log'"):
        small(transform="log").fit(wave() - 5, verbose=0)
    assert small(transform="sqrt").fit(wave(), verbose=0).codec_.encoder.config.transform == "sqrt"


@quiet
def test_intervals_adapt_to_recent_errors():
    random = np.random.default_rng(0)
    calm, wild = random.standard_normal(1000), 3 * random.standard_normal(1200)
    steps = [datetime(2024, 1, 1) + timedelta(hours=step) for step in range(2200)]
    frame = pl.DataFrame({"time": steps, "y": np.concatenate([calm, wild])})
    f = small(context_length=16, epochs=2, calendar=False).fit(frame[:1000], verbose=0)
    found = f.evaluate(frame[1000:])
    assert 0.84 < found["coverage_90"] < 0.95  # as they were learnt they would hold 0.42


@quiet
def test_many_series_are_trained_on_their_last_rows_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # by the errors before these rows are known, a share of the last value would be mixed in
    monkeypatch.setattr("longspan.tasks.forecast.codec.find_shares", lambda *_: {})
    random, rise = np.random.default_rng(0), np.maximum(np.arange(80) - 68, 0.0)
    # they rise from the twelfth row before the last on, in the validation part alone
    series = [height + rise + 0.1 * random.standard_normal(80) for height in range(12)]
    f = small(epochs=12, offset="last", scaling="series", transform="none").fit(series, verbose=0)
    change = f.predict().group_by("id", maintain_order=True).last()["point"].to_numpy()
    assert np.mean(change - [values[-1] for values in series]) > 1.5  # 3 is right; 0 without these rows
    optimism = f.codec_.optimism
    assert optimism is not None and (optimism >= 1).all() and optimism[-1] > 1.5
    f.save(tmp_path / "f.model")
    assert ls.load(tmp_path / "f.model").predict().equals(f.predict())
    assert small().fit(series[:9], verbose=0).codec_.optimism is None


@quiet
def test_many_series_that_fell_in_the_validation_part_go_on_from_there():
    random, fall = np.random.default_rng(0), np.exp(-0.2 * np.maximum(np.arange(80) - 66, 0))
    series = [height * fall * np.exp(0.01 * random.standard_normal(80)) for height in range(5, 17)]
    f = small(epochs=2, offset="last", transform="log", context_length=16).fit(series, verbose=0)
    first = f.predict().group_by("id", maintain_order=True).first()["point"].to_numpy()
    assert np.abs(first / [values[-1] for values in series] - 1).max() < 0.35
    floor = f.codec_.encoder.statistics.table.floor[:, 0]
    np.testing.assert_allclose(floor, [0.5 * values.min() for values in series])
    series[0][-1], series[1][-1] = 0.0, np.nan
    again = small(epochs=2, transform="log", context_length=16).fit(series, verbose=0)
    assert again.codec_.encoder.positive and again.predict()["point"].is_finite().all()


@quiet
def test_many_short_series_have_the_season_of_all_their_rows():
    random, shape = np.random.default_rng(0), np.array([0.0, 3.0, 1.0, -4.0])
    series = [shape[np.arange(20) % 4] + 0.2 * random.standard_normal(20).cumsum() for _ in range(12)]
    f = ls.Forecaster(horizon=8, hidden_size=4, epochs=1).fit(series, verbose=0)
    assert f.codec_.encoder.season == 4  # the training part has 12 rows of each, in which none is found
    fewer = ls.Forecaster(horizon=8, hidden_size=4, epochs=1).fit(series[:9], verbose=0)
    assert fewer.codec_.encoder.season == 1


@quiet
def test_validation_data_and_unknown_series():
    f = small().fit(table(100), validation_data=table(60, 100), verbose=0)
    assert len(f.history_.history["val_loss"]) == 1 and f.codec_.conformal is not None
    named = [table(120).with_columns(pl.lit(name).alias("id")) for name in ("a", "b")]
    f = small(id="id", target="y").fit(pl.concat(named), verbose=0)
    new = table(120).with_columns(pl.lit("c").alias("id"), y=7 * pl.col("y"))
    found = f.predict(new)
    assert found["id"].unique().to_list() == ["c"] and (found["point"] - 35).abs().max() < 12  # pyright: ignore
    assert sorted(f.update(new).predict()["id"].unique()) == ["a", "b", "c"]


@quiet
def test_a_second_fit_reads_validation_data_as_the_first():
    used, other = small().fit(table(100), verbose=0), table(120, 500).rename({"y": "load"})
    for source, held in ((other, other[:80]), (table(100), table(60, 100))):
        fresh = small().fit(source, validation_data=held, verbose=0)
        used.fit(source, validation_data=held, verbose=0)
        assert used.history_.history == fresh.history_.history and used.predict().equals(fresh.predict())


@quiet
def test_step_equals_predict_stream_in_values_and_state(tmp_path: Path):
    frames = [
        table(160, 10 * place).with_columns(name=pl.lit(name), load=pl.Series(range(160)) % 5)
        for place, name in enumerate("ab")
    ]
    task = small(id="name", target="y", past_covariates="load", horizon=1).fit(pl.concat(frames), verbose=0)
    new = table(60, 200).with_columns(name=pl.lit("c"), load=pl.Series(range(60)) % 5)
    new = new.filter(pl.int_range(60) != 30)
    expected, last = task.predict_stream(new)
    task.save(tmp_path / "model")
    again, state, found = ls.load(tmp_path / "model"), None, []
    assert isinstance(again, Forecaster)
    for row in new.to_dicts():
        quantiles, state = again.step(row, state)
        found.append(np.full(expected.shape[1:], np.nan) if quantiles is None else quantiles)
    assert (
        expected.shape == (59, 1, 5) and np.isnan(expected[:12]).all() and not np.isnan(expected[-20:]).any()
    )
    np.testing.assert_allclose(np.stack(found), expected, atol=1e-6)
    assert state is not None
    saved, saved_last = state.state(), last.state()
    assert saved.keys() == saved_last.keys() and (saved["name"], saved["end"]) == ("c", last.end)
    for name, part in saved.items():
        if isinstance(part, torch.Tensor):
            np.testing.assert_allclose(part, saved_last[name], err_msg=name)
    row = table(1, 260).with_columns(name=pl.lit("c"), load=pl.lit(3)).to_dicts()[0]
    after_steps, _ = again.step(row, state)
    after_table, _ = task.step(row, last)
    assert after_steps is not None and after_table is not None
    np.testing.assert_allclose(after_steps, after_table, atol=1e-6)
    assert (np.diff(expected[-20:], axis=-1) >= 0).all(), "quantiles in order"
    with pytest.raises(ValueError, match="source: expected rows of one series, received 2"):
        task.predict_stream(pl.concat(frames))


@quiet
def test_predict_stream_gives_the_first_step_of_each_forecast():
    task = small().fit(wave(), verbose=0)
    expected, state = task.predict_stream(wave(40, 120))
    reach = task.codec_.encoder.reach
    found = task.backtest(wave(40, 120), reach).group_by("origin", maintain_order=True).first()
    rows = expected[reach : reach + len(found), 0, 2]
    np.testing.assert_allclose(rows, found["point"].to_numpy(), atol=1e-5)
    with pytest.raises(ValueError, match="the column value that fit had"):
        task.step({"time": 3}, state)
