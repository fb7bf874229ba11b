"""The linear model equals scikit-learn's regression, and its weight is chosen on held-out labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from longspan.tasks.classify.codec import ClassifierCodec
from longspan.tasks.classify.linear import NBSVM, LinearHeadSelection, fit_path
from longspan.tasks.classify.reading import read_examples
from longspan.tasks.classify.text_encoder import TextEncoder
from longspan.tasks.classify.text_head import TextHead


def flat(rows: list[dict[int, float]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    numbers = torch.tensor([number for row in rows for number in row])
    weights = torch.tensor([weight for row in rows for weight in row.values()])
    starts = torch.tensor([0, *(len(row) for row in rows[:-1])]).cumsum(0)
    return numbers, weights, starts


@pytest.mark.parametrize("C", [0.5, 5.0])
def test_the_linear_model_is_scikit_learns_regression_of_weighed_features(C: float):
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    draw = np.random.default_rng(0)
    rows = [
        {int(n): float(draw.uniform(0.2, 1)) for n in draw.choice(7, 3, replace=False) + 1} for _ in range(60)
    ]
    rows[5] = {}
    y = np.array([int(draw.random() < (0.8 if 1 in row else 0.3)) for row in rows])
    dense = np.zeros((60, 8))
    for place, row in enumerate(rows):
        dense[place, list(row)] = list(row.values())
    shares = [1.0 + (dense[y == one] > 0).sum(0) for one in (0, 1)]
    ratio = np.log(shares[1] / shares[1].sum()) - np.log(shares[0] / shares[0].sum())
    # two classes have twice the values, so the half of the C
    plain = linear.LogisticRegression(C=2 * C, tol=1e-8, max_iter=1000).fit(dense * ratio, y)
    wide = NBSVM(8, 2).fit(*flat(rows), torch.from_numpy(y), C=C)
    found = wide.scores(*flat(rows)).softmax(-1)
    np.testing.assert_allclose(found, plain.predict_proba(dense * ratio), atol=2e-3)
    weighed = NBSVM(8, 2).fit(
        *flat(rows), torch.from_numpy(y), C=C, sample_weight=torch.from_numpy(1.0 + 4.0 * (y == 1))
    )
    assert (weighed.scores(*flat(rows)).softmax(-1)[:, 1].mean() - found[:, 1].mean()) > 0.1


def test_the_linear_model_learns_many_labels():
    rows = [{1: 1.0}, {2: 1.0}, {1: 0.7, 2: 0.7}, {3: 1.0}]
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    found = NBSVM(4, 2).fit(*flat(rows), y, C=100.0).scores(*flat(rows))
    assert ((found > 0) == (y > 0)).all()


def test_padded_n_grams_give_the_scores_of_flat_ones():
    torch.manual_seed(0)
    wide = NBSVM(6, 3, (1, 2))
    wide.table.normal_()
    numbers = torch.tensor([[[1, 0], [2, 4]], [[5, 0], [0, 0]]])
    weights = torch.tensor([[[0.5, 0.0], [0.3, 0.8]], [[1.0, 0.0], [0.0, 0.0]]])
    expected = wide.scores(numbers.flatten(), weights.flatten(), torch.tensor([0, 4]))
    torch.testing.assert_close(wide(numbers, weights), expected)
    spoke = wide.attribution(numbers, weights, torch.tensor([2, 0]))
    torch.testing.assert_close(spoke.sum(1), torch.stack([expected[0, 2], expected[1, 0]]))
    pair = 0.8 * wide.table[4, 2] / 2
    torch.testing.assert_close(spoke[0], torch.stack([0.5 * wide.table[1, 2], 0.3 * wide.table[2, 2]]) + pair)


def test_the_weight_of_the_linear_model_is_chosen_on_held_out_labels():
    records = read_examples(["good", "poor"] * 100, [0, 1] * 100)
    codec = ClassifierCodec(TextEncoder("words", max_ngram=1)).fit(records)
    head, texts = codec.head, [record.input for record in records]
    assert isinstance(head, TextHead) and head.encoder.features is not None
    truth, rows = torch.tensor([0, 1] * 100), head.concatenated(texts)
    start = NBSVM(head.encoder.features.size, 2)
    models = fit_path(start, rows, truth, [10.0, 100.0], codec.labels.class_weights(truth, 200))
    assert not start.table.any(), "copies learn"
    right, wrong = (2.0 * torch.nn.functional.one_hot(one, 2) for one in (truth, 1 - truth))

    def loss(scores: torch.Tensor) -> float:
        return codec.labels.best_temperature(scores, truth)[0]

    choice = LinearHeadSelection(models)
    assert float(choice.select(rows, right, loss).weight) == 0.0
    chosen = choice.select(rows, wrong, loss)
    assert chosen is models[choice.C] and float(chosen.weight) == choice.weight > 0.0
    assert choice.path[-1] == choice.C
    features = codec.text_encoder.sparse_features(texts)
    assert features is not None
    own = chosen(*(part.pad(torch.arange(200))[0] for part in features))
    assert ((wrong + chosen.weight * own).argmax(1) == truth).all()
