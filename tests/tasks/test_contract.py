"""Every task in TASKS keeps the contract: options, fit, predict, saving, resuming, streams and reports."""

from __future__ import annotations

import inspect
import pickle
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
import torch

import longspan as ls
from longspan import artifact, tasks
from longspan.tasks.estimator import Estimator
from longspan.tasks.options import options_of

pytestmark = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")

HERE = Path(__file__).parent
KILLED = runpy.run_path(str(HERE / "killed.py"), run_name="killed")
TOYS = KILLED["TOYS"]
NAMES = list(tasks.TASKS)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def toy(name: str) -> Any:
    return TOYS[name]()


@cache
def fitted(name: str) -> Any:
    """One fit a task, which no test changes."""
    return KILLED["fit"](name, None)


def answers(name: str, task: Any) -> np.ndarray:
    return toy(name).numbers(task.predict(toy(name).asked))


def agree(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype.kind in "fc":
        return one.shape == other.shape and np.allclose(one, other, rtol=1e-5, atol=1e-5, equal_nan=True)
    return bool(np.array_equal(one, other))


def weights(task: Any) -> dict[str, Any]:
    return task.network_.state_dict()


def same_weights(one: Any, other: Any) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def with_one_ordinary(name: str) -> list[Any]:
    """Every task, the named one in the ordinary run and the others in the long one."""
    return [one if one == name else pytest.param(one, marks=pytest.mark.slow) for one in NAMES]


def test_every_task_has_a_toy():
    assert set(TOYS) == set(tasks.TASKS)


@pytest.mark.parametrize("name", NAMES)
def test_the_constructor_only_stores(name: str):
    given: dict[str, Any] = {one: object() for one in options_of(tasks.task(name))}
    task = tasks.task(name)(**given)
    assert vars(task) == given and task.get_params() == given


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_help_text_and_a_valid_default(name: str):
    kind = tasks.task(name)
    assert kind.name == name and kind.__doc__
    for one, field in zip(options_of(kind).values(), fields(kind), strict=True):  # pyright: ignore[reportArgumentType]
        assert one.help and not one.help.endswith("."), field.name
        one.check(one.default)


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_lists_every_option(name: str):
    kind = tasks.task(name)
    text = " ".join((inspect.getdoc(kind) or "").partition("Options:")[2].split())
    for one in options_of(kind).values():
        choices = f" (one of {', '.join(map(str, one.choices))})" if one.choices else ""
        assert f"{one.name} ({one.default!r}): {' '.join(one.help.split())}{choices}." in text


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_fails_at_once(name: str):
    kind, misspelt = tasks.task(name), cast(Any, {"hiden_size": 3})
    with pytest.raises(TypeError, match=r"option: expected one of the options of .*hidden_size"):
        kind(**misspelt)
    with pytest.raises(TypeError, match="hidden_size"):
        kind().set_params(hiden_size=3)


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_option_fails_in_fit(name: str):
    task = tasks.task(name)(**{**toy(name).options, "hidden_size": 0})
    with pytest.raises(ValueError, match="hidden_size: expected a whole number of at least 1, received 0"):
        task.fit(toy(name).source, toy(name).y)
    with pytest.raises(TypeError, match="epochs"):
        task.set_params(hidden_size=4, epochs="many").fit(toy(name).source, toy(name).y)
    assert not hasattr(task, "codec_")


@pytest.mark.parametrize("name", NAMES)
def test_predict_and_save_before_fit_are_refused(name: str):
    with pytest.raises(ValueError, match="call fit"):
        tasks.task(name)().predict(toy(name).asked)
    with pytest.raises(ValueError, match="call fit"):
        tasks.task(name)().save("nowhere")
    assert not Path("nowhere").exists()


@pytest.mark.parametrize("name", NAMES)
def test_get_params_clone_and_repr_round_trip(name: str):
    sklearn = pytest.importorskip("sklearn.base", reason="scikit-learn is not installed")
    task = fitted(name)
    for copy in (task.clone(), sklearn.clone(task)):
        assert copy.get_params() == task.get_params() and not hasattr(copy, "codec_")
    assert repr(task).startswith(f"{type(task).__name__}(")
    assert eval(repr(task), {type(task).__name__: type(task)}).get_params() == task.get_params()


# Of the tasks that write, one stands for all but in the long run.
SECOND = [
    pytest.param(name, marks=[pytest.mark.slow] if name in ("translate", "summarize", "caption") else [])
    for name in NAMES
]


@pytest.mark.parametrize("name", SECOND)
def test_fit_returns_self_and_a_second_fit_starts_anew(name: str):
    task = tasks.task(name)(**toy(name).options)
    short = {"epochs": 1, "seed": 7}
    before = torch.get_rng_state()
    assert task.set_params(**short).fit(toy(name).source, toy(name).y, verbose=0) is task
    assert torch.equal(before, torch.get_rng_state()), "fit drew from the user's generator"
    assert not same_weights(task, fitted(name))
    task.set_params(**{one: fitted(name).get_params()[one] for one in short})
    torch.rand(3)
    task.fit(toy(name).source, toy(name).y, verbose=0)
    assert same_weights(task, fitted(name)) and task.history_.history == fitted(name).history_.history
    assert np.array_equal(answers(name, task), answers(name, fitted(name)))


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
@pytest.mark.parametrize("name", with_one_ordinary("language"))
def test_two_processes_train_as_one(name: str):
    kind = tasks.task(name)
    options = {**toy(name).options, "epochs": 2}
    options.update({option: 0.0 for option in options_of(kind) if "dropout" in option})  # draws of their own
    alone, shared = kind(**options), kind(**options)
    alone.fit(toy(name).source, toy(name).y, verbose=0)
    before = torch.get_rng_state()
    shared.fit(toy(name).source, toy(name).y, verbose=0, processes=2)
    assert torch.equal(before, torch.get_rng_state())
    for loss, values in alone.history_.history.items():
        assert shared.history_.history[loss] == pytest.approx(values, rel=1e-4)
    for key, value in weights(alone).items():
        torch.testing.assert_close(weights(shared)[key], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_predict_of_single_records_equals_predict_of_all(name: str):
    task = fitted(name)
    alone = [toy(name).numbers(task.predict(one)) for one in toy(name).singles]
    assert len(alone) > 1
    assert agree(np.concatenate(alone), answers(name, task))


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_task_predicts_and_evaluates_the_same(name: str, tmp_path: Path):
    task, path = fitted(name), tmp_path / "model"
    task.save(path)
    loaded = ls.load(path)
    assert type(loaded) is type(task) and loaded.get_params() == task.get_params()
    assert np.array_equal(answers(name, loaded), answers(name, task))
    assert loaded.evaluate(toy(name).test, toy(name).test_y) == task.evaluate(
        toy(name).test, toy(name).test_y
    )
    loaded.save(tmp_path / "again")
    first, again = artifact.load(path), artifact.load(tmp_path / "again")
    assert again.config == first.config and again.tensors.keys() == first.tensors.keys()
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match="expected a whole saved model"):
        ls.load(path)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("use", ["fit", "evaluate", "predict"])
def test_reading_is_the_same_before_and_after_fit(name: str, use: Any) -> None:
    fresh = tasks.task(name)(**toy(name).options)
    y = None if use == "predict" else toy(name).test_y
    before, after = (task.read(toy(name).test, y, use=use) for task in (fresh, fitted(name)))
    assert pickle.dumps(before) == pickle.dumps(after)


TIMED = [name for name in NAMES if isinstance(toy(name).source, pl.DataFrame) and "time" in toy(name).source]


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_name_and_position_of_the_time_column_change_nothing(name: str, first: bool) -> None:
    def renamed(frame: pl.DataFrame) -> pl.DataFrame:
        others = [column for column in frame.columns if column != "time"]
        order = ["time", *others] if first else [*others, "time"]
        return frame.select(order).rename({"time": "when it was"})

    task = tasks.task(name)(**{**toy(name).options, "time": "when it was"})
    task.fit(renamed(toy(name).source), verbose=0)
    assert same_weights(task, fitted(name))
    found = task.predict(renamed(toy(name).asked))
    found = found.rename({"when it was": "time"}) if "when it was" in found.columns else found
    assert found.equals(fitted(name).predict(toy(name).asked))


def test_name_and_position_of_the_time_column_change_no_class() -> None:
    steps = np.arange(12)
    parts = [
        pl.DataFrame(
            {"time": steps[::-1], "name": f"s{number}", "y": np.sin(steps * (1 + number % 2)) + number % 3}
        )
        for number in range(24)
    ]
    table = pl.concat(parts).with_columns(kind=pl.col("name").str.slice(1).cast(pl.Int64) % 2)
    options: dict[str, Any] = {
        "id": "name",
        "label": "kind",
        "hidden_size": 4,
        "ensemble_size": 1,
        "epochs": 1,
    }
    task = ls.Classifier(**options, time="time").fit(table, verbose=0)
    moved = table.select("name", "y", "kind", "time").rename({"time": "when it was"})
    other = ls.Classifier(**options, time="when it was").fit(moved, verbose=0)
    assert same_weights(task, other)
    assert np.array_equal(task.predict_proba(table), other.predict_proba(moved))
    constant = table.with_columns(time=pl.lit(0))
    assert not np.array_equal(task.predict_proba(constant), task.predict_proba(table)), "times set the order"


def forecast_stream(task: Any) -> tuple[np.ndarray, np.ndarray]:
    """What is expected of every row of one series: row by row, and of the whole table."""
    rows = toy("forecast").singles[0]
    state, steps = None, []
    expected, _ = task.predict_stream(rows)
    for row in rows.to_dicts():
        quantiles, state = task.step(row, state)
        steps.append(np.full(expected.shape[1:], np.nan) if quantiles is None else quantiles)
    return np.stack(steps), expected


def anomaly_stream(task: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the readings of an entity that fit has not seen: one by one, and of the whole table."""
    rows = toy("anomaly").singles[0].with_columns(unit=pl.lit("new"))
    return np.array([task.update(row)[0] for row in rows.to_dicts()]), task.predict(rows)["score"].to_numpy()


def recommend_stream(task: Any) -> tuple[np.ndarray, np.ndarray]:
    """What a new user is recommended after the last of their events: read one by one, and as a table."""
    rows = toy("recommend").singles[0].with_columns(user=pl.lit(77_777)).sort("time")
    for row in rows.to_dicts():
        task.update(row["user"], row["item"])
    streamed, whole = task.recommend(77_777), fitted("recommend").predict(rows)
    assert streamed["item"].to_list() == whole["item"].to_list()
    return streamed["score"].to_numpy(), whole["score"].to_numpy()


STREAMED = {"forecast": forecast_stream, "anomaly": anomaly_stream, "recommend": recommend_stream}


def test_every_task_that_streams_is_in_the_test_of_streams() -> None:
    streams = {name for name in NAMES if tasks.task(name).start_stream is not Estimator.start_stream}
    assert streams == set(STREAMED)


@pytest.mark.parametrize("name", list(STREAMED))
def test_a_stream_equals_the_whole_table(name: str, tmp_path: Path) -> None:
    fitted(name).save(tmp_path / "model")
    stream, batch = STREAMED[name](ls.load(tmp_path / "model"))
    assert stream.shape == batch.shape and not np.isnan(stream[-1]).any()
    np.testing.assert_allclose(stream, batch, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_evaluate_gives_all_metrics_and_beats_the_naive_score(name: str):
    found = fitted(name).evaluate(toy(name).test, toy(name).test_y)
    assert list(found) == list(fitted(name).codec_.metrics())
    assert all(isinstance(value, float) for value in found.values())
    value, naive = found[toy(name).metric], toy(name).naive
    assert value < naive if toy(name).better == "less" else value > naive, (value, naive)


@pytest.mark.parametrize("name", with_one_ordinary("forecast"))
def test_a_killed_fit_resumes_to_the_same_weights(name: str, tmp_path: Path):
    """By SIGKILL, in a process of its own; test_resume.py stops every kind of source inside one process."""
    checkpoint = tmp_path / "checkpoint"
    start = f"import runpy; runpy.run_path({str(HERE / 'killed.py')!r}, run_name='__main__')"
    words = [sys.executable, "-c", start, name, str(checkpoint)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for _ in range(5):
            assert child.stdout.readline().startswith(b"step")
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    assert checkpoint.exists()
    resumed = KILLED["fit"](name, checkpoint)
    assert same_weights(resumed, fitted(name))
    assert resumed.history_.history == fitted(name).history_.history
    assert np.array_equal(answers(name, resumed), answers(name, fitted(name)))


@pytest.mark.parametrize("name", NAMES)
def test_a_report_is_made_of_report_elements(name: str):
    sections = fitted(name).sections(toy(name).test)
    assert {"Training", "How to reproduce"} <= {section.title for section in sections}
    for section in sections:
        for one in section.elements:
            assert re.fullmatch(r"longspan\.report\.elements", type(one).__module__) and one.title
