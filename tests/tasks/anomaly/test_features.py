"""Features are the same one by one and over a series; windows leave out missing and anomalous readings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from longspan.tasks.anomaly.features import MAX_CATEGORIES, FeatureEncoder
from longspan.tasks.anomaly.reading import Series


def series(rows: int = 60, flags: np.ndarray | None = None) -> Series:
    draw = np.random.default_rng(0)
    numbers = np.column_stack([draw.normal(20.0, 4.0, rows), draw.normal(size=rows)])
    numbers[5, 0] = np.nan
    words = np.array([["day" if at % 3 else "night"] for at in range(rows)], dtype=object)
    return Series("a", None, ("heat", "load"), numbers, ("mode",), words, flags)


def test_features_of_a_series_equal_those_of_its_readings_one_by_one() -> None:
    known, one = FeatureEncoder(("heat", "mode")).fit([series()]), series()
    inputs, targets, last = known.encode(one)
    assert inputs.shape == (60, known.sizes["inputs"]) == (60, 3 + 2 + 3) and targets.shape == (60, 2)
    assert known.monitored == ["heat", "mode"] and known.sizes["categories"] == [3]
    before = known.start()
    for at, (numbers, words) in enumerate(zip(one.numbers.tolist(), one.words.tolist(), strict=True)):
        row, target = known.encode_row(numbers, words, before)
        assert np.array_equal(np.array(row, dtype=np.float32), inputs[at])
        assert np.array_equal(np.array(target, dtype=np.float32), targets[at], equal_nan=True)
    assert before == last
    heat = (one.numbers[6, 0] - known.center[0]) / known.scale[0]
    assert targets[6, 0] == pytest.approx(math.asinh(heat))
    assert inputs[5, 2] == 1.0 and inputs[5, 0] == inputs[4, 0], "missing: as last seen, and said to be"
    assert inputs[6, 1] == pytest.approx(inputs[6, 0] - inputs[4, 0])


def test_rare_and_unknown_categories_share_a_code() -> None:
    words = np.array(
        [[str(min(at // 2, MAX_CATEGORIES + 4))] for at in range(4 * MAX_CATEGORIES)], dtype=object
    )
    one = Series(None, None, (), np.empty((len(words), 0)), ("user",), words, None)
    known = FeatureEncoder(()).fit([one])
    assert known.sizes["categories"] == [MAX_CATEGORIES + 1]
    places = {word: known.encode_row([], [word], [])[1][0] for word in ("0", "53", "never")}
    assert (
        places["never"] == 0 and places["0"] > 0 and sorted(known.indices[0].values())[-1] == MAX_CATEGORIES
    )


def test_the_saved_state_encodes_the_same() -> None:
    known = FeatureEncoder(("load",)).fit([series()])
    again = FeatureEncoder(("load",)).restore(known.state())
    assert again.monitored == ["load"] and again.monitored_scales == known.monitored_scales
    for one, other in zip(again.encode(series())[:2], known.encode(series())[:2], strict=True):
        assert np.array_equal(one, other, equal_nan=True)


def test_windows_leave_out_missing_readings_and_known_anomalies() -> None:
    flags = np.zeros(60, dtype=bool)
    flags[30] = True
    known = FeatureEncoder(("heat",)).fit([series()])
    batch = next(iter(known.windows([series(flags=flags)], 60, 4, ahead=True)))
    targets, weight = batch.y, batch.weight
    assert weight is not None
    assert targets.shape == (1, 60, 1) and weight[0, -1] == 0.0, "the last has no next one"
    assert (1.0 - weight[0, :59, 0]).nonzero().flatten().tolist() == [4, 29]
    whole = known.encode_series(series(flags=flags), ahead=True)
    assert whole.weight is not None
    assert np.array_equal(whole.y[:, :59], targets[:, :59]) and whole.weight.equal(weight)
    same = known.encode_series(series(), ahead=False)
    assert same.y[0, 1:].equal(whole.y[0, :-1])


def test_short_series_are_padded() -> None:
    known = FeatureEncoder(()).fit([series(60), series(9)])
    batches = known.windows([series(60), series(9)], 20, 64, ahead=False)
    short = [int((row.sum(-1) > 0).sum()) for batch in batches for row in torch.as_tensor(batch.weight)]
    assert min(short) == 9 and max(short) == 20
