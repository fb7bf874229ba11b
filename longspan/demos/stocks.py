"""Demonstrates forecasts of a share's daily closes beside the random walk, with a verdict by a paired test.

The closes are Google's from its first day in August 2004 to October 2008, as matplotlib ships them for
its examples. A forecast of prices must beat the random walk, which repeats the last close. The verdict
says whether it does, by the differences of the errors of forecasts that do not overlap.
"""

from __future__ import annotations

import math
import time
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from rich.console import Console

from longspan.optional import require
from longspan.report import format_value
from longspan.statistics import t_95
from longspan.tasks.forecast.forecaster import Forecaster

from .written import show_table, show_written, write_tables

DAYS = 5  # trading days ahead
OPTIONS: dict[str, Any] = {"horizon": DAYS, "target": "close", "time": "date"}
UNSEEN = date(2007, 10, 1)  # closes from here on are only forecast, never learnt from
_LEAD = (
    "One LSTM for the closes of a share, a week of trading ahead. It learnt from August 2004 to September "
    "2007; the errors are those of the year after, which it never saw. The rival is the random walk: the "
    "last close."
)


class Verdict(NamedTuple):
    """What a year of forecasts says about the model.

    model, walk: mean absolute errors; low, high: of the 95 % interval of the difference model - walk.
    """

    model: float
    walk: float
    low: float
    high: float

    def __str__(self) -> str:
        change = 100 * (self.model / self.walk - 1)
        if self.high < 0:
            return f"The model beats the random walk by {-change:.1f} %, more than chance explains."
        if self.low > 0:
            return f"The model loses to the random walk by {change:.1f} %: repeat the last close instead."
        return (
            f"The model's error is {abs(change):.1f} % {'above' if change > 0 else 'below'} the random "
            "walk's, which chance explains: these closes say nothing about the next ones. Do not trade on it."
        )


def run(folder: Path) -> None:
    """Closes, training, back-test, verdict, report; the files go into the folder."""
    console = Console(highlight=False)
    closes = read()
    seen, unseen = closes.filter(pl.col("date") < UNSEEN), closes.filter(pl.col("date") >= UNSEEN)
    console.print(f"[bold]1[/] Data: {closes.height:,} daily closes of Google's share, 2004 to 2008.")
    console.print(f"[bold]2[/] Training on the {seen.height} before {UNSEEN:%B %Y} ...")
    began = time.perf_counter()
    model = Forecaster(**OPTIONS).fit(seen)
    console.print(f"  done in {time.perf_counter() - began:.0f} s.")
    console.print(f"[bold]3[/] Back-test on the {unseen.height} after, nothing refitted, {DAYS} days ahead:")
    scores, verdict = model.evaluate(unseen), judge(model, closes)
    rows = {"longspan": "", "random walk (last close)": "naive_", "last season": "seasonal_naive_"}
    table = [
        [name, *(format_value(scores[prefix + metric]) for metric in ("mae", "rmse"))]
        for name, prefix in rows.items()
    ]
    show_table(console, ["forecast", "MAE, $", "RMSE, $"], table)
    console.print(f"  The 90 % intervals hold {100 * scores['coverage_90']:.0f} % of what came.")
    console.print(f"  [bold]{verdict}[/]", soft_wrap=True)
    console.print("[bold]4[/] Written:")
    show_written(console, _write(model, closes, unseen, verdict, folder), folder / "report.html")


def read() -> pl.DataFrame:
    """date and close, a row a trading day, 1,047 of them.

    Raises:
        ImportError: matplotlib, which ships the closes, is missing; the sentence names the command.
    """
    cbook = require("matplotlib.cbook", "demo", "the closes")
    with cbook.get_sample_data("goog.npz") as data:
        prices = data["price_data"]
    return pl.DataFrame({"date": prices["date"], "close": prices["close"]})


def judge(model: Forecaster, closes: pl.DataFrame) -> Verdict:
    """The model beside the random walk on forecasts that do not overlap, from `UNSEEN` on."""
    found = model.forecasts(closes, UNSEEN, stride=DAYS)
    errors = np.nanmean(np.abs(found.point - found.actual), (1, 2))
    walk = np.nanmean(np.abs(found.naive - found.actual), (1, 2))
    change = errors - walk
    half = t_95(len(change) - 1) * float(change.std(ddof=1)) / math.sqrt(len(change))
    mean = float(change.mean())
    return Verdict(float(errors.mean()), float(walk.mean()), mean - half, mean + half)


def _write(
    model: Forecaster, closes: pl.DataFrame, unseen: pl.DataFrame, verdict: Verdict, folder: Path
) -> dict[Path, str]:
    """Every file, and what it is."""
    model.save(folder / "model")
    write_tables(folder, {"closes.csv": closes, "forecast.csv": model.predict(unseen)})
    model.write_report(
        folder / "report.html", unseen, title="A share's closes, a week ahead", lead=f"{_LEAD} {verdict}"
    )
    return {
        folder / "closes.csv": "the data, to try the commands on",
        folder / "model": "the model: longspan predict, evaluate, report",
        folder / "forecast.csv": f"the next {DAYS} days, with intervals",
        folder / "report.html": "the report, with pictures",
    }
