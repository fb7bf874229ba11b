"""Demonstrates the detection of intrusions in logins: accounts that were stolen and ones that are guessed.

Logs of real logins are private, so these are made by a rule. Each of the users has a country, one or two
devices, a usual hour, and a habit of mistyping passwords. In the last weeks some accounts are stolen: one
or two attributes of a login are then unlike its user, in combinations that other users have every day.
Others are guessed: many failures before a login at night. No rule on one column tells them; the printed
rival flags logins from a country that the user never used.
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

USERS, DAYS, UNSEEN_DAYS = 40, 90, 30  # users; days of the log; of these the last ones are watched
STOLEN = 60  # logins of others among them
OPTIONS: dict[str, Any] = {
    "time": "time",
    "id": "user",
    "label": "stolen",
    "kind": "records",
    "target": ("hour", "failures", "country", "device"),
    "epochs": 10,
    "false_positive_rate": 0.005,
}
COUNTRIES = ("DE", "FR", "PL", "IT", "ES", "US", "BR", "IN")
DEVICES = ("windows", "mac", "linux", "android", "iphone")
_START = datetime(2025, 1, 6)
_LEAD = (
    "One detector learnt two months of logins of forty users, made by a rule. Below is the month after, "
    "with logins by others than the users among them."
)


def run(folder: Path) -> None:
    """Logins, training, alarms, report; the files go into the folder."""
    console = Console(highlight=False)
    table = logins()
    unseen_from = _START + timedelta(days=DAYS - UNSEEN_DAYS)
    seen, unseen = table.filter(pl.col("time") < unseen_from), table.filter(pl.col("time") >= unseen_from)
    console.print(f"[bold]1[/] Data: {len(table):,} logins of {USERS} users in {DAYS} days, made by a rule;")
    console.print(
        f"  {unseen['stolen'].sum()} of {len(unseen):,} in the last {UNSEEN_DAYS} days are not the user's."
    )
    console.print(f"[bold]2[/] Training on the {len(seen):,} before ...")
    began = time.perf_counter()
    model = AnomalyDetector(**OPTIONS).fit(seen)
    console.print(f"  done in {time.perf_counter() - began:.0f} s.")
    console.print(f"[bold]3[/] The {len(unseen):,} after:")
    scored = model.predict(unseen)
    stolen = unseen.sort("user", "time", maintain_order=True)["stolen"].to_numpy() > 0
    flags = scored.sort("id", "time", maintain_order=True)["alarm"].to_numpy()
    rival = new_country(seen, unseen.sort("user", "time", maintain_order=True))
    rows = [["longspan", *_counted(flags, stolen)], ["a country new to the user", *_counted(rival, stolen)]]
    show_table(console, ["alarms by", "alarms", "of them right", "found of the stolen"], rows)
    console.print("[bold]4[/] Written:")
    show_written(console, _write(model, table, unseen, folder), folder / "report.html")


def logins() -> pl.DataFrame:
    """time, user, country, device, hour, failures and stolen (0 or 1), a row a login, by time."""
    draw = np.random.default_rng(0)
    users = [
        {
            "country": str(draw.choice(COUNTRIES)),
            "devices": [str(name) for name in draw.choice(DEVICES, 2, replace=False)],
            "hour": draw.uniform(7, 16),
            "failures": draw.choice([0.05, 0.3]),
        }
        for _ in range(USERS)
    ]
    rows = [
        _login(draw, f"user{number:02}", habits, day)
        for day in range(DAYS)
        for number, habits in enumerate(users)
        for _ in range(draw.poisson(1.5 if day % 7 < 5 else 0.2))
    ]
    for _ in range(STOLEN):
        number = int(draw.integers(USERS))
        day = DAYS - UNSEEN_DAYS + int(draw.integers(UNSEEN_DAYS))
        rows.append(_stolen(draw, _login(draw, f"user{number:02}", users[number], day), users))
    columns = ["time", "user", "country", "device", "hour", "failures", "stolen"]
    return pl.DataFrame(rows, schema=columns, orient="row").sort("time", "user")


def _login(draw: np.random.Generator, name: str, habits: dict[str, Any], day: int) -> list[Any]:
    """A login by the user: mostly from the first device, around the usual hour."""
    hour = float(np.clip(draw.normal(habits["hour"], 1.5), 0, 23.9))
    device = habits["devices"][int(draw.random() < 0.25)]
    failures = int(draw.poisson(habits["failures"]))
    return [_time(day, hour), name, habits["country"], device, round(hour, 2), failures, 0]


def _stolen(draw: np.random.Generator, login: list[Any], users: list[dict[str, Any]]) -> list[Any]:
    """The login by somebody else: guessed at night, or with attributes that are not the user's."""
    day, other = (login[0] - _START).days, users[int(draw.integers(len(users)))]
    kind = draw.integers(3)
    if kind == 0:
        hour = float(draw.uniform(0, 5))
        return [_time(day, hour), *login[1:4], round(hour, 2), int(draw.integers(4, 9)), 1]
    device = str(draw.choice([name for name in DEVICES if name != login[3]]))
    country = other["country"] if kind == 1 else login[2]
    hour = float(draw.uniform(17, 23.5))
    return [_time(day, hour), login[1], country, device, round(hour, 2), login[5], 1]


def _time(day: int, hour: float) -> datetime:
    return _START + timedelta(days=day, seconds=int(3600 * hour))


def new_country(seen: pl.DataFrame, unseen: pl.DataFrame) -> np.ndarray:
    """Which logins (N,) come from a country that their user had in none of those seen."""
    pairs = set(seen.select("user", "country").unique().iter_rows())
    return np.array([pair not in pairs for pair in unseen.select("user", "country").iter_rows()])


def _counted(flags: np.ndarray, stolen: np.ndarray) -> list[str]:
    """Alarms, the share of them that are right, and the share of the stolen logins that they find."""
    right = int((flags & stolen).sum())
    return [
        f"{flags.sum()}",
        f"{100 * right / max(flags.sum(), 1):.0f} %",
        f"{100 * right / stolen.sum():.0f} %",
    ]


def _write(
    model: AnomalyDetector, table: pl.DataFrame, unseen: pl.DataFrame, folder: Path
) -> dict[Path, str]:
    """Every file, and what it is."""
    model.save(folder / "model")
    write_tables(folder, {"logins.csv": table, "alarms.csv": model.alarms(unseen)})
    model.write_report(folder / "report.html", unseen, title="Stolen logins", lead=_LEAD)
    return {
        folder / "logins.csv": "the data, to try the commands on",
        folder / "model": "the model: longspan predict, evaluate, report",
        folder / "alarms.csv": "the alarms, with the columns that caused them",
        folder / "report.html": "the report, with scores and alarms by user",
    }
