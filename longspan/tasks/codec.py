"""Knows what every codec does: records to tensors and answers back, and all that is learnt but weights."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

from typing_extensions import Self

Tree = Any  # None, booleans, numbers, text, tensors, and dicts, lists and tuples of them


class Codec(abc.ABC):
    """Records to tensors and answers back, learnt on the training part alone. Abstract.

    Everything learnt that is no weight lives here, calibration included, so that saving is the same for all.
    """

    @property
    @abc.abstractmethod
    def sizes(self) -> Mapping[str, Any]:
        """What the network is built from: plain numbers, booleans and text by name; after fit or restore."""

    @abc.abstractmethod
    def fit(self, records: Any) -> Self:
        """Learn from the records of the training part; returns itself."""

    @abc.abstractmethod
    def decode(self, coded: list[Any], records: Any) -> Any:
        """What the user gets, in the user's units: `coded` as the network's answers came, batch by batch."""

    @abc.abstractmethod
    def truth(self, records: Any) -> Any:
        """The right answers, in the form in which the task's metrics take them."""

    @abc.abstractmethod
    def state(self) -> Tree:
        """Everything learnt, as plain values and tensors."""

    @abc.abstractmethod
    def restore(self, state: Tree) -> Self:
        """Take what `state` gave, into a fresh codec; returns itself."""
