"""Recommends items: the options, the parts and the verbs of `Recommender`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch

from longspan import errors
from longspan.callbacks import EarlyStopping
from longspan.report.elements import Section
from longspan.tasks.estimator import Estimator
from longspan.tasks.fitting import Run, device_of, fit_network
from longspan.tasks.parts import Fitted, Use
from longspan.tasks.schedule import Schedule

from . import report
from .batches import PaddedBatches, SessionParallelBatches
from .codec import RecommendCodec
from .events import Events, hold_out
from .large_files import read_large_events
from .network import LossOptions, RecommendNetwork
from .options import RecommenderOptions
from .reading import EventColumns, read_events
from .similarity import similar_items
from .streaming import RecommenderStream
from .training import MONITORED, ranked_validation

_SAMPLED_FROM = 30_000  # items from which on training draws negative items

FittedRecommender = Fitted[RecommendCodec, RecommendNetwork, RecommenderStream]


@dataclass(eq=False, repr=False, kw_only=True)
class Recommender(  # pyright: ignore[reportIncompatibleVariableOverride], None is "found from the data"
    RecommenderOptions, Estimator[Events, RecommendCodec, RecommendNetwork, RecommenderStream]
):
    """Learns which item a user takes next, and recommends items by the user's events so far.

    A recurrent network reads the items of a user's events, in the order of time, and scores all items as the
    next one (GRU4Rec: Hidasi et al. 2016, arXiv 1511.06939). An item has the same vector where it is read and
    where it is scored. Output layer and loss are one operator that never holds the scores of all events.
    Training reads users side by side, without padding, and stops by the NDCG@10 of held-out events.

    The network's probabilities are mixed with those of counts: the items that followed the last one (a
    first-order Markov chain), the neighbours of the last items (item kNN), and the user's own items. Their
    weights are found by the likelihood of held-out events (`neighbors`).

    Sources: a table with a row for every event (user or session, item, time, and further columns), or a list
    of sequences of items. A source of `predict` has later events of known users, or events of new ones, or
    names users alone; without a source all known users are answered. A user without events is recommended the
    most popular items. `evaluate` takes later events, ranks all items before each of them, and compares the
    model with the most popular items, the followers of the last item, and item kNN.

    Raises ValueError or TypeError in one sentence: one user, one item, no column of times, more items asked
    for than there are.

    >>> baskets = [["tea", "milk", "cup"], ["tea", "milk"], ["milk", "cup"]] * 20
    >>> model = Recommender(hidden_size=8, embedding_size=8, epochs=2).fit(baskets, verbose=0)
    >>> model.predict([["tea"]], k=1)["item"].to_list()
    ['milk']

    Options:
        cell ('GRU'): recurrent cell of the network.
        hidden_size (128): units of every recurrent layer.
        num_layers (1): recurrent layers stacked.
        dropout (0.4): share of values dropped between layers and before the scores.
        epochs (None): passes over the events at most; none for 10, more for few events.
        batch_size (64): users that are read side by side.
        learning_rate (None): highest learning rate of Adam; none for 0.003.
        patience (5): epochs without a better ranking of held-out events before training stops.
        validation_fraction (0.15): share of the training data held out for validation.
        seed (0): seed of the random generators: the same seed gives the same model.
        device (None): device such as cpu or cuda; none for a GPU if there is one.
        encoding ('utf-8'): encoding of text files that have no byte order mark, such as latin-1.
        missing (()): cells that mean a missing value, in addition to NA, n/a, -, null and the like.
        sheet (None): sheet of an Excel file; none for the first.
        time_format (None): form of times that are text, such as %d/%m/%Y %H:%M; none to find it.
        user ('user'): column of the users or sessions.
        item ('item'): column of the items.
        time ('time'): column of the times; none for rows in the order of time.
        context (()): columns that describe an event, such as its device.
        attributes (()): columns that describe an item, by which items without events are
            recommended too.
        item_table (None): file with a row for every item and its attributes; none for those of its
            events.
        holdout (None): which events are held out: the last one of some users, the latest, or those
            of the last users; none for users of sessions and leave-one-out of others (one of
            leave-one-out, time, users).
        k (None): items that are recommended to each user; none for 10, or for all where there are
            fewer.
        exclude_seen (None): whether items of the user's past are left out; none for yes, but no in
            evaluate where repeats are usual.
        embedding_size (128): values of an item's vector.
        embedding_dropout (0.4): share of values of items' vectors dropped in training.
        item_dropout (0.0): share of events whose item is dropped in training.
        neighbors (True): whether followers, neighbours and repeats are mixed in, by what helps on
            the held-out events.
        loss (None): what training minimizes; none for cross_entropy, from 30000 items on for
            sampled_softmax (one of cross_entropy, sampled_softmax, bpr_max).
        num_samples (2048): drawn items of a step, for losses that draw.
        sampling_power (0.5): exponent of the items' frequencies by which they are drawn: 0 for all
            alike, 1 for by popularity.
        label_smoothing (0.0): share of the target's probability spread over all items, of
            cross_entropy.
        regularization (1.0): weight of the squared scores of negative items, of bpr_max.
        chunk_length (20): events that gradients flow through.
    """

    name: ClassVar[str] = "recommend"
    score_metric: ClassVar[str] = "ndcg@10"
    schedule: ClassVar[Schedule] = Schedule(warmup=0.02, final=0.02)

    # ---- the parts

    def read(
        self, source: Any, y: Any = None, *, use: Use = "fit", fitted: FittedRecommender | None = None
    ) -> Events:
        if y is not None:
            raise errors.value_error(
                "y", "None, since events are targets themselves", "a value", "leave it out"
            )
        if source is None and fitted is not None:
            return fitted.codec.known_users()
        columns = EventColumns(
            self.user, self.item, self.time, self.context, self.attributes, self.item_table
        )
        form = None if fitted is None else fitted.codec.histories.form
        stored = None if use == "predict" else read_large_events(source, columns, form, self._reading())
        return stored or read_events(source, columns, use=use, form=form, options=self._reading())

    def split(self, records: Events) -> tuple[Events, Events | None]:
        return hold_out(records, self.validation_fraction, self.holdout, self.seed)

    def codec(self) -> RecommendCodec:
        return RecommendCodec(neighbors=self.neighbors)

    def network(self, codec: RecommendCodec, train: Events | None) -> RecommendNetwork:
        counts = torch.from_numpy(codec.scorer.neighbors.counts)
        network = RecommendNetwork(
            codec.trained,
            torch.from_numpy(codec.attributes),
            codec.attribute_columns.sizes,
            codec.context_columns.sizes,
            embedding_size=self.embedding_size,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            cell=self.cell,
            dropout=self.dropout,
            embedding_dropout=self.embedding_dropout,
            item_dropout=self.item_dropout,
            loss=self._loss(codec),
            scorer=codec.scorer,
            counts=counts,
        )
        if train is not None:
            network.start_from_counts(counts)
        return network

    def _loss(self, codec: RecommendCodec) -> LossOptions:
        usual = "cross_entropy" if codec.trained <= _SAMPLED_FROM else "sampled_softmax"
        return LossOptions(
            self.loss or usual,
            self.num_samples,
            self.sampling_power,
            self.label_smoothing,
            self.regularization,
        )

    def batches(
        self, codec: RecommendCodec, records: Events, *, train: bool
    ) -> SessionParallelBatches | PaddedBatches:
        if train:
            return codec.training_batches(records, self.batch_size, self.chunk_length)
        return codec.padded_batches(records)

    def learn(
        self, codec: RecommendCodec, train: Events, valid: Events | None, run: Run
    ) -> FittedRecommender:
        """Fit the codec, then train until held-out events are ranked no better."""
        codec.fit(train, valid)
        network = self.network(codec, train).to(device_of(self.device))
        if self.loss is None and network.loss_options.name == "sampled_softmax":
            errors.notice(
                f"There are {codec.trained - 1:,} items, so training compares each with {self.num_samples:,} "
                "drawn ones (loss='cross_entropy' for all)."
            )
        batches, validate, stopping = self.batches(codec, train, train=True), None, None
        if valid is not None:
            validate = ranked_validation(network, codec.padded_batches(valid), self.exclude_seen)
            if self.patience is not None:
                stopping = EarlyStopping(
                    MONITORED, mode="max", patience=self.patience, restore_best_weights=True
                )
        options = self._training(codec)._replace(patience=None, stopping=stopping)
        history = fit_network(network, batches, validate, options, run._replace(model=self))
        return Fitted(codec, network, history)

    def calibrate(self, fitted: FittedRecommender, valid: Events, run: Run) -> None:
        """Find the weights of the counts, and keep the scores of the held-out events for reports."""
        fitted.codec.fit_weights(self._answers(fitted, valid))
        answers = self._answers(fitted, valid)
        fitted.codec.validation = self._scores(fitted, answers, fitted.codec.truth(valid))

    def start_stream(self, fitted: FittedRecommender, records: Events | None) -> RecommenderStream:
        return RecommenderStream(fitted.codec, fitted.network)

    # ---- more verbs

    def update(self, user: Any, item: Any, *, context: Mapping[str, Any] | None = None) -> None:
        """Read one more event: the user's later recommendations follow from it, and it is saved too.

        Args:
            user: an id; a new one becomes known. item: an id; one that training has not seen says nothing.
            context: values of the context's columns by name.

        Raises:
            ValueError: the user or the item is missing.
        """
        self._check_fitted().running.update((user, item, context or {}))

    def recommend(self, user: Any, k: int | None = None, *, exclude_seen: bool | None = None) -> pl.DataFrame:
        """The items for one user by the events so far, as `predict` gives them, from the state that is kept.

        Args:
            user: an id; k, exclude_seen: as the options of these names, None for the model's own.
        """
        fitted = self._check_fitted()
        search = self._search_options({"k": k, "exclude_seen": exclude_seen})
        items, scores = fitted.running.recommend(user, search["k"], search["exclude_seen"])
        users = pl.Series("user", [user] * len(items), strict=False)
        return fitted.codec.table(users, np.arange(1, len(items) + 1), items, scores)

    def similar(self, item: Any, k: int = 10) -> pl.DataFrame:
        """The k items whose vectors are nearest to an item's: rank, item, score (the cosine).

        Raises:
            ValueError: the item is not known, or k is above the number of the others; one sentence.
        """
        fitted = self._check_fitted()
        return similar_items(fitted.codec, fitted.network, item, k)

    def report(self, fitted: FittedRecommender, source: Any) -> list[Section]:
        """The scores beside the baselines', recommendations, similar items."""
        if source is None:
            return report.sections(fitted, fitted.codec.validation, None)
        answers = self._answers(fitted, self.read(source, use="evaluate", fitted=fitted))
        scores = self._scores(fitted, answers, fitted.codec.truth(answers.events))
        return report.sections(fitted, scores, answers)
