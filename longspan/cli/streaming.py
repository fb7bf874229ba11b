"""Reads rows from standard input one by one, and answers each as it comes."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from longspan import errors

if TYPE_CHECKING:
    import polars

    from longspan.tasks.anomaly import AnomalyDetector
    from longspan.tasks.estimator import Estimator
    from longspan.tasks.forecast import Forecaster
    from longspan.tasks.recommend import Recommender

_RECOMMENDED = 5  # items that are recommended after each event

Row = dict[str, Any] | list[Any]  # values by column, or in the order of fit's columns without a heading
Answer = Callable[[Row], "polars.DataFrame"]


def answers(model: Estimator, lines: Iterable[str]) -> Iterator[polars.DataFrame]:
    """A frame for each row of a CSV text: what a model says after it.

    Args:
        model: a detector, a forecaster or a recommender. lines: of CSV; the first may name the columns.

    Raises:
        ValueError: the task reads no rows one by one, or a row cannot be read; the sentence has its number.
    """
    import polars as pl

    answer = _answer_of(model)
    rows = csv.reader(lines)
    names: list[str] | None = None
    for number, cells in enumerate(rows, 1):
        if number == 1 and not all(_is_number(cell) for cell in cells):
            names = cells
            continue
        if not cells:
            continue
        if names is not None and len(cells) != len(names):
            received = f"{len(cells)} in line {number}"
            raise errors.value_error("SOURCE", f"{len(names)} values a line", received, "mend it")
        values = [_value(cell) for cell in cells]
        frame = answer(values if names is None else dict(zip(names, values, strict=True)))
        yield frame.select(pl.lit(number).alias("line"), pl.all())


def _answer_of(model: Estimator) -> Answer:
    """The function from a row to what the model says after it."""
    from longspan.tasks.anomaly import AnomalyDetector
    from longspan.tasks.forecast import Forecaster
    from longspan.tasks.recommend import Recommender

    if isinstance(model, AnomalyDetector):
        return lambda row: _judged(model, row)
    if isinstance(model, Forecaster):
        return lambda row: _forecast(model, row)
    if isinstance(model, Recommender):
        return lambda row: _recommended(model, row)
    expected = "a detector, a forecaster or a recommender"
    raise errors.value_error("MODEL", expected, f"a {type(model).__name__}", "use longspan predict")


def _judged(model: AnomalyDetector, row: Row) -> polars.DataFrame:
    """The score of a reading, and whether it is an alarm."""
    from polars import DataFrame

    single = row[0] if isinstance(row, list) and len(row) == 1 else row
    score, alarm = model.update(single)
    return DataFrame({"score": [score], "alarm": [alarm]})


def _forecast(model: Forecaster, row: Row) -> polars.DataFrame:
    """The forecast of the steps after a row, of its series alone."""
    import numpy
    from polars import DataFrame, col

    template = model.codec_.encoder.template
    if isinstance(row, list):
        model.update(numpy.array([row], dtype=float))
    else:
        model.update(DataFrame({name: [value] for name, value in row.items()}, strict=False))
    frame = model.predict_table()
    name = template.columns.id
    return frame if name is None or isinstance(row, list) else frame.filter(col(name) == row[name])


def _recommended(model: Recommender, row: Row) -> polars.DataFrame:
    """The items that a user may take after an event."""
    user, item = row[:2] if isinstance(row, list) else _user_and_item(model, row)
    model.update(user, item)
    return model.recommend(user, k=min(_RECOMMENDED, len(model.codec_.items)))


def _user_and_item(model: Recommender, row: dict[str, Any]) -> tuple[Any, Any]:
    """The values of the columns with users and items."""
    columns = (model.user or "user", model.codec_.items.ids.name)
    missing = [name for name in columns if name not in row]
    if missing:
        way_out = "name the columns in the first line"
        raise errors.value_error("SOURCE", f"the columns {' and '.join(columns)}", ", ".join(row), way_out)
    return row[columns[0]], row[columns[1]]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return not cell.strip()
    return True


def _value(cell: str) -> Any:
    """A whole number or another, None for an empty cell, else the text."""
    if not cell.strip():
        return None
    if not _is_number(cell):
        return cell
    return int(cell) if cell.strip().lstrip("+-").isdecimal() else float(cell)
