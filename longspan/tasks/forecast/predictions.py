"""Holds forecasts beside actual values and baselines, and writes them as a table."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from longspan.data.readers.frames import to_pandas

from .panel import Origins, Panel

_ID_TYPES = {"Int64": pl.Int64, "Float64": pl.Float64}  # by their names in a panel


class Forecasts(NamedTuple):
    """n origins, H steps, C channels, Q quantile levels, in the user's units.

    point: (n, H, C), the medians; quantiles: (n, H, C, Q); levels: (Q,).
    actual: (n, H, C), NaN where missing or in the future.
    naive, seasonal: (n, H, C), the last value and the last season repeated; NaN without an earlier value.
    scale: (n, C), of the windows, in units of the transformed values.
    origins: the first row of each forecast.
    """

    point: np.ndarray
    quantiles: np.ndarray
    actual: np.ndarray
    naive: np.ndarray
    seasonal: np.ndarray
    scale: np.ndarray
    origins: Origins
    levels: tuple[float, ...]

    def baselines(self) -> dict[str, np.ndarray]:
        """The point forecasts of the model and of both baselines, (n, H, C) each."""
        return {"model": self.point, "naive": self.naive, "seasonal_naive": self.seasonal}

    def until(self, horizon: int) -> Forecasts:
        """The first steps of every forecast."""
        names = ("point", "quantiles", "actual", "naive", "seasonal")
        return self._replace(**{name: getattr(self, name)[:, :horizon] for name in names})

    def at_levels(self, levels: tuple[float, ...]) -> Forecasts:
        """The quantiles at other levels, and the median; between two, linear in the normal's quantiles.

        Args:
            levels: between the lowest and the highest of these.
        """
        wanted = tuple(sorted({*levels, 0.5}))
        z, new = (np.array([NormalDist().inv_cdf(level) for level in each]) for each in (self.levels, wanted))
        right = np.clip(np.searchsorted(z, new), 1, len(z) - 1)
        share = (new - z[right - 1]) / (z[right] - z[right - 1])
        quantiles = (1 - share) * self.quantiles[..., right - 1] + share * self.quantiles[..., right]
        return self._replace(quantiles=quantiles, levels=wanted)

    def answers(self, shown: tuple[float, ...], *, past: bool) -> Any:
        """`frame` in the library of the source: for a pandas frame a pandas frame."""
        return self.in_kind_of_source(self.frame(shown, past=past))

    def in_kind_of_source(self, frame: pl.DataFrame) -> Any:
        """A frame in the library of the source."""
        panel = self.origins.panel
        if not panel.answers.startswith("pandas"):
            return frame
        time = panel.columns.time[0] if len(panel.columns.time) == 1 else "time"
        return to_pandas(frame, time if panel.answers == "pandas by time" else None)

    def frame(self, shown: tuple[float, ...], *, past: bool) -> pl.DataFrame:
        """Forecasts in rows, with columns [origin], [id], time, target, point, one for each level, [actual].

        Args:
            shown: the levels to show; past: whether to show origin and actual.
        """
        panel, series_numbers = self.origins.panel, self.origins.series
        n, horizon, channels = self.point.shape
        steps = panel.steps(self.origins.rows, series_numbers)
        order = (n, channels, horizon)
        ahead = steps[:, None] + np.arange(horizon)
        frequencies = panel.frequencies
        times = frequencies.times(ahead, series_numbers) if n else ahead
        columns: dict[str, Any] = {}
        if past:
            seen = np.broadcast_to(frequencies.times(steps - 1, series_numbers)[:, None, None], order)
            columns["origin"] = panel.frequency.column(seen, "origin")
        if panel.columns.id is not None or len(panel.ids) > 1:
            columns[panel.columns.id or "id"] = _spread(_ids(panel)[series_numbers], order, 0)
        time = panel.columns.time[0] if len(panel.columns.time) == 1 else "time"
        columns[time] = panel.frequency.column(np.repeat(times[:, None], channels, 1), time)
        columns["target"] = _spread(np.array(panel.columns.target, object), order, 1)
        columns["point"] = self.point.transpose(0, 2, 1).ravel()
        for level in shown:
            index = self.levels.index(level)
            columns[f"q{level:g}"] = self.quantiles[..., index].transpose(0, 2, 1).ravel()
        if past:
            columns["actual"] = self.actual.transpose(0, 2, 1).ravel()
        return pl.DataFrame(
            {name: pl.Series(name, _as_list_if_objects(values)) for name, values in columns.items()}
        )


def _ids(panel: Panel) -> np.ndarray:
    """The ids in the type in which they came; text where a later one is none of that type."""
    if panel.id_type == "String":
        return np.array(panel.ids, object)
    typed = pl.Series(panel.ids).cast(_ID_TYPES[panel.id_type], strict=False)
    return np.array(panel.ids, object) if typed.null_count() else typed.to_numpy()


def _as_list_if_objects(values: np.ndarray | pl.Series) -> np.ndarray | pl.Series | list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) and values.dtype == object else values


def _spread(values: np.ndarray, order: tuple[int, int, int], axis: int) -> np.ndarray:
    """Values along one axis, repeated along the other two and flattened."""
    shape = [1, 1, 1]
    shape[axis] = -1
    return np.broadcast_to(values.reshape(shape), order).ravel()
