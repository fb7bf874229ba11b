"""Measures how often the intervals of forecasts hold the truth, on many unlike series, with the defaults.

    python -m benchmarks.forecast_coverage
    LONGSPAN_DATA=/path/to/data python -m benchmarks.forecast_coverage --sets walk airline --draws 10

Every series is fitted on its first 80 %, and every later origin is forecast. Generated series are drawn
several times, since one short test part says little. With --development the test rows are dropped and the
part before them is forecast instead: defaults are chosen on that.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import longspan as ls
from longspan import errors
from longspan.data.readers.tables import number_share, read_table
from longspan.tasks.forecast import evaluation
from longspan.tasks.forecast.predictions import Forecasts

TEST_SHARE = 0.2
ALLOWED = (0.86, 0.94)  # coverages that 90 % intervals may have on a set


@dataclass(frozen=True)
class Set:
    """One line of the table: series from a random generator or from a folder, and the horizon."""

    horizon: int
    draw: Callable[[np.random.Generator], Any] | None = None
    read: Callable[[Path], Any] | None = None


def walk(random: np.random.Generator) -> np.ndarray:
    """A random walk."""
    return np.cumsum(random.standard_normal(400))


def walks(random: np.random.Generator) -> np.ndarray:
    """Four random walks that share half of their steps' variance."""
    common = random.standard_normal((500, 1))
    return np.cumsum(random.standard_normal((500, 4)) + common, 0)


def level_shifts(random: np.random.Generator) -> np.ndarray:
    """Noise around a level that jumps every 50 steps on average."""
    jumps = (random.random(400) < 0.02) * random.normal(0, 4, 400)
    return np.cumsum(jumps) + 0.5 * random.standard_normal(400)


def smoothed(random: np.random.Generator, length: int, memory: float) -> np.ndarray:
    """A stationary autoregressive series of first order."""
    kernel = memory ** np.arange(30)
    return np.convolve(random.standard_normal(length + 29), kernel, mode="valid")


def seasonal(random: np.random.Generator) -> np.ndarray:
    """A season of 12 steps and autocorrelated noise."""
    return 10 + 3 * np.sin(2 * np.pi * np.arange(400) / 12) + smoothed(random, 400, 0.7)


def trend(random: np.random.Generator) -> np.ndarray:
    """A line whose level wanders, and noise."""
    steps = np.arange(300)
    return 0.05 * steps + np.cumsum(0.1 * random.standard_normal(300)) + 0.5 * random.standard_normal(300)


def growth(random: np.random.Generator) -> np.ndarray:
    """Exponential growth with a season that grows with it."""
    steps = np.arange(200)
    wander = np.cumsum(0.02 * random.standard_normal(200))
    return 50 * np.exp(0.012 * steps + 0.3 * np.sin(2 * np.pi * steps / 12) + wander)


def intermittent(random: np.random.Generator) -> np.ndarray:
    """Counts that are zero half of the time."""
    rate = np.exp(
        0.3 * np.sin(2 * np.pi * np.arange(400) / 7) + np.cumsum(0.05 * random.standard_normal(400))
    )
    return (random.random(400) < 0.5) * random.poisson(2 * rate).astype(float)


def volatility(random: np.random.Generator) -> np.ndarray:
    """Noise whose deviation wanders."""
    return np.exp(np.cumsum(0.04 * random.standard_normal(600))) * smoothed(random, 600, 0.6)


def short(random: np.random.Generator) -> np.ndarray:
    """60 rows: a season, a walk, a line or an autoregressive series."""
    steps, noise = np.arange(60), random.standard_normal(60)
    kinds = (10 + 2 * np.sin(2 * np.pi * steps / 12) + noise, np.cumsum(noise), 0.2 * steps + noise,
             smoothed(random, 60, 0.8))  # fmt: skip
    return kinds[int(random.integers(len(kinds)))]


def epidemic(random: np.random.Generator) -> np.ndarray:
    """Five channels with yearly peaks of changing height over a level that wanders, 480 weeks."""
    weeks, years = np.arange(480), 480 // 52 + 2
    height, week = np.exp(0.4 * random.standard_normal(years)), 26 + random.normal(0, 3, years)
    peaks = sum(
        height[year] * np.exp(-0.5 * ((weeks - 52 * year - week[year]) / 5) ** 2) for year in range(years)
    )
    level = np.cumsum(0.03 * random.standard_normal(480))
    own = np.cumsum(0.01 * random.standard_normal((480, 5)), 0)
    share = np.exp(0.2 * np.arange(5) + level[:, None] + own)
    return share * (0.6 + np.asarray(peaks)[:, None]) + 0.03 * random.standard_normal((480, 5))


def panel(random: np.random.Generator) -> list[np.ndarray]:
    """30 monthly series of 80 rows at their own heights."""
    wave = 1 + 0.2 * np.sin(2 * np.pi * np.arange(80) / 12)
    heights = 50 * np.exp(random.standard_normal(30))
    level = 0.01 * np.cumsum(random.standard_normal((30, 80)), 1)
    noise = 0.05 * random.standard_normal((30, 80))
    return list(heights[:, None] * (wave + level + noise))


def _column(path: str) -> Callable[[Path], np.ndarray]:
    """The last column of numbers of a file, without rows that hold none."""

    def read(folder: Path) -> np.ndarray:
        frame = read_table(folder / "forecasting" / path)
        name = [column for column in frame.columns if number_share(frame[column]) > 0.9][-1]
        values = frame[name].cast(float, strict=False).to_numpy()
        return values[~np.isnan(values)]

    return read


def _every(path: str, rows: int) -> Callable[[Path], np.ndarray]:
    """Every `rows`-th row of all columns of numbers of a file."""

    def read(folder: Path) -> np.ndarray:
        frame = read_table(folder / "forecasting" / path)
        names = [column for column in frame.columns if frame[column].dtype.is_float()]
        return frame.select(names).to_numpy()[::rows]

    return read


def stocks(folder: Path) -> list[np.ndarray]:
    """Monthly prices of the stocks that have ten years."""
    frame = read_table(folder / "forecasting/vega_stocks/stocks.csv")
    parts = [part["price"].to_numpy() for _, part in frame.group_by("symbol", maintain_order=True)]
    return [prices for prices in parts if len(prices) > 100]


SETS: Mapping[str, Set] = {
    "walk": Set(12, walk), "walks": Set(24, walks), "level_shifts": Set(12, level_shifts),
    "seasonal": Set(12, seasonal), "trend": Set(12, trend), "growth": Set(12, growth),
    "intermittent": Set(7, intermittent), "volatility": Set(12, volatility), "short": Set(6, short),
    "epidemic": Set(24, epidemic), "panel": Set(12, panel),
    "airline": Set(12, read=_column("airline-passengers/airline-passengers.csv")),
    "shampoo": Set(3, read=_column("shampoo/shampoo.csv")),
    "temperatures": Set(7, read=_column("daily-min-temperatures/daily-min-temperatures.csv")),
    "sunspots": Set(12, read=_column("monthly-sunspots/monthly-sunspots.csv")),
    "stocks": Set(6, read=stocks),
    "exchange_monthly": Set(12, read=_every("exchange_rate/exchange_rate.csv", 21)),
    "etth1_daily": Set(14, read=_every("ETTh1/ETTh1.csv", 24)),
}  # fmt: skip


def _split(values: Any, horizon: int, development: bool) -> tuple[Any, Any, int]:
    """The rows to fit, all rows, and the number of test rows at the end of every series."""
    series = values if isinstance(values, list) else [values]
    test = max(round(TEST_SHARE * min(len(part) for part in series)), horizon + 2)
    if development:
        series = [part[:-test] for part in series]
    train = [part[:-test] for part in series]
    return (train, series, test) if isinstance(values, list) else (train[0], series[0], test)


def forecast(values: Any, horizon: int, development: bool) -> Forecasts:
    """The forecasts of every origin of the test part."""
    train, rows, test = _split(values, horizon, development)
    forecaster = ls.Forecaster(horizon=horizon).fit(train, verbose=0)
    return forecaster.forecasts(rows, -test)


def scores(forecasts: Forecasts) -> np.ndarray:
    """Coverage of 90 %, in the four quarters of the horizon, of 50 %, and the error over the naive one's."""
    actual, quantiles = forecasts.actual, forecasts.quantiles
    inside = (actual >= quantiles[..., 0]) & (actual <= quantiles[..., -1])
    quarters = [inside[:, part].mean() for part in np.array_split(np.arange(inside.shape[1]), 4) if len(part)]
    quarters += [np.nan] * (4 - len(quarters))
    half = evaluation.coverage(forecasts, actual, 1, len(forecasts.levels) - 2)
    ratio = evaluation.mae(forecasts.point, actual) / evaluation.mae(forecasts.naive, actual)
    return np.array([inside.mean(), *quarters, half, ratio])


def run(name: str, draws: int, folder: Path | None, development: bool) -> np.ndarray | None:
    """The scores of a set, (draws, 7); None where there is no folder to read it from."""
    part, number = SETS[name], list(SETS).index(name)
    if part.draw is not None:
        series = [part.draw(np.random.default_rng([number, draw])) for draw in range(draws)]
    elif part.read is not None and folder is not None:
        series = [part.read(folder)]
    else:
        return None
    return np.stack([scores(forecast(values, part.horizon, development)) for values in series])


def table(results: Mapping[str, np.ndarray]) -> Table:
    """A line for every set."""
    shown = Table(title="Coverage of intervals with the library's defaults, mean over draws")
    for head in (
        "set",
        "draws",
        "90 % covers",
        "",
        "by quarter of the horizon",
        "50 % covers",
        "MAE / naive",
    ):
        shown.add_column(head)
    for name, rows in results.items():
        mean = rows.mean(0)
        good = "kept" if ALLOWED[0] <= mean[0] <= ALLOWED[1] else "MISSED"
        quarters = " ".join(f"{value:.2f}" for value in mean[1:5])
        shown.add_row(
            name, str(len(rows)), f"{mean[0]:.3f}", good, quarters, f"{mean[5]:.2f}", f"{mean[6]:.2f}"
        )
    return shown


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sets asked for and print the table."""
    parser = argparse.ArgumentParser(description="Coverage of forecast intervals on many unlike series.")
    parser.add_argument("--data", default=os.environ.get("LONGSPAN_DATA"), help="the folder of the data sets")
    parser.add_argument("--sets", nargs="*", choices=list(SETS), default=list(SETS))
    parser.add_argument("--draws", type=int, default=20, help="series of each generated set")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--development", action="store_true", help="leave the test parts alone")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    console, results = Console(width=120), {}
    for name in arguments.sets:
        folder = None if arguments.data is None else Path(arguments.data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", errors.LongspanWarning)
            rows = run(name, arguments.draws, folder, arguments.development)
        if rows is not None:
            results[name] = rows
            console.print(name, " ".join(f"{value:.3f}" for value in rows.mean(0)))
    console.print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
