"""Numbers the items that training has seen or a table describes; 0 is every other item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from typing_extensions import Self

from longspan import errors
from longspan.data.time_table import canonical_ids, check_ids

UNKNOWN = 0  # the number of an item that has none, and the filling of short rows


class Ids:
    """Ids and their numbers from 0 on: found by value for whole columns, and one by one.

    Args:
        ids: different ones, in the type in which they are answered.
    """

    def __init__(self, ids: pl.Series) -> None:
        self.ids = ids
        self._text = canonical_ids(ids)
        self._numbers: dict[str, int] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def numbers(self, ids: pl.Series) -> np.ndarray:
        """(N,) int64, the number of each id, -1 for one that is not there."""
        index = pl.DataFrame({"id": self._text, "number": pl.int_range(len(self.ids), eager=True)})
        asked = pl.DataFrame({"id": canonical_ids(ids)})
        if len(asked) < len(index):  # a join hashes its right side, and few ids need few of the index
            index = index.join(asked, on="id", how="semi")
        joined = asked.join(index, on="id", how="left", maintain_order="left")
        return joined["number"].fill_null(-1).to_numpy()

    def number(self, id: Any) -> int:
        """The number of one id, -1 if it is not there."""
        if self._numbers is None:
            self._numbers = {name: number for number, name in enumerate(self._text.to_list())}
        return self._numbers.get(text_of(id), -1)

    def add(self, ids: Sequence[Any]) -> None:
        """Number further ids, which are not there yet."""
        new = pl.Series(self.ids.name, list(ids), strict=False)
        if len(self.ids) and new.dtype != self.ids.dtype:
            whole = self.ids.dtype.is_integer() and new.dtype.is_integer()
            dtype = self.ids.dtype if whole else pl.String
            new, self.ids = canonical_ids(new).cast(dtype), canonical_ids(self.ids).cast(dtype)
        self.ids = pl.concat([self.ids, new]) if len(self.ids) else new
        self._text, self._numbers = canonical_ids(self.ids), None

    def check(self, ids: pl.Series, column: str) -> None:
        """Refuse ids that differ from those that are there only by leading zeros."""
        if self.ids.dtype == pl.String and bool(self._text.str.starts_with("0").any()):
            check_ids(canonical_ids(ids).to_list(), self._text.to_list(), column)

    def state(self) -> dict[str, Any]:
        """Plain values, for `restore`."""
        return {"name": self.ids.name, "ids": _plain(self.ids), "type": str(self.ids.dtype)}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Self:
        """The ids whose `state` this is."""
        return cls(_from_plain(state))


def text_of(id: Any) -> str:
    """One id in the form in which ids are compared.

    >>> text_of(7), text_of(7.0), text_of("0007")
    ('7', '7', '0007')
    """
    if type(id) is str:
        return id.strip()
    if type(id) is int:
        return str(id)
    return canonical_ids(pl.Series("id", [id])).to_list()[0] or ""


def _plain(ids: pl.Series) -> Any:
    """Whole numbers as a tensor, which is small in a file, and others as a list of text."""
    if ids.dtype.is_integer():
        import torch

        return torch.from_numpy(ids.cast(pl.Int64).to_numpy().copy())
    return ids.cast(pl.String).to_list()


def _from_plain(state: dict[str, Any]) -> pl.Series:
    ids = state["ids"]
    if isinstance(ids, list):
        text = pl.Series(state["name"], ids, dtype=pl.String)
        return text if state["type"] == "String" else text.cast(_TYPES.get(state["type"], pl.String))
    return pl.Series(state["name"], ids.numpy()).cast(_TYPES.get(state["type"], pl.Int64))


_TYPES: dict[str, Any] = {
    name: getattr(pl, name)
    for name in (
        "Int8",
        "Int16",
        "Int32",
        "Int64",
        "UInt8",
        "UInt16",
        "UInt32",
        "UInt64",
        "Float64",
        "Float32",
    )
}


def note_unknown(ids: pl.Series, known: np.ndarray, what: str) -> None:
    """Say how many items training has not seen.

    Args:
        ids: of the items; known: (len(ids),) bool; what: is done with them.
    """
    if not known.all():
        first = ids.filter(pl.Series(~known))[0]
        errors.notice(
            f"{int((~known).sum()):,} items have not been seen in training, such as {first!r}; {what}."
        )
