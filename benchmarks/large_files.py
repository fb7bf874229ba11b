"""Measures the memory in which a Forecaster is fitted to a file that is larger.

    python -m benchmarks.large_files [--gigabytes 10] [--memory 2] [--folder FOLDER]

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
_ROW_BYTES = 56  # of a row in memory, the name of its series among them
_CHILD = """
import json, resource, sys, threading, time, warnings
from pathlib import Path
limit = int(float(sys.argv[2]) * 1e9)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
warnings.simplefilter("ignore")
from longspan import Forecaster
peaks, ended = {"RssAnon": 0, "RssFile": 0}, threading.Event()
def watch():
    while not ended.wait(0.02):
        lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
        for name in peaks:
            peaks[name] = max(peaks[name], int(lines[name].split()[0]) * 1024)
thread = threading.Thread(target=watch, daemon=True)
thread.start()
began = time.process_time()
model = Forecaster(
    horizon=24, id="series", time="time", target="y", past_covariates=("x",), hidden_size=64, epochs=2,
    context_length=96, season_length=24, transform="none",
)
model.fit(sys.argv[1], verbose=0)
ended.set()
thread.join()
print(json.dumps({**peaks, "seconds": time.process_time() - began, "rows": model.fitted_.data.rows}))
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


def write_table(path: Path, size: float) -> None:
    """Write a table that takes so many bytes in memory."""
    rows = _SERIES * _STEPS
    count = max(1, round(size / (rows * _ROW_BYTES)))
    pl.concat([panel_part(number) for number in range(count)]).sink_parquet(path, row_group_size=rows)


def measure(path: Path, gigabytes: float) -> dict[str, float]:
    """What a fresh process says: bytes of its own and of files at most, processor seconds, rows."""
    command = [sys.executable, "-c", _CHILD, str(path), str(gigabytes)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=10.0, help="of the table in memory")
    parser.add_argument("--memory", type=float, default=2.0, help="gigabytes that the fit may use")
    parser.add_argument("--folder", type=Path, help="where the file is written; none for a temporary folder")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "panel.parquet"
        write_table(path, options.gigabytes * 1e9)
        found = measure(path, options.memory)
        own, files = (f"{found[name] / 1e6:,.0f} MB" for name in ("RssAnon", "RssFile"))
        print(
            f"{found['rows']:,} rows, {options.gigabytes:g} GB in memory, "
            f"{path.stat().st_size / 1e9:.1f} GB as a file; at most {own} of its own, {files} of files; "
            f"{found['seconds']:.0f} processor seconds"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
