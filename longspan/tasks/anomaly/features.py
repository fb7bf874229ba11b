"""Encodes readings of numbers and categories as a network's inputs and targets, singly or as whole series."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from typing_extensions import Self

from longspan import errors
from longspan.artifact import as_texts
from longspan.data.batches import Batch, Batches
from longspan.data.timestamps import TimeForm

from .reading import Series

_LISTED = 1 << 14  # readings that are lists of numbers at once
SKIPPED = 5  # first steps of a window that have no loss, since the network has hardly read anything
MAX_WINDOWS = 4096  # windows of an epoch
MIN_SCALE = 0.02  # smallest scale of a column, as a share of half its range in training
MAX_CATEGORIES = 50  # most frequent values of a column that have an index of their own; all others share 0


class FeatureEncoder:
    """Encodes readings as a network's inputs and targets.

    Inputs of a reading (I): for every column of numbers the scaled value, the change since the last reading
    (monitored columns only), and 1 if the value is missing; for every column of categories a one-hot vector.
    Targets (W): the scaled numbers, then the category indices, of the monitored columns; NaN where missing.

    Args:
        target: the columns to monitor, () for all.
        numbers_only: why categories cannot be monitored; "" if they can.

    Attributes:
        names, categories: the columns of numbers and of categories, in order.
        center, scale: of every column of numbers. A scaled value is asinh((value - center) / scale).
        values: for every column of categories, its values with an index of their own, starting at 1.
        indices: for every column of categories, value -> index; 0 stands for all other values.
        numeric, textual: positions of the monitored columns among `names` and among `categories`.
        monitored: names of the monitored columns, those of numbers first.
    """

    def __init__(self, target: Sequence[str], numbers_only: str = "") -> None:
        self.target, self.numbers_only = tuple(target), numbers_only
        self.names: tuple[str, ...] = ()
        self.categories: tuple[str, ...] = ()
        self.center: list[float] = []
        self.scale: list[float] = []
        self.values: list[list[str]] = []
        self.form: TimeForm | None = None  # of the times

    def fit(self, records: Sequence[Series]) -> Self:
        """Take over the columns, and fit scales and category indices.

        Raises:
            ValueError: there is no column to monitor, or no reading to learn from; one sentence.
        """
        self.names, self.categories = records[0].names, records[0].categories
        self.form = records[0].form
        if not self.names and not self.categories:
            raise errors.value_error(
                "source", "at least one column to watch", "none", "add the readings' columns"
            )
        if all(series.known.all() for series in records):
            expected = "readings that are no known anomaly, to learn from"
            raise errors.value_error("flags", expected, "none", "correct the flags, or leave them out")
        records = [self.aligned(series) for series in records]
        numbers = np.concatenate([series.numbers for series in records])
        for column, name in enumerate(self.names):
            center, scale = _center_and_scale(numbers[:, column], name)
            self.center.append(center)
            self.scale.append(scale)
        words = np.concatenate([series.words for series in records])
        for column in range(len(self.categories)):
            frequent = Counter(words[:, column].tolist()).most_common(MAX_CATEGORIES)
            self.values.append([value for value, _ in frequent])
        self._check_target()
        self._prepare()
        return self

    def _check_target(self) -> None:
        columns = self._can_be_monitored()
        unknown = [name for name in self.target if name not in columns]
        if unknown:
            which = f"columns of numbers, {self.numbers_only}," if self.numbers_only else "columns"
            expected = f"of the {which} {', '.join(columns)}"
            raise errors.value_error("target", expected, unknown[0], errors.did_you_mean(unknown[0], columns))

    def _can_be_monitored(self) -> tuple[str, ...]:
        return self.names if self.numbers_only else (*self.names, *self.categories)

    def _prepare(self) -> None:
        """Set what follows from columns and categories."""
        names = self.target or self._can_be_monitored()
        self.numeric = [column for column, name in enumerate(self.names) if name in names]
        self.textual = [column for column, name in enumerate(self.categories) if name in names]
        self.has_change = frozenset(self.numeric)  # positions of the columns whose change is an input
        self.indices = [
            {value: index for index, value in enumerate(values, start=1)} for values in self.values
        ]
        self.monitored = [self.names[column] for column in self.numeric]
        self.monitored += [self.categories[column] for column in self.textual]

    @property
    def sizes(self) -> dict[str, Any]:
        """Inputs I, monitored columns of numbers, and for each monitored category how many values it has."""
        counts = [len(values) + 1 for values in self.values]
        inputs = 2 * len(self.names) + len(self.numeric) + sum(counts)
        categories = [counts[column] for column in self.textual]
        return {"inputs": inputs, "numbers": len(self.numeric), "categories": categories}

    @property
    def value_positions(self) -> list[int]:
        """Where the scaled values of the monitored columns of numbers are among the inputs."""
        widths = [3 if column in self.has_change else 2 for column in range(len(self.names))]
        starts = [sum(widths[:column]) for column in range(len(self.names))]
        return [starts[column] for column in self.numeric]

    def monitor(self, names: Sequence[str]) -> None:
        """Monitor these columns alone, in place of those that `target` names."""
        self.target = tuple(names)
        self._prepare()

    def raise_scales(self, records: Sequence[Series]) -> None:
        """Give columns that hardly move a scale of MIN_SCALE times half their range at least."""
        numbers = np.concatenate([self.aligned(series).numbers for series in records])
        low, high = np.nanquantile(numbers, [0.01, 0.99], axis=0)
        self.scale = np.maximum(self.scale, MIN_SCALE * (high - low) / 2).tolist()

    @property
    def monitored_scales(self) -> list[float]:
        """The scales of the monitored columns of numbers."""
        return [self.scale[column] for column in self.numeric]

    def aligned(self, series: Series) -> Series:
        """The series with the columns of fit, in their order.

        Raises:
            ValueError: a column is missing, or holds text where it held numbers in fit; one sentence.
        """
        if (series.names, series.categories) == (self.names, self.categories):
            return series
        present, needed = (*series.names, *series.categories), (*self.names, *self.categories)
        for name in needed:
            if name not in present:
                received = ", ".join(present) or "none"
                raise errors.value_error("source", f"the column {name} that fit had", received, "add it")
        numbers = np.full((len(series), len(self.names)), np.nan)
        for column, name in enumerate(self.names):
            if name in series.names:
                numbers[:, column] = series.numbers[:, series.names.index(name)]
                continue
            texts = series.words[:, series.categories.index(name)]
            if (texts != "").any():
                received = repr(max(texts, key=bool))
                way_out = "correct it or leave it empty"
                raise errors.value_error(f"column {name}", "numbers, as in fit", received, way_out)
        words = np.empty((len(series), len(self.categories)), dtype=object)
        for column, name in enumerate(self.categories):
            if name in series.categories:
                words[:, column] = series.words[:, series.categories.index(name)]
            else:  # a file whose categories all look like numbers
                values = series.numbers[:, series.names.index(name)].tolist()
                words[:, column] = [_as_category(value) for value in values]
        return replace(series, names=self.names, numbers=numbers, categories=self.categories, words=words)

    def warn_unknown_columns(self, series: Series) -> None:
        """Say which columns of a series fit did not have."""
        fitted = (*self.names, *self.categories)
        unknown = [name for name in (*series.names, *series.categories) if name not in fitted]
        if unknown:
            errors.notice(f"Left out, since fit did not have them: {', '.join(unknown)}.")

    # ---- inputs and targets

    def start(self) -> list[float]:
        """The last scaled numbers (N,) before the first reading: NaN."""
        return [math.nan] * len(self.names)

    def encode_row(
        self, numbers: Sequence[float], words: Sequence[str], last: list[float]
    ) -> tuple[list[float], list[Any]]:
        """Inputs (I,) and targets (W,) of one reading.

        Args:
            numbers: (N,), NaN where missing; words: the categories' values, "" where missing.
            last: the last scaled numbers (N,), which are updated.
        """
        inputs: list[float] = []
        scaled: list[Any] = []
        for column, value in enumerate(numbers):
            before = last[column]
            missing = value != value
            if not missing:
                now = math.asinh((value - self.center[column]) / self.scale[column])
            else:
                now = before if before == before else 0.0
            scaled.append(math.nan if missing else now)
            if column in self.has_change:
                inputs += (now, now - before if before == before else 0.0, 1.0 if missing else 0.0)
            else:
                inputs += (now, 1.0 if missing else 0.0)
            last[column] = now
        targets = [scaled[column] for column in self.numeric]
        if not self.indices:
            return inputs, targets
        codes = [indices.get(word, 0) for indices, word in zip(self.indices, words, strict=True)]
        for indices, code in zip(self.indices, codes, strict=True):
            inputs += [1.0 if code == index else 0.0 for index in range(len(indices) + 1)]
        return inputs, targets + [codes[column] for column in self.textual]

    def encode(self, series: Series) -> tuple[np.ndarray, np.ndarray, list[float]]:
        """Inputs (T, I) and targets (T, W) of a series, float32, and its last scaled numbers (N,)."""
        series, last = self.aligned(series), self.start()
        parts = [
            self._encode_rows(
                series.numbers[begin : begin + _LISTED], series.words[begin : begin + _LISTED], last
            )
            for begin in range(0, max(1, len(series)), _LISTED)
        ]
        inputs, targets = (np.concatenate(part) for part in zip(*parts, strict=True))
        return inputs, targets, last

    def _encode_rows(
        self, numbers: np.ndarray, words: np.ndarray, last: list[float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of consecutive readings; last: the scaled numbers before them, updated."""
        rows = [
            self.encode_row(*reading, last) for reading in zip(numbers.tolist(), words.tolist(), strict=True)
        ]
        inputs = np.array([row[0] for row in rows], dtype=np.float32)
        return inputs, np.array([row[1] for row in rows], dtype=np.float32)

    def encode_series(self, series: Series, *, ahead: bool) -> Batch:
        """One series as a batch of size 1: x (1, T, I), y and weight (1, T, W) as documented in `windows`."""
        x, y = (torch.from_numpy(part) for part in self.encode(series)[:2])
        rows = y.nan_to_num(), ((~y.isnan()) & torch.from_numpy(~series.known)[:, None]).float()
        targets, weight = (
            torch.cat([part[ahead:], part.new_zeros(int(ahead), part.shape[1])])[None] for part in rows
        )
        return Batch(x[None], targets, weight=weight)

    def windows(self, records: Sequence[Series], context: int, batch_size: int, *, ahead: bool) -> Batches:
        """Training windows of all series, in a new order every epoch.

        x (B, T, I): inputs. y (B, T, W): targets. weight (B, T, W): 0 where the target is missing or a known
        anomaly, else 1.

        Args:
            context: T, readings of a window. Shorter series are padded with steps of weight 0.
            ahead: whether the targets are those of the next reading.
        """
        stride = max(1, context // 8, -(-sum(map(len, records)) // MAX_WINDOWS))
        xs, ys, weights = [], [], []
        for series in records:
            x, y, _ = self.encode(series)
            length = len(x) - ahead
            weight = ((~np.isnan(y)) & ~series.known[:, None]).astype(np.float32)
            for start in range(0, max(1, length - context + 1), stride) if length > 0 else ():
                end = min(start + context, length)
                xs.append(_padded(x[start:end], context))
                ys.append(_padded(np.nan_to_num(y[start + ahead : end + ahead]), context))
                weights.append(_padded(weight[start + ahead : end + ahead], context))
                if ahead and start:
                    weights[-1][: min(SKIPPED, context // 4)] = 0.0
        x, y, weight = (np.stack(parts) for parts in (xs, ys, weights))
        return Batches(x, y, weight=weight, batch_size=batch_size, shuffle=True)

    # ---- kept

    def state(self) -> dict[str, Any]:
        """Plain values that `restore` takes."""
        columns = {"names": list(self.names), "categories": list(self.categories)}
        form = None if self.form is None else self.form.state()
        return {**columns, "center": self.center, "scale": self.scale, "values": self.values, "form": form}

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Take what `state` gave; returns itself."""
        self.names, self.categories = as_texts(state["names"]), as_texts(state["categories"])
        self.center, self.scale, self.values = state["center"], state["scale"], state["values"]
        self.form = None if state["form"] is None else TimeForm.from_state(state["form"])
        self._prepare()
        return self


def _as_category(value: float) -> str:
    """A number as the text of a category: "7" for 7.0, "" for NaN."""
    return "" if value != value else str(int(value)) if value == int(value) else str(value)


def _center_and_scale(values: np.ndarray, name: str) -> tuple[float, float]:
    """The median of a column, and half the distance between its 10 % and 90 % quantiles.

    Where these are equal, half the whole range is the scale; for a constant its absolute value, or 1.
    """
    finite = values[~np.isnan(values)]
    if len(finite) == 0:
        raise errors.value_error(f"column {name}", "at least one number", "NaN only", "leave the column out")
    low, middle, high = np.quantile(finite, [0.1, 0.5, 0.9])
    scale = (high - low) / 2 or (finite.max() - finite.min()) / 2
    return float(middle), float(scale or abs(middle) or 1.0)


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    return np.pad(values, [(0, length - len(values)), (0, 0)]).astype(np.float32)
