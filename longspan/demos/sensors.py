"""Demonstrates anomaly detection on a machine's sensors: a pump whose bearing, cooling and gauge fail.

No recordings of failing machines are free to pass on in a small package, so these are made by a rule. A
reading comes every ten minutes. The load follows two shifts a day. Current, vibration and pressure follow
the load, and the temperature follows the current with a delay. The detector learns weeks without faults.
Three faults come in the weeks after: a bearing that wears out (vibration rises over two days), cooling
that is blocked (temperature rises above what the current explains), a pressure gauge that sticks at one
value.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console

from longspan.tasks.anomaly import AnomalyDetector

from .written import show_table, show_written, write_tables

DAY = 144  # readings of a day, one every ten minutes
SEEN, UNSEEN = 42 * DAY, 21 * DAY  # readings to learn from, and to be watched
OPTIONS: dict[str, Any] = {"time": "time", "label": "fault", "epochs": 10}
# name -> first reading and readings of each fault, counted from the beginning of the unseen part
FAULTS = {
    "bearing": (4 * DAY, 2 * DAY),
    "cooling": (11 * DAY + 60, DAY),
    "gauge": (17 * DAY + 30, DAY // 2),
}
_START = datetime(2025, 3, 3)
_LEAD = (
    "One detector learnt six weeks of a pump's sensors, made by a rule, without faults. Below are three "
    "weeks that it never saw: a bearing wears out, the cooling is blocked, the pressure gauge sticks."
)


def run(folder: Path) -> None:
    """Readings, training, alarms, report; the files go into the folder."""
    console = Console(highlight=False)
    console.print(f"[bold]1[/] Data: {SEEN + UNSEEN:,} readings of a pump's five sensors, made by a rule;")
    console.print(f"  {len(FAULTS)} faults in the last {UNSEEN // DAY} days: {', '.join(FAULTS)}.")
    table = readings()
    seen, unseen = table.head(SEEN), table.tail(UNSEEN)
    console.print(f"[bold]2[/] Training on the {SEEN // DAY} days before them ...")
    began = time.perf_counter()
    model = AnomalyDetector(**OPTIONS).fit(seen)
    console.print(f"  done in {time.perf_counter() - began:.0f} s.")
    console.print(f"[bold]3[/] The {UNSEEN // DAY} days with faults:")
    alarms = model.alarms(unseen)
    rows = [[name, *_found(name, alarms)] for name in FAULTS]
    show_table(console, ["fault", "from", "first alarm", "delay", "cause"], rows)
    scores = model.evaluate(unseen)
    console.print(
        f"  {100 * scores['recall']:.0f} % of the faults found, "
        f"{100 * scores['precision']:.0f} % of the alarms belong to a fault."
    )
    console.print("[bold]4[/] Written:")
    show_written(console, _write(model, table, unseen, folder), folder / "report.html")


def readings() -> pl.DataFrame:
    """time, five sensors and fault (0 or 1), a row every ten minutes, by the rule of this module."""
    draw, count = np.random.default_rng(0), SEEN + UNSEEN
    steps = np.arange(count)
    hour, weekend = steps % DAY / 6, steps // DAY % 7 >= 5
    shift = ((hour > 6) & (hour < 14)) * 1.0 + ((hour >= 14) & (hour < 22)) * 0.8
    load = 20 + 60 * shift * np.where(weekend, 0.4, 1.0) + draw.normal(0, 2, count)
    current = 4 + 0.22 * load + draw.normal(0, 0.3, count)
    vibration = 1.0 + 0.015 * load + draw.normal(0, 0.06, count)
    pressure = 2 + 0.05 * load + draw.normal(0, 0.05, count)
    start, length = FAULTS["bearing"]
    vibration[SEEN + start :][:length] += np.linspace(0, 1.8, length)
    warmth = 1.6 * current
    start, length = FAULTS["cooling"]
    warmth[SEEN + start :][:length] += 14
    temperature = _delayed(warmth) + 25 + draw.normal(0, 0.3, count)
    start, length = FAULTS["gauge"]
    pressure[SEEN + start :][:length] = pressure[SEEN + start]
    fault = np.zeros(count, np.int8)
    for start, length in FAULTS.values():
        fault[SEEN + start :][:length] = 1
    columns = {"load": load, "current": current, "temperature": temperature, "vibration": vibration}
    times = [_START + timedelta(minutes=10 * int(step)) for step in steps]
    numbers = {name: np.round(values, 3) for name, values in {**columns, "pressure": pressure}.items()}
    return pl.DataFrame({"time": times, **numbers, "fault": fault})


def _delayed(values: np.ndarray) -> np.ndarray:
    """Values (T,) followed with a delay: a tenth of the difference at each step."""
    followed, level = np.empty_like(values), values[0]
    for row, value in enumerate(values):
        level += 0.1 * (value - level)
        followed[row] = level
    return followed


def _found(name: str, alarms: pl.DataFrame) -> list[str]:
    """When a fault came, the first alarm during it, the delay between, and the cause that the alarm names."""
    start, length = FAULTS[name]
    began = _START + timedelta(minutes=10 * (SEEN + start))
    ended = began + timedelta(minutes=10 * length)
    during = alarms.filter((pl.col("end") >= began) & (pl.col("start") < ended)).head(1)
    if during.is_empty():
        return [f"{began:%d %B %H:%M}", "none", "–", "–"]
    first, cause = during["start"][0], str(during["cause"][0])
    delay = max((first - began).total_seconds() / 3600, 0.0)
    return [f"{began:%d %B %H:%M}", f"{first:%d %B %H:%M}", f"{delay:.1f} h", cause]


def _write(
    model: AnomalyDetector, table: pl.DataFrame, unseen: pl.DataFrame, folder: Path
) -> dict[Path, str]:
    """Every file, and what it is."""
    model.save(folder / "model")
    write_tables(folder, {"readings.csv": table, "alarms.csv": model.alarms(unseen)})
    model.write_report(folder / "report.html", unseen, title="A pump's faults", lead=_LEAD)
    return {
        folder / "readings.csv": "the data, to try the commands on",
        folder / "model": "the model: longspan predict, evaluate, report",
        folder / "alarms.csv": "the alarms, with the sensors that caused them",
        folder / "report.html": "the report, with the sensors, the faults and the alarms",
    }
