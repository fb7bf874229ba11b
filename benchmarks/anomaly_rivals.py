"""Scores tables by rivals of the detector: isolation forest, PCA, mean z-score, Mahalanobis distance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from .anomaly_sets import AnomalySet

ALARM_QUANTILE = 0.99  # of the training scores, from which on a rival raises an alarm
VARIANCE = 0.9  # share of the variance that PCA keeps

Scores = Callable[[np.ndarray, np.ndarray], np.ndarray]


def encoded(data: AnomalySet) -> tuple[np.ndarray, np.ndarray]:
    """Both parts as numbers, (T, D): standardised by the training part, categories as indicators."""
    left_out = [name for name in (data.id, data.time) if name is not None]
    train, test = data.train.drop(left_out), data.test.drop(left_out)
    texts = [name for name in train.columns if train[name].dtype == pl.String]
    columns: list[tuple[np.ndarray, np.ndarray]] = []
    for name in train.columns:
        if name in texts:
            for value in train[name].unique(maintain_order=True):
                columns.append((_numbers(train[name] == value), _numbers(test[name] == value)))
        else:
            columns.append((_numbers(train[name]), _numbers(test[name])))
    first, second = (np.stack([column[part] for column in columns], 1) for part in (0, 1))
    mean, spread = first.mean(0), first.std(0)
    spread[spread == 0.0] = 1.0
    return (first - mean) / spread, (second - mean) / spread


def _numbers(column: pl.Series) -> np.ndarray:
    return column.to_numpy().astype(float)


def z_score(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Mean absolute value of standardised columns."""
    return np.abs(test).mean(1)


def mahalanobis(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Squared distance from the training mean by its covariance."""
    inverse = np.linalg.pinv(np.cov(train.T) + 1e-6 * np.eye(train.shape[1]))
    return np.einsum("ij,jk,ik->i", test, inverse, test)


def pca(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Squared error of the reconstruction from the leading principal components."""
    variances, axes = np.linalg.eigh(np.cov(train.T))
    shares = np.cumsum(variances[::-1]) / variances.sum()
    leading = axes[:, ::-1][:, : int(np.searchsorted(shares, VARIANCE)) + 1]
    return ((test - test @ leading @ leading.T) ** 2).sum(1)


def isolation_forest(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """scikit-learn's, with its defaults."""
    from sklearn.ensemble import IsolationForest

    return -IsolationForest(random_state=0, n_jobs=1).fit(train).score_samples(test)


RIVALS: dict[str, Scores] = {
    "isolation forest": isolation_forest,
    "PCA": pca,
    "z-score": z_score,
    "Mahalanobis": mahalanobis,
}


def judge(rival: Scores, data: AnomalySet) -> tuple[np.ndarray, np.ndarray]:
    """Scores (T,) of the test part, and alarms (T,) bool, above the quantile of the training scores."""
    train, test = encoded(data)
    scores = rival(train, test)
    return scores, scores > np.quantile(rival(train, train), ALARM_QUANTILE)
