"""Recommender: answers in kind, pasts, unknown users and items, updates, similar items, bad requests."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import longspan as ls
from longspan.errors import LongspanWarning
from longspan.report.elements import Table
from longspan.tasks.recommend.report import _scored_events

pytestmark = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")

SMALL: dict[str, Any] = {"hidden_size": 8, "embedding_size": 8, "epochs": 2, "learning_rate": 0.02}
SURE: dict[str, Any] = {
    **SMALL,
    "patience": None,
    "dropout": 0.0,
    "embedding_dropout": 0.0,
    "neighbors": False,
}


def walks(users: int = 60, *, first: int = 0, items: int = 12) -> pl.DataFrame:
    """Users who go from item to item in steps of one, without repeats."""
    rows = [
        (f"{user:04d}", (user + step) % items, 100 * user + step)
        for user in range(first, first + users)
        for step in range(4 + user % 3)
    ]
    return pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")


@cache
def fitted() -> ls.Recommender:
    """One fit that no test changes."""
    return ls.Recommender(**{**SMALL, "epochs": 8}).fit(walks(), verbose=0)


def copy(tmp_path: Path) -> Any:
    fitted().save(tmp_path / "model")
    return ls.load(tmp_path / "model")


def test_it_learns_the_walk() -> None:
    scores = fitted().evaluate(walks(20, first=60))
    assert scores["hr@10"] > 0.95 and scores["mrr@10"] > 0.8 > scores["popular_mrr@10"]
    assert scores["markov_mrr@10"] > 0.9 and 0.0 < scores["coverage@10"] <= 1.0


def test_predict_answers_k_unseen_items_of_every_user() -> None:
    found = fitted().predict(k=3)
    assert found.columns == ["user", "rank", "item", "score"]
    assert found["rank"].to_list() == [1, 2, 3] * 60
    assert found["user"].unique(maintain_order=True).to_list() == [f"{user:04d}" for user in range(60)]
    seen = walks().select("user", "item")
    assert found.join(seen, on=["user", "item"]).height == 0
    again = fitted().predict(k=3, exclude_seen=False)
    assert again.join(seen, on=["user", "item"]).height > 0
    assert (found["score"] > 0).all() and found["score"].sum() <= 60


def test_fewer_items_are_answered_where_a_user_has_seen_the_others() -> None:
    every = pl.DataFrame({"user": ["new"] * 10, "item": list(range(10)), "time": list(range(10))})
    found = fitted().predict(every, k=12)
    assert sorted(found["item"].to_list()) == [10, 11]


def test_pandas_comes_back_as_pandas_and_ids_keep_their_type() -> None:
    asked = walks(2, first=70)
    of_pandas = fitted().predict(asked.to_dict(as_series=False) | {})
    assert isinstance(of_pandas, pl.DataFrame)
    frame = fitted().predict(pd.DataFrame(asked.to_dict(as_series=False)))
    assert isinstance(frame, pd.DataFrame) and list(frame.columns) == ["user", "rank", "item", "score"]
    assert frame["user"].iloc[0] == "0070" and frame["item"].dtype.kind == "i"


def test_later_events_follow_the_known_past() -> None:
    past = walks().filter(pl.col("user") == "0003")
    later = pl.DataFrame({"user": ["0003"], "item": [past["item"][-1] + 1], "time": [10_000]})
    new = pl.concat([past, later]).with_columns(user=pl.lit("new"))
    known, unknown = fitted().predict(later), fitted().predict(new)
    assert known["item"].to_list() == unknown["item"].to_list()
    assert known["score"].to_list() == pytest.approx(unknown["score"].to_list(), rel=1e-4)
    whole = fitted().predict(pl.concat([past, later]))
    assert whole.equals(known), "events of the past are not read twice"
    with pytest.warns(LongspanWarning, match=r"^\d events are of their users' known past"):
        fitted().predict(past)


def test_evaluate_ranks_each_event_after_its_past() -> None:
    past = walks().filter(pl.col("user") == "0003")
    later = pl.DataFrame({"user": ["0003"], "item": [past["item"][-1] + 1], "time": [10_000]})
    one = fitted().evaluate(later)
    assert fitted().evaluate(pl.concat([past, later])) == one
    with pytest.raises(ValueError, match=r"^source: expected later events of known users, or users with two"):
        fitted().evaluate(past)
    with pytest.raises(ValueError, match=r"^source: expected later events"):
        fitted().evaluate(pl.DataFrame({"user": ["new"], "item": [1], "time": [1]}))


def test_users_without_events_are_recommended_the_popular_items() -> None:
    counts = walks()["item"].value_counts(sort=True)
    found = fitted().predict(pl.DataFrame({"user": ["nobody"]}), k=1)
    assert found["user"].to_list() == ["nobody"]
    most = counts.filter(pl.col("count") == counts["count"].max())["item"].to_list()
    assert found["item"][0] in most and fitted().recommend("nobody", 1)["item"][0] in most


def test_unknown_items_are_said_and_say_nothing() -> None:
    asked = pl.DataFrame({"user": ["new"] * 2, "item": [4, 99], "time": [1, 2]})
    with pytest.warns(LongspanWarning, match="1 items have not been seen in training, such as 99"):
        found = fitted().predict(asked)
    assert 99 not in found["item"]
    with pytest.warns(LongspanWarning, match="they count as misses"):
        scores = fitted().evaluate(asked)
    assert scores["hr@10"] == 0.0 == scores["knn_hr@10"]


def test_updates_are_answered_saved_and_taken_into_predict(tmp_path: Path) -> None:
    task = copy(tmp_path)
    for item in (3, 4, 5):
        task.update("newcomer", item)
    task.update("0003", 0)
    answer = task.recommend("newcomer", 4)
    assert answer["item"][0] == 6 and answer["user"].to_list() == ["newcomer"] * 4
    table = task.predict(pl.DataFrame({"user": ["newcomer"]}), k=4)
    assert table["item"].to_list() == answer["item"].to_list()
    assert table["score"].to_list() == pytest.approx(answer["score"].to_list(), rel=1e-4)
    task.save(tmp_path / "later")
    again: Any = ls.load(tmp_path / "later")
    assert again.recommend("newcomer", 4).equals(answer)
    again.update("newcomer", 6)
    assert again.recommend("newcomer", 1)["item"][0] == 7
    assert again.predict()["user"].n_unique() == 61
    assert 0 not in again.predict(pl.DataFrame({"user": ["0003"]}))["item"], "an update is seen"
    assert task.recommend("0003", 2).equals(ls.load(tmp_path / "later").recommend("0003", 2))  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(("user", "item"), [(None, 3), (" ", 3), ("newcomer", None), ("newcomer", np.nan)])
def test_an_update_without_an_id_is_refused(user: Any, item: Any, tmp_path: Path) -> None:
    task = copy(tmp_path)
    with pytest.raises(ValueError, match=r"expected an id, received (None|nan|' '); pass the (user|item)"):
        task.update(user, item)
    assert task.predict()["user"].n_unique() == 60


def test_numbers_are_users_too() -> None:
    lists = [[(user + step) % 7 for step in range(5)] for user in range(30)]
    task = ls.Recommender(**SMALL).fit(lists, verbose=0)
    with pytest.raises(
        ValueError, match=r"^source: expected sequences or events, received none, as the model"
    ):
        task.predict()
    task.update(5, 3)
    task.update("6", 3)
    task.update(5.0, 4)
    assert task.predict(k=1)["user"].to_list() == ["5", "6"]
    assert task.recommend(5, 1)["item"].to_list() == task.recommend("5", 1)["item"].to_list()


def test_similar_items() -> None:
    found = fitted().similar(3, k=4)
    assert found.columns == ["rank", "item", "score"] and found["rank"].to_list() == [1, 2, 3, 4]
    assert found["score"].is_sorted(descending=True) and 3 not in found["item"]
    vectors = fitted().network_.all_item_vectors()[0].numpy()
    numbers = {item: number for number, item in enumerate(fitted().codec_.items.ids.to_list(), 1)}
    one, other = vectors[numbers[3]], vectors[numbers[found["item"][0]]]
    assert found["score"][0] == pytest.approx(
        float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    )
    with pytest.raises(ValueError, match=r"^item: expected an item that training has seen, received 'x'"):
        fitted().similar("x")
    with pytest.raises(ValueError, match=r"^k: expected at most the number of other items, 11, received 12"):
        fitted().similar(3, k=12)


@pytest.mark.parametrize(
    ("source", "options", "sentence"),
    [
        (
            walks().filter(pl.col("user") == "0001"),
            {},
            "column user: expected at least two users, received one",
        ),
        (walks().with_columns(item=pl.lit(1)), {}, "column item: expected at least two items, received one;"),
        (
            walks().drop("time"),
            {},
            "time: expected a column of source (user, item), received 'time'; name it",
        ),
        (
            walks().group_by("user").first(),
            {},
            "source: expected users with two events or more, received one",
        ),
        (
            walks(),
            {"context": ("place",)},
            "context: expected a column of source (user, item, time), received",
        ),
        (walks(), {"attributes": ("kind",)}, "attributes: expected a column of source (user, item, time), "),
        (walks(), {"holdout": "tme"}, "holdout: expected one of 'leave-one-out', 'time', 'users', received"),
    ],
)
def test_a_source_that_cannot_be_learnt_is_told(source: Any, options: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"^" + re.escape(sentence)):
        ls.Recommender(**SMALL, **options).fit(source, verbose=0)


def test_bad_requests_are_told() -> None:
    with pytest.raises(
        ValueError, match=r"^k: expected at most the number of items, 12, received 13; ask for"
    ):
        fitted().predict(k=13)
    with pytest.raises(ValueError, match=r"^k: expected a whole number of at least 1, received 0"):
        fitted().predict(k=0)
    with pytest.raises(ValueError, match=r"^y: expected None"):
        ls.Recommender(**SMALL).fit(walks(), [1, 2])
    zeros = pl.DataFrame({"user": ["3"], "item": [1], "time": [10_000]})
    with pytest.raises(
        ValueError, match=r"^column user: expected ids as in fit, such as '0003', received '3'"
    ):
        fitted().predict(zeros)


def test_context_and_attributes_are_learnt_from() -> None:
    draw = np.random.default_rng(0)
    rows = []
    for user in range(120):
        for step in range(5):
            place = str(draw.choice(["left", "right"]))
            rows.append((user, int(draw.integers(0, 8)), step, place))
    frame = pl.DataFrame(rows, schema=["user", "item", "time", "place"], orient="row")
    # the next item depends on the place of the event before
    before = pl.col("place").shift(1).over("user")
    step = pl.when(before == "left").then(0).otherwise(1)
    frame = frame.with_columns(item=pl.when(pl.col("time") == 0).then(pl.col("item")).otherwise(2 + step))
    options = {**SURE, "epochs": 8}
    test = frame.filter(pl.col("user") >= 100).with_columns(user=pl.col("user") + 1000)
    train = frame.filter(pl.col("user") < 100)
    with_place = ls.Recommender(**options, context=("place",)).fit(train, verbose=0)
    without = ls.Recommender(**options).fit(train, verbose=0)
    own, other = (task.evaluate(test, exclude_seen=False)["mrr@10"] for task in (with_place, without))
    assert own > 0.95 > 0.85 > other
    with_place.update("a", 1, context={"place": "left"})
    assert with_place.recommend("a", 1, exclude_seen=False)["item"][0] == 2
    with_place.update("a", 2, context={"place": "right"})
    assert with_place.recommend("a", 1, exclude_seen=False)["item"][0] == 3


def test_items_without_events_are_recommended_by_their_attributes(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    rows = [
        (user, 10 * (user % 2) + int(draw.integers(0, 6)), step) for user in range(150) for step in range(6)
    ]
    frame = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    kinds = {item: "tea" if item < 10 else "tool" for item in [*range(7), *range(10, 17)]}
    pl.DataFrame({"item": list(kinds), "kind": list(kinds.values())}).write_csv(tmp_path / "items.csv")
    task = ls.Recommender(
        **{**SURE, "epochs": 6, "item_dropout": 0.5}, attributes=("kind",),
        item_table=str(tmp_path / "items.csv"),
    ).fit(frame, verbose=0)  # fmt: skip
    assert {6, 16} <= set(task.codec_.items.ids.to_list()) and len(task.codec_.items) == 14
    asked = pl.DataFrame({"user": ["x"] * 3, "item": [1, 2, 3], "time": [1, 2, 3]})
    scores = dict(task.predict(asked, k=14, exclude_seen=False).select("item", "score").iter_rows())
    assert scores[6] > 3 * scores[16], "a tea without events is nearer to teas than a tool"
    task.save(tmp_path / "model")
    (tmp_path / "items.csv").unlink()
    assert ls.load(tmp_path / "model").predict(asked).equals(task.predict(asked))
    assert 16 in task.similar(11, k=7)["item"]


@pytest.mark.parametrize("options", [{"loss": "bpr_max"}, {"loss": "sampled_softmax"}, {"cell": "LSTM"}])
def test_other_losses_and_cells_learn_too(options: Any) -> None:
    options = {**SURE, "epochs": 10, "num_samples": 6, **options}
    scores = ls.Recommender(**options).fit(walks(120), verbose=0).evaluate(walks(20, first=120))
    assert scores["mrr@10"] > 1.5 * scores["popular_mrr@10"]


def test_validation_data_follow_the_training_events() -> None:
    events = walks()
    last = pl.col("time") == pl.col("time").max().over("user")
    task = ls.Recommender(**SMALL).fit(events.filter(~last), validation_data=events.filter(last), verbose=0)
    assert len(task.history_.history["val_ndcg@10"]) == 2 and task.codec_.validation["hr@10"] > 0
    whole = ls.Recommender(**SMALL, validation_fraction=0.0).fit(events, verbose=0)
    assert whole.codec_.scorer.weights == (1.0, 0.0, 0.0, 0.0) and not whole.codec_.validation
    assert "val_loss" not in whole.history_.history


def test_training_stops_by_the_ranking_and_keeps_the_best(tmp_path: Path) -> None:
    task = ls.Recommender(**{**SMALL, "epochs": 30, "patience": 2}).fit(walks(), verbose=0)
    ranked = task.history_.history["val_ndcg@10"]
    assert len(ranked) < 30 and ranked.index(max(ranked)) == len(ranked) - 3
    assert task.history_.stopped and "val_ndcg@10" in task.history_.stopped


def test_tune_searches_the_options() -> None:
    pytest.importorskip("optuna", reason="optuna is not installed")
    task = ls.Recommender(**SMALL).tune(walks(), space={"cell": ["GRU", "LSTM"]}, trials=2, verbose=0)
    assert len(task.tuned_) == 2 and task.cell == task.tuned_[0][1]["cell"]


def test_the_report_compares_with_the_baselines() -> None:
    for source in (None, walks(10, first=60)):
        sections = {section.title: section for section in fitted().sections(source)}
        assert ("Rankings" in sections) == ("Worst cases" in sections) == (source is not None)
        table = next(one for one in sections["Summary"].elements if one.title == "Beside baselines")
        names = [row[0] for row in table.rows]  # pyright: ignore[reportAttributeAccessIssue]
        assert names == ["longspan", "most popular", "followers of the last item", "item kNN"]


def test_the_report_lists_the_events_with_the_worst_ranks() -> None:
    task, source = fitted(), walks(10, first=60)
    section = next(one for one in task.sections(source) if one.title == "Worst cases")
    (table,) = section.elements
    assert isinstance(table, Table)
    ranks = [row[-1] for row in table.rows]
    records = task.read(source, use="evaluate", fitted=task.fitted_)
    answers = task._answers(task.fitted_, records)
    assert ranks == sorted(answers.rankings.ranks[:, 0].tolist(), reverse=True)[:10]
    events = _scored_events(answers)
    for row in np.flatnonzero(answers.rankings.ranks[:, 0] == 1):
        best = task.codec_.items.ids[int(answers.rankings.items[row, 0]) - 1]
        assert best == records.items[int(records.item[events[row]])], "the event is the one that was ranked"


def test_few_events_are_gone_through_more_often() -> None:
    lists = [[(user + step) % 7 for step in range(5)] for user in range(30)]
    few = ls.Recommender().read(lists)
    many = ls.Recommender().read(lists * 900)
    for task, events, epochs in ((ls.Recommender(), few, 60), (ls.Recommender(), many, 10)):
        assert task.codec().fit(events).epochs == epochs
