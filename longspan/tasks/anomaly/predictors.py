"""The predictor of a detector whose readings a `Forecaster` predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from longspan import errors
from longspan.data.batches import Batch
from longspan.tasks.codec import Tree
from longspan.tasks.fitting import Run
from longspan.tasks.forecast.forecaster import Forecaster
from longspan.tasks.parts import Fitted
from longspan.tasks.persistence import history_from_state, history_state

from .features import FeatureEncoder
from .network import EncodedReading, Predictor
from .reading import Series

TIME, ENTITY = "(time)", "(entity)"  # columns of the tables that a forecaster is given


class ForecasterPredictor(Predictor):
    """Predicts readings by a forecaster: outputs (2W), scaled points and half-widths of their intervals.

    Args:
        forecaster: fitted by `fit_forecaster`, or restored by `restore_forecaster`.
        features: how numbers are scaled, fitted.
    """

    def __init__(self, forecaster: Forecaster, features: FeatureEncoder) -> None:
        super().__init__()
        self.forecaster, self.network = forecaster, forecaster.network_
        self.levels = forecaster.codec_.levels
        self.rows = forecaster.row_reader(features.names, features.categories)
        self.center, self.scale = (
            np.array(part)[features.numeric, None] for part in (features.center, features.scale)
        )

    def forward(self, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        return self.network(batch, state)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return self.network.loss(output, batch)

    def loss_count(self, output: Tensor, batch: Batch) -> Tensor | float:
        return self.network.loss_count(output, batch)

    def predict_series(self, batch: Batch) -> tuple[Tensor, Any]:
        """The predictions and the state after the series; batch: its x is what `table` gives."""
        quantiles, state = self.forecaster.predict_stream(batch.x)
        return torch.from_numpy(self._scaled(quantiles)), state

    def step(self, inputs: EncodedReading, state: Any) -> tuple[list[float] | None, Any]:
        numbers, words, name, time = inputs.reading
        entity = "" if name is None else str(name)
        row = self.rows.read(numbers, words, time, None if state is None else state.end, entity)
        stream = self.forecaster.fitted_.running
        quantiles, state = stream.step(row, entity, state)
        return None if quantiles is None else self._scaled(quantiles).tolist(), state

    def state_to_tree(self, state: Any) -> Tree:
        return None if state is None else state.state()

    def state_from_tree(self, tree: Tree) -> Any:
        return None if tree is None else self.forecaster.state_from_tree(tree)

    def _scaled(self, quantiles: np.ndarray) -> np.ndarray:
        """Outputs (..., 2W) from quantiles (..., W, Q)."""
        scaled = np.arcsinh((quantiles - self.center) / self.scale)
        points = scaled[..., self.levels.index(0.5)]
        return np.concatenate([points, (scaled[..., -1] - scaled[..., 0]) / 2], -1)


def set_columns(forecaster: Forecaster, features: FeatureEncoder) -> None:
    """Set the watched columns as a forecaster's targets; the others are covariates where none are named.

    Raises:
        ValueError: no column of numbers is watched.
    """
    if not features.numeric:
        raise errors.value_error("source", "a column of numbers to foretell", "none", "leave forecaster out")
    forecaster.target = target = tuple(features.monitored)
    if not forecaster.past_covariates and not forecaster.future_covariates:
        columns = (*features.names, *features.categories)
        forecaster.past_covariates = tuple(name for name in columns if name not in target)


def check_forecaster(forecaster: Forecaster, *, time: Any, id: Any) -> None:
    """Raise an error unless a detector with these columns of times and entities can use it."""
    forecaster.check()
    horizon, static = forecaster.horizon, forecaster.static_covariates
    if horizon != 1:
        raise errors.value_error("forecaster", "one with a horizon of 1", horizon, "set it to 1")
    if static:
        raise errors.value_error("forecaster", "no static covariates", static, "leave them out")
    for name, column, own in (("time", time, forecaster.time), ("id", id, forecaster.id)):
        if own not in (None, (), column):
            way_out = f"give the detector {name}={own!r}"
            raise errors.value_error("forecaster", f"the detector's {name}", f"its own {name}", way_out)


def fit_forecaster(
    forecaster: Forecaster,
    features: FeatureEncoder,
    train: Sequence[Series],
    valid: Sequence[Series] | None,
    run: Run,
) -> None:
    """Fit a forecaster to series; known anomalies are missing values to it.

    Args:
        forecaster: with the columns of `set_columns`; valid: None to let the forecaster hold out a part.
    """
    if len(train) > 1 and train[0].name is None:
        way_out = "put them into one table with an id, or leave the forecaster out"
        raise errors.value_error("source", "one series, or entities with names", f"{len(train)}", way_out)
    forecaster.time = None if train[0].times is None else TIME
    forecaster.id = None if train[0].name is None else ENTITY
    tables = [None if part is None else _without_anomalies(part, features) for part in (train, valid)]
    forecaster.fit(
        tables[0],
        validation_data=tables[1],
        resume=run.resume,
        callbacks=run.callbacks,
        verbose=run.verbose,
        processes=run.processes,
    )


def table(series: Series, features: FeatureEncoder) -> pl.DataFrame:
    """A series as a forecaster reads it."""
    return features.aligned(series).table(TIME, ENTITY)


def _without_anomalies(records: Sequence[Series], features: FeatureEncoder) -> pl.DataFrame:
    tables = []
    for series in map(features.aligned, records):
        numbers = series.numbers.copy()
        numbers[np.flatnonzero(series.known)[:, None], features.numeric] = np.nan
        tables.append(replace(series, numbers=numbers).table(TIME, ENTITY))
    return pl.concat(tables)


def forecaster_state(forecaster: Forecaster) -> Tree:
    """What a fitted forecaster has learnt except weights; `restore_forecaster` takes this state."""
    return {
        "codec": forecaster.codec_.state(),
        "stream": forecaster.fitted_.running.state(),
        "history": history_state(forecaster.history_),
        "columns": (forecaster.time, forecaster.id),
    }


def restore_forecaster(forecaster: Forecaster, state: Tree) -> None:
    """Restore what a forecaster had learnt; the weights of its new network are still to be loaded."""
    forecaster.time, forecaster.id = state["columns"]
    codec = forecaster.codec().restore(state["codec"])
    fitted = Fitted(codec, forecaster.network(codec, None), history_from_state(state["history"]))
    fitted.stream = stream = forecaster.start_stream(fitted, None)
    stream.restore(state["stream"])
    forecaster.fitted_, forecaster.notes_ = fitted, []
