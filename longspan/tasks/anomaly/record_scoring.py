"""Scores records without order by the likelihood of their numbers and categories, given their entity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch

from .alarms import threshold_for_false_positive_rate
from .injection import injected_auc, point_f1_threshold
from .record_models import EntityProfile, NumberBins, PointDistances, RecordEncoder, TreeLikelihood
from .scorer import Injected, PredictedSeries, ReadingValues, Scorer
from .tail import TailCalibration

CALIBRATION = 0.2  # share of the normal records that models do not see, and tails are calibrated by
LARGEST = 3  # columns of a record whose terms of the likelihood are summed
MAX_TERM = 15.0  # largest surprise of one model, as one in 10^15
MIN_GAIN = 0.002  # area under the ROC curve that leaving a model out must gain
COMBINATIONS: dict[str, Callable[[list[np.ndarray]], np.ndarray]] = {
    "mean": lambda surprises: np.mean(surprises, 0),
    "largest": lambda surprises: np.max(surprises, 0),
}


@dataclass
class RecordParts:
    """Records (T,) as the models take them: numbers (T, N), categories (T, K), columns' errors (T, W)."""

    numbers: np.ndarray
    categories: np.ndarray
    errors: np.ndarray


class RecordScorer(Scorer):
    """Scores records without order: connections, transactions, logins.

    Four models see the numbers and categories of a record together: the likelihood by a tree of dependences
    (its three least likely columns), the distance to the nearest normal records, Mahalanobis' distance, and
    the error of an autoencoder. Where entities have names, a fifth is the likelihood given the past records
    of the entity. Each model's score becomes -log10 of its tail probability among normal records that it has
    not seen; the score is that of their mean, or of the largest. Injected anomalies, or known ones, choose
    between these, and leave out models that do not help.

    Attributes:
        used, combination: names of the models that are used, and of how they are combined.
        tails: the models' calibrations; calibration: that of the score.
        profiles: what the records of each entity were like in training.
    """

    def reset(self, scales: Sequence[float], category_sizes: Sequence[int]) -> None:
        self.count, self.sizes = len(scales), list(category_sizes)
        self.used, self.combination = ["likelihood"], "mean"
        self.tails: dict[str, TailCalibration] = {}
        self.calibration = TailCalibration(np.array([0.0, 1.0]), 1.0)
        self.profiles: dict[str, EntityProfile] = {}
        self.by_entity = False

    # ---- models

    def _parts(self, series: PredictedSeries) -> RecordParts:
        categories = series.targets[:, self.count :].astype(np.int64)
        return RecordParts(series.numbers, categories, self._errors(series.targets, series.expected))

    def _errors(self, targets: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Errors (T, W) of an autoencoder: squared ones of numbers, cross entropies of categories."""
        numbers = np.nan_to_num((targets[:, : self.count] - expected[:, : self.count]) ** 2)
        columns, start = [numbers], self.count
        for place, size in enumerate(self.sizes):
            logits = torch.from_numpy(
                np.ascontiguousarray(expected[:, start : start + size], dtype=np.float64)
            )
            codes = torch.from_numpy(targets[:, self.count + place].astype(np.int64))
            columns.append(
                torch.nn.functional.cross_entropy(logits, codes, reduction="none").numpy()[:, None]
            )
            start += size
        return np.concatenate(columns, 1)

    def _codes(self, parts: RecordParts) -> np.ndarray:
        numbers = [bins.codes(parts.numbers[:, column]) for column, bins in enumerate(self.bins)]
        return np.concatenate(
            [np.stack(numbers, 1) if numbers else parts.categories[:, :0], parts.categories], 1
        )

    def _raw(
        self, parts: RecordParts, profile: EntityProfile | None
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The score (T,) of every model, and how unlikely each column (T, W) is; the profile is updated."""
        terms = self.tree.terms(self._codes(parts))
        points = self.encoder.points(parts.numbers, parts.categories)
        raw = {
            "likelihood": np.sort(terms, 1)[:, -LARGEST:].sum(1),
            "neighbours": self.distances.nearest(points),
            "mahalanobis": self.distances.mahalanobis(points),
            "reconstruction": np.minimum(parts.errors / self.error_scale, 100.0).mean(1),
        }
        if profile is not None:
            own = self._entity_terms(parts, profile)
            raw["entity"] = np.sort(own, 1)[:, -LARGEST:].sum(1)
            terms = np.maximum(terms, own)
        return raw, terms - self.usual_terms

    def _entity_terms(self, parts: RecordParts, profile: EntityProfile) -> np.ndarray:
        scores = self.encoder.scored(parts.numbers)
        rows = []
        for score, categories in zip(scores, parts.categories, strict=True):
            rows.append(profile.terms(score, categories, self.encoder.frequencies))
            profile.add(score, categories)
        return np.stack(rows) if rows else np.empty((0, self.count + len(self.sizes)))

    def _surprises(self, raw: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The surprise (T,) of every model."""
        return {name: np.minimum(self.tails[name].surprise(raw[name]), MAX_TERM) for name in raw}

    def _together(self, raw: Mapping[str, np.ndarray]) -> np.ndarray:
        surprises = self._surprises({name: raw[name] for name in self.used})
        return COMBINATIONS[self.combination](list(surprises.values()))

    # ---- scoring

    def start(self, key: str | None = None) -> EntityProfile | None:
        if not self.by_entity:
            return None
        profile = self.profiles.get(key or "")
        return EntityProfile.new(self.count, self.sizes) if profile is None else profile.copy()

    def add(self, state: EntityProfile | None, reading: ReadingValues) -> tuple[float, bool]:
        series = PredictedSeries(
            np.array([reading.numbers], dtype=np.float64).reshape(1, self.count),
            np.array([reading.targets], dtype=np.float32),
            np.array([reading.expected], dtype=np.float64),
            np.zeros(1, dtype=bool),
        )
        raw, _ = self._raw(self._parts(series), state)
        score = float(self.calibration.surprise(self._together(raw))[0])
        return score, score >= self.threshold

    def score_series(self, series: PredictedSeries) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        raw, terms = self._raw(self._parts(series), self.start(series.key))
        scores = self.calibration.surprise(self._together(raw))
        return scores, scores >= self.threshold, terms.argmax(1)

    # ---- learning

    def fit(
        self,
        records: Sequence[PredictedSeries],
        *,
        share: float,
        false_positive_rate: float,
        min_gap: int,
        injected: Callable[[], Sequence[Injected]] | None = None,
    ) -> list[EntityProfile | None]:
        self.by_entity = len(records) > 1 and all(series.key is not None for series in records)
        known = np.concatenate([series.known_anomalies for series in records])
        seen = np.random.default_rng(0).random(len(known)) >= CALIBRATION
        parts = [self._parts(series) for series in records]
        self._fit_models(parts, seen & ~known)
        states = [self.start() for _ in records]
        scored = [self._raw(part, state)[0] for part, state in zip(parts, states, strict=True)]
        raw = {name: np.concatenate([one[name] for one in scored]) for name in scored[0]}
        usual = ~seen & ~known
        self.tails = {name: TailCalibration.fit(values[usual]) for name, values in raw.items()}
        self.profiles = {
            series.key or "": state for series, state in zip(records, states, strict=True) if state
        }
        changed = [] if injected is None else injected()
        self._select(raw, usual, known, changed)
        together = self._together(raw)
        self.calibration = TailCalibration.fit(together[usual])
        scores = self.calibration.surprise(together)
        lowest = -float(np.log10(max(false_positive_rate, 1e-6)))
        self.threshold = threshold_for_false_positive_rate(scores[usual], false_positive_rate, lowest)
        if known.any():
            self.threshold = point_f1_threshold(scores[usual | known], known[usual | known], 1.0)
        self.count_held_out(scores[usual], CALIBRATION, false_positive_rate)
        return states

    def _fit_models(self, parts: Sequence[RecordParts], rows: np.ndarray) -> None:
        """Fit the models to the rows (T,) bool of all records."""
        numbers = np.concatenate([part.numbers for part in parts])[rows]
        categories = np.concatenate([part.categories for part in parts])[rows]
        errors = np.concatenate([part.errors for part in parts])[rows]
        self.bins = [NumberBins.fit(numbers[:, column]) for column in range(self.count)]
        codes = self._codes(RecordParts(numbers, categories, errors))
        self.tree = TreeLikelihood.fit(codes, [*(bins.size for bins in self.bins), *self.sizes])
        self.usual_terms = self.tree.terms(codes).mean(0)
        self.encoder = RecordEncoder.fit(numbers, categories, self.sizes)
        self.distances = PointDistances.fit(self.encoder.points(numbers, categories))
        self.error_scale = np.maximum(errors.mean(0), 1e-3)

    def _select(
        self,
        raw: Mapping[str, np.ndarray],
        usual: np.ndarray,
        known: np.ndarray,
        injected: Sequence[Injected],
    ) -> None:
        """Choose the models that together tell known anomalies, else injected ones, from normal ones best."""
        groups: dict[str, list[dict[str, np.ndarray]]] = {}
        for name, series, _ in injected:
            groups.setdefault(name, []).append(self._raw(self._parts(series), self.start(series.key))[0])
        anomalies = {name: _joined(values) for name, values in groups.items()}
        if known.any():
            anomalies = {"known": {name: values[known] for name, values in raw.items()}}
        normal = self._surprises({name: values[usual] for name, values in raw.items()})
        changed = {name: self._surprises(values) for name, values in anomalies.items()}
        self.used, best = list(raw), -1.0
        for used, combination in _choices(list(raw)) if changed else ():
            combine = COMBINATIONS[combination]
            together = combine([normal[name] for name in used])
            areas = {
                kind: injected_auc(together, combine([surprises[name] for name in used]))
                for kind, surprises in changed.items()
            }
            quality = float(np.mean(list(areas.values())))
            if quality > best + MIN_GAIN:
                best, self.used, self.combination, self.detected = quality, list(used), combination, areas

    # ---- kept

    def state(self) -> dict[str, Any]:
        return {
            **self.common_state(),
            "used": list(self.used),
            "combination": self.combination,
            "by_entity": self.by_entity,
            "detected": dict(self.detected),
            "tails": {name: tail.state() for name, tail in self.tails.items()},
            "calibration": self.calibration.state(),
            "profiles": [[key, profile.state()] for key, profile in self.profiles.items()],
            "bins": [[_tensor(bins.edges), _tensor(bins.atoms), bins.highest] for bins in self.bins],
            "tree": [self.tree.parents, [_tensor(table) for table in self.tree.tables]],
            "encoder": [
                [_tensor(part) for part in parts]
                for parts in (self.encoder.values, self.encoder.scores, self.encoder.frequencies)
            ],
            "distances": [
                _tensor(part) for part in (self.distances.reference, self.distances.mean, self.distances.axes)
            ],
            "usual_terms": _tensor(self.usual_terms),
            "error_scale": _tensor(self.error_scale),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.restore_common(state)
        self.used, self.combination = list(state["used"]), state["combination"]
        self.by_entity, self.detected = state["by_entity"], dict(state["detected"])
        self.tails = {name: TailCalibration.from_state(tail) for name, tail in state["tails"].items()}
        self.calibration = TailCalibration.from_state(state["calibration"])
        self.profiles = {key: EntityProfile.from_state(profile) for key, profile in state["profiles"]}
        self.bins = [NumberBins(_array(edges), _array(atoms), top) for edges, atoms, top in state["bins"]]
        parents, tables = state["tree"]
        self.tree = TreeLikelihood(parents, [_array(table) for table in tables])
        self.encoder = RecordEncoder(*([_array(part) for part in parts] for parts in state["encoder"]))
        self.distances = PointDistances(*(_array(part) for part in state["distances"]))
        self.usual_terms, self.error_scale = _array(state["usual_terms"]), _array(state["error_scale"])

    def state_to_tree(self, state: EntityProfile | None) -> dict[str, Any]:
        return {"profile": None if state is None else state.state()}

    def state_from_tree(self, tree: Mapping[str, Any]) -> EntityProfile | None:
        return None if tree["profile"] is None else EntityProfile.from_state(tree["profile"])


def _choices(models: Sequence[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Models that are used together, the likelihood among them, and how; the most models come first."""
    for count in range(len(models), 1, -1):
        for used in combinations(models, count):
            if "likelihood" in used:
                yield from ((used, combination) for combination in COMBINATIONS)


def _joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values).copy())


def _array(values: torch.Tensor) -> np.ndarray:
    return values.numpy().copy()
