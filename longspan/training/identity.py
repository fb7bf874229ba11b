"""Digests data, so that a checkpoint can tell whether it was written for the same data."""

from __future__ import annotations

import pickle
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from .checkpoint import DIGEST


def digest(records: Any) -> str:
    """A digest of any data, equal for equal data in every process.

    >>> digest([("good", 1)]) == digest([("go" + "od", 1)]) != digest([("good", 0)])
    True
    """
    stream = _HashStream()
    pickler = _Pickler(stream, protocol=5)
    pickler.fast = True  # equal objects have equal bytes, whether or not they are one object
    pickler.dump(records)
    return DIGEST + stream.hash.hexdigest()[:32]


class _Pickler(pickle.Pickler):
    """A pickler to which equal tensors are equal bytes; torch's own pickles of them differ."""

    def reducer_override(self, obj: Any) -> Any:
        """A tensor as the array of its values, anything else as usual."""
        if isinstance(obj, Tensor):
            return torch.from_numpy, (obj.detach().cpu().numpy(),)
        return NotImplemented


class _HashStream:
    """A file whose content is hashed instead of stored."""

    def __init__(self) -> None:
        self.hash = sha256()

    def write(self, content: Any) -> int:
        self.hash.update(content)
        return len(content)
