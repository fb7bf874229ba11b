"""Records: numbers and categories are judged together, given the entity, one by one as in a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import longspan as ls
from longspan.tasks.anomaly.injection import injected_auc
from longspan.tasks.anomaly.record_models import EntityProfile, NumberBins, RecordEncoder, TreeLikelihood

SMALL: dict[str, Any] = {"hidden_size": 8, "epochs": 3, "kind": "records"}


def records(rows: int, seed: int = 0) -> pl.DataFrame:
    """Connections: small ones by udp, large ones by tcp, with a heavy tail."""
    draw = np.random.default_rng(seed)
    tcp = draw.random(rows) < 0.5
    size = np.exp(np.where(tcp, 8.0, 3.0) + 0.8 * draw.normal(size=rows))
    service = np.where(tcp, draw.choice(["http", "ftp"], rows), "dns")
    return pl.DataFrame(
        {
            "protocol": np.where(tcp, "tcp", "udp"),
            "service": service,
            "size": size,
            "x": draw.normal(size=rows),
        }
    )


def odd(rows: int) -> pl.DataFrame:
    """Large connections by udp, which no single column shows, and a service never seen."""
    frame = records(rows, 9)
    mixed = frame.with_columns(
        protocol=pl.when(pl.col("protocol") == "udp").then(pl.lit("tcp")).otherwise(pl.lit("udp"))
    )
    return pl.concat([mixed[: rows // 2], frame[rows // 2 :].with_columns(service=pl.lit("irc"))])


@pytest.fixture(scope="module")
def fitted() -> ls.AnomalyDetector:
    return ls.AnomalyDetector(**SMALL).fit(records(1500), verbose=0)


def test_unlikely_combinations_and_unseen_categories_are_found(fitted: ls.AnomalyDetector) -> None:
    normal, strange = fitted.predict(records(500, 3)), fitted.predict(odd(100))
    assert injected_auc(normal["score"].to_numpy(), strange["score"].to_numpy()) > 0.98
    assert normal["alarm"].mean() < 0.03 and strange["alarm"].mean() > 0.8
    assert set(strange["cause"][50:].drop_nulls()) <= {"service", "protocol"}
    scorer: Any = fitted.codec_.scorer
    assert "likelihood" in scorer.used


def test_records_are_scored_one_by_one_as_in_a_table(fitted: ls.AnomalyDetector, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    task: Any = ls.load(tmp_path / "model")
    table = pl.concat([records(20, 4), odd(20)])
    answers = fitted.predict(table)
    assert task.predict(table).equals(answers)
    stream = [task.update(row) for row in table.to_dicts()]
    np.testing.assert_allclose([score for score, _ in stream], answers["score"], rtol=1e-4, atol=1e-4)
    missing = task.update({"protocol": None, "service": "dns", "size": None, "x": 0.0})
    assert np.isfinite(missing[0])


def test_every_record_counts_by_itself(fitted: ls.AnomalyDetector) -> None:
    table, flags = pl.concat([records(200, 5), odd(40)]), np.arange(240) >= 200
    scores = fitted.evaluate(table, flags)
    assert scores["recall"] > 0.8 and scores["precision"] > 0.8
    assert len(fitted.alarms(table)) == int(fitted.predict(table)["alarm"].sum())


def test_known_anomalies_choose_the_models() -> None:
    table, flags = pl.concat([records(600, 6), odd(60)]), np.arange(660) >= 600
    task = ls.AnomalyDetector(**SMALL).fit(table, flags, verbose=0)
    assert list(task.codec_.scorer.detected) == ["known"]
    assert task.predict(odd(40))["alarm"].mean() > 0.8


def logins(rows: int, seed: int) -> pl.DataFrame:
    """Ten users, each with a place of its own."""
    draw = np.random.default_rng(seed)
    user = draw.integers(0, 10, rows)
    return pl.DataFrame(
        {"user": [f"u{n}" for n in user], "place": [f"p{n}" for n in user], "bytes": draw.normal(size=rows)}
    )


def test_a_record_is_judged_by_the_past_of_its_entity() -> None:
    task = ls.AnomalyDetector(**SMALL, id="user").fit(logins(1000, 0), verbose=0)
    new = logins(200, 1)
    odd_one = (pl.int_range(pl.len()).over("user") == 5) & (pl.col("user") != "u3")
    strange = new.with_columns(place=pl.when(odd_one).then(pl.lit("p3")).otherwise("place"))
    answers = task.predict(strange)
    fifth = (pl.int_range(pl.len()).over("id") == 5) & (pl.col("id") != "u3")
    scorer: Any = task.codec_.scorer
    assert "entity" in scorer.used
    assert answers.filter(fifth)["alarm"].mean() > 0.7 and answers.filter(~fifth)["alarm"].mean() < 0.05
    assert task.predict(new.with_columns(user=pl.lit("new")))["score"].is_finite().all()


def test_tree_likelihood_sees_pairs_of_columns() -> None:
    draw = np.random.default_rng(0)
    first = draw.integers(0, 3, 500)
    codes = np.stack([first, first, draw.integers(0, 2, 500)], 1)
    tree = TreeLikelihood.fit(codes, [4, 4, 2])
    likely, unlikely = tree.terms(np.array([[0, 0, 0], [0, 1, 0]])).sum(1)
    assert unlikely > likely + 3.0
    assert sorted(tree.parents)[0] == -1 and tree.parents[1] == 0


def test_encoders_of_numbers() -> None:
    values = np.array([0.0] * 50 + [float(n) for n in range(1, 51)])
    bins = NumberBins.fit(values)
    codes = bins.codes(np.array([0.0, 25.0, 99.0, -1.0, np.nan]))
    assert len(set(codes.tolist())) == 5 and codes.max() < bins.size
    encoder = RecordEncoder.fit(values[:, None], np.empty((100, 0), dtype=np.int64), [])
    low, middle, high, beyond = encoder.scored(np.array([[0.0], [25.0], [50.0], [500.0]]))[:, 0]
    assert low < middle < high < beyond


def test_a_profile_shrinks_towards_all_entities() -> None:
    profile = EntityProfile.new(1, [3])
    frequencies = [np.array([0.0, 0.9, 0.1])]
    before = profile.terms(np.zeros(1), np.array([2]), frequencies)[1]
    for _ in range(20):
        profile.add(np.full(1, 2.0), np.array([2]))
    after = profile.terms(np.full(1, 2.0), np.array([2]), frequencies)
    assert (
        after[1] < 0.2 < before and after[0] < profile.terms(np.full(1, -1.0), np.array([2]), frequencies)[0]
    )
    again = EntityProfile.from_state(profile.state())
    assert again.count == 20 and np.array_equal(again.means, profile.means)
