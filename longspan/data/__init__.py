"""Prepares data: tensors, batches, windows, splits, scaling and text."""

from .arrays import Tensors, as_tensors
from .batches import Batch, Batches, BPTTChunks
from .scaling import Scaler
from .sequences import pad, windows
from .splits import train_test_split
from .tokenizers import BPE, Bytes, Characters, Tokenizer, Words, tokenizer

__all__ = [
    "BPE",
    "BPTTChunks",
    "Batch",
    "Batches",
    "Bytes",
    "Characters",
    "Scaler",
    "Tensors",
    "Tokenizer",
    "Words",
    "as_tensors",
    "pad",
    "tokenizer",
    "train_test_split",
    "windows",
]
