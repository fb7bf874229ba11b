"""Models single records of numbers and categories: likelihood, distance to others, the entity's past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from typing_extensions import Self

BINS = 8  # quantile bins of a column of numbers
ATOM = 0.02  # share of the records from which on a single number has a bin of its own
FEW = 12  # different numbers up to which each has a bin of its own
SMOOTHING = 0.5  # added to the count of every value
PRIOR = 2.0  # records that the overall frequencies weigh as much as, given a parent's value
KNOTS = 512  # quantiles that are kept of a column of numbers
MIN_VARIANCE = 0.002  # smallest variance that an indicator of a category is divided by
CATEGORY_WEIGHT = 0.5  # of an indicator beside a number
NEIGHBOURS = 5  # nearest records whose distances are averaged
REFERENCE = 2000  # records that are kept to measure distances to
RIDGE = 0.01  # share of the mean variance that is added to every variance
BLOCK = 1000  # records whose distances are computed at once
ENTITY_PRIOR = 2.0  # records of an entity that what is usual in all entities weighs as much as


@dataclass
class NumberBins:
    """The bins of a column of numbers: between quantiles, above them, frequent numbers, missing ones."""

    edges: np.ndarray
    atoms: np.ndarray
    highest: float

    @classmethod
    def fit(cls, values: np.ndarray) -> Self:
        values = values[~np.isnan(values)] if not np.isnan(values).all() else np.zeros(1)
        numbers, counts = np.unique(values, return_counts=True)
        atoms = numbers if len(numbers) <= FEW else numbers[counts > ATOM * len(values)]
        return cls(np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1))), atoms, float(values.max()))

    @property
    def size(self) -> int:
        return len(self.edges) + 3 + len(self.atoms)

    def codes(self, values: np.ndarray) -> np.ndarray:
        """The bin of each value (T,)."""
        codes = np.searchsorted(self.edges, values, "right")
        codes[values > self.highest] = len(self.edges) + 1
        if len(self.atoms):
            nearest = np.minimum(np.searchsorted(self.atoms, values), len(self.atoms) - 1)
            codes = np.where(self.atoms[nearest] == values, len(self.edges) + 2 + nearest, codes)
        codes[np.isnan(values)] = self.size - 1
        return codes


class TreeLikelihood:
    """The likelihood of a record's bins and categories by a tree of dependences between columns.

    Chow and Liu, "Approximating Discrete Probability Distributions with Dependence Trees" (1968): every
    column depends on the one that it shares most information with. Frequencies are smoothed, so that values
    never seen have a small probability.

    Attributes:
        parents: the column that each depends on, -1 for the root.
        tables: for each column, -log of the probability of its values (V,) given its parent's (P, V).
    """

    def __init__(self, parents: Sequence[int], tables: Sequence[np.ndarray]) -> None:
        self.parents, self.tables = list(parents), list(tables)

    @classmethod
    def fit(cls, codes: np.ndarray, sizes: Sequence[int]) -> Self:
        """Learn from codes (T, J), each below its column's size."""
        counts = [np.bincount(codes[:, j], minlength=size) + SMOOTHING for j, size in enumerate(sizes)]
        parents, joint = _dependence_tree(codes, sizes)
        tables = []
        for column, parent in enumerate(parents):
            frequency = counts[column] / counts[column].sum()
            if parent < 0:
                tables.append(-np.log(frequency)[None])
                continue
            pairs = joint(parent, column)
            smooth = (pairs + PRIOR * frequency) / (pairs.sum(1, keepdims=True) + PRIOR)
            tables.append(-np.log(smooth))
        return cls(parents, tables)

    def terms(self, codes: np.ndarray) -> np.ndarray:
        """-log of the probability of every column's code (T, J) given its parent's."""
        columns = []
        for column, (parent, table) in enumerate(zip(self.parents, self.tables, strict=True)):
            rows = codes[:, parent] if parent >= 0 else np.zeros(len(codes), dtype=np.int64)
            columns.append(table[rows, codes[:, column]])
        return np.stack(columns, 1)


def _dependence_tree(codes: np.ndarray, sizes: Sequence[int]) -> tuple[list[int], Any]:
    """The parent of every column, -1 for the first, and a function that counts pairs of values."""

    def joint(first: int, second: int) -> np.ndarray:
        shape = sizes[first], sizes[second]
        pairs = codes[:, first] * shape[1] + codes[:, second]
        return np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape).astype(float)

    columns = len(sizes)
    parents, nearest = [-1] * columns, np.zeros(columns, dtype=np.int64)
    best = np.full(columns, -1.0)
    waiting, latest = set(range(1, columns)), 0
    while waiting:
        for column in waiting:
            shared = _mutual_information(joint(latest, column))
            if shared > best[column]:
                best[column], nearest[column] = shared, latest
        latest = max(waiting, key=lambda column: best[column])
        parents[latest] = int(nearest[latest])
        waiting.remove(latest)
    return parents, joint


def _mutual_information(counts: np.ndarray) -> float:
    """In nats, of two columns of which pairs of values have these counts."""
    shares = counts / counts.sum()
    expected = shares.sum(1, keepdims=True) * shares.sum(0, keepdims=True)
    there = shares > 0
    return float((shares[there] * np.log(shares[there] / expected[there])).sum())


class RecordEncoder:
    """Encodes records as points: numbers by their rank as normal scores, categories as scaled indicators.

    Attributes:
        values, scores: for each column of numbers, knots and the normal scores of their ranks.
        frequencies: for each category column, the share of every value.
    """

    def __init__(
        self, values: Sequence[np.ndarray], scores: Sequence[np.ndarray], frequencies: Sequence[np.ndarray]
    ) -> None:
        self.values, self.scores, self.frequencies = list(values), list(scores), list(frequencies)

    @classmethod
    def fit(cls, numbers: np.ndarray, categories: np.ndarray, sizes: Sequence[int]) -> Self:
        """Learn from numbers (T, N) and categories as indices (T, K), each below its size."""
        pairs = [_normal_scores(numbers[:, column]) for column in range(numbers.shape[1])]
        frequencies = [
            np.bincount(categories[:, column], minlength=size) / max(len(categories), 1)
            for column, size in enumerate(sizes)
        ]
        return cls([pair[0] for pair in pairs], [pair[1] for pair in pairs], frequencies)

    def scored(self, numbers: np.ndarray) -> np.ndarray:
        """Normal scores (T, N) of numbers; beyond what was seen they grow by its logarithm."""
        columns = []
        for column, (values, scores) in enumerate(zip(self.values, self.scores, strict=True)):
            raw = numbers[:, column]
            span = max(float(values[-1] - values[0]), 1e-9 + 0.01 * abs(float(values[-1])))
            beyond = np.maximum(raw - values[-1], 0.0) - np.maximum(values[0] - raw, 0.0)
            score = np.interp(raw, values, scores) + np.sign(beyond) * np.log1p(10 * np.abs(beyond) / span)
            columns.append(np.nan_to_num(score))
        return np.stack(columns, 1) if columns else np.empty((len(numbers), 0))

    def points(self, numbers: np.ndarray, categories: np.ndarray) -> np.ndarray:
        """Points (T, D) of records."""
        parts = [self.scored(numbers)]
        for column, frequency in enumerate(self.frequencies):
            spread = np.sqrt(np.maximum(frequency * (1 - frequency), MIN_VARIANCE))
            indicators = categories[:, column, None] == np.arange(len(frequency))
            parts.append(CATEGORY_WEIGHT * (indicators - frequency) / spread)
        return np.concatenate(parts, 1)


def _normal_scores(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots of a column of numbers, and the normal scores of their middle ranks."""
    values = values[~np.isnan(values)] if not np.isnan(values).all() else np.zeros(1)
    numbers, counts = np.unique(values, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / counts.sum()
    if len(numbers) > KNOTS:
        chosen = np.unique(np.linspace(0, len(numbers) - 1, KNOTS).round().astype(np.int64))
        numbers, middle = numbers[chosen], middle[chosen]
    limit = 0.5 / max(counts.sum(), 1)
    ranks = torch.from_numpy(np.clip(middle, limit, 1 - limit))
    return numbers, torch.special.ndtri(ranks).numpy()


class PointDistances:
    """Distances of points from normal ones: to the nearest of them, and Mahalanobis' to their mean.

    Attributes:
        reference: (M, D) normal points; mean: (D,); axes: (D, D) with which deviations are uncorrelated and
            have variance 1.
    """

    def __init__(self, reference: np.ndarray, mean: np.ndarray, axes: np.ndarray) -> None:
        self.reference, self.mean, self.axes = reference, mean, axes
        self.squares = (reference**2).sum(1)

    @classmethod
    def fit(cls, points: np.ndarray) -> Self:
        """Learn from normal points (T, D)."""
        mean = points.mean(0)
        centered = points - mean
        variances, axes = np.linalg.eigh(centered.T @ centered / len(points))
        variances = np.maximum(variances, 0.0) + RIDGE * max(float(variances.mean()), 1e-9)
        rows = np.random.default_rng(0).permutation(len(points))[:REFERENCE]
        return cls(points[rows].astype(np.float32), mean, axes / np.sqrt(variances))

    def mahalanobis(self, points: np.ndarray) -> np.ndarray:
        """Squared Mahalanobis distances (T,)."""
        return (((points - self.mean) @ self.axes) ** 2).sum(1)

    def nearest(self, points: np.ndarray) -> np.ndarray:
        """Mean distance (T,) to the nearest NEIGHBOURS reference points."""
        count = min(NEIGHBOURS, len(self.reference))
        means = np.empty(len(points))
        for start in range(0, len(points), BLOCK):
            block = points[start : start + BLOCK].astype(np.float32)
            squares = (block**2).sum(1)[:, None] + self.squares - 2 * block @ self.reference.T
            closest = np.partition(squares, count - 1, 1)[:, :count]
            means[start : start + BLOCK] = np.sqrt(np.maximum(closest, 0.0)).mean(1)
        return means


@dataclass
class EntityProfile:
    """What the records of one entity were like so far.

    count: of records; means, squares: (N,) mean of the numbers' normal scores and sum of squared deviations;
    values: for each category column, how often each value came.
    """

    count: int
    means: np.ndarray
    squares: np.ndarray
    values: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def new(cls, numbers: int, sizes: Sequence[int]) -> Self:
        """The profile of an entity without records."""
        return cls(0, np.zeros(numbers), np.zeros(numbers), [np.zeros(size) for size in sizes])

    def terms(
        self, scores: np.ndarray, categories: np.ndarray, frequencies: Sequence[np.ndarray]
    ) -> np.ndarray:
        """-log of the likelihood of each column of a record, (N + K,), given the records before it.

        Args:
            scores: (N,) normal scores; categories: (K,) indices; frequencies: of the values in all entities.
        """
        weight = self.count / (self.count + ENTITY_PRIOR)
        variance = (self.squares + ENTITY_PRIOR) / (self.count + ENTITY_PRIOR)
        variance = np.maximum(variance, 0.01) + (1.0 - weight) * weight * self.means**2
        numbers = 0.5 * (scores - weight * self.means) ** 2 / variance + 0.5 * np.log(variance)
        words = [
            -np.log((counts[code] + ENTITY_PRIOR * (share[code] + 1e-4)) / (self.count + ENTITY_PRIOR))
            for counts, share, code in zip(self.values, frequencies, categories, strict=True)
        ]
        return np.concatenate([numbers, np.array(words)])

    def add(self, scores: np.ndarray, categories: np.ndarray) -> None:
        """Take one more record."""
        self.count += 1
        off = scores - self.means
        self.means = self.means + off / self.count
        self.squares = self.squares + off * (scores - self.means)
        for counts, code in zip(self.values, categories, strict=True):
            counts[code] += 1.0

    def copy(self) -> EntityProfile:
        """A profile that goes on by itself."""
        return EntityProfile(
            self.count, self.means.copy(), self.squares.copy(), [counts.copy() for counts in self.values]
        )

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `from_state` takes."""
        counts = [torch.from_numpy(counts.copy()) for counts in self.values]
        means, squares = torch.from_numpy(self.means.copy()), torch.from_numpy(self.squares.copy())
        return {"count": self.count, "means": means, "squares": squares, "values": counts}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The profile that gave this state."""
        means, squares = state["means"].numpy().copy(), state["squares"].numpy().copy()
        return cls(state["count"], means, squares, [counts.numpy().copy() for counts in state["values"]])
