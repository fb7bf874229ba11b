"""Fits linear models and nearest neighbours beside the networks of series, and selects their share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from longspan.data.labels import Labels
from longspan.data.padding import sequence_mask

from .nearest import MOST_SERIES, NearestSeries
from .random_convolutions import RandomConvolutions
from .ridge import Ridge
from .series_encoder import SeriesEncoder
from .stacking import stacking_weights

SHARES = tuple(step / 10 for step in range(11))  # candidates for the share of this head
_EXTRAS = (
    0.5  # variance of the constants' features together, as a share of that of the convolutions' features
)


class SeriesHead:
    """Models of series that are fitted apart from the networks beside which they score classes.

    Two are ridge regressions, on features of MiniRocket and MultiRocket, and of Hydra (Dempster et al. 2020,
    arXiv 2012.08791; Tan et al. 2021, arXiv 2102.00457; Dempster et al. 2022, arXiv 2203.13652). Both also
    read the values with one number a record. Few series are also compared with their nearest neighbours. The
    scores of these models are weighted by stacking on rows left out, and averaged with those of the networks.

    Args:
        encoder: of the series, fitted; labels: fitted.

    Attributes after fit: convolutions, None for records without series; ridges; nearest, None for many
    records or none with series; weights and temperatures, of the scores of each ridge and of `nearest`;
    left_out (N, C), scores of the training rows, each by fits to the other rows.
    Attributes after `select`: share, the weight of this head in [0, 1]; network_temperature.
    """

    def __init__(self, encoder: SeriesEncoder, labels: Labels) -> None:
        self.encoder, self.labels = encoder, labels
        self.convolutions: RandomConvolutions | None = None
        self.ridges: list[Ridge] = []
        self.nearest: NearestSeries | None = None
        self.weights, self.temperatures = list[float](), list[float]()
        self.left_out = torch.zeros(0, 0)
        self.share, self.network_temperature = 0.5, 1.0

    def fit(self, inputs: Sequence[Any], targets: Tensor, sample_weight: Tensor | None = None) -> SeriesHead:
        """Fit all models and their weights; returns itself.

        Args:
            inputs: N series or records with series; targets: (N,) class numbers or (N, C) zeros and ones.
            sample_weight: (N,) or (N, C), the factor of each row's error; None for 1.
        """
        if sample_weight is not None and sample_weight.dim() == 2:
            sample_weight = sample_weight.mean(1)
        one_hot = _one_hot(targets, len(self.labels.classes))
        self.nearest = None
        if self.encoder.readings:
            readings = self._readings(inputs)
            self.convolutions = RandomConvolutions.for_records(len(inputs)).fit(readings)
            if len(inputs) <= MOST_SERIES:
                self.nearest = NearestSeries().fit(
                    readings, one_hot, lambda scores: self.labels.best_temperature(scores, targets)[0]
                )
        self.ridges = [
            Ridge().fit(
                features, one_hot * 2 - 1, sample_weight, deviations=self._deviations(features.shape[1])
            )
            for features in self._features(inputs)
        ]
        left_out = [part.left_out for part in (*self.ridges, self.nearest) if part is not None]
        self.temperatures = [self.labels.best_temperature(scores, targets)[1] for scores in left_out]
        scaled = [scores / each for scores, each in zip(left_out, self.temperatures, strict=True)]
        factor = 1.0 if sample_weight is None else sample_weight
        self.weights = stacking_weights(
            torch.stack(scaled), lambda scores: self.labels.losses(scores, targets) * factor
        ).tolist()
        self.left_out = self._weighted(left_out)
        return self

    @property
    def _factors(self) -> list[float]:
        """By what the scores of each ridge and of `nearest` are multiplied."""
        return [weight / each for weight, each in zip(self.weights, self.temperatures, strict=True)]

    def left_out_loss(self, targets: Tensor) -> float:
        """The mean cross entropy of the training rows' leave-one-out scores."""
        return self.labels.best_temperature(self.left_out, targets)[0]

    def _weighted(self, scores: Sequence[Tensor]) -> Tensor:
        """The sum (N, C) of the models' scores, each times its factor."""
        return torch.stack([part * f for part, f in zip(scores, self._factors, strict=True)]).sum(0)

    def scores(self, inputs: Sequence[Any]) -> Tensor:
        """Scores (N, C) of this head alone."""
        features = self._features(inputs)
        scores = [ridge.scores(part) for ridge, part in zip(self.ridges, features, strict=True)]
        if self.nearest is not None:
            scores.append(self.nearest.scores(self._readings(inputs)))
        return self._weighted(scores)

    def combine(self, network_scores: Tensor, inputs: Sequence[Any]) -> Tensor:
        """The weighted mean (N, C) of the networks' scores and those of this head."""
        return self._mixed(network_scores, self.scores(inputs))

    def attribution(self, networks: Tensor, inputs: Sequence[Any], classes: Tensor) -> Tensor:
        """What each step of a series, or each column of a record without one, adds to the score of its class.

        Args:
            networks: (N, T, I), the networks' attribution to each input; classes: (N,) class numbers.

        Returns:
            (N, T), 0 where a step adds what training series add in the mean; for records without series
            (N, columns). Values beside a series and nearest neighbours are left out.
        """
        network_factor = (1 - self.share) / self.network_temperature
        weights = [
            self.share * factor * ridge.weights.T[classes]
            for ridge, factor in zip(self.ridges, self._factors, strict=False)
        ]
        if self.convolutions is None:
            both = network_factor * networks[:, 0] + weights[0] * self.encoder.constants(inputs).float()
            assert self.encoder.static is not None
            return torch.stack([part.sum(1) for part in both.split(self.encoder.static.widths, 1)], 1)
        sizes = self.convolutions.sizes
        blocks = [part[:, :size] for part, size in zip(weights, sizes, strict=True)]
        readings = self._readings(inputs)
        steps = self.convolutions.attribution(readings, torch.cat(blocks, 1))
        usual = torch.stack(
            [part @ ridge.mean[: part.shape[1]] for part, ridge in zip(blocks, self.ridges, strict=True)]
        ).sum(0)
        lengths = torch.tensor([len(row) for row in readings])
        steps -= sequence_mask(lengths, steps.shape[1]) * (usual / lengths).unsqueeze(1)
        return network_factor * networks[:, : steps.shape[1], : self.encoder.readings].sum(-1) + steps

    def _mixed(self, network_scores: Tensor, own_scores: Tensor) -> Tensor:
        return (1 - self.share) * network_scores / self.network_temperature + self.share * own_scores

    def select(self, network_scores: Tensor, inputs: Sequence[Any], targets: Tensor) -> None:
        """Set the share by validation records; network_scores: (N, C)."""
        self._select(network_scores, self.scores(inputs), targets)

    def select_left_out(self, network_scores: Tensor, targets: Tensor) -> Tensor:
        """Set the share by the training records, each scored by parts that it did not train.

        Args:
            network_scores: (N, C), each row by networks that were trained without it.

        Returns:
            The combined scores (N, C).
        """
        own_scores = self.left_out
        self._select(network_scores, own_scores, targets)
        return self._mixed(network_scores, own_scores)

    def _select(self, network_scores: Tensor, own_scores: Tensor, targets: Tensor) -> None:
        """Select by scores (N, C) of records to which neither part was fitted.

        The share is the middle one of those whose mean cross entropy is within one standard error of the
        lowest one.
        """
        self.network_temperature = self.labels.best_temperature(network_scores, targets)[1]
        losses = torch.stack([self._losses(share, network_scores, own_scores, targets) for share in SHARES])
        best = losses[losses.mean(1).argmin()]
        tolerance = (losses - best).std(1, correction=0) / len(targets) ** 0.5
        near = (losses.mean(1) - best.mean() <= tolerance + 1e-9).nonzero().flatten()
        self.share = SHARES[int(near[(len(near) - 1) // 2])]

    def _losses(self, share: float, network_scores: Tensor, own_scores: Tensor, targets: Tensor) -> Tensor:
        """The cross entropy of every record (N,) with a share, at its best temperature."""
        self.share = share
        scores = self._mixed(network_scores, own_scores)
        return self.labels.losses(scores / self.labels.best_temperature(scores, targets)[1], targets)

    def _deviations(self, size: int) -> Tensor:
        """The deviation (F,) of each feature: larger for the constants, since they are fewer."""
        extras = self.encoder.extras
        deviations = torch.ones(size)
        if extras and size > extras:
            deviations[-extras:] = (_EXTRAS * (size - extras) / extras) ** 0.5
        return deviations

    def _readings(self, inputs: Sequence[Any]) -> list[Tensor]:
        return [row[:, : self.encoder.readings].float() for row in self.encoder.rows(inputs)]

    def _features(self, inputs: Sequence[Any]) -> list[Tensor]:
        """The features (N, F) float32 of each ridge regression."""
        extras = self.encoder.constants(inputs).float()
        if self.convolutions is None:
            return [extras]
        blocks = self.convolutions(self._readings(inputs)).split(self.convolutions.sizes, 1)
        return [torch.cat([block, extras], 1) if extras.shape[1] else block for block in blocks]

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `from_state` takes."""
        return {
            "convolutions": None if self.convolutions is None else self.convolutions.state(),
            "ridges": [ridge.state() for ridge in self.ridges],
            "nearest": None if self.nearest is None else self.nearest.state(),
            "weights": self.weights,
            "temperatures": self.temperatures,
            "share": self.share,
            "network_temperature": self.network_temperature,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], encoder: SeriesEncoder, labels: Labels) -> SeriesHead:
        """The head that gave this state."""
        head = cls(encoder, labels)
        if state["convolutions"] is not None:
            head.convolutions = RandomConvolutions.from_state(state["convolutions"])
        head.ridges = [Ridge.from_state(part) for part in state["ridges"]]
        if state["nearest"] is not None:
            head.nearest = NearestSeries.from_state(state["nearest"])
        head.weights, head.temperatures = list(state["weights"]), list(state["temperatures"])
        head.share, head.network_temperature = state["share"], state["network_temperature"]
        return head


def _one_hot(targets: Tensor, classes: int) -> Tensor:
    """(N, C) zeros and ones of class numbers (N,), or of what is such already."""
    return targets if targets.dim() == 2 else torch.nn.functional.one_hot(targets, classes).float()
