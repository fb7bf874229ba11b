"""Measures the errors of forecasts on public data with the library's defaults, and the seconds they take.

    LONGSPAN_DATA=/path/to/data python -m benchmarks.forecasting
    python -m benchmarks.forecasting --data /path/to/data --sets etth1_ot m4_hourly
    python -m benchmarks.forecasting --sets etth1_ot panels --neuralforecast-python /venv/bin/python

Each set is fitted with seeds 0 to 2 on what stands before its test part, which is forecast once. The means
are printed beside repeating the last value, repeating the last season, and what others have published. The
panels of many short series have a table of their own, beside the theta method and with mean ranks. With
--development the test rows are dropped and the part before them is forecast instead: defaults are chosen on
that.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl
import torch
from rich.console import Console
from rich.table import Table

import longspan as ls
from longspan import errors
from longspan.data.readers.tables import read_table
from longspan.tasks.forecast import evaluation
from longspan.tasks.forecast.predictions import Forecasts

from .panels import PANELS, mean_ranks, panel_error, panel_series, seasonal_naive, theta

SEEDS = (0, 1, 2)
MONTH = 30 * 24  # rows of ETTh1, as its papers count
CHANNELS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")


@dataclass(frozen=True)
class Task:
    """One line of the table.

    read: the folder -> a frame; parts: rows -> where the held-out part, the test part and the end are; what:
    the metric that counts; options: of the Forecaster, which say what the question is and nothing else;
    standard: whether errors are in units of the training part's deviation, as in the published tables.
    """

    name: str
    read: Callable[[Path], pl.DataFrame]
    parts: Callable[[int], tuple[int, int, int]]
    what: str
    options: dict[str, Any]
    standard: bool = True
    published: str = ""
    goal: str = ""


def _csv(path: str) -> Callable[[Path], pl.DataFrame]:
    return lambda folder: read_table(folder / "forecasting" / path)


def _shares(held: float, test: float) -> Callable[[int], tuple[int, int, int]]:
    return lambda rows: (round(rows * held), round(rows * test), rows)


def _etth1(rows: int) -> tuple[int, int, int]:
    return 12 * MONTH, 16 * MONTH, 20 * MONTH


def m4_hourly(folder: Path) -> pl.DataFrame:
    """The 414 hourly series of M4, training and test rows one after another: id, time, value, test."""
    parts = []
    frames = [
        read_table(folder / f"forecasting/M4_hourly/Hourly-{part}.csv.gz") for part in ("train", "test")
    ]
    rows = [dict(zip(f[f.columns[0]], f.select(f.columns[1:]).to_numpy(), strict=True)) for f in frames]
    for name, row in rows[0].items():
        known = row[~np.isnan(row)]
        values = np.concatenate([known, rows[1][name]])
        test = np.arange(len(values)) >= len(known)
        parts.append(
            pl.DataFrame(
                {"id": [name] * len(values), "time": np.arange(len(values)), "value": values, "test": test}
            )
        )
    return pl.concat(parts)


WEATHER = ("DEWP", "TEMP", "PRES", "cbwd", "Iws", "Is", "Ir")
TASKS = (
    Task(
        "etth1_ot", _csv("ETTh1/ETTh1.csv"), _etth1, "mse", {"horizon": 24, "target": "OT"},
        published="LSTMa 0.114", goal="<= 0.028",
    ),
    Task(
        "etth1_24", _csv("ETTh1/ETTh1.csv"), _etth1, "mse", {"horizon": 24, "target": CHANNELS},
        published="LSTMa 0.650", goal="<= 0.32",
    ),
    Task(
        "etth1_96", _csv("ETTh1/ETTh1.csv"), _etth1, "mse", {"horizon": 96, "target": CHANNELS},
        goal="<= 0.39",
    ),
    Task(
        "exchange_96", _csv("exchange_rate/exchange_rate.csv"), _shares(0.7, 0.8), "mse",
        {"horizon": 96, "target": (*"0123456", "OT")}, published="LSTM 1.453", goal="<= 1.05 naive",
    ),
    Task(
        "m4_hourly", m4_hourly, lambda rows: (0, 0, 0), "smape",
        {"horizon": 48, "target": "value", "id": "id", "time": "time"}, standard=False,
        published="RNN 14.70, ES-RNN 9.33", goal="< 12",
    ),
    Task(
        "pollution", _csv("pollution/pollution.csv"), _shares(0.68, 0.8), "rmse",
        {
            "horizon": 1, "target": "pm2.5", "time": ("year", "month", "day", "hour"),
            "past_covariates": WEATHER,
        },
        standard=False, goal="< naive",
    ),
    Task(
        "temperatures", _csv("daily-min-temperatures/daily-min-temperatures.csv"), _shares(0.68, 0.8), "mae",
        {"horizon": 7, "target": "Temp"}, standard=False, goal="< seasonal naive",
    ),
    Task(
        "sunspots", _csv("monthly-sunspots/monthly-sunspots.csv"), _shares(0.68, 0.8), "mae",
        {"horizon": 12, "target": "Sunspots"}, standard=False, goal="< seasonal naive",
    ),
    Task(
        "airline", _csv("airline-passengers/airline-passengers.csv"), _shares(0.68, 0.8), "mae",
        {"horizon": 12, "target": "Passengers"}, standard=False, goal="< seasonal naive",
    ),
)  # fmt: skip


def run(task: Task, folder: Path, seed: int, development: bool) -> dict[str, Any]:
    """One fit and one forecast of the test part: the scores and the seconds."""
    frame = task.read(folder)
    began = perf_counter()
    if task.name == "m4_hourly":
        forecaster, found = _m4(task, frame, seed, development)
        scale = 1.0
    else:
        forecaster, found, scale = _one(task, frame, seed, development)
    seconds = perf_counter() - began
    score = {
        "mse": lambda a: evaluation.mse(a / scale, found.actual / scale),
        "mae": lambda a: evaluation.mae(a, found.actual),
        "rmse": lambda a: evaluation.rmse(a, found.actual),
        "smape": lambda a: evaluation.smape(a, found.actual),
    }[task.what]
    encoder = forecaster.codec_.encoder
    config = encoder.config
    return {
        "set": task.name,
        "seed": seed,
        "model": score(found.point),
        "naive": score(found.naive),
        "seasonal": score(found.seasonal),
        "mae": evaluation.mae(found.point / scale, found.actual / scale),
        "coverage": evaluation.coverage(found, found.actual, 0, len(found.levels) - 1),
        "seconds": seconds,
        "found": f"context {config.context}, season {encoder.season}, {config.center}, {config.scaling}, "
        f"{len(forecaster.history_.epoch)} epochs",
    }


def _one(task: Task, frame: pl.DataFrame, seed: int, development: bool) -> tuple[Any, Forecasts, Any]:
    held, test, end = task.parts(frame.height)
    if development:
        held, test, end = round(held * 0.85), held, test
    forecaster = ls.Forecaster(**task.options, validation_fraction=1 - held / test, seed=seed).fit(
        frame[:test], verbose=0
    )
    panel = forecaster.panel(frame[:end], forecaster.codec_.encoder.template)
    found = forecaster.forecasts(frame[:end], test)
    deviation = np.nanstd(panel.values[:held], 0) if task.standard else 1.0
    return forecaster, found, deviation


def _m4(task: Task, frame: pl.DataFrame, seed: int, development: bool) -> tuple[Any, Forecasts]:
    train = frame.filter(~pl.col("test"))
    if development:  # the last horizon before the test part
        last = pl.col("time") >= pl.col("time").max().over("id") + 1 - task.options["horizon"]
        frame = train.with_columns(last.alias("test"))
        train = frame.filter(~pl.col("test"))
    forecaster = ls.Forecaster(**task.options, seed=seed).fit(train, verbose=0)
    return forecaster, forecaster.forecasts(frame, -task.options["horizon"])


def data_folder(given: str | None) -> Path:
    """The folder of the data, or one sentence on what is missing."""
    named = given or os.environ.get("LONGSPAN_DATA")
    if named is None or not (Path(named) / "forecasting").is_dir():
        received = "nothing" if named is None else f"{named}, which has no folder forecasting"
        way_out = "pass --data or set LONGSPAN_DATA"
        raise SystemExit(errors.message("data", "the folder with the public data sets", received, way_out))
    return Path(named)


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """The means over seeds, a line a set."""
    heads = (
        "set",
        "metric",
        "longspan",
        "spread",
        "naive",
        "seasonal naive",
        "published",
        "goal",
        "90 % covers",
        "s",
        "found",
    )
    shown = Table(*heads, title="Forecasts with the library's defaults, mean over seeds")
    for task in TASKS:
        own = [row for row in rows if row["set"] == task.name]
        if not own:
            continue
        mean = {
            name: float(np.mean([row[name] for row in own]))
            for name in ("model", "naive", "seasonal", "coverage", "seconds")
        }
        spread = float(np.ptp([row["model"] for row in own]))
        cells = (f"{mean[name]:.4g}" for name in ("naive", "seasonal"))
        shown.add_row(
            task.name, task.what, f"{mean['model']:.4g}", f"{spread:.2g}", *cells, task.published, task.goal,
            f"{mean['coverage']:.1%}", f"{mean['seconds']:.1f}", own[0]["found"],
        )  # fmt: skip
    return shown


# ---- panels of many short series


def run_panel(name: str, folder: Path, seed: int, development: bool) -> dict[str, Any]:
    """One fit and one forecast of the last horizon of a panel: errors, coverage and seconds."""
    part, series = PANELS[name], panel_series(name, folder, development)
    known, began = [values[: -part.horizon] for values in series], perf_counter()
    forecaster = ls.Forecaster(horizon=part.horizon, seed=seed).fit(known, verbose=0)
    found = forecaster.forecasts(series, -part.horizon)
    seconds = perf_counter() - began
    forecasts = {
        "longspan": list(found.point[..., 0]),
        "naive": [seasonal_naive(values, part.horizon, 1) for values in known],
        "seasonal naive": [seasonal_naive(values, part.horizon, part.season) for values in known],
        "theta": [theta(values, part.horizon, part.season) for values in known],
    }
    return {
        "set": name,
        "seed": seed,
        **{method: panel_error(name, series, rows) for method, rows in forecasts.items()},
        "coverage": evaluation.coverage(found, found.actual, 0, len(found.levels) - 1),
        "seconds": seconds,
    }


OWN_METHODS = ("longspan", "naive", "seasonal naive", "theta")


def panel_table(rows: Sequence[dict[str, Any]], rivals: Mapping[str, Mapping[str, Any]]) -> Table:
    """The mean errors over seeds, a line a panel, and the mean ranks.

    Args:
        rivals: by panel and model, error and seconds.
    """
    errors, ends = {}, {}
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        means = {
            part: float(np.mean([row[part] for row in own])) for part in (*OWN_METHODS, "coverage", "seconds")
        }
        errors[name] = {part: means[part] for part in OWN_METHODS}
        errors[name] |= {model: run["error"] for model, run in rivals.get(name, {}).items()}
        ends[name] = f"{means['coverage']:.1%}", f"{means['seconds']:.1f}"
    methods = list(dict.fromkeys(method for row in errors.values() for method in row))
    shown = Table("panel", "metric", *methods, "90 % covers", "s", title="Panels of many short series")
    for name, row in errors.items():
        cells = (f"{row[method]:.4g}" if method in row else "" for method in methods)
        shown.add_row(name, PANELS[name].metric, *cells, *ends[name])
    ranks = mean_ranks(errors)
    shown.add_row("mean rank", "", *(f"{ranks[m]:.2f}" if m in ranks else "" for m in methods), "", "")
    return shown


def panel_rivals(name: str, folder: Path, development: bool, python: str, threads: int) -> dict[str, Any]:
    """Error and seconds of each of NeuralForecast's models on a panel."""
    horizon, series = PANELS[name].horizon, panel_series(name, folder, development)
    known = [values[:-horizon] for values in series]
    parts = {
        "id": np.repeat(np.arange(len(known)), [len(values) for values in known]),
        "time": np.concatenate([np.arange(len(values)) for values in known]),
        "value": np.concatenate(known),
    }
    with TemporaryDirectory() as temporary:
        path = Path(temporary) / "rows.csv"
        pl.DataFrame(parts).write_csv(path)
        runs = _rival_runs(python, name, path, threads, horizon)
    forecasts = {model: [np.array(row) for row in run.pop("forecasts")] for model, run in runs.items()}
    return {
        model: {**run, "error": panel_error(name, series, forecasts[model])} for model, run in runs.items()
    }


# ---- rivals

RIVAL_SETS = ("etth1_ot", "m4_hourly")


def rivals(name: str, folder: Path, python: str, threads: int) -> dict[str, dict[str, float]]:
    """Seconds and error of each of NeuralForecast's models on one of RIVAL_SETS."""
    with TemporaryDirectory() as temporary:
        path = folder / "forecasting/ETTh1/ETTh1.csv"
        if name == "m4_hourly":
            path = Path(temporary) / "rows.csv"
            m4_hourly(folder).write_csv(path)
        return _rival_runs(python, name, path, threads)


def _rival_runs(python: str, name: str, path: Path, threads: int, *more: int) -> dict[str, Any]:
    """What neuralforecast_rival.py prints of each model, run in a process of its own."""
    script = Path(__file__).with_name("neuralforecast_rival.py")
    # -I: the files beside the script are no modules of its own
    words = [python, "-I", str(script), name, str(path), str(threads), *map(str, more)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no words"])[-1]
        raise SystemExit(errors.message("neuralforecast", "a run that ends well", last, "install it there"))
    return json.loads(done.stdout.strip().splitlines()[-1])


def rival_rows(rows: Sequence[dict[str, Any]], folder: Path, python: str, threads: int) -> list[Any]:
    """A row for each rival on each of RIVAL_SETS that longspan has run; prints them beside it."""
    found = []
    for task in TASKS:
        own = [row for row in rows if row["set"] == task.name]
        if not own or task.name not in RIVAL_SETS:
            continue
        error, seconds = (float(np.mean([row[part] for row in own])) for part in ("model", "seconds"))
        print(f"{task.name}, {task.what}, fit and back-test: longspan {error:.4g} in {seconds:.1f} s")
        for model, run in rivals(task.name, folder, python, threads).items():
            print(f"    NeuralForecast {model} {run['error']:.4g} in {run['seconds']:.1f} s")
            found.append({"set": f"{task.name}, {model}", **run})
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sets asked for and print the tables."""
    parser = argparse.ArgumentParser(description="Forecasts on public data with the library's defaults.")
    parser.add_argument("--data", help="the folder of the data sets; LONGSPAN_DATA without it")
    names = [*(task.name for task in TASKS), *PANELS]
    parser.add_argument("--sets", nargs="*", choices=[*names, "panels"], help="all without it")
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--development", action="store_true", help="leave the test parts alone")
    parser.add_argument("--neuralforecast-python", help="a Python that has NeuralForecast, a rival")
    parser.add_argument("--json", help="where to write every run")
    given = parser.parse_args(argv)
    folder = data_folder(given.data)
    torch.set_num_threads(given.threads)
    console, rows = Console(width=200), []
    sets = [part for name in given.sets or names for part in (PANELS if name == "panels" else (name,))]
    tasks = {task.name: task for task in TASKS}
    for name in dict.fromkeys(sets):
        for seed in given.seeds:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", errors.LongspanWarning)
                if name in PANELS:
                    rows.append(run_panel(name, folder, seed, given.development))
                else:
                    rows.append(run(tasks[name], folder, seed, given.development))
            console.print(
                " ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in rows[-1].items())
            )
    _show(console, rows, folder, given)
    if given.json:
        Path(given.json).write_text(json.dumps(rows, indent=1))
    return 0


def _show(console: Console, rows: list[dict[str, Any]], folder: Path, given: argparse.Namespace) -> None:
    """Print the tables, with the rivals asked for; rows of theirs are added."""
    single, panels = ([row for row in rows if (row["set"] in PANELS) == many] for many in (False, True))
    python, found = given.neuralforecast_python, {}
    if single:
        console.print(table(single))
        if python:
            rows += rival_rows(single, folder, python, given.threads)
    for name in dict.fromkeys(row["set"] for row in panels) if python else ():
        found[name] = panel_rivals(name, folder, given.development, python, given.threads)
        rows += [{"set": f"{name}, {model}", **run} for model, run in found[name].items()]
    if panels:
        console.print(panel_table(panels, found))


if __name__ == "__main__":
    sys.exit(main())
