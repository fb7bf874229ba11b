"""Knows what a detector expects of readings: by a network of its own, or by a Forecaster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from longspan import checks
from longspan.data import gather
from longspan.data.batches import Batch
from longspan.data.bend import straight
from longspan.data.events import Series
from longspan.data.frequency import parse_times
from longspan.data.panel import Covariates, Origins, Panel
from longspan.nets import Encoder, recurrent
from longspan.training.loop import mover

from .forecast import Forecaster
from .forecast_codec import Known

WRITTEN = 256  # windows that are written down at once
TIME, ENTITY = "(time)", "(entity)"  # columns of the tables that the forecaster is given
CHUNK = 2048  # readings foretold at once
LONGEST = 100_000  # steps without a reading after which a stream begins anew

Apart = tuple[Tensor, list[Tensor]]  # numbers (B, T, N), and of each category its values' logits (B, T, V)


def apart(out: Tensor, parts: Sequence[int]) -> Apart:
    """Outputs (B, T, O) by column."""
    numbers, *texts = out.split(list(parts), dim=-1)
    return numbers, texts


class Foreteller(nn.Module):
    """Foretells every next reading from all before it: outputs (B, T, O) of the reading after each.

    A `Forecaster`'s network reads a window anew for every forecast; this one's state goes on from reading to
    reading, so that a stream costs one step each.

    Args:
        sizes: "inputs" I, "numbers" watched and "categories", the number of values of each watched one.
        options: of `longspan.nets.Encoder`.
    """

    def __init__(self, sizes: Mapping[str, Any], hidden_size: int, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.encoder = Encoder(sizes["inputs"], hidden_size, pool="steps", forget_bias=1.0, **options)
        self.parts = [sizes["numbers"], *sizes["categories"]]
        self.head = nn.Linear(self.encoder.output_size, sum(self.parts))
        self._held: Any = None  # what every step needs, looked up once

    def forward(self, batch: Batch, state: Any = None) -> tuple[Apart, Any]:
        out, state = self.encoder(batch.x, state)
        return apart(self.head(out), self.parts), state

    def follow(self, x: Tensor) -> tuple[Tensor, Any]:
        """What was expected of each reading (T, O), NaN for the first; and the state to go on from."""
        out, state = self.encoder(x[None])
        out = self.head(out)
        first = torch.full_like(out[0, :1], torch.nan)
        return torch.cat([first, out[0, :-1]]), (out[0, -1].tolist(), state)

    def step(self, row: Sequence[float], state: Any) -> tuple[Any, Any]:
        """Take a reading (I,): what had been expected of it, and the state to go on from."""
        if self._held is None:
            numbers = np.empty((1, len(row)), dtype=np.float32)
            self._held = (numbers, torch.from_numpy(numbers), self.encoder.core, *self.head.parameters())
        numbers, x, core, weight, bias = self._held
        numbers[0] = row
        expected, inner = (None, None) if state is None else state
        out, inner = core.step(x if weight.is_cpu else x.to(weight.device), inner)
        return expected, (nn.functional.linear(out, weight, bias)[0].tolist(), inner)


class Mirror(nn.Module):
    """Reads a window into one vector and writes the window down from it, outputs (B, T, O) of each reading.

    Args:
        sizes: as for `Foreteller`, and "context", the readings of a window; a reading is judged by the window
            that ends with it.
        options: as for `Foreteller`.
    """

    def __init__(self, sizes: Mapping[str, Any], hidden_size: int, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.context = sizes["context"]
        self.encoder = Encoder(sizes["inputs"], hidden_size, pool="last", forget_bias=1.0, **options)
        self.writer = recurrent(options["cell"], hidden_size, hidden_size)
        self.parts = [sizes["numbers"], *sizes["categories"]]
        self.head = nn.Linear(hidden_size, sum(self.parts))

    def forward(self, batch: Batch, state: Any = None) -> tuple[Apart, Any]:
        return apart(self._written(batch.x), self.parts), None

    def _written(self, x: Tensor) -> Tensor:
        read, _ = self.encoder(x)
        out, _ = self.writer(read[:, None].expand(-1, x.shape[1], -1).contiguous())
        return self.head(out)

    def follow(self, x: Tensor) -> tuple[Tensor, Any]:
        """What was written down of each reading (T, O), NaN before the first window; and the last window."""
        size = self.context
        if len(x) < size:
            outputs = self.head.out_features
            return x.new_full((len(x), outputs), torch.nan), x.tolist()
        windows = x.unfold(0, size, 1).transpose(1, 2)
        found = [self._written(part)[:, -1] for part in windows.split(WRITTEN)]
        first = x.new_full((size - 1, self.head.out_features), torch.nan)
        return torch.cat([first, *found]), x[len(x) - size + 1 :].tolist()

    def step(self, row: Sequence[float], state: Any) -> tuple[Any, Any]:
        """Take a reading (I,): what was written down of it, None before the first window; and the window."""
        rows = [*(state or []), list(row)]
        if len(rows) < self.context:
            return None, rows
        out = self._written(torch.tensor([rows], device=self.head.weight.device))[0, -1].tolist()
        return out, rows[1:]


class Foresight:
    """What a `Forecaster` of one step expects of readings that a detector has read.

    Args:
        forecaster: not fitted; its target, times and entities are set here, and where it names no covariates,
            all columns that are not watched are covariates known up to now.
    """

    def __init__(self, forecaster: Forecaster) -> None:
        self.forecaster = forecaster
        self.numbers: tuple[str, ...] = ()
        self.words: tuple[str, ...] = ()
        self.center = self.scale = np.empty(0)

    def know(
        self, columns: tuple[tuple[str, ...], tuple[str, ...]], watched: Sequence[int], scales: Any
    ) -> None:
        """Take what a detector's codec has learnt.

        Args:
            columns: names of the numbers and of the categories of a reading, in its order.
            watched: places of the numbers that are foretold.
            scales: center and scale of every number; answers are asinh((value - center) / scale).
        """
        (self.numbers, self.words), self.watched, inner = columns, list(watched), self.forecaster
        self.center, self.scale = (np.array(part)[self.watched][:, None] for part in scales)
        inner.target = tuple(self.numbers[place] for place in watched)
        if not inner.past and not inner.future:
            inner.past = tuple(name for name in (*self.numbers, *self.words) if name not in inner.target)

    def fit(self, records: Sequence[Series], held: Sequence[Series] | None, **how: Any) -> None:
        """Fit the forecaster, to which known anomalies are unknown; `how`: arguments of its `fit`."""
        if len(records) > 1 and records[0].name is None:
            way_out = "put them into one table with an id, or leave the forecaster out"
            raise checks.wrong("source", "one series, or entities with names", f"{len(records)}", way_out)
        inner = self.forecaster
        inner.time = None if records[0].times is None else TIME
        inner.id = None if records[0].name is None else ENTITY
        known, ahead = (part and pl.concat([self._table(one) for one in part]) for part in (records, held))
        inner.fit(known, validation=ahead, **how)

    def _table(self, one: Series) -> pl.DataFrame:
        numbers = one.numbers.copy()
        if one.flags is not None:
            numbers[np.flatnonzero(one.flags)[:, None], self.watched] = np.nan
        table: dict[str, Any] = {} if one.times is None else {TIME: list(one.times)}
        if one.name is not None:
            table[ENTITY] = [str(one.name)] * len(one)
        table |= dict(zip(self.numbers, numbers.T, strict=True))
        table |= {name: pl.Series(one.words[:, at].tolist()) for at, name in enumerate(self.words)}
        return pl.DataFrame(table)

    @property
    def keep(self) -> int:
        """Readings that the next one's forecast looks back on."""
        codec = self.forecaster.codec_
        return codec.context + (codec.season if codec.center == "season" else 0)

    def follow(self, one: Series) -> tuple[np.ndarray, Panel]:
        """What was expected of each reading (T, 2W), and the last readings, to go on from.

        Of the watched numbers first the points, then half of what their intervals span; NaN for the readings
        that have no whole context before them.
        """
        like = self.forecaster.codec_.like
        frame = self._table(replace(one, flags=None))
        panel = self.forecaster.panel(frame, like, need_target=False)
        rows = np.arange(len(one))
        if like.columns.time:
            times = parse_times(frame, (TIME,))
            assert times is not None  # the panel could read them
            rows = panel.frequency.steps(times[0]) - panel.first[0]
        found = np.full((len(one), 2 * len(self.watched)), np.nan)
        for start in range(int(np.searchsorted(rows, self.keep)), len(rows), CHUNK):
            found[start : start + CHUNK] = self._expect(panel, rows[start : start + CHUNK])
        return found, panel.tail(self.keep)

    @torch.no_grad()
    def _expect(self, panel: Panel, rows: np.ndarray) -> np.ndarray:
        """Points and half widths (n, 2W) for rows of a panel of one series."""
        inner, codec = self.forecaster, self.forecaster.codec_
        at = gather.places(Origins(panel, rows))
        batch = codec.encode(panel, at, self._known(panel.ids[0]), answers=False)
        coded, scale = inner.answer(inner.network_, mover(inner.network_)(batch))
        found = coded.cpu().numpy()
        if codec.widths is not None:
            found = codec.widths.apply(found, scale.cpu().numpy())
        found = straight(found[:, 0], codec.transform).reshape(len(rows), -1, len(codec.levels))
        found = np.arcsinh((found - self.center) / self.scale)
        points, widths = found[..., codec.levels.index(0.5)], (found[..., -1] - found[..., 0]) / 2
        return np.concatenate([points, widths], 1)

    def _known(self, name: str) -> Known:
        """What is known of a series; of an entity that fit has not seen, what is known of the others."""
        codec = self.forecaster.codec_
        place = codec.index.get(name)
        if place is None:
            return Known(*(part.mean(0, keepdims=True) for part in codec.learnt))
        return Known(*(part[place : place + 1] for part in codec.learnt))

    def step(
        self, reading: tuple[Sequence[float], Sequence[str]], name: Any, when: Any, state: Panel | None
    ) -> tuple[list[float] | None, Panel]:
        """Take a reading: what had been expected of it, None before a whole context, and the state after it.

        Args:
            reading: its numbers and categories; name: its entity; when: its time, a number or text.
            state: the last readings, None for none.

        Raises:
            ValueError: its time is not on the grid of those in fit, or not after the last; one sentence.
        """
        step = self._step(when, state)
        new = self._row(reading, "" if name is None else str(name), step)
        if state is None or step - _end(state) > LONGEST:
            return None, new
        panel = state.joined(new)
        if len(state.values) < self.keep:
            return None, panel.tail(self.keep)
        expected = self._expect(panel, np.array([len(panel.values) - 1]))[0].tolist()
        return expected, panel.tail(self.keep)

    def _step(self, when: Any, state: Panel | None) -> int:
        """The whole step in time of a reading; the next one where it has no time."""
        like = self.forecaster.codec_.like
        after = 0 if state is None else _end(state)
        if not like.columns.time or (when is None and state is not None):
            return after
        grid, time = like.frequency, None
        with suppress(ValueError):  # text that is no time
            if isinstance(when, str) and grid.dated:
                time = int(np.datetime64(when, "us").astype(np.int64))
            elif isinstance(when, (int, float)) and not grid.dated and when == int(when):
                time = int(when)
        if time is None:
            expected = "when the reading was, a time as in fit"
            raise checks.wrong("time", expected, repr(when), "pass it with the reading")
        step = int(grid.steps(np.array([time]))[0])
        if grid.times(np.array([step]))[0] != time or (state is not None and step < after):
            expected = f"one after the last reading's, on the forecaster's grid of {grid}"
            raise checks.wrong("time", expected, when, "bring the readings onto it, in the order of time")
        return step

    def _row(self, reading: tuple[Sequence[float], Sequence[str]], name: str, step: int) -> Panel:
        """A panel of one reading."""
        like = self.forecaster.codec_.like
        found = dict(zip((*self.numbers, *self.words), (*reading[0], *reading[1]), strict=True))
        past, future = (
            _covariates(found, names, part)
            for names, part in ((like.columns.past, like.past), (like.columns.future, like.future))
        )
        return replace(
            like,
            values=np.array([[reading[0][place] for place in self.watched]]),
            starts=np.array([0, 1]),
            first=np.array([step]),
            ids=(name,),
            past=past,
            future=future,
            static=Covariates(np.empty((1, 0), np.float32), {}),
        )

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `restore` takes; the weights are the detector's network's."""
        inner = self.forecaster
        return {"codec": inner.codec_.state(), "stream": inner.stream(), "columns": (inner.time, inner.id)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave; after `know`."""
        inner = self.forecaster
        inner.time, inner.id = state["columns"]
        inner.codec_ = inner.codec().restore(state["codec"])
        inner.resume_stream(state["stream"])


def _end(panel: Panel) -> int:
    """The step after the last row of a panel of one series."""
    return int(panel.first[0]) + len(panel.values)


def _covariates(found: Mapping[str, Any], names: Sequence[str], like: Covariates) -> Covariates:
    plain = [found[name] for name in names if name not in like.labels]
    labels = {name: np.array([found[name]], dtype=object) for name in like.labels}
    return Covariates(np.array([plain], dtype=np.float32).reshape(1, -1), labels)
