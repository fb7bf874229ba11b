"""Selects the normalization of series by the leave-one-out errors of their linear model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from longspan.data.labels import Labels

from .series_encoder import NORMALIZATIONS, MixedInput, SeriesEncoder, are_standardised
from .series_head import SeriesHead


def fit_best_encoder(
    unfitted: SeriesEncoder,
    inputs: Sequence[Any],
    targets: Tensor,
    sample_weight: Tensor | None,
    *,
    labels: Labels,
    static: Sequence[str] = (),
    normalization: str | None = None,
) -> SeriesHead:
    """The linear model, with its encoder, that has the lowest cross entropy on series left out one by one.

    Args:
        unfitted: an encoder with the options to keep.
        inputs, targets, sample_weight: of the training records, see `SeriesHead.fit`.
        labels: fitted; static: names of the static columns.
        normalization: None to select it.
    """
    heads = []
    for candidate in _candidates(inputs) if normalization is None else (normalization,):
        encoder = SeriesEncoder(unfitted.max_length, candidate).fit(inputs, with_length=True, static=static)
        heads.append(SeriesHead(encoder, labels).fit(inputs, targets, sample_weight))
    return min(heads, key=lambda head: head.left_out_loss(targets))


def _candidates(inputs: Sequence[Any]) -> tuple[str, ...]:
    """Both normalizations, or one where they are the same or there are no series."""
    no_series = isinstance(inputs[0], MixedInput) and inputs[0].series is None
    return NORMALIZATIONS[:1] if no_series or are_standardised(inputs) else NORMALIZATIONS
