"""Scores readings of sensors against what was learnt in training: levels, spread and joint errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from longspan.statistics import t_over_normal

from .alarms import threshold_for_false_positive_rate
from .injection import injected_auc, point_f1_threshold
from .scorer import Injected, PredictedSeries, ReadingValues, Scorer, held_out_part, with_recovery
from .tail import TailCalibration

LEVEL_SPANS = (10, 30)  # readings: spans of the running means of every channel's value
COMPONENT_SPAN = 20  # readings: span of the running means of the principal components
SPREAD_SPAN = 30  # readings: span of the running means of the absolute errors
JOINT_SPANS = (10, 30)  # readings: spans of the running means of the whitened squared error
WARM_UP = 10  # first readings of a series, which are not learnt from
MAX_ERROR = 8.0  # standard deviations at which a single error is cut off
SMALLEST = 0.05  # added before logarithms of spreads: a frozen sensor has this spread, not 0
BLOCKS = 8  # parts of the training readings that are compared with one another
WIDENED_LEVEL = 0.999  # quantile at which deviations are widened
GROWTH = 2.0  # growth of the squared deviation with distance from which on it is extrapolated
RIDGE = 0.1  # share of the identity in covariances
COMBINATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "largest": lambda deviations: deviations.max(1),
    "fourth powers": lambda deviations: (deviations**4).mean(1) ** 0.25,
}


@dataclass
class RunningMeans:
    """The running means of one series' statistics.

    means, weights: (J,), the means and the weights gathered, at most 1.
    last: (N,) the last scaled values, NaN before the first.
    """

    means: np.ndarray
    weights: np.ndarray
    last: np.ndarray

    def add(self, values: np.ndarray, speeds: np.ndarray) -> None:
        """Take values (J,), NaN where there are none, with the weight (J,) of a new value in each mean."""
        there = values == values
        self.means += np.where(there, speeds * (values - self.means), 0.0)
        self.weights += np.where(there, speeds * (1.0 - self.weights), 0.0)


class BaselineScorer(Scorer):
    """Scores readings against what was learnt in training, so that a fault is flagged as long as it lasts.

    Statistics of a reading are running means of: each channel's value; the principal components of the
    values, which change where correlations break; the logarithm of each channel's absolute change, which
    grows with noise and falls for a frozen sensor; the squared error whitened by its covariance
    (Mahalanobis distance). Running means detect small lasting shifts (Lowry et al., "A Multivariate
    Exponentially Weighted Moving Average Control Chart", 1992).

    Each statistic is divided by how far it strays between parts of the training data. Channels whose level
    drifts in normal operation thereby weigh little. The score is -log10 of the tail probability of the
    largest deviation, or of the mean of their fourth powers. Which one is chosen by anomalies injected into
    held-out normal readings, or by known ones.

    Attributes:
        error_scale, change_scale: (N,) standard deviations of each channel's error and change.
        whitening: (N, N), makes scaled errors uncorrelated with variance 1.
        components: (N, N) principal axes of the values, a column each.
        center, scale: (J,) mean and typical deviation of each statistic.
        combination: name of the combination of deviations; calibration: its tail in normal readings.
    """

    def reset(self, scales: Sequence[float], category_sizes: Sequence[int]) -> None:
        self.channels = count = len(scales)
        spans = [span for span in LEVEL_SPANS for _ in range(count)] + [COMPONENT_SPAN] * count
        spans += [SPREAD_SPAN] * count + list(JOINT_SPANS)
        self.speeds = 2.0 / (np.array(spans, dtype=np.float64) + 1.0)
        self.logarithmic = np.arange(len(spans)) >= (len(LEVEL_SPANS) + 1) * count
        columns = (
            [*range(count)] * len(LEVEL_SPANS) + [-1] * count + [*range(count)] + [-1] * len(JOINT_SPANS)
        )
        self.columns = np.array(columns)  # the channel of each statistic, -1 for those of all channels
        self.error_scale, self.change_scale = np.ones(count), np.ones(count)
        self.whitening, self.components = np.eye(count), np.eye(count)
        self.mean = np.zeros(count)
        self.center, self.scale = np.zeros(len(spans)), np.ones(len(spans))
        self.combination = "largest"
        self.calibration = TailCalibration(np.array([0.0, 1.0]), 1.0)

    # ---- statistics

    def values(self, targets: np.ndarray, expected: np.ndarray, last: np.ndarray) -> np.ndarray:
        """What the running means take of readings (T, J).

        Args:
            targets, expected, last: (T, N), scaled values, predictions and the last values before each.
        """
        changes = np.abs(targets - last) / self.change_scale
        errors = np.clip((targets - expected) / self.error_scale, -MAX_ERROR, MAX_ERROR)
        joint = ((np.nan_to_num(errors) @ self.whitening) ** 2).mean(1, keepdims=True)
        joint[np.isnan(errors).all(1)] = np.nan
        centered = np.nan_to_num(targets - self.mean)
        components = centered @ self.components
        components[np.isnan(targets).all(1)] = np.nan
        parts = (
            [targets] * len(LEVEL_SPANS)
            + [components, np.minimum(changes, MAX_ERROR)]
            + [joint] * len(JOINT_SPANS)
        )
        return np.concatenate(parts, 1)

    def deviations(self, state: RunningMeans, values: np.ndarray) -> np.ndarray:
        """Absolute deviations (T, J) of the statistics, in units of typical ones; the state is updated."""
        return np.abs(self._statistics(state, values) - self.center) / self.scale

    def _statistics(self, state: RunningMeans, values: np.ndarray) -> np.ndarray:
        """The statistics (T, J) after each reading; the state is updated."""
        statistics = np.empty_like(values)
        for row, reading in enumerate(values):
            state.add(reading, self.speeds)
            statistics[row] = state.means / np.maximum(state.weights, 1e-12)
        logs = self.logarithmic
        statistics[:, logs] = np.log(np.maximum(statistics[:, logs], 0.0) + SMALLEST)
        return statistics

    def _surprise(self, deviations: np.ndarray) -> np.ndarray:
        return self.calibration.surprise(COMBINATIONS[self.combination](deviations))

    # ---- scoring

    def start(self, key: str | None = None) -> RunningMeans:
        typical = np.where(self.logarithmic, np.exp(self.center) - SMALLEST, self.center)
        return self._new_state(typical, 1.0)

    def _new_state(self, means: np.ndarray, weight: float) -> RunningMeans:
        return RunningMeans(means, np.full(len(means), weight), np.full(self.channels, np.nan))

    def add(self, state: RunningMeans, reading: ReadingValues) -> tuple[float, bool]:
        targets = np.array(reading.targets, dtype=np.float32)[None].astype(np.float64)
        expected = np.full(targets.shape, np.nan) if reading.expected is None else reading.expected
        series = PredictedSeries(targets, targets, np.reshape(expected, (1, -1)), np.zeros(1, dtype=bool))
        score = float(self._surprise(self._series_deviations(series, state))[0])
        return score, score >= self.threshold

    def score_series(self, series: PredictedSeries) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        deviations = self._series_deviations(series, self.start())
        scores = self._surprise(deviations)
        return scores, scores >= self.threshold, self._causes(deviations)

    def _series_deviations(self, series: PredictedSeries, state: RunningMeans) -> np.ndarray:
        return self.deviations(state, self._series_values(series, state))

    def _series_values(self, series: PredictedSeries, state: RunningMeans) -> np.ndarray:
        """`values` of a series; the last values of its state are updated."""
        targets = series.targets.astype(np.float64)
        known = _last_known(targets, state.last)
        state.last = known[-1]
        return self.values(targets, series.expected[:, : self.channels], known[:-1])

    def _causes(self, deviations: np.ndarray) -> np.ndarray:
        """The channel (T,) with the largest deviation of a statistic of its own."""
        own = np.flatnonzero(self.columns >= 0)
        return self.columns[own[deviations[:, own].argmax(1)]]

    # ---- learning

    def fit(
        self,
        records: Sequence[PredictedSeries],
        *,
        share: float,
        false_positive_rate: float,
        min_gap: int,
        injected: Callable[[], Sequence[Injected]] | None = None,
    ) -> list[RunningMeans]:
        self._fit_scales(records, share)
        normal = self._fit_statistics(records)
        states = [self.start() for _ in records]
        deviations = [
            self._series_deviations(series, state) for series, state in zip(records, states, strict=True)
        ]
        known = np.concatenate([series.known_anomalies for series in records])
        usual = np.concatenate([~with_recovery(series.known_anomalies) for series in records])
        together = np.concatenate(deviations)
        self._select(together[usual], together[known], [] if injected is None else injected())
        self.calibration = TailCalibration.fit(COMBINATIONS[self.combination](normal))
        scores = [self._surprise(part) for part in deviations]
        held_out = np.concatenate([held_out_part(part[WARM_UP:], share) for part in scores])
        lowest = -float(np.log10(max(false_positive_rate, 1e-6)))
        self.threshold = threshold_for_false_positive_rate(held_out, false_positive_rate, lowest)
        if known.any():
            self.threshold = point_f1_threshold(np.concatenate(scores), known, 1.0)
        self.count_held_out(held_out, share, false_positive_rate)
        return states

    def _fit_scales(self, records: Sequence[PredictedSeries], share: float) -> None:
        """Learn scales and covariances of errors and values from normal readings."""
        errors, held_out, targets, changes = [], [], [], []
        for series in records:
            usual = ~series.known_anomalies
            error = series.targets.astype(np.float64) - series.expected[:, : self.channels]
            first = len(error) - (round(len(error) * share) if share < 1.0 else 0)
            errors.append(error[:first][usual[:first]])
            held_out.append(error[first:][usual[first:]])
            targets.append(series.targets[usual].astype(np.float64))
            changes.append(np.diff(targets[-1], axis=0))
        error, later, target = np.concatenate(errors), np.concatenate(held_out), np.concatenate(targets)
        scale = _root_mean_square(error)
        if len(later) >= 30:  # errors of training are too small by how much the network overfits
            scale = np.maximum(scale, np.minimum(_root_mean_square(later), 3.0 * scale))
        self.error_scale = np.maximum(scale, 1e-4)
        self.change_scale = np.maximum(_root_mean_square(np.concatenate(changes)), 1e-4)
        scaled = np.clip(np.nan_to_num(error / self.error_scale), -MAX_ERROR, MAX_ERROR)
        self.whitening = _whitening(scaled)
        self.mean = np.nan_to_num(target).sum(0) / np.maximum((~np.isnan(target)).sum(0), 1)
        centered = np.nan_to_num(target - self.mean)
        self.components = np.linalg.eigh(centered.T @ centered / max(len(centered), 1))[1]

    def _fit_statistics(self, records: Sequence[PredictedSeries]) -> np.ndarray:
        """Learn where each statistic lies, and how far it strays from one part of the data to others.

        Returns:
            Deviations (T, J) of normal readings, each block's from the mean of all others. They are widened
            as Student's t is wider than the normal distribution, for as many independent readings as there
            are longest spans.
        """
        parts = []
        for series in records:
            nothing_read = self._new_state(np.zeros(len(self.speeds)), 0.0)
            values = self._series_values(series, nothing_read)
            values[series.known_anomalies] = np.nan
            statistics = self._statistics(nothing_read, values)
            usual = ~with_recovery(series.known_anomalies)
            usual[: min(WARM_UP, len(usual) // 2)] = False
            parts.append(statistics[usual])
        statistics = np.concatenate(parts)
        self.center = statistics.mean(0)
        self.scale = _typical_deviation(statistics)
        widening = t_over_normal(WIDENED_LEVEL, len(statistics) / max(LEVEL_SPANS) - 1)
        return widening * _deviations_of_blocks(statistics) / self.scale

    def _select(self, normal: np.ndarray, known: np.ndarray, injected: Sequence[Injected]) -> None:
        """Choose the combination that tells known anomalies, else injected ones, from normal ones best."""
        quality, self.detected = {}, {}
        changed = [(one.name, self._series_deviations(one.series, self.start()), one) for one in injected]
        for name, combine in COMBINATIONS.items():
            usual = combine(normal)
            areas: dict[str, list[float]] = {}
            for kind, deviations, one in changed:
                areas.setdefault(kind, []).append(injected_auc(usual, combine(deviations)[one.anomalous]))
            detected = {kind: float(np.mean(values)) for kind, values in areas.items()}
            if len(known):
                detected["known"] = injected_auc(usual, combine(known))
            quality[name] = (detected.get("known") or float(np.mean([*detected.values(), 0.0])), detected)
        self.combination = max(quality, key=lambda name: quality[name][0] + 0.005 * (name == "largest"))
        self.detected = quality[self.combination][1]

    # ---- kept

    def state(self) -> dict[str, Any]:
        arrays = {name: torch.from_numpy(getattr(self, name).copy()) for name in _ARRAYS}
        return {
            **self.common_state(),
            **arrays,
            "combination": self.combination,
            "calibration": self.calibration.state(),
            "detected": dict(self.detected),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.restore_common(state)
        self.combination, self.detected = state["combination"], dict(state["detected"])
        self.calibration = TailCalibration.from_state(state["calibration"])
        for name in _ARRAYS:
            setattr(self, name, state[name].numpy().copy())

    def state_to_tree(self, state: RunningMeans) -> dict[str, Any]:
        parts = {"means": state.means, "weights": state.weights, "last_values": state.last}
        return {name: torch.from_numpy(part.copy()) for name, part in parts.items()}

    def state_from_tree(self, tree: Mapping[str, Any]) -> RunningMeans:
        return RunningMeans(*(tree[name].numpy().copy() for name in ("means", "weights", "last_values")))


_ARRAYS = ("error_scale", "change_scale", "whitening", "components", "mean", "center", "scale")


def _last_known(targets: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The last values that are not NaN (T + 1, N): `last` (N,), then those after each target (T, N)."""
    values = np.concatenate([last[None], targets])
    rows = np.where(np.isnan(values), 0, np.arange(len(values))[:, None])
    return np.take_along_axis(values, np.maximum.accumulate(rows, 0), 0)


def _root_mean_square(errors: np.ndarray) -> np.ndarray:
    """Of each column (T, N), without NaN; squares above nine times their mean are cut off."""
    squares, count = np.nan_to_num(errors) ** 2, np.maximum((~np.isnan(errors)).sum(0), 1)
    return np.sqrt(np.minimum(squares, 9.0 * squares.sum(0) / count).sum(0) / count)


def _whitening(scaled: np.ndarray) -> np.ndarray:
    """(N, N) for which scaled errors (T, N) times it are uncorrelated with variance 1."""
    count = scaled.shape[1]
    covariance = scaled.T @ scaled / max(len(scaled), 1)
    variances, axes = np.linalg.eigh((1.0 - RIDGE) * covariance + RIDGE * np.eye(count))
    return axes / np.sqrt(variances)


def _blocks(statistics: np.ndarray) -> list[np.ndarray]:
    """Statistics (T, J) in consecutive blocks, at most BLOCKS."""
    return np.array_split(statistics, max(2, min(BLOCKS, len(statistics) // 20)))


def _deviations_of_blocks(statistics: np.ndarray) -> np.ndarray:
    """Absolute deviations (T, J) of statistics, in each block from the mean of all other blocks."""
    total, rows = statistics.sum(0), len(statistics)
    return np.abs(
        np.concatenate([part - (total - part.sum(0)) / (rows - len(part)) for part in _blocks(statistics)])
    )


def _typical_deviation(statistics: np.ndarray) -> np.ndarray:
    """How far each statistic (T, J) strays: its deviation in a part of the data from the mean of other parts.

    The data are cut into blocks. Every block is compared with the mean of all blocks up to a distance from
    it. Where the squared deviation grows with this distance the level drifts, and the growth is extrapolated.
    """
    parts = _blocks(statistics)
    blocks = len(parts)
    near: list[np.ndarray] = []
    far: list[np.ndarray] = []
    for cut in range(1, blocks):
        before, after = np.concatenate(parts[:cut]).mean(0), np.concatenate(parts[cut:]).mean(0)
        for block, part in enumerate(parts):
            distance = block - cut if block >= cut else cut - 1 - block
            square = ((part - (before if block >= cut else after)) ** 2).mean(0)
            if distance == 0:
                near.append(square)
            elif distance >= 2:
                far.append(square)
    close = np.mean(near, 0)
    distant = np.mean(far, 0) if far else close
    growth = np.maximum(distant / np.maximum(close, 1e-12), 1.0)
    return np.sqrt(np.maximum(close, distant) * _extrapolated(growth)) + 1e-6


def _extrapolated(growth: np.ndarray) -> np.ndarray:
    return np.where(growth > GROWTH, growth, 1.0) ** 2
