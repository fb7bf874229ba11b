"""Encodes windows of series, their covariates and their calendar as the tensors that the network reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from typing_extensions import Self

from longspan.data import transforms
from longspan.data.batches import Batch
from longspan.data.scaling import moments

from . import baselines, windows
from .covariates import standard, vocabularies
from .network import ForecastInputs
from .origins import MANY_SERIES
from .panel import Origins, Panel
from .series_statistics import SeriesStatistics, TrainingStatistics, training_ends
from .simple_forecasts import HistoryShape, SimpleForecasts
from .time_features import Calendar, calendar_names
from .window_scaling import DEFAULT_CONFIG, ScaledWindow, WindowConfig, scale_windows
from .window_spread import mean_change
from .windows import WindowIndex

_MAX_NAIVE_WINDOWS = 4_000  # windows on which the errors of naive forecasts are measured
_LONG_HISTORY = 128  # steps that simple forecasts read at most where a window has fewer
_SHORT_SERIES = 0.1  # share of the series that may be shorter than these
_MAX_ROWS = 200_000  # rows from which the season and the scales of covariates are estimated
_SAVED = ("season", "has_gaps", "calendar_features", "vocabularies", "last_steps")


class WindowEncoder:
    """Encodes windows as tensors, by statistics of the training part.

    Args:
        horizon: H, steps of a forecast.
        calendar: whether calendar features are inputs.
        season: season length in steps; None to find it in the data.

    Attributes:
        config: how windows are cut, centered, scaled and transformed.
        season: steps, 1 for none.
        statistics: of the series of the training part, with the transform of `config`.
        has_gaps: whether values are missing, which the network then reads as two more inputs.
        shares: of simple forecasts in the forecasts, by name; the rest is the network's.
        long_history: steps that simple forecasts read, which most series have.
        last_steps: for each series the step after its last row with a target in fit.
        template: a panel with the columns of fit and no rows.
    """

    def __init__(self, horizon: int, *, calendar: bool = True, season: int | None = None) -> None:
        self.horizon, self.calendar, self.fixed_season = horizon, calendar, season
        self.config, self.season = DEFAULT_CONFIG, 1
        self.shares: dict[str, float] = {}
        self.long_history = 0

    # ---- learning

    def fit(self, train: Origins) -> Self:
        """Learn season, statistics, vocabularies and calendar features; `configure` sets how windows look."""
        panel, limits = train.panel, training_ends(train)
        self.template = panel.tail(0)
        seen = panel.last_seen()
        unknown = int((panel.starts[1:] - seen).sum()) * panel.values.shape[1]
        self.has_gaps = panel.missing_values() > unknown  # beside the rows to forecast
        ends = panel.steps(seen, np.arange(len(panel.ids)))
        self.last_steps = dict(zip(panel.ids, ends.tolist(), strict=True))
        steps = int((limits - panel.starts[:-1]).max())
        most_have = int(np.quantile(seen - panel.starts[:-1], _SHORT_SERIES))
        self.long_history = min(most_have, _LONG_HISTORY)
        self.calendar_features = calendar_names(panel.frequency, steps) if self.calendar else ()
        self.calendar_table = Calendar(self.calendar_features)
        self.config = DEFAULT_CONFIG
        self.statistics = TrainingStatistics.fit(train, self.config.transform)
        rows = _spread_rows(panel, limits)
        self.season = self._found_season(panel, limits) if self.fixed_season is None else self.fixed_season
        self.vocabularies = vocabularies((panel.past, panel.future, panel.static))
        parts = (panel.past.numbers[rows], panel.future.numbers[rows], panel.static.numbers)
        self.moments = [moments(part.astype(np.float64)) for part in parts]
        return self

    @staticmethod
    def _found_season(panel: Panel, limits: np.ndarray) -> int:
        """The season of the rows before the limits; of many series, which may be short, of all rows."""
        ends = panel.last_seen() if len(panel.ids) >= MANY_SERIES else limits
        longest = int((ends - panel.starts[:-1]).max())
        return baselines.find_season(panel, _spread_rows(panel, ends), longest // 2)

    def configure(self, config: WindowConfig, train: Origins) -> None:
        """Set how windows look; another transform or training part needs new statistics."""
        if not self.statistics.is_of(train, config.transform):
            self.statistics = TrainingStatistics.fit(train, config.transform)
        self.config = config

    # ---- what was learnt

    @property
    def lag(self) -> int:
        """Steps before a window that are read to center it: a season, or none."""
        return self.season if self.config.center == "season" else 0

    @property
    def reach(self) -> int:
        """Rows before an origin that a whole window needs."""
        return self.config.context + self.lag

    @property
    def positive(self) -> bool:
        """Whether all values of the training part are above 0."""
        return bool(np.nanmin(self.statistics.table.floor) > 0)

    def allowed_transforms(self) -> tuple[str, ...]:
        """The transforms that the training part allows."""
        return transforms.allowed(float(np.nanmin(2 * self.statistics.table.floor)))

    @property
    def history_shape(self) -> HistoryShape:
        """The shape of the history that simple forecasts read."""
        return HistoryShape(self.config.context, self.long_history, self.horizon, self.season)

    @property
    def memory(self) -> int:
        """Rows before an origin from which a forecast is made."""
        return max(self.reach, self.history_shape.steps) if self.shares else self.reach

    def simple_forecasts(self) -> SimpleForecasts | None:
        """The simple forecasts that have a share; None where none has."""
        return SimpleForecasts(self.shares, self.history_shape) if self.shares else None

    @property
    def sizes(self) -> dict[str, Any]:
        """The sizes of a batch's parts, from which the network is built."""
        past, future, static = self.template.past, self.template.future, self.template.static

        def word_counts(names: Mapping[str, Any]) -> list[int]:
            return [len(self.vocabularies[name]) + 1 for name in names]

        return {
            "context": self.config.context,
            "horizon": self.horizon,
            "values": 1 + 2 * self.has_gaps,
            "past": past.numbers.shape[1],
            "ahead": future.numbers.shape[1] + 2 * len(self.calendar_features),
            "static": static.numbers.shape[1],
            "past_words": word_counts(past.labels),
            "ahead_words": word_counts(future.labels),
            "static_words": word_counts(static.labels),
        }

    # ---- encoding

    def targets(self, panel: Panel, index: WindowIndex, statistics: SeriesStatistics) -> np.ndarray:
        """The transformed values from every origin on, (B, H)."""
        floor = statistics.floor[index.series, index.channel][:, None]
        return transforms.apply(windows.future(panel, index, self.horizon), self.config.transform, floor)

    def scaled(self, panel: Panel, index: WindowIndex, statistics: SeriesStatistics) -> ScaledWindow:
        """The windows before the origins, on the network's scale."""
        mean, scale, floor, *_ = (column[index.series, index.channel][:, None] for column in statistics)
        raw = transforms.apply(windows.history(panel, index, self.reach), self.config.transform, floor)
        return self.scaled_windows(raw, mean, scale)

    def naive_errors(self, origins: Origins, season: int) -> np.ndarray:
        """Absolute errors (n, H) of repeating the last season, on the network's scale, NaN where missing.

        They are missing where less than a season stands before an origin.
        """
        panel, statistics = origins.panel, self.statistics.of_panel(origins.panel)
        index = _naive_windows(origins)
        naive = baselines.seasonal_naive(panel, index, self.horizon, season)
        naive[index.row - panel.starts[index.series] < season] = np.nan
        floor = statistics.floor[index.series, index.channel][:, None]
        naive = transforms.apply(naive, self.config.transform, floor)
        scale = self.scaled(panel, index, statistics).scale
        return np.abs(self.targets(panel, index, statistics) - naive) / scale

    def changes(self, origins: Origins) -> np.ndarray:
        """Mean absolute changes (n,) within the windows of `naive_errors`, on the network's scale."""
        scaled = self.scaled(origins.panel, _naive_windows(origins), self.statistics.of_panel(origins.panel))
        last = slice(-2 * self.horizon - 1, None)
        values, present = (torch.from_numpy(part[:, last]) for part in (scaled.values, scaled.present))
        return mean_change(values, present).numpy()

    def scaled_windows(self, raw: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> ScaledWindow:
        """Transformed windows (B, reach) on the network's scale; mean, scale (B, 1): of their series."""
        return scale_windows(raw, mean, scale, self.config, season=self.season, horizon=self.horizon)

    def encode(
        self, panel: Panel, index: WindowIndex, statistics: SeriesStatistics, with_targets: bool
    ) -> Batch:
        """The windows before the origins as a batch of `ForecastInputs`.

        With targets, y (B, H) holds the values from the origins on, on the network's scale; else it is None.
        """
        scaled, context = self.scaled(panel, index, statistics), self.config.context
        rows, inside = windows.neighbourhood(panel, index, np.arange(-context, self.horizon))
        future, future_words = self._future(panel, index, rows, inside)
        past_rows, past_inside = rows[:, :context], inside[:, :context]
        x = ForecastInputs(
            self.network_values(scaled),
            _tensor(standard(panel.past.numbers[past_rows], self.moments[0], past_inside)),
            _tensor(future),
            _tensor(standard(panel.static.numbers[index.series], self.moments[2])),
            torch.from_numpy(panel.past.words(past_rows, self.vocabularies, past_inside)),
            torch.from_numpy(future_words),
            torch.from_numpy(panel.static.words(index.series, self.vocabularies)),
            torch.from_numpy(scaled.center),
            torch.from_numpy(scaled.scale),
            *self.history(panel, index, statistics),
        )
        y = None
        if with_targets:
            y = _tensor((self.targets(panel, index, statistics) - scaled.center) / scaled.scale)
        return Batch(x, y, mask=torch.from_numpy(past_inside) if not past_inside.all() else None)

    def history(
        self, panel: Panel, index: WindowIndex, statistics: SeriesStatistics
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`ForecastInputs.history` and `known` of windows; none where no simple forecast has a share."""
        if not self.shares:
            return no_history(len(index.row))
        return self.filled_history(panel, index, statistics)

    def filled_history(
        self, panel: Panel, index: WindowIndex, statistics: SeriesStatistics
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The history of windows, in any case."""
        mean, floor = (
            column[index.series, index.channel][:, None] for column in (statistics.mean, statistics.floor)
        )
        raw = windows.history(panel, index, self.history_shape.steps)
        return fill(transforms.apply(raw, self.config.transform, floor), mean)

    def network_values(self, scaled: ScaledWindow) -> torch.Tensor:
        """Scaled windows as the network reads them, (B, T, V) float32."""
        values = [scaled.values[..., None]]
        if self.has_gaps:
            values += [scaled.present[..., None], np.log1p(scaled.since)[..., None]]
        return _tensor(np.concatenate(values, 2))

    def _future(
        self, panel: Panel, index: WindowIndex, rows: np.ndarray, inside: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Future covariates and calendar over context and horizon: (B, T+H, F) numbers, (B, T+H, K) words."""
        numbers, context = standard(panel.future.numbers[rows], self.moments[1], inside), self.config.context
        if self.calendar_features:
            steps = panel.steps(index.row, index.series)[:, None] + np.arange(-context, self.horizon)
            low, high = int(panel.first.min()) - context, int(panel.ends.max()) + self.horizon
            calendar = self.calendar_table.at(panel.frequency, steps, low, high)
            for own, rows_of in panel.frequencies.rows_by_frequency(index.series):  # on other days or hours
                part = steps[rows_of]
                if len(part):
                    table = Calendar(self.calendar_features)
                    calendar[rows_of] = table.at(own, part, int(part.min()), int(part.max()) + 1)
            numbers = np.concatenate([numbers, calendar], 2)
        return numbers, panel.future.words(rows, self.vocabularies, inside)

    # ---- saving

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `restore` takes."""
        return {
            **{name: getattr(self, name) for name in _SAVED},
            **self.config._asdict(),
            "shares": self.shares,
            "long_history": self.long_history,
            "template": self.template.state(),
            "training_statistics": self.statistics.state(),
            "moments": [tuple(torch.from_numpy(part.copy()) for part in pair) for pair in self.moments],
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Take what `state` returned; returns itself."""
        for name in _SAVED:
            setattr(self, name, state[name])
        self.shares = {str(name): float(share) for name, share in state.get("shares", {}).items()}
        self.long_history = min(int(state.get("long_history", 0)), _LONG_HISTORY)
        self.config = WindowConfig(*(state[name] for name in WindowConfig._fields))
        self.template = Panel.from_state(state["template"])
        self.calendar_table = Calendar(self.calendar_features)
        self.statistics = TrainingStatistics.from_state(
            self.template.ids, state["training_statistics"], self.config.transform
        )
        self.moments = [(pair[0].numpy(), pair[1].numpy()) for pair in state["moments"]]
        return self


def no_history(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`ForecastInputs.history` and `known` of rows without simple forecasts."""
    return torch.empty(rows, 0), torch.zeros(rows)


def fill(raw: np.ndarray, mean: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Values (B, T) without gaps, and how many of each row are known; mean (B, 1): of rows without any."""
    known = (~np.isnan(raw)).sum(1)
    if (known < raw.shape[1]).any():
        filled, _ = windows.forward_fill(raw)
        raw = np.where(np.isnan(filled), mean, filled)
    return torch.from_numpy(raw), torch.from_numpy(known)


def _spread_rows(panel: Panel, ends: np.ndarray) -> np.ndarray:
    """About `_MAX_ROWS` rows of all series before their ends, evenly spaced."""
    stride = max(1, len(panel.values) // _MAX_ROWS)
    spans = zip(panel.starts[:-1].tolist(), ends.tolist(), strict=True)
    return np.concatenate([np.arange(begin, end, stride) for begin, end in spans])


def _naive_windows(origins: Origins) -> WindowIndex:
    """The windows on which naive forecasts are measured."""
    count = len(origins.rows) * origins.panel.values.shape[1]
    return windows.window_index(origins, windows.subsample(np.arange(count), _MAX_NAIVE_WINDOWS))


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
