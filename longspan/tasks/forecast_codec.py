"""Knows how windows of series become what a network reads, and its answers numbers in the user's units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from typing_extensions import Self

from longspan import checks
from longspan.data import gather
from longspan.data.batches import Batch
from longspan.data.bend import bent, straight, usable
from longspan.data.codec import Codec
from longspan.data.frequency import calendar_codes, calendar_names, calendar_waves
from longspan.data.gather import Places
from longspan.data.intervals import Widths, lately
from longspan.data.panel import Covariates, Origins, Panel

CENTERS = ("last", "mean", "season", "none")
SCALES = ("series", "window")
_LEAST_SCALE = 1e-9
_LOOKED_AT = 200_000  # rows from which seasons and the scale of covariates are learnt
_CHUNK = 1 << 16  # rows that are summed up at once
_KEPT = (
    "context",
    "season",
    "center",
    "scaling",
    "transform",
    "gaps",
    "names",
    "vocabularies",
    "beaten",
    "ends",
    "border",
)


class Forecasts(NamedTuple):
    """n origins, H steps, C channels, Q quantile levels, in the user's units.

    point (n, H, C); quantiles (n, H, C, Q); actual, naive, seasonal (n, H, C), the two plain forecasts NaN
    where nothing had been seen, actual NaN where it is not known; scale (n, C): what one unit of the network
    was, on the scale of the codec's transform; origins: where they begin; levels (Q,).
    """

    point: np.ndarray
    quantiles: np.ndarray
    actual: np.ndarray
    naive: np.ndarray
    seasonal: np.ndarray
    scale: np.ndarray
    origins: Origins
    levels: tuple[float, ...]


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


class ForecastCodec(Codec):
    """Windows to tensors and back. What is chosen by validation (see forecast_choice) is set from outside.

    Args:
        horizon: H; levels: the quantiles answered, 0.5 among them; calendar: whether the calendar is read;
        season: steps after which the data repeat, None to find it.
    """

    def __init__(
        self, horizon: int, levels: tuple[float, ...], *, calendar: bool = True, season: int | None = None
    ) -> None:
        self.horizon, self.levels, self.calendar, self.asked = horizon, levels, calendar, season
        self.context, self.season = 0, 1
        self.center, self.scaling, self.transform = "last", "series", "none"
        self.skip: np.ndarray | None = None  # (T, H): the linear answer that the network starts from
        self.residuals: np.ndarray | None = None  # (H, K): where its quantiles start
        self.widths: Widths | None = None
        self.beaten: dict[str, float] = {}
        self.border: dict[str, int] = {}  # the step from which on a series was held out
        self._table = (0, 0, np.empty((0, 0), np.uint8))  # the calendar from one step to another

    # ---- learning

    def fit(self, records: Origins) -> Self:
        panel, rows = records
        self.like = panel.tail(0)
        self.gaps = bool(np.isnan(panel.values).any())
        ends = panel.first + np.diff(panel.starts)
        self.ends = dict(zip(panel.ids, ends.tolist(), strict=True))  # the step after the last row of fit
        limits = _limits(panel, rows)
        steps = int((limits - panel.starts[:-1]).max())
        self.names = calendar_names(panel.frequency, steps) if self.calendar else ()
        self.learn_scale(records, "none")
        spans = list(zip(panel.starts[:-1].tolist(), limits.tolist(), strict=True))
        stride = max(1, len(panel.values) // _LOOKED_AT)
        learnt = np.concatenate([np.arange(a, b, stride) for a, b in spans])
        self.season = gather.find_season(panel, learnt, steps // 2) if self.asked is None else self.asked
        self.unit = self._units(panel, limits)
        self.vocabularies = {
            name: {word: place + 1 for place, word in enumerate(sorted({*values.tolist()} - {""}))}
            for part in (panel.past, panel.future, panel.static)
            for name, values in part.labels.items()
        }
        parts = (panel.past.numbers[learnt], panel.future.numbers[learnt], panel.static.numbers)
        self.moments = [_center_and_scale(part.astype(np.float64)) for part in parts]
        return self

    def learn_scale(self, records: Origins, transform: str) -> None:
        """What is known of every series before its last training window ends, under a transform."""
        panel, rows = records
        ends = np.maximum(_limits(panel, rows), panel.starts[:-1] + 1)
        spans = zip(panel.starts[:-1].tolist(), ends.tolist(), strict=True)
        parts = [_known(panel.values[a:b], transform) for a, b in spans]
        self.transform, self.learnt = transform, _together(parts)
        self.index = {name: place for place, name in enumerate(panel.ids)}

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
        found = np.stack([gather.differences(panel, np.arange(a, b), self.season) for a, b in spans])
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

    @property
    def sizes(self) -> dict[str, Any]:
        past, future, static = self.like.past, self.like.future, self.like.static
        words = [len(self.vocabularies[n]) + 1 for n in past.labels]
        ahead = [len(self.vocabularies[n]) + 1 for n in future.labels]
        return {
            "context": self.context,
            "horizon": self.horizon,
            "levels": len(self.levels),
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

    def ahead(self, panel: Panel, at: Places, known: Known) -> np.ndarray:
        """The values from each place on, on the scale of the transform, (B, H)."""
        floor = known.floor[at.series, at.channel][:, None]
        return bent(gather.ahead(panel, at, self.horizon), self.transform, floor)

    def scaled(self, panel: Panel, at: Places, known: Known) -> Scaled:
        """The windows before the places on the network's scale."""
        mean, scale, floor, _ = (part[at.series, at.channel][:, None] for part in known)
        lag = self.season if self.center == "season" else 0
        raw = bent(gather.past(panel, at, self.context + lag), self.transform, floor)
        missing = np.isnan(raw)
        if missing.any():
            filled, since = gather.carried(raw)
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

    def encode(self, panel: Panel, at: Places, known: Known, answers: bool) -> Batch:
        """A batch: x = (values, past, ahead, static, their words, center, scale); y on the same scale."""
        found = self.scaled(panel, at, known)
        rows, inside = gather.rows_around(panel, at, np.arange(-self.context, self.horizon))
        values = [found.values[..., None]]
        if self.gaps:
            values += [found.seen[..., None], np.log1p(found.since)[..., None]]
        ahead, ahead_words = self._ahead(panel, at, rows, inside)
        before, within = rows[:, : self.context], inside[:, : self.context]
        x = (
            _tensor(np.concatenate(values, 2)),
            _tensor(_standard(panel.past.numbers[before], self.moments[0], within)),
            _tensor(ahead),
            _tensor(_standard(panel.static.numbers[at.series], self.moments[2], None)),
            torch.from_numpy(self._words(panel.past, before, within)),
            torch.from_numpy(ahead_words),
            torch.from_numpy(self._words(panel.static, at.series, None)),
            torch.from_numpy(found.center),
            torch.from_numpy(found.scale),
        )
        y = _tensor((self.ahead(panel, at, known) - found.center) / found.scale) if answers else None
        return Batch(x, y, mask=torch.from_numpy(within) if not within.all() else None)

    def _ahead(
        self, panel: Panel, at: Places, rows: np.ndarray, inside: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What is known beforehand, over context and horizon: (B, T+H, F) numbers and (B, T+H, K) words."""
        numbers = _standard(panel.future.numbers[rows], self.moments[1], inside)
        if self.names:
            steps = panel.first[at.series, None] + at.row[:, None] - panel.starts[at.series, None]
            steps = steps + np.arange(-self.context, self.horizon)
            numbers = np.concatenate([numbers, self._waves(panel, steps)], 2)
        return numbers, self._words(panel.future, rows, inside)

    def _waves(self, panel: Panel, steps: np.ndarray) -> np.ndarray:
        """The calendar at whole steps, (B, L, 2*K), looked up in a table of every step between the ends."""
        low, high = int(steps.min()), int(steps.max()) + 1
        begin, end, codes = self._table
        if low < begin or high > end:
            ends = panel.first + np.diff(panel.starts)
            begin = min(low, int(panel.first.min()) - self.context)
            end = max(high, int(ends.max()) + self.horizon)
            codes = calendar_codes(panel.frequency, begin, end, self.names)
            self._table = (begin, end, codes)
        return self._looked_up(codes[steps - begin])

    def _looked_up(self, codes: np.ndarray) -> np.ndarray:
        waves = calendar_waves(self.names)
        return waves[np.arange(len(self.names)), codes].reshape(*codes.shape[:-1], -1)

    def _words(self, part: Covariates, rows: np.ndarray, inside: np.ndarray | None) -> np.ndarray:
        found = np.zeros((*rows.shape, len(part.labels)), np.int64)
        for place, (name, labels) in enumerate(part.labels.items()):
            vocabulary = self.vocabularies[name]
            codes = np.vectorize(lambda word, known=vocabulary: known.get(word, 0), otypes=[np.int64])
            found[..., place] = codes(labels[rows])
        if inside is not None:
            found[~inside] = 0
        return found

    # ---- back

    def decode(self, coded: list[Any], records: Origins) -> Forecasts:
        return self.found(*self.calibrated(coded, records), records)

    def calibrated(self, coded: list[Any], records: Origins) -> tuple[np.ndarray, np.ndarray]:
        """Quantiles (n, C, H, Q) on the scale of the transform, and the windows' scales (n, C)."""
        n, c = len(records.rows), records.panel.values.shape[1]
        values = np.concatenate([part.cpu().numpy() for part, _ in coded]).reshape(n, c, self.horizon, -1)
        scale = np.concatenate([part.cpu().numpy() for _, part in coded]).reshape(n, c)
        return (values if self.widths is None else self.widths.apply(values, scale)), scale

    def earlier(self, origins: Origins) -> np.ndarray:
        """Origins before these that intervals may follow, (n, K) rows; none that was trained on."""
        panel, rows = origins
        series = gather.places(origins, np.arange(len(rows)) * panel.values.shape[1]).series
        begins = zip(panel.ids, panel.first, strict=True)
        untrained = np.array([self.border.get(name, int(at)) for name, at in begins])
        first = panel.starts[:-1] + np.maximum(untrained - panel.first, 1)
        return lately(rows, first[series], self.horizon)

    def found(self, values: np.ndarray, scale: np.ndarray, records: Origins) -> Forecasts:
        """Forecasts of quantiles (n, C, H, Q) on the scale of the transform."""
        panel, rows = records
        n, c = len(rows), panel.values.shape[1]
        values = straight(values, self.transform).transpose(0, 2, 1, 3)
        at = gather.places(records)
        naive, seasonal = (
            self._shaped(gather.naive(panel, at, self.horizon, m), n, c) for m in (1, self.season)
        )
        actual = self._shaped(gather.ahead(panel, at, self.horizon), n, c)
        middle = self.levels.index(0.5)
        return Forecasts(values[..., middle], values, actual, naive, seasonal, scale, records, self.levels)

    def _shaped(self, flat: np.ndarray, n: int, c: int) -> np.ndarray:
        return flat.reshape(n, c, self.horizon).transpose(0, 2, 1)

    def bent_truth(self, records: Origins) -> np.ndarray:
        """What came, on the scale of the transform, (n, C, H)."""
        found = self.ahead(records.panel, gather.places(records), self.known(records.panel))
        return found.reshape(len(records.rows), -1, self.horizon)

    def truth(self, records: Origins) -> np.ndarray:
        n, c = len(records.rows), records.panel.values.shape[1]
        return self._shaped(gather.ahead(records.panel, gather.places(records), self.horizon), n, c)

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
        self.like = Panel.from_state(state["like"])
        self.learnt = Known(*(part.numpy() for part in state["learnt"]))
        self.unit = state["unit"].numpy()
        self.index = {name: place for place, name in enumerate(self.like.ids)}
        self.moments = [(pair[0].numpy(), pair[1].numpy()) for pair in state["moments"]]
        self.widths = None if state["widths"] is None else Widths.from_state(state["widths"])
        return self


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

    def __len__(self) -> int:
        return -(-self.most // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        known = self.codec.known(self.origins.panel)
        order = self._order()
        for start in range(0, self.most, self.batch_size):
            take = order[start : start + self.batch_size]
            yield self.codec.encode(self.origins.panel, gather.places(self.origins, take), known, True)

    def _order(self) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.count)
        if self.most < self.count:
            return torch.randint(self.count, (self.most,)).numpy()
        return torch.randperm(self.count).numpy()


def _limits(panel: Panel, rows: np.ndarray) -> np.ndarray:
    """For each series the row after its last training origin; its end where it has none."""
    limits = panel.starts[1:].copy()
    series = gather.places(Origins(panel, rows), np.arange(len(rows)) * panel.values.shape[1]).series
    found = np.full(len(limits), -1)
    np.maximum.at(found, series, rows + 1)
    return np.where(found >= 0, found, limits)


def _known(values: np.ndarray, transform: str) -> Known:
    """What is known of one series (T, C)."""
    least = np.fmin.reduce(values, 0) if len(values) else np.zeros(values.shape[1])
    floor = 0.5 * np.nan_to_num(least)
    return Known(
        *_center_and_scale(values, transform, floor), floor=floor, deviation=_center_and_scale(values)[1]
    )


def _together(parts: list[Known]) -> Known:
    return Known(*(np.stack(part) for part in zip(*parts, strict=True)))


def _center_and_scale(
    values: np.ndarray, transform: str = "none", floor: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of columns; 0 and 1 where there is nothing, 1 where nothing changes."""
    chunk = max(1, _CHUNK // max(1, values.shape[1]))

    def parts() -> Iterator[np.ndarray]:
        return (bent(values[at : at + chunk], transform, floor) for at in range(0, len(values), chunk))

    none = np.zeros(values.shape[1])
    count = np.maximum(sum((np.count_nonzero(~np.isnan(part), 0) for part in parts()), none), 1)
    mean = sum((np.nansum(part, 0) for part in parts()), none) / count
    square = sum((np.nansum((part - mean) ** 2, 0) for part in parts()), none)
    spread = np.sqrt(square / count)
    return mean, np.where(spread > _LEAST_SCALE * np.maximum(np.abs(mean), 1e-30), spread, 1.0)


def _standard(
    numbers: np.ndarray, moments: tuple[np.ndarray, np.ndarray], inside: np.ndarray | None
) -> np.ndarray:
    """Covariates with mean 0 and deviation 1, 0 where missing."""
    if numbers.shape[-1] == 0:
        return numbers
    found = np.nan_to_num((numbers - moments[0]) / moments[1])
    return found if inside is None else np.where(inside[..., None], found, 0.0)


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def check_future(panel: Panel, at: Places, horizon: int) -> None:
    """Refuse origins whose covariates known beforehand end too soon."""
    if not panel.columns.future or not len(at.row):
        return
    left = panel.starts[at.series + 1] - at.row
    if left.min() < horizon:
        short = int(left.argmin())
        name = panel.ids[at.series[short]]
        where = f" of series {name!r}" if name else ""
        expected = f"{', '.join(panel.columns.future)} for the {horizon} steps to foretell{where}"
        received = f"{max(int(left[short]), 0)} steps"
        raise checks.wrong(
            "future", expected, received, "append rows with these columns, the target left empty"
        )
