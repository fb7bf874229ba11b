"""Trains models of NeuralForecast and forecasts the test part of a set; run by forecasting.py.

python neuralforecast_rival.py etth1_ot ETTh1.csv THREADS    # in an environment of its own; prints JSON
python neuralforecast_rival.py m4_hourly rows.csv THREADS    # columns id, time, value, test
python neuralforecast_rival.py panel_x rows.csv THREADS HORIZON    # id, time, value; prints the forecasts

Each series is standardised. Each model takes 600 steps and has the library's defaults otherwise.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from time import perf_counter
from typing import Any

MONTH, STEPS = 30 * 24, 600
HORIZON = {"etth1_ot": 24, "m4_hourly": 48}
INPUT = {"etth1_ot": 96, "m4_hourly": 240}  # rows that a forecast reads


def etth1_ot(path: str, model: Any) -> float:
    """Mean squared error of every forecast of the test part, standardised by the training part."""
    import pandas  # pyright: ignore[reportMissingModuleSource]
    from neuralforecast import NeuralForecast  # pyright: ignore[reportMissingImports]

    table = pandas.read_csv(path)[: 20 * MONTH]
    frame = pandas.DataFrame({"unique_id": "OT", "ds": pandas.to_datetime(table["date"]), "y": table["OT"]})
    known = frame["y"][: 12 * MONTH]
    frame["y"] = (frame["y"] - known.mean()) / known.std(ddof=0)
    found = NeuralForecast(models=[model], freq="h").cross_validation(
        frame, val_size=4 * MONTH, test_size=4 * MONTH, n_windows=None, step_size=1, verbose=0
    )
    return float(((found[type(model).__name__] - found["y"]) ** 2).mean())


def m4_hourly(path: str, model: Any) -> float:
    """sMAPE in percent of the last 48 steps of every series."""
    import pandas  # pyright: ignore[reportMissingModuleSource]
    from neuralforecast import NeuralForecast  # pyright: ignore[reportMissingImports]

    names = {"id": "unique_id", "time": "ds", "value": "y"}
    rows = pandas.read_csv(path).rename(columns=names)
    train, test = (rows[rows["test"] == part].drop(columns="test") for part in (False, True))
    task = NeuralForecast(models=[model], freq=1, local_scaler_type="standard")
    task.fit(train, verbose=0)
    found = test.merge(task.predict(verbose=0), on=["unique_id", "ds"], validate="one_to_one")
    assert len(found) == len(test)
    error = (found[type(model).__name__] - found["y"]).abs()
    return float(200 * (error / (found[type(model).__name__].abs() + found["y"].abs())).mean())


def panel(path: str, model: Any) -> list[list[float]]:
    """The forecasts of what follows every series, in the order of their ids."""
    import pandas  # pyright: ignore[reportMissingModuleSource]
    from neuralforecast import NeuralForecast  # pyright: ignore[reportMissingImports]

    rows = pandas.read_csv(path).rename(columns={"id": "unique_id", "time": "ds", "value": "y"})
    task = NeuralForecast(models=[model], freq=1, local_scaler_type="standard")
    task.fit(rows, verbose=0)
    found = task.predict(verbose=0).sort_values(["unique_id", "ds"])
    return [part[type(model).__name__].tolist() for _, part in found.groupby("unique_id")]


def main(name: str, path: str, threads: str, horizon: str = "") -> None:
    import torch
    from neuralforecast.models import LSTM, NHITS, PatchTST  # pyright: ignore[reportMissingImports]

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(int(threads))
    options = {
        "enable_progress_bar": False,
        "logger": False,
        "enable_checkpointing": False,
        "accelerator": "cpu",
    }
    results, steps = {}, int(horizon) if horizon else HORIZON[name]
    if horizon:
        options["start_padding_enabled"] = True  # series may be shorter than what a forecast reads
    for model in (NHITS, PatchTST, *([LSTM] if name == "etth1_ot" else [])):
        began = perf_counter()
        made = model(h=steps, input_size=INPUT.get(name, 3 * steps), max_steps=STEPS, **options)
        if horizon:
            found: dict[str, Any] = {"forecasts": panel(path, made)}
        else:
            found = {"error": {"etth1_ot": etth1_ot, "m4_hourly": m4_hourly}[name](path, made)}
        results[model.__name__] = {"seconds": perf_counter() - began, **found}
        print(f"{model.__name__}: {perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
