"""Trains and back-tests NeuralForecast's LSTM on ETTh1 OT; run by forecasting.py.

python neuralforecast_rival.py ETTh1.csv THREADS    # in an environment of its own; prints JSON
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from time import perf_counter

MONTH, HORIZON = 30 * 24, 24


def main(path: str, threads: str) -> None:
    import pandas  # pyright: ignore[reportMissingModuleSource]
    import torch
    from neuralforecast import NeuralForecast  # pyright: ignore[reportMissingImports]
    from neuralforecast.models import LSTM  # pyright: ignore[reportMissingImports]

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(int(threads))
    table = pandas.read_csv(path)[: 20 * MONTH]
    frame = pandas.DataFrame({"unique_id": "OT", "ds": pandas.to_datetime(table["date"]), "y": table["OT"]})
    known = frame["y"][: 12 * MONTH]
    frame["y"] = (frame["y"] - known.mean()) / known.std(ddof=0)
    options = {
        "enable_progress_bar": False,
        "logger": False,
        "enable_checkpointing": False,
        "accelerator": "cpu",
    }
    model = LSTM(h=HORIZON, input_size=96, max_steps=500, **options)
    began = perf_counter()
    task = NeuralForecast(models=[model], freq="h")
    found = task.cross_validation(
        frame, val_size=4 * MONTH, test_size=4 * MONTH, n_windows=None, step_size=1, verbose=0
    )
    seconds = perf_counter() - began
    error = float(((found["LSTM"] - found["y"]) ** 2).mean())
    print(json.dumps({"seconds": seconds, "mse": error}))


if __name__ == "__main__":
    main(*sys.argv[1:])
