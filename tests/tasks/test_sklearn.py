"""Tasks work in scikit-learn's model selection, pipelines, ensembles and calibration, and pass its checks."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from polars.testing import assert_frame_equal
from sklearn.base import clone, is_classifier, is_outlier_detector, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    TimeSeriesSplit,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator

from longspan import AnomalyDetector, Classifier, Forecaster, load

pytestmark = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def classifier(**options: Any) -> Classifier:
    small: dict[str, Any] = {"epochs": 1, "hidden_size": 2, "embedding_size": 4, "subword_buckets": 10}
    wide: dict[str, Any] = {"max_ngram": 1, "ensemble_size": 1, "filters": (2,), "kernel_sizes": (3,)}
    return Classifier(**{**small, **wide, "batch_size": 512, **options})


def texts() -> tuple[np.ndarray, np.ndarray]:
    labels = np.random.default_rng(0).choice(["bad", "good"], 40)
    return np.array([f"{one} film number {row}" for row, one in enumerate(labels)], dtype=object), labels


def series() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(1).normal(size=(40, 12))
    return x, (x.mean(1) > 0).astype(int)


def frame() -> tuple[pd.DataFrame, np.ndarray]:
    x, y = texts()
    return pd.DataFrame({"text": x}), y


RAISE: Any = "raise"  # scikit-learn declares a number
TWO = [("a", classifier()), ("b", classifier(seed=1))]
TOOLS: dict[str, Callable[[Any, Any], Any]] = {
    "cross_val_score": lambda x, y: cross_val_score(classifier(), x, y, cv=2, error_score=RAISE),
    "log loss": lambda x, y: (
        -cross_val_score(classifier(), x, y, cv=2, scoring="neg_log_loss", error_score=RAISE)
    ),
    "cross_val_predict": lambda x, y: cross_val_predict(classifier(), x, y, cv=2) == y,
    "probabilities": lambda x, y: cross_val_predict(classifier(), x, y, cv=2, method="predict_proba"),
    "GridSearchCV": lambda x, y: (
        GridSearchCV(classifier(), {"hidden_size": [2, 3]}, cv=2, error_score=RAISE).fit(x, y).score(x, y)
    ),
    "Pipeline": lambda x, y: (
        Pipeline([("same", FunctionTransformer()), ("model", classifier())]).fit(x, y).score(x, y)
    ),
    "StackingClassifier": lambda x, y: (
        StackingClassifier(TWO, LogisticRegression(), cv=2).fit(x, y).score(x, y)
    ),
    "VotingClassifier": lambda x, y: VotingClassifier(TWO).fit(x, y).score(x, y),
    "soft votes": lambda x, y: VotingClassifier(TWO, voting="soft").fit(x, y).score(x, y),
    "CalibratedClassifierCV": lambda x, y: (
        CalibratedClassifierCV(classifier(), cv=2).fit(x, y).predict_proba(x)
    ),
}


OF_SERIES = {"cross_val_score", "probabilities", "soft votes"}  # the other tools call what texts show already
CASES = [
    *((tool, texts) for tool in TOOLS),
    *(pytest.param(tool, series, marks=[] if tool in OF_SERIES else pytest.mark.slow) for tool in TOOLS),
]


@pytest.mark.parametrize(("tool", "source"), CASES)
def test_classifier_in_scikit_learns_tools(tool: str, source: Callable[[], tuple[Any, Any]]):
    found = np.asarray(TOOLS[tool](*source()), float)
    assert np.isfinite(found).all() and (found >= 0).all()
    if source is texts and tool != "log loss" and found.ndim < 2:
        assert found.mean() == 1.0, "the first word is the class"


@pytest.mark.parametrize("tool", ["cross_val_score", "cross_val_predict", "GridSearchCV"])
def test_a_frame_of_texts_with_labels_apart(tool: str):
    assert np.mean(TOOLS[tool](*frame())) == 1.0


def test_a_frame_of_texts_with_labels_in_a_list_or_a_series():
    x, y = frame()
    assert classifier().fit(x, y).evaluate(x, y)["accuracy"] == 1.0
    assert classifier().fit(x, pd.Series(y)).score(x, pd.Series(y)) == 1.0


def test_column_names_are_feature_names(tmp_path: Any):
    x, y = series()
    names = list("abcdefghijkl")
    table = pd.DataFrame(x, columns=names)
    steps = [("scale", StandardScaler()), ("model", classifier(series=tuple(names)))]
    model = Pipeline(steps).set_output(transform="pandas").fit(table, y)
    inner: Any = model["model"]
    assert inner.feature_names_in_.tolist() == names and inner.n_features_in_ == 12
    inner.save(tmp_path / "model")
    assert load(tmp_path / "model").feature_names_in_.tolist() == names
    for plain in (classifier().fit(*texts()), classifier().fit(*series())):
        with pytest.raises(AttributeError, match="feature_names_in_: expected named features, received none"):
            _ = plain.feature_names_in_
        assert not hasattr(plain, "n_features_in_")


def readings() -> tuple[np.ndarray, np.ndarray]:
    values = np.sin(np.arange(300) / 4) + 0.1 * np.random.default_rng(2).normal(size=300)
    flags = np.zeros(300, int)
    for start in (50, 250):
        values[start : start + 5], flags[start : start + 5] = 4.0, 1
    return values, flags


def test_detector_in_scikit_learns_tools():
    x, y = readings()
    model = AnomalyDetector(epochs=1, hidden_size=2, context_length=8)
    scores = cross_val_score(model, x, y, cv=KFold(2), error_score=RAISE)
    assert ((scores >= 0) & (scores <= 1)).all()
    search = GridSearchCV(model, {"hidden_size": [2, 3]}, cv=KFold(2), error_score=RAISE).fit(x, y)
    assert search.best_estimator_.score(x, y) == search.best_estimator_.evaluate(x, y)["f1"]
    pipeline = Pipeline([("scale", StandardScaler()), ("model", clone(model))]).fit(x[:, None])
    assert len(pipeline.predict(x[:, None])) == 300
    table = pd.DataFrame({"load": x, "mode": ["up", "down"] * 150})
    copy: Any = clone(model)
    assert copy.fit(table).feature_names_in_.tolist() == ["load", "mode"]


def test_forecaster_in_scikit_learns_tools():
    x, parts = readings()[0], TimeSeriesSplit(2)
    model = Forecaster(epochs=1, hidden_size=2, horizon=2, context_length=8)
    assert (cross_val_score(model, x, cv=parts, error_score=RAISE) < 0).all()
    search = GridSearchCV(model, {"hidden_size": [2, 3]}, cv=parts, error_score=RAISE).fit(x)
    assert search.best_estimator_.score(x) == -search.best_estimator_.evaluate(x)["mase"]


def test_estimator_types_and_tags():
    assert is_classifier(Classifier()) and not is_regressor(Classifier())
    for task in (AnomalyDetector(), Forecaster()):
        assert not (is_classifier(task) or is_regressor(task) or is_outlier_detector(task))
        assert not get_tags(task).target_tags.required
    assert get_tags(Classifier()).target_tags.required and get_tags(Classifier()).input_tags.string


OTHERWISE = {  # the checks that do not apply, and why
    "check_estimators_unfitted": "a ValueError of one sentence; NotFittedError is scikit-learn's own",
    "check_estimator_sparse_array": "a series is no sparse row; the sentence names the type",
    "check_estimator_sparse_matrix": "a series is no sparse row; the sentence names the type",
    "check_classifier_data_not_an_array": "an object with __array__ alone is no source",
    "check_classifiers_train": "asks for an accuracy that one epoch of two units does not reach",
    "check_classifiers_multilabel_representation_invariance": "answers are tuples of labels, not 0 and 1",
    "check_classifiers_multilabel_output_format_predict": "answers are tuples of labels, not 0 and 1",
    "check_class_weight_classifiers": "class_weight takes balanced, no dict",
    "check_fit2d_1sample": "the sentence speaks of a class that is missing, not of a sample",
    "check_array_api_input": "needs SCIPY_ARRAY_API",
    "check_classifiers_multilabel_output_format_decision_function": "there is no decision_function",
}


def checks() -> list[Any]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not inherit from `sklearn.base.BaseEstimator`")
        pairs: Any = estimator_checks_generator(classifier(), legacy=True)
        return [check for _, check in pairs]


CHECKS = checks()


def name_of(check: Any) -> str:
    return getattr(check, "func", check).__name__


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("check", [one for one in CHECKS if name_of(one) not in OTHERWISE], ids=name_of)
def test_estimator_checks(check: Any):
    check(classifier())


def test_every_check_left_out_exists():
    assert set(OTHERWISE) <= set(map(name_of, CHECKS))


@pytest.mark.slow
def test_a_grid_search_fits_in_two_processes() -> None:
    x, y = series()
    grid = {"hidden_size": [2, 3, 4, 5]}
    with joblib.parallel_config(backend="loky", n_jobs=2):
        search = GridSearchCV(classifier(), grid, cv=2, scoring=scored_by_process).fit(x, y)
    split_scores = [search.cv_results_[f"split{split}_test_score"] for split in range(2)]
    processes = set(np.concatenate(split_scores).astype(int).tolist())
    assert len(processes) == 2 and os.getpid() not in processes
    alone = classifier(hidden_size=search.best_params_["hidden_size"]).fit(x, y, verbose=0)
    np.testing.assert_array_equal(search.best_estimator_.predict(x), alone.predict(x))


def scored_by_process(task: Any, x: Any, y: Any) -> float:
    """The number of the process, after the task has answered there."""
    assert len(task.predict(x)) == len(y)
    return float(os.getpid())


@pytest.mark.parametrize("task", [classifier(), Forecaster(horizon=2, epochs=1), AnomalyDetector(epochs=1)])
def test_a_task_goes_through_pickle(task: Any) -> None:
    x, y = series()
    source = (x, y) if isinstance(task, Classifier) else (np.sin(np.arange(80) / 5.0),)
    unfitted = pickle.loads(pickle.dumps(task))
    assert unfitted.get_params() == task.get_params()
    copy: Any = clone(task)
    fitted = copy.fit(*source, verbose=0)
    again = pickle.loads(pickle.dumps(fitted))
    assert_frame_equal(again.predict_table(source[0]), fitted.predict_table(source[0]))
