"""Encodes events as the network reads them, behind each user's past, and decodes rankings to items."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor
from typing_extensions import Self

from longspan import errors
from longspan.data.readers.frames import to_pandas
from longspan.data.stored_rows import computed
from longspan.tasks.codec import Codec, Metrics

from .batches import PaddedBatches, SessionParallelBatches, UserSequence
from .columns import ColumnEncoder
from .events import Events
from .histories import Histories
from .neighbors import Neighbors, item_counts, mixture_weights
from .ranking import Ranking, Rankings, Scorer, metrics
from .vocabulary import UNKNOWN, Ids, note_unknown

_EPOCHS, _MOST_EPOCHS = 10, 60
_STEPS, _STEP_EVENTS = 1000, 1280  # training steps at least, and events of a usual one
_LEAST_WEIGHT = 0.005  # of a part of the mixture; a part with less has none
_LEAST_NETWORK = 0.05  # weight of the network, which orders the items that the other parts leave out


class Answers(NamedTuple):
    """Rankings, and the events that they are of."""

    rankings: Rankings
    events: Events


class RecommendCodec(Codec[Events]):
    """Events to numbers of items and rankings to answers.

    Args:
        neighbors: whether counts are mixed into the network's scores.

    Attributes after fit: items (`Ids`), numbered from 1 on, those with events before those that only have
    attributes; trained: Vt + 1, of items with events; attributes (V + 1, A) float32; context_columns,
    attribute_columns (`ColumnEncoder`); histories (`Histories`); scorer (`Scorer`); validation: metrics of
    the held-out events.
    """

    def __init__(self, *, neighbors: bool = True) -> None:
        self.mixes = neighbors
        self.context_columns, self.attribute_columns = ColumnEncoder(), ColumnEncoder()
        self.validation: dict[str, float] = {}
        self._encoded: tuple[Events, np.ndarray, np.ndarray] | None = None  # the training part, during fit

    def fit(self, train: Events, valid: Events | None = None) -> Self:
        if len(train.lengths) < 2 and train.users is not None:
            way_out = "name the column of users or sessions by user"
            raise errors.value_error(f"column {train.names[0]}", "at least two users", "one", way_out)
        present = np.flatnonzero(item_counts(train.item, len(train.items)))
        if len(present) < 2:
            way_out = "name the column of items by item"
            raise errors.value_error(f"column {train.names[1]}", "at least two items", "one", way_out)
        if not (train.lengths > 1).any():
            received = "one event of each user"
            raise errors.value_error("source", "users with two events or more", received, "check the users")
        self.items = Ids(train.items.gather(present))
        self.trained = 1 + len(present)
        if train.context is not None:
            self.context_columns = ColumnEncoder().fit(train.context)
        self._fit_attributes(train)
        items, context = self.encode(train, note=False)
        self._encoded = train, items, context
        self.histories = Histories.of(train, items, context)
        self.scorer = Scorer(Neighbors(1 + len(self.items)).fit(train.starts, items))
        return self

    def _fit_attributes(self, train: Events) -> None:
        """Encode the attributes of all items, of which some may have no events."""
        table = train.attributes
        self.attributes = np.zeros((1 + len(self.items), 0), np.float32)
        if table is None:
            return
        numbers = self.items.numbers(table["item"])
        new = table["item"].filter(pl.Series(numbers < 0))
        if len(new):
            self.items.add(new.to_list())
            numbers = self.items.numbers(table["item"])
        described = table.drop("item")
        self.attribute_columns = ColumnEncoder().fit(described)
        values = self.attribute_columns.encode(described, len(numbers))
        self.attributes = np.zeros((1 + len(self.items), values.shape[1]), np.float32)
        self.attributes[1 + numbers] = values

    def refit(self, records: Events) -> Self:
        """Count the held-out events too, and take them into the users' past; the network stays as it is."""
        self._encoded, self.histories = None, Histories.none(records.names[0], 0)  # frees their memory
        items, context = self.encode(records, note=False)
        self.histories = Histories.of(records, items, context)
        self.scorer.neighbors.fit(records.starts, items)
        return self

    @property
    def epochs(self) -> int:
        """Ten, or more where there are few events: as many as make a thousand steps of usual batches."""
        events = max(1, int(self.scorer.neighbors.counts.sum()))
        return int(np.clip(_STEPS * _STEP_EVENTS / events, _EPOCHS, _MOST_EPOCHS))

    @property
    def learning_rate(self) -> float:
        return 3e-3

    def known_users(self) -> Events:
        """Every user with a past, to be recommended what may come next."""
        self.histories.settle()
        users = self.histories.users.ids
        if not len(users):
            received = "none, as the model has seen sequences without users"
            raise errors.value_error("source", "sequences or events", received, "pass what users have seen")
        no_items = pl.Series(self.items.ids.name, [], pl.String)
        starts, names = np.zeros(len(users) + 1, np.int64), (users.name, self.items.ids.name)
        return Events(
            users, no_items, starts, np.zeros(0, np.int32), names=names, targets=False, kind="polars"
        )

    # ---- encoding

    def encode(self, events: Events, *, note: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """The items' numbers (N,) int32 and the context (N, C) float32 of events."""
        if self._encoded is not None and self._encoded[0] is events:
            encoded, self._encoded = self._encoded[1:], None  # once: the events are not kept for longer
            return encoded
        numbers = 1 + self.items.numbers(events.items)
        self.items.check(events.items, events.names[1])
        if note:
            what = "they count as misses" if events.targets else "they say nothing about their users"
            note_unknown(events.items, numbers != UNKNOWN, what)
        numbers = numbers.astype(np.int32)
        items = computed(lambda part: numbers[part], events.item)
        context = events.context
        if context is not None and context.columns != [code.name for code in self.context_columns.codes]:
            context = context.select(code.name for code in self.context_columns.codes)
        return items, self.context_columns.encode(context, len(items))

    def training_batches(self, events: Events, batch_size: int, chunk_length: int) -> SessionParallelBatches:
        """Batches to train on."""
        items, context = self.encode(events, note=False)
        return SessionParallelBatches(events.starts, items, context, batch_size, chunk_length)

    def padded_batches(self, events: Events) -> PaddedBatches:
        """Batches to evaluate or to predict: each user's events behind those of the past."""
        sequences = self._sequences(events)
        if events.targets:
            sequences = [sequence for sequence in sequences if len(sequence.items) > sequence.scored]
            if not sequences:
                expected = "later events of known users, or users with two events or more"
                raise errors.value_error("source", expected, "none", "check the users and the times")
        return PaddedBatches(sequences, targets=events.targets)

    def _sequences(self, events: Events) -> list[UserSequence]:
        self.histories.settle()
        items, context = self.encode(events)
        users = np.full(len(events.lengths), -1)
        if events.users is not None and len(self.histories.users):
            self.histories.users.check(events.users, events.names[0])
            users = self.histories.users.numbers(events.users)
        later = self.histories.later(events, items, users)
        if not later.all():
            errors.notice(
                f"{int((~later).sum()):,} events are of their users' known past and add nothing to it."
            )
        return [
            self._sequence(user, number, items, context, later, slice(start, end))
            for user, (number, start, end) in enumerate(
                zip(users.tolist(), events.starts[:-1].tolist(), events.starts[1:].tolist(), strict=True)
            )
        ]

    def _sequence(
        self, user: int, number: int, items: np.ndarray, context: np.ndarray, later: np.ndarray, rows: slice
    ) -> UserSequence:
        """One user's past and later events."""
        new_items, new_context = items[rows][later[rows]], context[rows][later[rows]]
        if number < 0:
            return UserSequence(user, new_items, new_context, 1)
        old_items, old_context = self.histories.past(number)
        if not len(new_items):  # without a copy
            return UserSequence(user, old_items, old_context, max(1, len(old_items)))
        return UserSequence(
            user,
            np.concatenate([old_items, new_items]),
            np.concatenate([old_context, new_context]),
            max(1, len(old_items)),
        )

    # ---- decoding

    def decode(self, predictions: list[Ranking], records: Events) -> Answers:
        user = torch.cat([ranking.user for ranking in predictions])
        step = torch.cat([ranking.step for ranking in predictions])
        order = torch.from_numpy(np.lexsort((step.cpu().numpy(), user.cpu().numpy())))

        def joined(name: str, width: int) -> np.ndarray:
            parts: list[Tensor | None] = [getattr(ranking, name) for ranking in predictions]
            tensors = [part.cpu() for part in parts if part is not None]
            return torch.cat(tensors)[order].numpy() if tensors else np.zeros((0, width))

        rankings = Rankings(
            user.cpu()[order].numpy(), joined("items", 0), joined("scores", 0), joined("ranks", 4),
            joined("parts", 4), self._popularity() if predictions[0].ranks is not None else np.zeros(0),
        )  # fmt: skip
        return Answers(rankings, records)

    def _popularity(self) -> np.ndarray:
        """(V + 1,) the share of items that are at most as popular as each."""
        counts = self.scorer.neighbors.counts
        return np.searchsorted(np.sort(counts[1:]), counts, side="right") / max(1, len(counts) - 1)

    def fit_weights(self, answers: Answers) -> None:
        """Set the weights of the mixture to those with the highest likelihood of held-out events."""
        if not self.mixes:
            return
        weights = mixture_weights(torch.from_numpy(answers.rankings.parts)).tolist()
        kept = [weight if weight >= _LEAST_WEIGHT else 0.0 for weight in weights[1:]]
        share = min(1.0, (1.0 - _LEAST_NETWORK) / max(sum(kept), 1e-12))
        kept = [share * weight for weight in kept]
        self.scorer.weights = (1.0 - sum(kept), *kept)

    def count_rows(self, records: Events) -> int:
        return len(records.item)

    def present(self, answers: Answers) -> Any:
        """A row for every recommended item: user, rank, item, score."""
        table = self.as_table(answers, answers.events)
        return to_pandas(table) if answers.events.kind == "pandas" else table

    def as_table(self, answers: Answers, records: Events) -> pl.DataFrame:
        rankings = answers.rankings
        there = np.isfinite(rankings.scores)
        rows, places = np.nonzero(there)
        users = pl.Series(rankings.user[rows])
        if records.users is not None:
            users = records.users.gather(rankings.user[rows])
        return self.table(users, places + 1, rankings.items[there], rankings.scores[there])

    def table(
        self, users: pl.Series, ranks: np.ndarray, items: np.ndarray, scores: np.ndarray
    ) -> pl.DataFrame:
        """A row for every recommended item; items: their numbers."""
        return pl.DataFrame(
            [
                users.alias(self.histories.users.ids.name),
                pl.Series("rank", ranks),
                self.items.ids[items - 1],
                pl.Series("score", scores),
            ]
        )

    def truth(self, records: Events) -> int:
        return len(records.item)

    def metrics(self) -> Metrics:
        return {name: _of_answers(metric) for name, metric in metrics().items()}

    # ---- saving

    def state(self) -> Any:
        return {
            "items": self.items.state(),
            "trained": self.trained,
            "attributes": torch.from_numpy(self.attributes),
            "context_columns": self.context_columns.state(),
            "attribute_columns": self.attribute_columns.state(),
            "histories": self.histories.state(),
            "neighbors": self.scorer.neighbors.state(),
            "weights": list(self.scorer.weights),
            "validation": self.validation,
        }

    def restore(self, state: Any) -> Self:
        self.items, self.trained = Ids.restore(state["items"]), state["trained"]
        self.attributes = state["attributes"].numpy()
        self.context_columns = ColumnEncoder.restore(state["context_columns"])
        self.attribute_columns = ColumnEncoder.restore(state["attribute_columns"])
        self.histories = Histories.restore(state["histories"])
        self.scorer = Scorer(Neighbors.restore(state["neighbors"]), state["weights"])
        self.validation = dict(state["validation"])
        return self

    def trial_records(self, stream: Any) -> Events:
        """A user without a past."""
        no_items = pl.Series("item", [], pl.String)
        return Events(None, no_items, np.zeros(2, np.int64), np.zeros(0, np.int32), targets=False)


def _of_answers(metric: Any) -> Any:
    return lambda answers, truth: metric(answers.rankings, truth)
