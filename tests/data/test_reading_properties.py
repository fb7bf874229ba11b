"""Draws tables in many forms from one true series: what is read back is that series, or one sentence."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pytest

from longspan.data.time_table import TimeOptions
from longspan.tasks.forecast.panel import Columns, Panel
from longspan.tasks.forecast.reading import read_panel

DRAWS = 300  # in the suite, a third of them in the ordinary run; this file run with a number draws as many
DATES = (
    "%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y",
    "%d-%b-%y", "%d %B %Y", "%b %d, %Y", "%Y%m%d", "%d-%m-%Y", "%a %d %b %Y",
)  # fmt: skip
CLOCKS = (" %H:%M:%S", " %H:%M", "T%H:%M:%S", " %I:%M %p")
ZONES = ("", "", "Z", "+00:00", "+02:00", " UTC")
MARKERS = ("", "NA", "n/a", "-", "null", "#N/A", "NaN", ".", " ")
START = datetime(2021, 1, 4)


class Truth(NamedTuple):
    """Times (in UTC where they have an offset) and values by the name of the series."""

    times: list[datetime]
    values: dict[str, np.ndarray]
    dated: str  # the kind of step


def true_series(rng: np.random.Generator) -> Truth:
    """One or two series of 30 to 80 rows, some of their values missing, some rows."""
    kind = str(rng.choice(["day", "hour", "week", "month", "weekday", "quarter hour"]))
    rows = int(rng.integers(30, 80))
    start = START + timedelta(days=int(rng.integers(0, 400)))
    if kind == "month":
        times = [datetime(2015 + place // 12, place % 12 + 1, 1) for place in range(rows)]
    elif kind == "weekday":
        times = [day for day in (start + timedelta(days=at) for at in range(2 * rows)) if day.weekday() < 5][
            :rows
        ]
    else:
        step = {"day": timedelta(days=1), "hour": timedelta(hours=1), "week": timedelta(days=7)}
        times = [start + place * step.get(kind, timedelta(minutes=15)) for place in range(rows)]
    scale = float(rng.choice([1.0, 50.0, 20_000.0]))
    names = ["0007", "42"] if rng.random() < 0.3 else [""]
    values = {name: np.round(scale * rng.standard_normal(rows), 2) for name in names}
    if rng.random() < 0.5:
        for column in values.values():
            column[rng.integers(1, rows - 1, 3)] = np.nan
    return Truth(times, values, kind)


def number(value: float, mark: str, thousands: bool, marker: str) -> str:
    if np.isnan(value):
        return marker
    text = f"{value:,.2f}" if thousands else f"{value:.2f}"
    return text.translate(str.maketrans(",.", ".,")) if mark == "," else text


def written(rng: np.random.Generator, truth: Truth, folder: Path) -> tuple[Path, TimeOptions, str]:
    """The series as a file, the options that are needed to read it, and the offset of its times."""
    separator, mark = str(rng.choice([",", ";", "\t", "|"])), str(rng.choice([".", ".", ","]))
    thousands, marker = bool(rng.random() < 0.3), str(rng.choice(MARKERS))
    timed = truth.dated in ("hour", "quarter hour")
    zone = str(rng.choice(ZONES)) if timed else ""
    form = str(rng.choice(DATES)) + (str(rng.choice(CLOCKS)) if timed or rng.random() < 0.2 else "")
    if "%Y%m%d" in form and "%I" in form:
        form = form.replace(" %I:%M %p", " %H:%M")
    zone = "" if "%p" in form else zone
    quote = separator == "," or rng.random() < 0.1
    rows = []
    for name, values in truth.values.items():
        for when, value in zip(truth.times, values.tolist(), strict=True):
            cell = number(value, mark, thousands, marker)
            cells = [f"{when:{form}}" + zone, f'"{cell}"' if quote and "," in cell else cell]
            cells[0] = f'"{cells[0]}"' if separator in cells[0] else cells[0]
            rows.append(separator.join([name, *cells] if name else cells))
    order = str(rng.choice(["as it is", "reversed", "shuffled"]))
    rows = rows[::-1] if order == "reversed" else rows
    if order == "shuffled":
        rng.shuffle(rows)
    head = separator.join(["name", "when", "Größe"] if "0007" in truth.values else ["when", "Größe"])
    above = str(rng.choice(["", "", "# a comment\n", "sep=" + separator + "\n"]))
    end = str(rng.choice(["\n", "\r\n"]))
    text = above + end.join([head, *rows, ""])
    encoding = str(rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    path, content = packed(rng, folder, text.encode(encoding))
    path.write_bytes(content)
    return path, TimeOptions("latin-1" if encoding == "latin-1" else "utf-8"), zone


def packed(rng: np.random.Generator, folder: Path, content: bytes) -> tuple[Path, bytes]:
    ending = str(rng.choice(["", "", "", ".gz", ".bz2", ".xz", ".zip"]))
    path = folder / f"table.csv{ending}"
    if ending == ".zip":
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("table.csv", content)
        return path, file.getvalue()
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}.get(ending)
    return path, pack(content) if pack else content


def held(rng: np.random.Generator, truth: Truth) -> tuple[Any, str]:
    """The series as a frame: the times in a column or the index, of any type; and the offset of its times."""
    times = pd.DatetimeIndex(truth.times * len(truth.values))
    zone = str(rng.choice(["", "UTC", "America/New_York", "Europe/Berlin"]))
    form = str(rng.choice(["column", "index", "text", "objects", "polars", "period"]))
    values = np.concatenate(list(truth.values.values()))
    data: dict[str, Any] = {"Größe": pd.array(values, dtype="Float64") if rng.random() < 0.3 else values}
    if "0007" in truth.values:
        data = {"name": np.repeat(list(truth.values), len(truth.times)), **data}
    if form == "polars":
        return pl.DataFrame(
            {
                "when": list(times.to_pydatetime()),
                "Größe": values,
                **{k: list(v) for k, v in data.items() if k == "name"},
            }
        ), ""
    if form == "period" and truth.dated in ("day", "month"):
        return pd.DataFrame(
            data, index=times.to_period("D" if truth.dated == "day" else "M").rename("when")
        ), ""
    if form in ("text", "objects"):
        plain = [str(one) for one in times] if form == "text" else list(times.to_pydatetime())
        return pd.DataFrame({"when": pd.Series(plain, dtype=object), **data}), ""
    if zone and truth.dated not in ("hour", "quarter hour"):
        times = times.tz_localize(zone)  # midnights of the zone's own clocks
    elif zone:
        times = times.tz_localize("UTC").tz_convert(zone)
    if form == "index":
        return pd.DataFrame(data, index=times.rename("when")), zone
    return pd.DataFrame({"when": times, **data}), zone


def expected_times(truth: Truth, zone: str) -> list[datetime]:
    """The true times, in UTC where they have a zone."""
    if not zone:
        return truth.times
    if zone.startswith(("+", "Z", " ")):
        moved = timedelta(hours=2) if zone == "+02:00" else timedelta()
        return [(when - moved).replace(tzinfo=timezone.utc) for when in truth.times]
    if truth.dated in ("hour", "quarter hour"):
        return [when.replace(tzinfo=timezone.utc) for when in truth.times]
    return list(pd.DatetimeIndex(truth.times).tz_localize(zone).tz_convert("UTC").to_pydatetime())


def check(panel: Panel, truth: Truth, zone: str) -> None:
    """The panel's times and values are the true ones, series by series."""
    times = expected_times(truth, zone)
    assert set(panel.ids) == set(truth.values), panel.ids
    for series, name in enumerate(panel.ids):
        begin, end = int(panel.starts[series]), int(panel.starts[series + 1])
        steps = panel.first[series] + np.arange(end - begin)
        found = panel.frequency.column(panel.frequency.times(steps), "time").to_list()
        found = [when.astimezone(timezone.utc) if when.tzinfo else when for when in found]
        assert found == times, (found[:3], times[:3], len(found), len(times))
        assert np.array_equal(panel.values[begin:end, 0], truth.values[name], equal_nan=True)


def drawn(seed: int, folder: Path) -> str:
    """One draw: "read" where the truth came back, else the sentence by which it was refused."""
    rng = np.random.default_rng(seed)
    truth = true_series(rng)
    columns = Columns(target=("Größe",), id="name" if "0007" in truth.values else None)
    options = TimeOptions()
    if rng.random() < 0.7:
        source, options, zone = written(rng, truth, folder)
    else:
        source, zone = held(rng, truth)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            panel = read_panel(source, columns, options=options)
        except ValueError as error:
            sentence = str(error)
            assert sentence.endswith(".") and "\n" not in sentence and ": expected " in sentence, sentence
            return sentence
    check(panel, truth, zone)
    return "read"


@pytest.mark.parametrize(
    "part", [0, 1, *(pytest.param(part, marks=pytest.mark.slow) for part in range(2, 6))]
)
def test_a_table_is_read_as_it_was_meant_or_refused(part: int, tmp_path: Path):
    results = [drawn(seed, tmp_path) for seed in range(part * DRAWS // 6, (part + 1) * DRAWS // 6)]
    assert results.count("read") > 0.9 * len(results), Counter(results)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        results = Counter[str]()
        for seed in range(int(sys.argv[1])):
            try:
                results[drawn(seed, Path(name))[:100]] += 1
            except BaseException as error:  # every kind is counted
                results[f"seed {seed}: {type(error).__name__}: {str(error)[:300]}"] += 1
        for sentence, count in results.most_common(60):
            print(count, sentence)
