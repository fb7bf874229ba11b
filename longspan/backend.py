"""Knows what scripts ask of Keras' backend between two models."""

from longspan.layers.base import forget_names


def clear_session(free_memory: bool = True) -> None:
    """The same as `longspan.utils.clear_session`."""
    forget_names()
