"""Numbers and categories of a record get one scale, whatever their units, tails and rare values."""

from __future__ import annotations

import numpy as np
import pytest

from longspan.tasks.classify.static_encoder import StaticEncoder


def test_heavy_tails_stay_on_one_scale() -> None:
    sizes = [float(10**power) for power in range(12)]
    rows = StaticEncoder(["size"]).fit([(size,) for size in sizes]).rows([(size,) for size in sizes])
    assert rows[:, 0].tolist() == pytest.approx(np.linspace(-1, 1, 12).tolist(), abs=0.02)
    assert rows[:, 1].abs().max() < 4 and (rows[:, 1].diff() > 0).all()


def test_rare_and_unseen_categories_share_a_value() -> None:
    encoder = StaticEncoder(["kind"]).fit([("a",), ("a",), ("b",), ("b",), ("rare",)])
    assert encoder.width == 3
    assert encoder.rows([("b",), ("rare",), ("new",), (None,)]).tolist() == [
        [0, 1, 0],
        [0, 0, 1],
        [0, 0, 1],
        [0, 0, 0],
    ]


def test_missing_numbers_are_told_apart_where_training_had_some() -> None:
    encoder = StaticEncoder(["x"]).fit([(1.0,), (None,), (3.0,)])
    assert encoder.rows([(None,), (2.0,)])[:, 2].tolist() == [1.0, 0.0]
    assert StaticEncoder(["x"]).fit([(1.0,), (2.0,)]).rows([(None,)]).tolist() == [[0.0, 0.0]]


def test_a_constant_column_is_zero() -> None:
    assert StaticEncoder(["x"]).fit([(4.0,)] * 3).rows([(4.0,)]).tolist() == [[0.0, 0.0]]


def test_what_cannot_be_encoded_is_said() -> None:
    encoder = StaticEncoder(["x"]).fit([(1.0,), (2.0,)])
    with pytest.raises(ValueError, match="x: expected numbers, as in training, received 'high'"):
        encoder.rows([("high",)])
    with pytest.raises(ValueError, match="x: expected at least one value, received none"):
        StaticEncoder(["x"]).fit([(None,)])


def test_a_saved_encoder_encodes_alike() -> None:
    encoder = StaticEncoder(["x", "k"]).fit([(1.0, "a"), (5.0, "b"), (None, "a")])
    again = StaticEncoder.from_state(encoder.state())
    assert again.rows([(2.0, "b")]).equal(encoder.rows([(2.0, "b")]))
