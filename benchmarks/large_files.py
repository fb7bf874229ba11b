"""Measures the memory in which a Forecaster or a Recommender is fitted to a file that is larger.

    python -m benchmarks.large_files [--data panel] [--gigabytes 10] [--memory 2] [--folder FOLDER]
    python -m benchmarks.large_files --data events --gigabytes 4

Writes a Parquet file whose table takes so many gigabytes in memory. Then it fits a model to it in a fresh
process that may not have more memory of its own than `--memory`, and prints what it had at most. Pages of
files that the system can take back, such as those of memory-mapped arrays, are no memory of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

_SERIES, _STEPS = 50, 10_000  # of one part of a panel
_EVENTS, _USERS, _ITEMS = 1_000_000, 400_000, 20_000  # of one part of the events, and of all
_ROW_BYTES = {"panel": 56, "events": 24}  # of a row in memory, the name of its series among them
_CHILD = """
import json, resource, sys, threading, time, warnings
from itertools import islice
from pathlib import Path
limit = int(float(sys.argv[2]) * 1e9)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
warnings.simplefilter("ignore")
from longspan import Forecaster, Recommender
from longspan.tasks.recommend.batches import SessionParallelBatches
steps, every = int(sys.argv[4]), SessionParallelBatches.__iter__
SessionParallelBatches.__iter__ = lambda batches: islice(every(batches), steps)
SessionParallelBatches.__len__ = lambda batches: steps
peaks, ended = {"RssAnon": 0, "RssFile": 0}, threading.Event()
def watch():
    while not ended.wait(0.02):
        lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
        for name in peaks:
            peaks[name] = max(peaks[name], int(lines[name].split()[0]) * 1024)
thread = threading.Thread(target=watch, daemon=True)
thread.start()
began = time.process_time()
models = {
    "panel": Forecaster(
        horizon=24, id="series", time="time", target="y", past_covariates=("x",), hidden_size=64, epochs=2,
        context_length=96, season_length=24, transform="none",
    ),
    "events": Recommender(epochs=2),
}
model = models[sys.argv[3]]
model.fit(sys.argv[1], verbose=0)
fitted = dict(peaks)
model.save(sys.argv[1] + ".model")
ended.set()
thread.join()
found = {**peaks, "fit": fitted["RssAnon"], "rows": model.fitted_.data.rows}
print(json.dumps({**found, "seconds": time.process_time() - began}))
"""


def panel_part(number: int) -> pl.LazyFrame:
    """50 hourly series of 10,000 rows with a covariate."""
    time = np.datetime64("2020-01-01", "us") + np.arange(_STEPS) * np.timedelta64(1, "h")
    draw = np.random.default_rng(0)
    names = np.repeat(np.arange(_SERIES), _STEPS)
    table = pl.DataFrame({"series": names, "time": np.tile(time, _SERIES)})
    wave = np.sin(2 * np.pi * np.tile(np.arange(_STEPS), _SERIES) / 24 + names)
    x = draw.standard_normal(len(names))
    table = table.with_columns(y=wave + 0.1 * x + 0.1 * draw.standard_normal(len(names)), x=x)
    return table.lazy().with_columns(pl.format("s{}-{}", pl.lit(number), "series").alias("series"))


def events(count: int) -> list[pl.LazyFrame]:
    """A million events each, in the order of time: 400,000 users, 20,000 items of which few are popular."""
    draw = np.random.default_rng(0)
    time = np.datetime64("2020-01-01", "us") + np.arange(_EVENTS) * np.timedelta64(1, "s")
    item = (_ITEMS * draw.random(_EVENTS) ** 3).astype(np.int64)
    part = pl.LazyFrame({"user": draw.integers(0, _USERS, _EVENTS), "item": item, "time": time})
    return [
        part.with_columns(
            user=(pl.col("user") * (2 * number + 1) + number) % _USERS,
            time=pl.col("time") + pl.duration(seconds=number * _EVENTS),
        )
        for number in range(count)
    ]


def write_table(path: Path, data: str, size: float) -> None:
    """Write a table that takes so many bytes in memory."""
    rows = {"panel": _SERIES * _STEPS, "events": _EVENTS}[data]
    count = max(1, round(size / (rows * _ROW_BYTES[data])))
    parts = events(count) if data == "events" else [panel_part(number) for number in range(count)]
    pl.concat(parts).sink_parquet(
        path, row_group_size=rows, compression="uncompressed" if data == "events" else "zstd"
    )


def measure(path: Path, data: str, gigabytes: float, steps: int) -> dict[str, float]:
    """What a fresh process says: bytes of its own and of files at most, processor seconds, rows."""
    command = [sys.executable, "-c", _CHILD, str(path), str(gigabytes), data, str(steps)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", choices=_ROW_BYTES, default="panel")
    parser.add_argument(
        "--steps", type=int, default=200, help="of an epoch over events, of which two are run"
    )
    parser.add_argument("--gigabytes", type=float, default=10.0, help="of the table in memory")
    parser.add_argument("--memory", type=float, default=2.0, help="gigabytes that the fit may use")
    parser.add_argument("--folder", type=Path, help="where the file is written; none for a temporary folder")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / f"{options.data}.parquet"
        write_table(path, options.data, options.gigabytes * 1e9)
        found = measure(path, options.data, options.memory, options.steps)
        own, files = (f"{found[name] / 1e6:,.0f} MB" for name in ("RssAnon", "RssFile"))
        fit = f"{found['fit'] / 1e6:,.0f} MB"
        print(
            f"{found['rows']:,} rows, {options.gigabytes:g} GB in memory, "
            f"{path.stat().st_size / 1e9:.1f} GB as a file; at most {own} of its own "
            f"({fit} before the model was saved), {files} of files; "
            f"{found['seconds']:.0f} processor seconds"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
