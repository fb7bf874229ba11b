"""Cross-validates a forecaster on the last windows of a source, trained anew for each or once."""

from __future__ import annotations

from collections.abc import Callable

from longspan import errors

from .panel import Origins, Panel
from .predictions import Forecasts

Predictor = Callable[[Origins], Forecasts]


def cross_validate(
    panel: Panel,
    horizon: int,
    fit: Callable[[Panel], Predictor],
    *,
    folds: int,
    stride: int | None,
    refit: bool,
) -> list[Forecasts]:
    """The forecasts of each fold, the earliest first.

    Args:
        panel: the series; horizon: steps to forecast.
        fit: trains on a panel, and returns what forecasts at origins.
        folds, stride, refit: as for `Forecaster.cross_validate`.

    Raises:
        ValueError: a series has too few rows for so many folds.
    """
    folds = errors.check_int("folds", folds, 1, "3 is usual")
    stride = errors.check_int("stride", horizon if stride is None else stride, 1, "give rows")
    predictor: Predictor | None = None
    parts = []
    for fold in range(folds):
        rows = panel.last_seen() - horizon - (folds - 1 - fold) * stride
        short = [
            name for name, row, start in zip(panel.ids, rows, panel.starts, strict=False) if row <= start
        ]
        if short:
            received = f"series {short[0]!r} with fewer rows" if short[0] else "a series with fewer rows"
            expected = f"more than {horizon + (folds - 1) * stride} rows for {folds} folds"
            raise errors.value_error("source", expected, received, "ask for fewer folds")
        if predictor is None or refit:
            predictor = fit(panel.cut(panel.starts[:-1], rows))
        parts.append(predictor(Origins(panel, rows)))
    return parts
