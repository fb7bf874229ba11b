"""Prepares data: tensors, batches, windows, splits, scaling and text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .arrays import Tensors, as_tensors
from .batches import Batch, Batches, BPTTChunks
from .scaling import Scaler
from .sequences import pad, windows
from .splits import train_test_split
from .tokenizers import BPE, Bytes, Characters, Tokenizer, Words, tokenizer

if TYPE_CHECKING:
    from .inspect import Inspection, inspect_table

__all__ = [
    "BPE",
    "BPTTChunks",
    "Batch",
    "Batches",
    "Bytes",
    "Characters",
    "Inspection",
    "Scaler",
    "Tensors",
    "Tokenizer",
    "Words",
    "as_tensors",
    "inspect_table",
    "pad",
    "tokenizer",
    "train_test_split",
    "windows",
]


def __getattr__(name: str) -> Any:
    """What reads tables is imported at first use: models and layers need no polars."""
    if name in ("Inspection", "inspect_table"):
        from . import inspect

        return getattr(inspect, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
