"""Knows how lists of different lengths become one array."""

from longspan.utils import pad_sequences

__all__ = ["pad_sequences"]
