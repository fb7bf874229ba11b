"""Makes the sections of a recommender's report: scores beside the baselines, lists, similar items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from longspan.report.elements import BarChart, Element, Section, Stat, Stats, Table, Values
from longspan.tasks.parts import Fitted

from .codec import Answers, RecommendCodec
from .network import RecommendNetwork
from .ranking import PARTS
from .similarity import similar_items
from .streaming import RecommenderStream

_MODELS = {
    "longspan": "",
    "most popular": "popular_",
    "followers of the last item": "markov_",
    "item kNN": "knn_",
}
_METRICS: tuple[str, ...] = ("hr@10", "ndcg@10", "mrr@10", "recall@20", "mrr@20")
_KS = (1, 2, 3, 5, 10, 20, 50, 100)
_ITEMS, _NEAREST, _USERS = 8, 5, 8
_WORST, _BEFORE = 10, 4  # events with the worst ranks, and items before each that are listed


def sections(
    fitted: Fitted[RecommendCodec, RecommendNetwork, RecommenderStream],
    scores: Mapping[str, float],
    answers: Answers | None,
) -> list[Section]:
    """The sections of a report.

    Args:
        scores: the metrics, of a source or of the held-out events; empty where nothing was held out.
        answers: the source's rankings; None for no source.
    """
    codec = fitted.codec
    shown = [Section("Summary", [_summary(codec, scores), *_comparison(scores)])]
    if answers is not None:
        shown.append(Section("Rankings", [_hits(answers), _examples(codec, answers)]))
        shown.append(Section("Worst cases", [_worst(codec, answers)]))
    return [*shown, Section("Items", [_mixture(codec), _popular(codec), _similar(fitted)])]


def _summary(codec: RecommendCodec, scores: Mapping[str, float]) -> Stats:
    events = int(codec.scorer.neighbors.counts.sum())
    stats = [Stat("items", f"{len(codec.items):,}", f"{events:,} events")]
    if scores:
        rival = max(scores[f"{prefix}hr@10"] for prefix in _MODELS.values() if prefix)
        mood = "good" if scores["hr@10"] >= rival else "bad"
        stats += [
            Stat("hit rate @10", f"{scores['hr@10']:.4f}", f"best baseline: {rival:.4f}", mood),
            Stat("NDCG @10", f"{scores['ndcg@10']:.4f}"),
            Stat("coverage @10", f"{scores['coverage@10']:.1%}", "of all items are recommended to someone"),
            Stat("popularity @10", f"{scores['popularity@10']:.3f}", "0.5 is without a bias"),
        ]
    return Stats("Recommender", stats)


def _comparison(scores: Mapping[str, float]) -> list[Element]:
    if not scores:
        return []
    rows = [[model, *(scores[prefix + name] for name in _METRICS)] for model, prefix in _MODELS.items()]
    best: dict[str, str] = dict.fromkeys(_METRICS, "high")
    note = "All items are ranked before each event; the baselines have counted the same events."
    table: Element = Table("Beside baselines", ["", *_METRICS], rows, note=note, best=best, emphasis=0)
    return [table]


def _hits(answers: Answers) -> BarChart:
    """The share of events whose item is among the first k, by model."""
    ranks = answers.rankings.ranks
    shares: dict[str, Values] = {
        name: [float((ranks[:, place] <= k).mean()) for k in _KS] for place, name in enumerate(_MODELS)
    }
    return BarChart("Hit rate among the first k", [str(k) for k in _KS], shares, "share of events")


def _examples(codec: RecommendCodec, answers: Answers) -> Table:
    """The lists of some users."""
    rankings, users = answers.rankings, answers.events.users
    chosen = np.unique(np.linspace(0, len(rankings.user) - 1, _USERS).astype(int))
    rows = [
        [
            str(rankings.user[row] if users is None else users[int(rankings.user[row])]),
            ", ".join(_named(codec, rankings.items[row][np.isfinite(rankings.scores[row])][:_NEAREST])),
            int(rankings.ranks[row, 0]),
        ]
        for row in chosen.tolist()
    ]
    return Table("Some users", ["user", "recommended", "rank of the next item"], rows)


def _worst(codec: RecommendCodec, answers: Answers) -> Table:
    """The events whose items had the worst ranks, beside what was recommended."""
    rankings, events = answers.rankings, answers.events
    order = np.argsort(-rankings.ranks[:, 0], kind="stable")[:_WORST]
    event_of = _scored_events(answers)
    rows = []
    for row in order.tolist():
        user, event = int(rankings.user[row]), int(event_of[row])
        before = events.item[max(int(events.starts[user]), event - _BEFORE) : event]
        rows.append(
            [
                str(user if events.users is None else events.users[user]),
                ", ".join(str(events.items[int(item)]) for item in before),
                ", ".join(_named(codec, rankings.items[row][np.isfinite(rankings.scores[row])][:_NEAREST])),
                str(events.items[int(events.item[event])]),
                int(rankings.ranks[row, 0]),
            ]
        )
    columns = ["user", "events before it in the source", "recommended", "truth", "rank"]
    note = f"{len(rankings.ranks):,} events are ranked; items that training has not seen come last."
    return Table("Worst ranks", columns, rows, note)


def _scored_events(answers: Answers) -> np.ndarray:
    """The row of each ranking's event: a user's rankings are of the last of that user's events."""
    users, counts = np.unique(answers.rankings.user, return_counts=True)
    ends = answers.events.starts[users + 1]
    spans = [np.arange(end - count, end) for end, count in zip(ends, counts, strict=True)]
    return np.concatenate(spans)


def _named(codec: RecommendCodec, numbers: Sequence[int] | np.ndarray) -> list[str]:
    return [str(codec.items.ids[int(number) - 1]) for number in numbers]


def _mixture(codec: RecommendCodec) -> Table:
    rows = [[name, weight] for name, weight in zip(PARTS, codec.scorer.weights, strict=True)]
    return Table("What a score is made of", ["part", "weight"], rows)


def _popular(codec: RecommendCodec) -> BarChart:
    counts = codec.scorer.neighbors.counts
    top = np.argsort(-counts[1:], kind="stable")[: 2 * _ITEMS] + 1
    return BarChart("Most popular items", _named(codec, top), {"events": counts[top].tolist()}, "events")


def _similar(fitted: Fitted[RecommendCodec, RecommendNetwork, RecommenderStream]) -> Table:
    """The nearest items of the most popular ones."""
    codec = fitted.codec
    top = np.argsort(-codec.scorer.neighbors.counts[1:], kind="stable")[:_ITEMS]
    rows = []
    for number in top.tolist():
        k = min(_NEAREST, len(codec.items) - 1)
        nearest = similar_items(codec, fitted.network, codec.items.ids[number], k)
        rows.append(
            [str(codec.items.ids[number]), ", ".join(map(str, nearest[nearest.columns[1]].to_list()))]
        )
    return Table("Similar items", ["item", "nearest"], rows)
