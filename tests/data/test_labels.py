"""Labels are encoded and weighted by class; a temperature calibrates scores."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from longspan.data.labels import Labels


@pytest.mark.parametrize(
    ("given", "kind", "classes", "counts"),
    [
        (["b", "a", "b"], "multiclass", ["a", "b"], [1, 2]),
        ([("x", "y"), (), ("x",)], "multilabel", ["x", "y"], [2, 1]),
        ([[2, 1], [1]], "token", [1, 2], [2, 1]),
    ],
)
def test_the_form_and_the_classes_come_from_the_labels(given: Any, kind: str, classes: Any, counts: Any):
    labels = Labels().fit(given)
    assert (labels.kind, labels.classes, labels.counts) == (kind, classes, counts)
    again = Labels().restore({**labels.state(), "other": 1})
    for mine, its in zip(labels.encode(given), again.encode(given), strict=True):
        assert mine.equal(its)


def test_numbers_of_labels():
    assert Labels().fit([("x", "y"), ()]).encode([("y",), ()])[0].tolist() == [0.0, 1.0]
    steps = Labels().fit([["a", "b"]])
    assert steps.encode([["b", "a", "b"]], 2)[0].tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"a class of training \('a', 'b'\), received 'c' in row 1"):
        steps.encode([["a"], ["b", "c"]])
    with pytest.raises(ValueError, match="labels of one form"):
        steps.encode(["a"])
    with pytest.raises(ValueError, match="labels of one form"):
        Labels().fit(["a", ("b", "c")])
    with pytest.raises(ValueError, match="at least two classes, received 'a' alone"):
        Labels().fit(["a", "a"])


def test_temperature_makes_sure_scores_honest():
    torch.manual_seed(0)
    truth = torch.randint(3, (2000,))
    scores = 2.0 * torch.nn.functional.one_hot(truth, 3) + torch.randn(2000, 3)
    labels = Labels().fit(truth.tolist())
    labels.fit_temperature(5.0 * scores, truth, 2000)
    assert labels.temperature == pytest.approx(5.0 / 2.0, rel=0.15)
    assert labels.calibration["after"] < 0.03 < 0.05 < labels.calibration["before"]
    assert labels.probabilities(scores).sum(1) == pytest.approx(1.0)


@pytest.mark.parametrize("rows", [20, 200])
def test_a_few_right_answers_do_not_make_the_next_one_certain(rows):
    truth = torch.arange(rows) % 2
    scores = 3.0 * torch.nn.functional.one_hot(truth, 2).float()
    labels = Labels().fit(truth.tolist())
    labels.fit_temperature(scores, truth, rows)
    assert labels.probabilities(scores).max() == pytest.approx(1 - 0.5 / (rows + 1), rel=0.005)
    several = Labels().fit([("a", "b"), ("a",), ()])
    several.fit_temperature(2 * scores - 3, torch.nn.functional.one_hot(truth, 2).float(), rows)
    assert several.probabilities(2 * scores - 3).max() == pytest.approx(1 - 0.5 / (rows + 1), rel=0.005)
