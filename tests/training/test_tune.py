"""Options are searched, and where that cannot be, an error says why."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from longspan.tasks.forecast.forecaster import Forecaster
from longspan.training import tune

SPACE: dict[str, Any] = {"size": [8, 16, 32], "rate": (1e-4, 1e-1), "count": (1, 5)}
FIRST = {"size": 8, "rate": 1e-3, "count": 1}


def hill(options: Mapping[str, Any]) -> float:
    """Least at size 16, rate 0.01, count 3."""
    return abs(options["size"] - 16) + abs(np.log10(options["rate"]) + 2) + abs(options["count"] - 3)


def test_the_best_comes_first_and_is_no_worse_than_the_start():
    pytest.importorskip("optuna", reason="optuna is not installed")
    tried: list[Mapping[str, Any]] = []

    def score(options: Mapping[str, Any]) -> float:
        tried.append(dict(options))
        return hill(options)

    found = tune.search(score, SPACE, first=FIRST, trials=25, seed=1)
    assert tried[0] == FIRST and len(tried) == len(found) == 25
    assert [value for value, _ in found] == sorted(value for value, _ in found)
    assert found[0][0] < 2.0 < hill(FIRST)
    assert all(one["size"] in (8, 16, 32) and 1e-4 <= one["rate"] <= 1e-1 for one in tried)
    assert all(isinstance(one["count"], int) and 1 <= one["count"] <= 5 for one in tried)
    again = tune.search(hill, SPACE, first=FIRST, trials=25, seed=1)
    assert again == found, "the same seed searches alike"


def test_minutes_end_it():
    pytest.importorskip("optuna", reason="optuna is not installed")
    found = tune.search(hill, SPACE, trials=None, minutes=0.001)
    assert 1 <= len(found) < 1000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trials": None}, "trials: expected a number of trials or of minutes, received None"),
        ({"trials": 0}, "trials: expected a whole number of at least 1, received 0"),
        ({"minutes": 0.0}, r"minutes: expected a number above 0, received 0\.0"),
        ({"space": {}}, "space: expected at least one option, received none"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        tune.search(hill, **{"space": SPACE, **options})


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"tune: expected the package optuna, .*'longspan\[tune\]'"):
        tune.search(hill, SPACE)


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
def test_a_task_is_fitted_with_the_best():
    pytest.importorskip("optuna", reason="optuna is not installed")
    series = np.sin(np.arange(150) / 3)
    f = Forecaster(horizon=3, context_length=12, hidden_size=4, epochs=1)
    space = {"hidden_size": [4, 8], "learning_rate": (1e-3, 1e-1)}
    assert f.tune(series, space=space, trials=3, verbose=0) is f
    assert len(f.tuned_) == 3 and f.get_params()["learning_rate"] == f.tuned_[0][1]["learning_rate"]
    assert f.tuned_[0][0] == pytest.approx(min(f.history_.history["val_loss"]))
    with pytest.raises(ValueError, match=r"space: expected one of .* received 'hiden_size'"):
        f.tune(series, space={"hiden_size": [4]}, trials=1)


def test_the_first_trials_may_be_scored_at_once():
    pytest.importorskip("optuna", reason="optuna is not installed")
    asked: list[int] = []

    def together(trials: Sequence[Mapping[str, Any]]) -> list[float]:
        asked.append(len(trials))
        return [hill(options) for options in trials]

    wanted = tune.search(hill, SPACE, first=FIRST, trials=14, seed=1)
    assert tune.search(hill, SPACE, first=FIRST, trials=14, seed=1, score_at_once=together) == wanted
    assert asked == [10]
    assert len(tune.search(hill, SPACE, trials=3, score_at_once=together)) == 3
    tune.search(hill, SPACE, trials=1, minutes=1.0, score_at_once=together)
    assert asked == [10, 3], "the clock is looked at after every trial"


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
class TestLearningRatesAtOnce:
    """Trials that differ in the learning rate alone get the losses that they get one after another."""

    SERIES = np.sin(np.arange(150) / 3)

    def tuned(self, space: Mapping[str, Any], trials: int, **options: Any) -> list[Any]:
        f = Forecaster(horizon=3, context_length=12, hidden_size=4, epochs=3, patience=1, **options)
        return f.tune(self.SERIES, space=space, trials=trials, verbose=2).tuned_

    def compare(self, monkeypatch: pytest.MonkeyPatch, *args: Any, **options: Any) -> None:
        found = self.tuned(*args, **options)
        monkeypatch.setattr(Forecaster, "learn_rates", lambda *_: None)
        wanted = self.tuned(*args, **options)
        assert [own for _, own in found] == [own for _, own in wanted]
        assert [loss for loss, _ in found] == pytest.approx([loss for loss, _ in wanted], rel=1e-4)

    def test_of_one_shape(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        pytest.importorskip("optuna", reason="optuna is not installed")
        self.compare(monkeypatch, {"learning_rate": (1e-3, 1e-1)}, 4)
        assert capsys.readouterr().out.count("4 learning rates: the 4 networks were trained at once.") == 1

    def test_of_two_shapes(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        pytest.importorskip("optuna", reason="optuna is not installed")
        self.compare(monkeypatch, {"learning_rate": [1e-3, 1e-2, 1e-1], "hidden_size": [4, 5]}, 10)
        said = capsys.readouterr().out  # the other three trials have another shape, and are too few
        assert (
            said.count("7 learning rates: the 7 networks were trained at once.") == said.count("at once") == 1
        )

    def test_random_masks_are_drawn_one_after_another(self, capsys: pytest.CaptureFixture[str]):
        pytest.importorskip("optuna", reason="optuna is not installed")
        self.tuned({"learning_rate": (1e-3, 1e-1)}, 4, dropout=0.5)
        assert "at once" not in capsys.readouterr().out
