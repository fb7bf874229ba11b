"""Serves a saved Sequential or Model: sequences in, the values of its output for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from typing_extensions import Self

from longspan import errors

if TYPE_CHECKING:
    from longspan.models import Model


class ServedSequential:
    """A Keras-shaped model that answers as the tasks do: a row a sequence, a column an output value.

    Args:
        model: with one input and one output.
    """

    name = "sequential"
    stream_ = None

    def __init__(self, model: Model) -> None:
        self.model = model

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The model of a file that `save` or Keras wrote."""
        from longspan.models import load_model  # only here: a server of tasks starts without it

        return cls(load_model(path))

    def predict_tables(
        self, sources: Sequence[Any], *, notes: list[list[str]] | None = None
    ) -> list[pl.DataFrame | Exception]:
        """The answers for several sources, each a list of sequences of one shape.

        Args:
            notes: takes an empty list for each source.

        Returns:
            For each source a frame with the columns value_0, value_1 and so on, or the error.
        """
        arrays = [_array(source) for source in sources]
        if notes is not None:
            notes += [[] for _ in sources]
        answers: list[pl.DataFrame | Exception] = [
            array if isinstance(array, Exception) else pl.DataFrame() for array in arrays
        ]
        shapes = {array.shape[1:] for array in arrays if isinstance(array, np.ndarray)}
        for shape in shapes:
            places = [i for i, a in enumerate(arrays) if isinstance(a, np.ndarray) and a.shape[1:] == shape]
            joined = np.concatenate([arrays[place] for place in places])
            values = np.asarray(self.model.predict(joined, verbose=0))
            values = values.reshape(len(joined), -1)
            begin = 0
            for place in places:
                part = values[begin : begin + len(arrays[place])]
                begin += len(part)
                answers[place] = pl.DataFrame({f"value_{i}": column for i, column in enumerate(part.T)})
        return answers


def _array(source: Any) -> Any:
    """A list of sequences as an array (N, ...), or the error."""
    way_out = "send a list of sequences, each of as many steps and values as the model reads"
    if not isinstance(source, list):
        return errors.type_error("source", "a list of sequences of numbers", source, way_out)
    try:
        array = np.asarray(source)
    except ValueError:
        return errors.value_error("source", "sequences of one length", "several lengths", way_out)
    if array.dtype.kind not in "iufb" or array.ndim < 2:
        return errors.value_error("source", "a list of sequences of numbers", "other values", way_out)
    return array if array.dtype.kind == "i" else array.astype(np.float32)
