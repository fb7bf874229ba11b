"""Knows forecasting: from tables of series to quantiles of what comes, checked against plain forecasts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from typing_extensions import Self

from longspan import checks
from longspan.data import gather
from longspan.data.batches import Batch
from longspan.data.bend import TRANSFORMS, straight
from longspan.data.intervals import Widths, follow
from longspan.data.panel import Columns, Origins, Panel, read_panel
from longspan.data.rows import end, row_after, rows_of
from longspan.training.loop import mover
from longspan.training.schedules import CosineDecay

from . import forecast_choice, forecast_net, forecast_score
from .estimator import Estimator, Metrics, Tree
from .exhibits import Section
from .forecast_codec import CENTERS, SCALES, ForecastCodec, Forecasts, Windows, check_future
from .options import option

_MANY = 10  # series that are learnt from together
_EPOCH = 20_000  # windows at most; twice as many of many series
_HELD = 4_000  # windows at most that training is watched and intervals are calibrated on
_FEW, _AT_ONCE = 256, 16_384  # origins whose recent forecasts are apart, and origins and channels in a row
_EXAM = 20_000  # windows at most in evaluate
_SHARES = (1.0, 0.75, 0.5, 0.25)  # of what was learnt that are tried
_FOLLOWED = 2048  # rows that are foretold at once
_SILENCE = 100_000  # steps without a row after which a series begins anew
_READ = 96  # steps at most that the recurrent part reads; the linear part reads all


@dataclass(eq=False, repr=False, kw_only=True)
class Forecaster(Estimator):
    """Forecasts of one or many series, with intervals that are calibrated on data held out.

    Sources are files (CSV, Parquet), pandas or polars frames, arrays (T,) or (T, C), or lists of arrays. A
    frame is wide (a column a target) or long (id, time, value). Rows that are missing are treated as unknown,
    as NaN is; what is not known stays masked for the network, beside the time since it was last seen.

    The options are the fields; None is found from the data, on the held-out last part where there is a
    choice. `fit`, `save` and the other verbs are those of `Estimator`.

    >>> import numpy as np
    >>> series = np.sin(np.arange(300) / 4) + 0.01 * np.arange(300)
    >>> f = Forecaster(horizon=4, epochs=1).fit(series[:280])
    >>> f.predict().columns
    ['time', 'target', 'point', 'q0.05', 'q0.25', 'q0.75', 'q0.95']
    """

    horizon: int = option(24, "steps to foretell")
    target: str | tuple[str, ...] = option(
        (), "columns to foretell; none named: the only one of numbers", group="data"
    )
    time: str | tuple[str, ...] | None = option(
        None, "column of the times, or those of year, month, day, hour; none to find it", group="data"
    )
    id: str | None = option(None, "column that names the series of a long table", group="data")
    past: str | tuple[str, ...] = option((), "covariates known up to now", group="data")
    future: str | tuple[str, ...] = option((), "covariates known beforehand", group="data")
    static: str | tuple[str, ...] = option((), "covariates with one value a series", group="data")
    quantiles: tuple[float, ...] = option(
        (0.05, 0.25, 0.75, 0.95), "levels that are answered beside the median"
    )
    output: str = option(
        "quantiles",
        "what the network gives: each quantile, or a distribution",
        choices=forecast_net.OUTPUTS,
        group="network",
    )
    context: int | None = option(
        None, "steps that a forecast looks back on; none to choose it", group="network"
    )
    season: int | None = option(
        None, "steps after which the data repeat, 1 for never; none to find it", group="data"
    )
    center: str | None = option(
        None, "what every window is counted from; none to choose it", choices=CENTERS, group="network"
    )
    scaling: str | None = option(
        None,
        "whether windows are scaled by their series or by themselves; none to choose it",
        choices=SCALES,
        group="network",
    )
    transform: str | None = option(
        None,
        "what is taken of the values before all else; none to choose it",
        choices=TRANSFORMS,
        group="network",
    )
    calendar: bool = option(True, "whether hour, weekday, month and the like are read", group="data")
    batch_size: int = option(128, "rows a step", group="training")
    learning_rate: float = option(2e-3, "of Adam, at the start", group="training")
    epochs: int = option(12, "times the training part is gone through at most", group="training")
    patience: int | None = option(
        3, "epochs without improvement on the held-out part before training stops", group="training"
    )
    name: ClassVar[str] = "forecast"

    def check(self) -> None:
        super().check()
        checks.whole("horizon", self.horizon, 1, "give the steps to foretell")
        if self.context is not None:
            checks.whole("context", self.context, 2, "give the steps to look back on, or None")
        if self.season is not None:
            checks.whole("season", self.season, 1, "give the steps of a season, 1 for none, or None")
        for level in self.quantiles:
            if not 0 < level < 1:
                raise checks.wrong("quantiles", "levels between 0 and 1", level, "such as (0.05, 0.95)")

    # ---- the parts

    def panel(self, source: Any, known: Panel | None = None, *, need_target: bool = True) -> Panel:
        """The series of a source; `known`: the fitted codec's panel, whose columns are wanted again."""
        return read_panel(source, self._columns(), known=known, need_target=need_target)

    def _columns(self) -> Columns:
        named = (self.target, self.time, self.past, self.future, self.static)
        target, time, past, future, static = (_names(one) for one in named)
        return Columns(target, time, self.id, past, future, static)

    def read(self, source: Any, y: Any = None, *, use: str = "fit") -> Origins:
        if y is not None:
            raise checks.wrong("y", "none: a forecast's answers are in its source", "a value", "leave it out")
        if use == "fit":
            panel = self.panel(source)
            self._check_length(panel)
            _note_constant(panel)
            return Origins(panel, gather.every_origin(panel, 1, self.horizon))
        known = self.codec_.like if hasattr(self, "codec_") else None
        panel, begins = self._continued(self.panel(source, known, need_target=use == "evaluate"))
        if use == "predict":
            return self.ends(panel)
        return self.origins(panel, begins)

    def ends(self, panel: Panel) -> Origins:
        """One origin a series: right after the last row in which a target is known."""
        origins = Origins(panel, panel.last_seen())
        check_future(panel, gather.places(origins), self.horizon)
        return origins

    def latest(self, panel: Panel) -> Origins:
        """As `ends`, but a horizon earlier where covariates known beforehand end too soon."""
        rows = panel.last_seen()
        if panel.columns.future and (panel.starts[1:] - rows).min() < self.horizon:
            rows = np.maximum(rows - self.horizon, panel.starts[:-1] + 1)
        return Origins(panel, rows)

    def origins(self, panel: Panel, begins: np.ndarray | None = None) -> Origins:
        """Every origin with a whole horizon after it, and a whole context before it where there are such."""
        rows = gather.every_origin(panel, self._lookback(), self.horizon)
        if begins is not None:
            series = np.searchsorted(panel.starts, rows - 1, side="right") - 1
            rows = rows[rows >= begins[series]]
        rows = self._fresh(panel, rows)
        if not len(rows):
            rows = gather.every_origin(panel, 1, self.horizon)
        if not len(rows):
            longest = int(np.diff(panel.starts).max())
            expected = f"at least {self.horizon + 1} rows of a series, one and the horizon"
            raise checks.wrong("source", expected, f"{longest} rows", "pass more rows")
        return Origins(panel, gather.thinned(rows, max(1, _EXAM // panel.values.shape[1])))

    def _fresh(self, panel: Panel, rows: np.ndarray) -> np.ndarray:
        """The origins after the rows of `fit`; all of them, with a note, where there are none."""
        if not hasattr(self, "codec_") or not panel.columns.time or not len(rows):
            return rows
        series = np.searchsorted(panel.starts, rows - 1, side="right") - 1
        ends = self.codec_.ends
        seen = np.array([ends.get(name, np.iinfo(np.int64).min) for name in panel.ids])
        steps = panel.steps(rows, series)
        fresh = rows[steps >= seen[series]]
        if not len(fresh):
            checks.note(
                "All rows were there in fit, so these scores flatter the model; evaluate on later rows."
            )
            return rows
        return fresh

    def _lookback(self) -> int:
        if not hasattr(self, "codec_"):
            return 1
        return self.codec_.context + (self.codec_.season if self.codec_.center == "season" else 0)

    def _kept(self) -> int:
        """Rows of every series that later forecasts and their intervals look back on."""
        return self._lookback() + 2 * self.codec_.season + max(12 * self.horizon, 336) + 8

    def _check_length(self, panel: Panel) -> None:
        longest = int(np.diff(panel.starts).max())
        needed = self.horizon + (self.horizon if self.context is None else self.context) + 1
        if longest >= needed:
            short = int((np.diff(panel.starts) < self.horizon + 2).sum())
            if short:
                checks.note(
                    f"{short} series are too short to learn a horizon of {self.horizon} from; "
                    "they are left out."
                )
            return
        works = (longest - 1) // 2 if self.context is None else longest - self.context - 1
        expected = f"at least {needed} rows for a horizon of {self.horizon}"
        if self.context is not None:
            expected += f" and a context of {self.context}"
        way_out = f"the largest horizon that works is {works}" if works > 0 else "pass more rows"
        raise checks.wrong("source", expected, f"{longest}", way_out)

    def split(self, records: Origins) -> tuple[Origins, Origins | None]:
        """The last share of every series held out; what is trained on ends before it begins."""
        panel, rows = records
        lengths = np.diff(panel.starts)
        series = np.searchsorted(panel.starts, rows - 1, side="right") - 1
        share = np.round(lengths * self.validation).astype(np.int64)
        wanted = np.maximum(share, np.where(3 * self.horizon <= lengths // 3, 3 * self.horizon, self.horizon))
        border = panel.starts[1:] - wanted
        held = rows[rows >= border[series]]
        train = rows[rows + self.horizon <= border[series]]
        if self.validation == 0 or len(train) < max(4, self.horizon) or not len(held):
            return records, None
        return Origins(panel, train), Origins(
            panel, gather.thinned(held, max(1, _HELD // panel.values.shape[1]))
        )

    def codec(self) -> ForecastCodec:
        levels = tuple(sorted({*self.quantiles, 0.5}))
        return ForecastCodec(self.horizon, levels, calendar=self.calendar, season=self.season)

    def select(self, codec: ForecastCodec, train: Origins, held: Origins | None) -> None:
        lengths = np.diff(train.panel.starts)
        longest = int(np.median(lengths)) if len(lengths) >= _MANY else int(lengths.max())
        share = 0.6 if len(lengths) >= _MANY else 1 / 3  # many series make up for few windows of each
        sizes = forecast_choice.contexts(self.horizon, codec.season, int(share * (longest - self.horizon)))
        forecast_choice.choose(
            codec,
            train,
            held,
            sizes=sizes if self.context is None else [self.context],
            centers=CENTERS if self.center is None else (self.center,),
            scalings=SCALES if self.scaling is None else (self.scaling,),
            transforms=self._transforms(codec),
        )

    def _transforms(self, codec: ForecastCodec) -> tuple[str, ...]:
        allowed = codec.transforms()
        if self.transform is None:
            return allowed
        if self.transform not in allowed:
            expected = f"one of {', '.join(allowed)} for these values"
            raise checks.wrong(
                "transform", expected, repr(self.transform), "a logarithm takes values above 0"
            )
        return (self.transform,)

    def batches(self, codec: ForecastCodec, records: Origins, *, train: bool) -> Windows:
        if train:
            records = _with_whole_contexts(codec, records)
        most = _EPOCH * (2 if len(records.panel.ids) >= _MANY else 1)
        return Windows(codec, records, self.batch_size, shuffle=train, most=most)

    def network(self, sizes: Mapping[str, Any]) -> forecast_net.ForecastNet:
        return forecast_net.ForecastNet(
            sizes,
            output=self.output,
            read=min(_READ, sizes["context"]),
            hidden_size=self.hidden_size,
            cell=self.cell,
            num_layers=self.num_layers,
            dropout=self.dropout,
        )

    def prepare(self, codec: ForecastCodec, network: nn.Module) -> None:
        if codec.skip is not None and isinstance(network, forecast_net.ForecastNet):
            spread = np.nan_to_num(np.asarray(codec.residuals))
            if self.output != "quantiles":
                wide = np.maximum(spread[:, -1] - spread[:, 0], 1e-3)
                spread = np.stack([0 * wide, np.log(wide / 3)], 1)
            network.start(
                *(torch.from_numpy(one).float() for one in (codec.skip[:-1].T, codec.skip[-1], spread))
            )

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        if self.output != "quantiles":
            return forecast_net.likelihood(output, batch.y, self.output)
        return forecast_net.pinball(output, batch.y, self._levels(output))

    def _levels(self, like: Tensor) -> Tensor:
        return torch.tensor(sorted({*self.quantiles, 0.5}), dtype=like.dtype, device=like.device)

    def answer(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Quantiles (B, H, Q) on the scale of the transform and the windows' scales (B,), float64."""
        output = network(batch, None)[0].double()
        center, scale = batch.x[7], batch.x[8]
        found = forecast_net.quantiles_of(output, self._levels(output), self.output)
        return found * scale.unsqueeze(-1) + center.unsqueeze(-1), scale[:, 0]

    def schedule(self, steps: int, rate: float) -> Callable[[int], float]:
        return CosineDecay(rate, steps, alpha=0.05)

    def calibrate(self, codec: ForecastCodec, network: nn.Module, held: Origins) -> None:
        if isinstance(network, forecast_net.ForecastNet) and network.begun:
            self._hold_back(codec, network, held)
        coded = self.coded(codec, network, held)
        at = gather.places(held)
        values = np.concatenate([part.cpu().numpy() for part, _ in coded])
        scale = np.concatenate([part.cpu().numpy() for _, part in coded])
        truths = codec.ahead(held.panel, at, codec.known(held.panel))
        codec.border = _begins(held)
        codec.widths = Widths.learn(codec.levels, values, truths, scale, apart=_apart(held, self.horizon))
        found = codec.decode(coded, held)
        plain = {name: forecast_score.mae(one, found.actual) for name, one in _rivals(found).items()}
        half = len(values) // 2
        codec.beaten = {**plain, **_covered_by_half(codec.levels, values, truths, scale, half)}

    def _hold_back(self, codec: ForecastCodec, network: forecast_net.ForecastNet, held: Origins) -> None:
        """Go back towards the answer that training began from, as far as the held-out part says."""
        place = mover(network)
        losses = torch.zeros(len(_SHARES), dtype=torch.float64)
        with torch.no_grad():
            for batch in map(place, self.batches(codec, held, train=False)):
                first, now = network.both(batch)
                rows = len(now)
                losses += torch.stack(
                    [
                        self.loss(torch.lerp(first, now, share), batch).double().cpu() * rows
                        for share in _SHARES
                    ]
                )
        network.go_back(_SHARES[int(losses.argmin())])

    def settle(self, records: Origins) -> None:
        codec = self.codec_
        self.stream_ = records.panel.tail(self._kept())
        _note_beaten(codec.beaten, "the held-out part")

    def metrics(self) -> Metrics:
        codec = self.codec_of()
        return forecast_metrics(codec)

    def exam(self, source: Any, y: Any = None) -> tuple[Forecasts, np.ndarray]:
        codec = self.codec_of()
        records = self.read(source, y, use="evaluate")
        found = self.forecasts(codec, self.network_, records)
        return found, found.actual

    def forecasts(self, codec: ForecastCodec, network: nn.Module, origins: Origins) -> Forecasts:
        """What is foretold at origins, with quantiles, actual values and the plain forecasts beside it.

        The intervals follow how well the last forecasts before each origin did.
        """
        if codec.widths is None or not len(origins.rows):
            return codec.decode(self.coded(codec, network, origins), origins)
        panel, rows = origins
        at_once = _FEW if len(rows) <= 2 * len(panel.ids) else _AT_ONCE // panel.values.shape[1]
        parts = [
            self._followed(codec, network, Origins(panel, rows[at : at + at_once]))
            for at in range(0, len(rows), max(1, at_once))
        ]
        values, scale = (np.concatenate(part) for part in zip(*parts, strict=True))
        return codec.found(values, scale, origins)

    def _followed(
        self, codec: ForecastCodec, network: nn.Module, origins: Origins
    ) -> tuple[np.ndarray, np.ndarray]:
        """Quantiles (n, C, H, Q) on the scale of the transform after what came lately, and scales (n, C)."""
        earlier = codec.earlier(origins)
        every = Origins(origins.panel, np.unique([*origins.rows, *earlier[earlier >= 0]]))
        values, scale = codec.calibrated(self.coded(codec, network, every), every)
        own = np.searchsorted(every.rows, origins.rows)
        recent = np.where(earlier >= 0, np.searchsorted(every.rows, earlier), -1)
        return follow(codec.levels, values, codec.bent_truth(every), own, recent), scale[own]

    # ---- the verbs of its own

    def predict(self, source: Any = None) -> pl.DataFrame:
        """What comes after the last known row of every series.

        Args:
            source: rows up to now, or up to the end of what is known beforehand with the target left empty;
                None to go on from the rows of `fit` and `update`.

        Returns:
            A polars frame: [id], time, target, point (the median), one column a quantile (q0.05 and so on).
        """
        self.codec_of()
        origins = self.ends(self.stream_) if source is None else self.read(source, use="predict")
        found = self.forecasts(self.codec_, self.network_, origins)
        return forecast_score.frame_of(found, tuple(self.quantiles), past=False)

    def backtest(self, source: Any, start: Any, stride: int = 1) -> pl.DataFrame:
        """Forecasts at many origins one after another, with what came; nothing is refitted.

        Args:
            source: the rows, those before `start` included.
            start: the first row or time to be foretold; a row below 0 counts from each series' end.
            stride: rows from one origin to the next.

        Returns:
            The frame of `predict` with origin (the last time seen) and actual.
        """
        self.codec_of()
        origins = self.rolling(self.panel(source, self.codec_.like), start, stride)
        found = self.forecasts(self.codec_, self.network_, origins)
        return forecast_score.frame_of(found, tuple(self.quantiles), past=True)

    def rolling(self, panel: Panel, start: Any, stride: int = 1) -> Origins:
        """The origins of a back-test; see `backtest`."""
        stride = checks.whole("stride", stride, 1, "give the rows from one origin to the next")
        first = _first_rows(panel, start)
        spans = [
            np.arange(max(a, begin + 1), end - self.horizon + 1, stride)
            for a, begin, end in zip(first, panel.starts[:-1], panel.starts[1:], strict=True)
        ]
        rows = np.concatenate(spans).astype(np.int64)
        if not len(rows):
            expected = f"a row or time with {self.horizon} rows from it on"
            raise checks.wrong("start", expected, repr(start), "start earlier")
        return Origins(panel, rows)

    def update(self, source: Any) -> Self:
        """Go on from new rows without training: `predict()` then forecasts what comes after them.

        Args:
            source: rows after the last ones, in any of the forms of `fit`; new series are taken up.
        """
        self.codec_of()
        panel = self.stream_.joined(self.panel(source, self.codec_.like))
        self.stream_ = panel.tail(self._kept())
        return self

    # ---- row by row

    def follow(self, source: Any) -> tuple[np.ndarray, Panel]:
        """What was expected of every row of one series from the rows before it.

        Intervals are those that the held-out part calibrated; unlike `predict`'s they do not follow how well
        the last forecasts did, so that a row costs one forecast.

        Args:
            source: the rows, in any of the forms of `fit`.

        Returns:
            Quantiles (T, C, Q) of the T rows, C targets and Q levels (codec_.levels, the median among them),
            NaN where there is no whole context before a row; and the last rows, from which `step` goes on.

        >>> import numpy as np
        >>> wave = np.sin(np.arange(200) / 4)
        >>> f = Forecaster(horizon=1, context=16, epochs=1).fit(wave, verbose=0)
        >>> expected, state = f.follow(wave[:100])
        >>> quantiles, state = f.step(wave[100], state)
        >>> expected.shape, quantiles.shape
        ((100, 1, 5), (1, 5))
        """
        codec = self.codec_of()
        panel = self.panel(source, codec.like, need_target=False)
        if len(panel.ids) > 1:
            raise checks.wrong("source", "rows of one series", f"{len(panel.ids)}", "follow each by itself")
        rows, keep = rows_of(panel, source), self._lookback()
        found = np.full((len(rows), len(codec.like.columns.target), len(codec.levels)), np.nan)
        whole = np.flatnonzero(rows >= keep)
        for at in range(0, len(whole), _FOLLOWED):
            part = whole[at : at + _FOLLOWED]
            found[part] = self._expected(panel, rows[part])
        return found, panel.tail(keep)

    def step(self, row: Any, state: Panel | None = None) -> tuple[np.ndarray | None, Panel]:
        """Take one row of a series: what had been expected of it, and the state from which the next goes on.

        Args:
            row: a dict by column, or without covariates and times a number, or one a target.
            state: as `follow` or `step` returned it, None at the beginning of a series.

        Returns:
            Quantiles (C, Q), None before a whole context; and the state.

        Raises:
            ValueError: it lacks a column, or its time is not on the grid or not after the last; one sentence.
        """
        new = row_after(self.codec_of().like, row, state)
        if state is None or new.first[0] - end(state) > _SILENCE:
            return None, new
        panel, keep = state.joined(new), self._lookback()
        if len(state.values) < keep:
            return None, panel.tail(keep)
        return self._expected(panel, np.array([len(panel.values) - 1]))[0], panel.tail(keep)

    @torch.no_grad()
    def _expected(self, panel: Panel, rows: np.ndarray) -> np.ndarray:
        """Quantiles (n, C, Q) of rows of a panel of one series, each from the rows before it."""
        codec = self.codec_
        batch = codec.encode(
            panel, gather.places(Origins(panel, rows)), codec.known_of(panel.ids[0]), answers=False
        )
        coded, scale = self.answer(self.network_, mover(self.network_)(batch))
        found = coded.cpu().numpy()
        if codec.widths is not None:
            found = codec.widths.apply(found, scale.cpu().numpy())
        return straight(found[:, 0], codec.transform).reshape(len(rows), -1, len(codec.levels))

    def _continued(self, panel: Panel) -> tuple[Panel, np.ndarray | None]:
        """The panel after the rows that are kept, where it goes right on from them; and where it begins."""
        kept: Panel | None = getattr(self, "stream_", None)
        if kept is None or not panel.columns.time or not set(panel.ids) <= set(kept.ids):
            return panel, None
        kept = kept if kept.ids == panel.ids else kept.only(panel.ids)
        if not np.array_equal(kept.first + np.diff(kept.starts), panel.first):
            return panel, None
        joined = kept.joined(panel)
        return joined, joined.starts[:-1] + np.diff(kept.starts)

    def stream(self) -> Tree:
        return self.stream_.state()

    def resume_stream(self, stream: Tree) -> None:
        self.stream_ = Panel.from_state(stream)

    def exhibits(self, source: Any = None) -> list[Section]:
        from .forecast_show import sections  # only here: most who forecast make no report

        return [*sections(self, source), *super().exhibits(source)]


def _names(given: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)


def _note_constant(panel: Panel) -> None:
    values = panel.values
    low, high = np.fmin.reduce(values, 0), np.fmax.reduce(values, 0)
    for channel in np.flatnonzero(low == high):
        checks.note(f"{panel.columns.target[channel]} is always {low[channel]:g}; it is answered with that.")


def _with_whole_contexts(codec: ForecastCodec, records: Origins) -> Origins:
    """Without the windows that begin before their series, if a good part is left."""
    panel, rows = records
    series = np.searchsorted(panel.starts, rows - 1, side="right") - 1
    lag = codec.season if codec.center == "season" else 0
    whole = rows[rows - panel.starts[series] >= codec.context + lag]
    return Origins(panel, whole) if len(whole) >= max(32, len(rows) // 4) else records


def _apart(held: Origins, horizon: int) -> float:
    """How many held-out windows do not overlap; many series or channels count as few, being much alike."""
    panel, rows = held
    series = np.searchsorted(panel.starts, rows - 1, side="right") - 1
    low = np.full(len(panel.ids), len(panel.values) + 1)
    high = np.full(len(panel.ids), -1)
    np.minimum.at(low, series, rows)
    np.maximum.at(high, series, rows)
    there = high >= 0
    blocks = ((high - low)[there] + horizon) / horizon
    return float(blocks.mean() * (there.sum() * panel.values.shape[1]) ** 0.25)


def _begins(held: Origins) -> dict[str, int]:
    """The step of the first held-out origin of every series."""
    panel, rows = held
    series = np.searchsorted(panel.starts, rows - 1, side="right") - 1
    there, first = np.unique(series, return_index=True)  # rows rise within a series
    steps = panel.steps(rows[first], there)
    return {panel.ids[s]: int(step) for s, step in zip(there, steps, strict=True)}


def _rivals(found: Forecasts) -> dict[str, np.ndarray]:
    return {"model": found.point, "naive": found.naive, "seasonal_naive": found.seasonal}


def _covered_by_half(
    levels: tuple[float, ...], values: np.ndarray, truths: np.ndarray, scale: np.ndarray, half: int
) -> dict[str, float]:
    """What the intervals cover of one half of the windows, calibrated on the other."""
    if half < 8:
        return {}
    widths = Widths.learn(levels, values[:half], truths[:half], scale[:half], apart=half)
    found = widths.apply(values[half:], scale[half:])
    return {
        f"coverage_{percent}": forecast_score.coverage(found[..., low], found[..., high], truths[half:])
        for percent, low, high in forecast_score.pairs(levels)
    }


def _note_beaten(scores: Mapping[str, float], where: str) -> None:
    if not scores or scores["model"] == 0:
        return
    rivals = {name: scores[name] for name in ("naive", "seasonal_naive") if scores.get(name) is not None}
    better = [name for name, value in rivals.items() if value <= scores["model"]]
    if better:
        name = min(better, key=rivals.__getitem__)
        words = {"naive": "repeating the last value", "seasonal_naive": "repeating the last season"}[name]
        checks.note(
            f"The model does not beat {words} on {where}: mean absolute error {scores['model']:.4g} "
            f"against {rivals[name]:.4g}; prefer that forecast, or give the model more data."
        )


def forecast_metrics(codec: ForecastCodec) -> Metrics:
    """Every metric, each with the two plain forecasts' beside it."""
    found: dict[str, Callable[[Forecasts, np.ndarray], float]] = {}
    plain = {"mae": forecast_score.mae, "rmse": forecast_score.rmse, "smape": forecast_score.smape}
    for name, score in plain.items():
        found[name] = lambda f, t, score=score: score(f.point, t)
        found[f"naive_{name}"] = lambda f, t, score=score: score(f.naive, t)
        found[f"seasonal_naive_{name}"] = lambda f, t, score=score: score(f.seasonal, t)
    units = {"mase": "point", "naive_mase": "naive", "seasonal_naive_mase": "seasonal"}
    for name, field in units.items():
        found[name] = lambda f, t, field=field: forecast_score.mase(getattr(f, field), t, _units(codec, f))
    found["crps"] = forecast_score.crps
    for percent, low, high in forecast_score.pairs(codec.levels):
        found[f"coverage_{percent}"] = lambda f, t, low=low, high=high: forecast_score.covered(
            f, t, low, high
        )
    return found


def _units(codec: ForecastCodec, found: Forecasts) -> np.ndarray:
    """(n, 1, C)."""
    panel, rows = found.origins
    series = np.searchsorted(panel.starts, rows - 1, side="right") - 1
    return codec.units(panel)[series][:, None]


def _first_rows(panel: Panel, start: Any) -> np.ndarray:
    """(S,): the first row of every series to be foretold."""
    if isinstance(start, (int, np.integer)) and not isinstance(start, bool):
        return (panel.starts[:-1] if start >= 0 else panel.starts[1:]) + int(start)
    if not panel.frequency.dated:
        raise checks.wrong_type("start", "a row number, since the data have no dates", start, "pass one")
    try:
        plain = start if isinstance(start, (date, datetime)) else str(start)
        moment = np.datetime64(plain, "us")
    except ValueError as error:
        raise checks.wrong(
            "start", "a row number or a time", repr(start), "such as '2024-01-31 18:00'"
        ) from error
    steps = panel.frequency.steps(np.array([moment.astype(np.int64)]))
    exact = panel.frequency.times(steps)[0] == moment.astype(np.int64)
    return panel.starts[:-1] + steps[0] + (0 if exact else 1) - panel.first
