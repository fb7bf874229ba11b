"""Recommends items: `Recommender`."""

from .recommender import Recommender

__all__ = ["Recommender"]
