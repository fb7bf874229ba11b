"""The classifier's codec: batches by length, class weights, refitting on all records, and restoring."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from longspan.tasks.classify.codec import ClassifierCodec
from longspan.tasks.classify.example_batches import ExampleBatches
from longspan.tasks.classify.explaining import attribution
from longspan.tasks.classify.layout import Layout
from longspan.tasks.classify.reading import read_examples
from longspan.tasks.classify.text_encoder import TextEncoder


def test_balanced_rows_weigh_by_class():
    records = read_examples(["x"] * 10, ["a"] * 8 + ["b"] * 2)
    codec = ClassifierCodec(TextEncoder("words")).fit(records)
    batch = next(iter(ExampleBatches(codec, records, 64, train=False, balanced=True)))
    assert batch.weight is None, "only training is balanced"
    batches = ExampleBatches(codec, records, 10, train=True, balanced=True)
    weights: set[tuple[int, float]] = set()
    for one in batches:
        assert one.weight is not None
        weights |= set(zip(one.y.tolist(), one.weight.tolist(), strict=True))
    assert weights == {(0, 0.625), (1, 2.5)}


def test_balanced_steps_and_many_labels_weigh_by_class():
    steps = read_examples(["x x x x", "x x"], [list("aaab"), list("aa")], layout=Layout(labels="token"))
    codec = ClassifierCodec(TextEncoder("words")).fit(steps)
    (batch, *_) = ExampleBatches(codec, steps, 2, train=True, balanced=True)
    assert batch.weight is not None and batch.weight.shape == batch.y.shape == (2, 4)
    assert batch.weight[batch.y == 0].unique().tolist() == pytest.approx([6 / 10])
    assert batch.weight[batch.y == 1].tolist() == [3.0]
    many = read_examples(["x"] * 4, [("a", "b"), ("a",), ("a",), ("b",)])
    codec = ClassifierCodec(TextEncoder("words")).fit(many)
    (batch, *_) = ExampleBatches(codec, many, 4, train=True, balanced=True)
    assert batch.weight is not None
    for column in (0, 1):
        ones = batch.y[:, column] > 0
        assert batch.weight[ones, column].sum() == batch.weight[~ones, column].sum() == 2.0


def test_series_of_one_length_are_spread_over_batches():
    records = read_examples([np.ones((4 + n, 1)) * n for n in range(64)], [n % 2 for n in range(64)])
    batches = ExampleBatches(ClassifierCodec().fit(records), records, 16, train=True)
    spread = [
        int(batch.lengths.max() - batch.lengths.min()) for batch in batches if batch.lengths is not None
    ]
    assert min(spread) > 20


def test_texts_of_similar_length_share_a_batch():
    records = read_examples(["x " * (1 + n % 40) for n in range(320)], [n % 2 for n in range(320)])
    batches = ExampleBatches(ClassifierCodec(TextEncoder("words")).fit(records), records, 32, train=True)
    spread = [int(one.lengths.max() - one.lengths.min()) for one in batches if one.lengths is not None]
    assert len(spread) == len(batches) >= 32 and max(spread) < 20


def test_few_records_make_small_batches():
    records = read_examples(["x y"] * 40, [0, 1] * 20)
    batches = ExampleBatches(ClassifierCodec(TextEncoder("words")).fit(records), records, 64, train=True)
    assert batches.batch_size == 16 and len(list(batches)) == len(batches) == 33


def test_lengths_of_series_are_padded_to_few_different_ones():
    records = read_examples([np.ones((4 + n, 1)) * n for n in range(64)], [n % 2 for n in range(64)])
    batches = ExampleBatches(ClassifierCodec().fit(records), records, 16, train=True)
    assert {batch.x.shape[1] for batch in batches} <= {32, 48, 64, 80}


def test_scores_of_padding_are_cut_off():
    layout = Layout(labels="token")
    records = read_examples(["a b c", "a"], [list("xyx"), list("y")], layout=layout)
    codec = ClassifierCodec(TextEncoder()).fit(records)
    found = codec.decode([torch.randn(2, 3, 2)], records)
    assert [one.shape for one in found] == [(3, 2), (1, 2)]
    codec.calibrate([torch.randn(2, 3, 2)], records)
    assert codec.labels.calibration["rows"] == 2 and codec.head is None


def test_a_refit_keeps_what_the_held_out_part_chose():
    first, more = (read_examples(["a b", "b c d"] * n, [0, 1] * n) for n in (4, 8))
    codec = ClassifierCodec(TextEncoder("characters"), refit=True).fit(first)
    codec.labels.temperature, codec.labels.calibration = 1.5, {"rows": 3}
    again = codec.refit(more)
    assert again is not codec and again.text_encoder.token_level == "characters" and again.records == 16
    assert (again.labels.temperature, again.labels.calibration) == (1.5, {"rows": 3})


def test_the_linear_model_alone_is_fitted_to_all_records():
    first, more = (
        read_examples(["a b", "b c d"] * n + ["e"] * (n > 4), [0, 1] * n + [1] * (n > 4)) for n in (4, 8)
    )
    codec = ClassifierCodec(TextEncoder("words", max_ngram=1)).fit(first)
    assert codec.linear is not None
    before = len(codec.linear.table)
    assert codec.refit(more) is codec and len(codec.linear.table) == before + 1
    silent = torch.zeros(17, 2)
    assert (codec.scores([silent], more).argmax(1) == torch.tensor([0, 1] * 8 + [1])).all()
    codec.linear.weight.fill_(0.0)
    assert codec.scores([silent], more).equal(silent)
    codec.linear.weight.fill_(2.0)
    spoke = attribution(codec, torch.zeros(1, 1, 1), more, torch.ones(17, dtype=torch.int64))
    expected = codec.scores([silent], more)[:, 1] - 2.0 * codec.linear.bias[1]
    torch.testing.assert_close(spoke.sum(1), expected)


@pytest.mark.parametrize("series", [False, True])
def test_the_saved_state_restores_the_codec(series: bool):
    inputs = [np.ones((3 + n % 2, 2)) * n for n in range(8)] if series else ["a b", "b c d"] * 4
    records = read_examples(inputs, [0, 1] * 4)
    codec = ClassifierCodec(TextEncoder(max_ngram=2)).fit(records)
    again = ClassifierCodec().restore(codec.state())
    assert again.sizes == codec.sizes and again.inputs.max_length == codec.inputs.max_length
    for mine, its in zip(codec.rows(records), again.rows(records), strict=True):
        assert mine.equal(its)
