"""Knows how windows of series become what a network reads, and its answers numbers in the user's units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from typing_extensions import Self

from longspan import errors
from longspan.data.batches import Batch
from longspan.data.scaling import moments
from longspan.data.transforms import bent, straight, usable
from longspan.tasks.codec import Codec, Metrics

from . import baselines, windows
from .conformal import ConformalQuantiles, adapt, recent_origins, share_inside
from .covariates import standard, vocabularies
from .evaluation import forecast_metrics, interval_pairs, mae
from .network import ForecastInputs
from .origins import end_times, spacing
from .panel import Origins, Panel
from .predictions import Forecasts
from .time_features import Calendar, calendar_names
from .windows import WindowIndex

CENTERS = ("last", "mean", "season", "none")
SCALES = ("series", "window")
_FEW, _AT_ONCE = 256, 16_384  # origins whose recent forecasts are apart, and origins and channels in a row
_LOOKED_AT = 200_000  # rows from which seasons and the scale of covariates are learnt
_KEPT = (
    "context", "season", "center", "scaling", "transform", "gaps", "names", "vocabularies", "beaten", "ends",
    "border",
)  # fmt: skip


class Known(NamedTuple):
    """What is known of S series of C channels, each (S, C).

    mean, scale: mean and deviation on the scale of the transform; floor: the least value that a logarithm is
    taken of; deviation: in the user's units.
    """

    mean: np.ndarray
    scale: np.ndarray
    floor: np.ndarray
    deviation: np.ndarray


class Scaled(NamedTuple):
    """Windows on the network's scale.

    values (B, T) float64, seen (B, T) bool, since (B, T) steps since a value was seen; center (B, H): what
    the answers are counted from; scale (B, 1).
    """

    values: np.ndarray
    seen: np.ndarray
    since: np.ndarray
    center: np.ndarray
    scale: np.ndarray


class Chunk(NamedTuple):
    """Origins that are forecast at once: those asked for and the earlier ones that their intervals follow.

    every: all of them; own: (n,), which of them are asked for; recent: (n, K), earlier ones of each, -1 for
        none.
    """

    every: Origins
    own: np.ndarray
    recent: np.ndarray


class ForecastCodec(Codec[Origins]):
    """Windows to tensors and back.

    Args:
        horizon: H.
        quantiles: the levels in the order in which they are shown; with the median they are `levels`.
        calendar: whether the calendar is read.
        season: steps after which the data repeat, None to find it.
        select: sets context, center, scaling and transform, by training and validation windows; None to leave
            them.

    Raises:
        ValueError: a level is not between 0 and 1.
    """

    def __init__(
        self,
        horizon: int,
        quantiles: Sequence[float],
        *,
        calendar: bool = True,
        season: int | None = None,
        select: Callable[[ForecastCodec, Origins, Origins | None], None] | None = None,
    ) -> None:
        for level in quantiles:
            if not 0 < level < 1:
                raise errors.value_error("quantiles", "levels between 0 and 1", level, "such as (0.05, 0.95)")
        self.horizon, self.calendar, self.asked, self._select = horizon, calendar, season, select
        self.quantiles, self.levels = tuple(quantiles), tuple(sorted({*quantiles, 0.5}))
        self.context, self.season = 0, 1
        self.center, self.scaling, self.transform = "last", "series", "none"
        self.skip: np.ndarray | None = None  # (T, H): the linear answer that the network starts from
        self.residuals: np.ndarray | None = None  # (H, K): where its quantiles start
        self.widths: ConformalQuantiles | None = None
        self.beaten: dict[str, float] = {}
        self.border: dict[str, int] = {}  # the step from which on a series was held out

    # ---- learning

    def fit(self, train: Origins, valid: Origins | None = None) -> Self:
        self._fit_series(train)
        if self._select is not None:
            self._select(self, train, valid)
        return self

    def _fit_series(self, records: Origins) -> None:
        panel = records.panel
        self.like = panel.tail(0)
        unknown = int((panel.starts[1:] - panel.last_seen()).sum()) * panel.values.shape[1]
        self.gaps = int(np.isnan(panel.values).sum()) > unknown  # beside the rows to foretell
        ends = panel.steps(panel.last_seen(), np.arange(len(panel.ids)))
        self.ends = dict(zip(panel.ids, ends.tolist(), strict=True))  # as steps, that of fit's known rows
        limits = _limits(records)
        steps = int((limits - panel.starts[:-1]).max())
        self.names = calendar_names(panel.frequency, steps) if self.calendar else ()
        self.waves = Calendar(self.names)
        self.learn_scale(records, "none")
        spans = list(zip(panel.starts[:-1].tolist(), limits.tolist(), strict=True))
        stride = max(1, len(panel.values) // _LOOKED_AT)
        learnt = np.concatenate([np.arange(a, b, stride) for a, b in spans])
        self.season = baselines.find_season(panel, learnt, steps // 2) if self.asked is None else self.asked
        self.unit = self._units(panel, limits)
        self.vocabularies = vocabularies((panel.past, panel.future, panel.static))
        parts = (panel.past.numbers[learnt], panel.future.numbers[learnt], panel.static.numbers)
        self.moments = [moments(part.astype(np.float64)) for part in parts]

    def learn_scale(self, records: Origins, transform: str) -> None:
        """What is known of every series before its last training window ends, under a transform."""
        panel = records.panel
        ends = np.maximum(_limits(records), panel.starts[:-1] + 1)
        spans = zip(panel.starts[:-1].tolist(), ends.tolist(), strict=True)
        parts = [_known(panel.values[a:b], transform) for a, b in spans]
        self.transform, self.learnt = transform, _together(parts)
        self.index = {name: place for place, name in enumerate(panel.ids)}

    @property
    def lag(self) -> int:
        """Steps before a window that it is counted from."""
        return self.season if self.center == "season" else 0

    @property
    def reach(self) -> int:
        """Rows that a whole window looks back on."""
        return self.context + self.lag

    @property
    def positive(self) -> bool:
        """Whether the training part has values above 0 only."""
        return bool(np.nanmin(self.learnt.floor) > 0)

    def transforms(self) -> tuple[str, ...]:
        """The transforms that the training part allows."""
        return usable(float(np.nanmin(2 * self.learnt.floor)))

    def _units(self, panel: Panel, limits: np.ndarray) -> np.ndarray:
        """(S, C): the mean error of the seasonal naive forecast of one step in training, by series."""
        spans = zip(panel.starts[:-1], np.maximum(limits, panel.starts[:-1] + 1), strict=True)
        found = np.stack([baselines.mean_difference(panel, np.arange(a, b), self.season) for a, b in spans])
        return np.where(found > 0, found, np.nan)

    def units(self, panel: Panel) -> np.ndarray:
        """(S, C): what errors are counted in for MASE; for a new series from its own values."""
        new = [name for name in panel.ids if name not in self.index]
        own = self._units(panel, panel.starts[1:]) if new else None
        rows = [
            self.unit[self.index[n]] if own is None or n in self.index else own[s]
            for s, n in enumerate(panel.ids)
        ]
        return np.stack(rows)

    def units_of(self, found: Forecasts) -> np.ndarray:
        """(n, 1, C): the same by origin."""
        return self.units(found.origins.panel)[found.origins.series][:, None]

    @property
    def sizes(self) -> dict[str, Any]:
        past, future, static = self.like.past, self.like.future, self.like.static
        words = [len(self.vocabularies[n]) + 1 for n in past.labels]
        ahead = [len(self.vocabularies[n]) + 1 for n in future.labels]
        return {
            "context": self.context,
            "horizon": self.horizon,
            "values": 1 + 2 * self.gaps,
            "past": past.numbers.shape[1],
            "ahead": future.numbers.shape[1] + 2 * len(self.names),
            "static": static.numbers.shape[1],
            "past_words": words,
            "ahead_words": ahead,
            "static_words": [len(self.vocabularies[n]) + 1 for n in static.labels],
        }

    # ---- encoding

    def known(self, panel: Panel) -> Known:
        """What is known of the panel's series; of a new one by its own values."""
        rows = []
        for s, name in enumerate(panel.ids):
            place = self.index.get(name)
            if place is None:
                rows.append(_known(panel.values[panel.starts[s] : panel.starts[s + 1]], self.transform))
            else:
                rows.append(Known(*(part[place] for part in self.learnt)))
        return _together(rows)

    def known_of(self, name: str) -> Known:
        """What is known of one series; of one that fit has not seen, what is known of the others."""
        place = self.index.get(name)
        if place is None:
            return Known(*(part.mean(0, keepdims=True) for part in self.learnt))
        return Known(*(part[place : place + 1] for part in self.learnt))

    def ahead(self, panel: Panel, at: WindowIndex, known: Known) -> np.ndarray:
        """The values from each place on, on the scale of the transform, (B, H)."""
        floor = known.floor[at.series, at.channel][:, None]
        return bent(windows.future(panel, at, self.horizon), self.transform, floor)

    def scaled(self, panel: Panel, at: WindowIndex, known: Known) -> Scaled:
        """The windows before the places on the network's scale."""
        mean, scale, floor, _ = (part[at.series, at.channel][:, None] for part in known)
        raw = bent(windows.history(panel, at, self.reach), self.transform, floor)
        return self.scaled_windows(raw, mean, scale)

    def scaled_windows(self, raw: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> Scaled:
        """Windows (B, reach) on the scale of the transform, on that of the network.

        Args:
            mean, scale: (B, 1), those of the windows' series.
        """
        lag, missing = self.lag, np.isnan(raw)
        if missing.any():
            filled, since = windows.forward_fill(raw)
            filled = np.where(np.isnan(filled), mean, filled)
        else:
            filled, since = raw, np.zeros(raw.shape, np.int64)
        window = filled[:, lag:]
        if self.scaling == "window":
            own = window.std(1, keepdims=True)
            scale = np.where(own > 1e-3 * scale, own, scale)
        if self.center == "season":
            steps = len(raw[0]) - lag + np.arange(self.horizon) % lag
            center, values = filled[:, steps], (window - filled[:, :-lag]) / scale
        else:
            middle = {"last": window[:, -1:], "mean": window.mean(1, keepdims=True), "none": mean}[
                self.center
            ]
            center, values = np.repeat(middle, self.horizon, 1), (window - middle) / scale
        return Scaled(values, ~missing[:, lag:], since[:, lag:], center, scale)

    def encode(self, panel: Panel, at: WindowIndex, known: Known, answers: bool) -> Batch:
        """The windows before the places as a batch; with `answers` y (B, H), what follows, scaled alike."""
        found = self.scaled(panel, at, known)
        rows, inside = windows.neighbourhood(panel, at, np.arange(-self.context, self.horizon))
        ahead, ahead_words = self._ahead(panel, at, rows, inside)
        before, within = rows[:, : self.context], inside[:, : self.context]
        x = ForecastInputs(
            self.network_values(found),
            _tensor(standard(panel.past.numbers[before], self.moments[0], within)),
            _tensor(ahead),
            _tensor(standard(panel.static.numbers[at.series], self.moments[2])),
            torch.from_numpy(panel.past.words(before, self.vocabularies, within)),
            torch.from_numpy(ahead_words),
            torch.from_numpy(panel.static.words(at.series, self.vocabularies)),
            torch.from_numpy(found.center),
            torch.from_numpy(found.scale),
        )
        y = _tensor((self.ahead(panel, at, known) - found.center) / found.scale) if answers else None
        return Batch(x, y, mask=torch.from_numpy(within) if not within.all() else None)

    def network_values(self, scaled: Scaled) -> torch.Tensor:
        """Scaled windows as the network reads them, (B, T, V) float32."""
        values = [scaled.values[..., None]]
        if self.gaps:
            values += [scaled.seen[..., None], np.log1p(scaled.since)[..., None]]
        return _tensor(np.concatenate(values, 2))

    def first_step(self, values: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """The quantiles (n, Q) of the first step ahead, in the user's units.

        Args:
            values: (n, H, Q) on the scale of the transform, not calibrated; scale: (n,), of the windows.
        """
        if self.widths is not None:
            values = self.widths.apply(values, scale)
        return straight(values[:, 0], self.transform)

    def _ahead(
        self, panel: Panel, at: WindowIndex, rows: np.ndarray, inside: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What is known beforehand, over context and horizon: (B, T+H, F) numbers and (B, T+H, K) words."""
        numbers = standard(panel.future.numbers[rows], self.moments[1], inside)
        if self.names:
            steps = panel.steps(at.row, at.series)[:, None] + np.arange(-self.context, self.horizon)
            low, high = int(panel.first.min()) - self.context, int(panel.ends.max()) + self.horizon
            numbers = np.concatenate([numbers, self.waves.at(panel.frequency, steps, low, high)], 2)
        return numbers, panel.future.words(rows, self.vocabularies, inside)

    # ---- back

    def chunks(self, origins: Origins) -> list[Chunk]:
        """What is forecast for origins, in parts, with the earlier origins that intervals follow."""
        panel, rows = origins
        if self.widths is None or not len(rows):
            return [Chunk(origins, np.arange(len(rows)), np.full((len(rows), 0), -1))]
        at_once = _FEW if len(rows) <= 2 * len(panel.ids) else max(1, _AT_ONCE // panel.values.shape[1])
        parts = (Origins(panel, rows[at : at + at_once]) for at in range(0, len(rows), at_once))
        return [self._with_earlier(part) for part in parts]

    def _with_earlier(self, origins: Origins) -> Chunk:
        earlier = self.earlier(origins)
        rows = np.unique([*origins.rows, *earlier[earlier >= 0]])
        recent = np.where(earlier >= 0, np.searchsorted(rows, earlier), -1)
        return Chunk(Origins(origins.panel, rows), np.searchsorted(rows, origins.rows), recent)

    def decode(self, predictions: list[Any], records: Origins) -> Forecasts:
        """Forecasts with intervals that follow how well the last forecasts before each origin did.

        Args:
            predictions: for the windows of all `chunks`, batch by batch.
        """
        values, scale = _flat(predictions)
        parts, channels, end = [], records.panel.values.shape[1], 0
        for chunk in self.chunks(records):
            begin, end = end, end + len(chunk.every.rows) * channels
            parts.append(self._followed(chunk, values[begin:end], scale[begin:end]))
        quantiles, scales = (np.concatenate(part) for part in zip(*parts, strict=True))
        return self.found(quantiles, scales, records)

    def _followed(self, chunk: Chunk, values: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Quantiles (n, C, H, Q) on the scale of the transform and scales (n, C) of the origins asked for."""
        values, scale = self.calibrated(values, scale, chunk.every)
        if self.widths is None:
            return values, scale
        truth = self.bent_truth(chunk.every)
        return adapt(self.levels, values, truth, chunk.own, chunk.recent), scale[chunk.own]

    def present(self, answers: Forecasts) -> Any:
        return answers.answers(self.quantiles, past=False)

    def metrics(self) -> Metrics:
        return forecast_metrics(self.levels, self.units_of)

    def calibrate(self, predictions: list[Any], held: Origins) -> None:
        """Learn how wide intervals must be, and how the two plain forecasts do, on held-out windows.

        Args:
            predictions: of their windows, batch by batch.
        """
        self.widths, self.border = None, end_times(held)
        values, scale = _flat(predictions)
        truths = self.bent_truth(held).reshape(-1, self.horizon)
        self.widths = ConformalQuantiles.fit(
            self.levels, values, truths, scale, independent=spacing(held, self.horizon)
        )
        found = self.found(*self.calibrated(values, scale, held), held)
        plain = {name: mae(one, found.actual) for name, one in found.baselines().items()}
        self.beaten = {**plain, **_covered_by_half(self.levels, values, truths, scale)}

    def calibrated(
        self, values: np.ndarray, scale: np.ndarray, records: Origins
    ) -> tuple[np.ndarray, np.ndarray]:
        """Quantiles (n, C, H, Q) on the scale of the transform, and the windows' scales (n, C).

        Args:
            values: (n * C, H, Q), not calibrated; scale: (n * C,).
        """
        n, c = len(records.rows), records.panel.values.shape[1]
        values, scale = values.reshape(n, c, self.horizon, -1), scale.reshape(n, c)
        return (values if self.widths is None else self.widths.apply(values, scale)), scale

    def earlier(self, origins: Origins) -> np.ndarray:
        """Origins before these that intervals may follow, (n, K) rows; none that was trained on."""
        panel, rows = origins
        begins = zip(panel.ids, panel.first, strict=True)
        untrained = np.array([self.border.get(name, int(at)) for name, at in begins])
        first = panel.starts[:-1] + np.maximum(untrained - panel.first, 1)
        return recent_origins(rows, first[origins.series], self.horizon)

    def found(self, values: np.ndarray, scale: np.ndarray, records: Origins) -> Forecasts:
        """Forecasts of quantiles (n, C, H, Q) on the scale of the transform."""
        panel, rows = records
        n, c = len(rows), panel.values.shape[1]
        values = straight(values, self.transform).transpose(0, 2, 1, 3)
        at = windows.window_index(records)
        naive, seasonal = (
            self._shaped(baselines.seasonal_naive(panel, at, self.horizon, m), n, c) for m in (1, self.season)
        )
        actual = self._shaped(windows.future(panel, at, self.horizon), n, c)
        middle = self.levels.index(0.5)
        return Forecasts(values[..., middle], values, actual, naive, seasonal, scale, records, self.levels)

    def _shaped(self, flat: np.ndarray, n: int, c: int) -> np.ndarray:
        return flat.reshape(n, c, self.horizon).transpose(0, 2, 1)

    def bent_truth(self, records: Origins) -> np.ndarray:
        """What came, on the scale of the transform, (n, C, H)."""
        found = self.ahead(records.panel, windows.window_index(records), self.known(records.panel))
        return found.reshape(len(records.rows), -1, self.horizon)

    def truth(self, records: Origins) -> np.ndarray:
        n, c = len(records.rows), records.panel.values.shape[1]
        return self._shaped(windows.future(records.panel, windows.window_index(records), self.horizon), n, c)

    # ---- kept

    def state(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in _KEPT},
            "like": self.like.state(),
            "learnt": [torch.from_numpy(part.copy()) for part in self.learnt],
            "unit": torch.from_numpy(self.unit.copy()),
            "moments": [tuple(torch.from_numpy(part.copy()) for part in pair) for pair in self.moments],
            "widths": None if self.widths is None else self.widths.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        for name in _KEPT:
            setattr(self, name, state[name])
        self.like, self.waves = Panel.from_state(state["like"]), Calendar(self.names)
        self.learnt = Known(*(part.numpy() for part in state["learnt"]))
        self.unit = state["unit"].numpy()
        self.index = {name: place for place, name in enumerate(self.like.ids)}
        self.moments = [(pair[0].numpy(), pair[1].numpy()) for pair in state["moments"]]
        self.widths = None if state["widths"] is None else ConformalQuantiles.from_state(state["widths"])
        return self


def _flat(predictions: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles (N, H, Q) and scales (N,) of all batches."""
    values = np.concatenate([part.cpu().numpy() for part, _ in predictions])
    return values, np.concatenate([part.cpu().numpy() for _, part in predictions])


class Windows:
    """Batches of windows, gathered as they are dealt.

    Args:
        codec: fitted; origins: where windows end and forecasts begin; batch_size: B; shuffle: a new order
            every time; most: windows an epoch at most, drawn anew every time.
    """

    def __init__(
        self, codec: ForecastCodec, origins: Origins, batch_size: int, *, shuffle: bool, most: int
    ) -> None:
        self.codec, self.origins, self.batch_size, self.shuffle = codec, origins, batch_size, shuffle
        self.count = len(origins.rows) * origins.panel.values.shape[1]
        self.most = min(most, self.count) if shuffle else self.count

    @classmethod
    def in_order(
        cls, codec: ForecastCodec, parts: Sequence[Origins], batch_size: int
    ) -> Windows | WindowParts:
        """All windows of the parts in their order; no batch has windows of two parts."""
        every = [cls(codec, origins, batch_size, shuffle=False, most=0) for origins in parts]
        return every[0] if len(every) == 1 else WindowParts(every)

    def __len__(self) -> int:
        return -(-self.most // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        known = self.codec.known(self.origins.panel)
        order = self._order()
        for start in range(0, self.most, self.batch_size):
            take = order[start : start + self.batch_size]
            yield self.codec.encode(self.origins.panel, windows.window_index(self.origins, take), known, True)

    def _order(self) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.count)
        if self.most < self.count:
            return torch.randint(self.count, (self.most,)).numpy()
        return torch.randperm(self.count).numpy()


class WindowParts:
    """The batches of several `Windows`, one after the other."""

    def __init__(self, parts: Sequence[Windows]) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[Batch]:
        for part in self.parts:
            yield from part


def _limits(origins: Origins) -> np.ndarray:
    """For each series the row after its last training origin; its end where it has none."""
    limits = origins.panel.starts[1:].copy()
    found = np.full(len(limits), -1)
    np.maximum.at(found, origins.series, origins.rows + 1)
    return np.where(found >= 0, found, limits)


def _known(values: np.ndarray, transform: str) -> Known:
    """What is known of one series (T, C)."""
    least = np.fmin.reduce(values, 0) if len(values) else np.zeros(values.shape[1])
    floor = 0.5 * np.nan_to_num(least)
    return Known(*moments(values, transform, floor), floor=floor, deviation=moments(values)[1])


def _together(parts: list[Known]) -> Known:
    return Known(*(np.stack(part) for part in zip(*parts, strict=True)))


def _covered_by_half(
    levels: tuple[float, ...], values: np.ndarray, truths: np.ndarray, scale: np.ndarray
) -> dict[str, float]:
    """What the intervals cover of one half of the windows, calibrated on the other."""
    half = len(values) // 2
    if half < 8:
        return {}
    widths = ConformalQuantiles.fit(levels, values[:half], truths[:half], scale[:half], independent=half)
    found = widths.apply(values[half:], scale[half:])
    return {
        f"coverage_{percent}": share_inside(found[..., low], found[..., high], truths[half:])
        for percent, low, high in interval_pairs(levels)
    }


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
