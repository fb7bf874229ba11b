"""Declares the options of `Recommender`."""

from __future__ import annotations

from dataclasses import dataclass

from longspan.tasks.options import option
from longspan.tasks.reading_options import ReadingOptions

from .events import HOLDOUTS
from .losses import LOSSES


@dataclass(eq=False, repr=False, kw_only=True)
class RecommenderOptions(ReadingOptions):
    """The options of `Recommender`, by group: task, data, network, training and predict. Abstract."""

    user: str = option("user", "column of the users or sessions", group="data")
    item: str = option("item", "column of the items", group="data")
    time: str | None = option("time", "column of the times; none for rows in the order of time", group="data")
    context: tuple[str, ...] = option((), "columns that describe an event, such as its device", group="data")
    attributes: tuple[str, ...] = option(
        (), "columns that describe an item, by which items without events are recommended too", group="data"
    )
    item_table: str | None = option(
        None, "file with a row for every item and its attributes; none for those of its events", group="data"
    )
    holdout: str | None = option(
        None,
        "which events are held out: the last one of some users, the latest, or those of the last users; none "
        "for users of sessions and leave-one-out of others",
        choices=HOLDOUTS,
        group="data",
        advanced=True,
    )

    k: int | None = option(
        None,
        "items that are recommended to each user; none for 10, or for all where there are fewer",
        group="predict",
        minimum=1,
    )
    exclude_seen: bool | None = option(
        None,
        "whether items of the user's past are left out; none for yes, but no in evaluate where repeats are "
        "usual",
        group="predict",
    )

    embedding_size: int = option(
        128, "values of an item's vector", group="network", minimum=1, search=[64, 128, 256]
    )
    hidden_size: int = option(128, "units of every recurrent layer", group="network", search=[64, 128, 256])
    cell: str = option("GRU", "recurrent cell of the network", group="network", search=["GRU", "LSTM"])
    dropout: float = option(
        0.4,
        "share of values dropped between layers and before the scores",
        group="network",
        search=[0.2, 0.4],
    )
    embedding_dropout: float = option(
        0.4,
        "share of values of items' vectors dropped in training",
        group="network",
        fraction=True,
        search=[0.2, 0.4, 0.6],
        advanced=True,
    )
    item_dropout: float = option(
        0.0,
        "share of events whose item is dropped in training",
        group="network",
        fraction=True,
        advanced=True,
    )
    neighbors: bool = option(
        True,
        "whether followers, neighbours and repeats are mixed in, by what helps on the held-out events",
        group="network",
        advanced=True,
    )

    loss: str | None = option(
        None,
        "what training minimizes; none for cross_entropy, from 30000 items on for sampled_softmax",
        choices=LOSSES,
        group="training",
        advanced=True,
    )
    num_samples: int = option(
        2048, "drawn items of a step, for losses that draw", group="training", minimum=1, advanced=True
    )
    sampling_power: float = option(
        0.5,
        "exponent of the items' frequencies by which they are drawn: 0 for all alike, 1 for by popularity",
        group="training",
        advanced=True,
    )
    label_smoothing: float = option(
        0.0,
        "share of the target's probability spread over all items, of cross_entropy",
        group="training",
        fraction=True,
        advanced=True,
    )
    regularization: float = option(
        1.0, "weight of the squared scores of negative items, of bpr_max", group="training", advanced=True
    )
    epochs: int | None = option(
        None, "passes over the events at most; none for 10, more for few events", group="training"
    )
    batch_size: int = option(64, "users that are read side by side", group="training")
    chunk_length: int = option(
        20, "events that gradients flow through", group="training", minimum=1, advanced=True
    )
    learning_rate: float | None = option(
        None, "highest learning rate of Adam; none for 0.003", group="training"
    )
    patience: int | None = option(
        5, "epochs without a better ranking of held-out events before training stops", group="training"
    )
