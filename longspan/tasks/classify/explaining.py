"""Tells what each token, step or column added to the class of a record."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .codec import ClassifierCodec
from .reading import Example
from .series_head import SeriesHead
from .text_head import TextHead


def attribution(codec: ClassifierCodec, networks: Tensor, records: list[Example], classes: Tensor) -> Tensor:
    """What each token, step or column adds to its record's class (N,), (N, T).

    Args:
        networks: (N, T, I), the networks' attribution to each input.
    """
    inputs = [record.input for record in records]
    networks = networks[:, len(codec.text_encoder.start) :]
    if isinstance(codec.head, TextHead):
        return networks.sum(-1) + codec.head.attribution(inputs, classes)
    if isinstance(codec.head, SeriesHead):
        return codec.head.attribution(networks, inputs, classes)
    return networks.sum(-1)


def positions(codec: ClassifierCodec, record: Example) -> list[Any]:
    """What `attribution` is about: a text's tokens, the step numbers of a series, or the columns."""
    if codec.series_encoder is None:
        return codec.text_encoder.tokens(record.input)
    readings = codec.series_encoder.readings
    return codec.series_encoder.steps(record.input) if readings else [*codec.static_columns]
