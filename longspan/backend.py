"""Functions of Keras' backend that scripts use."""

from longspan.layers.base import reset_names


def clear_session(free_memory: bool = True) -> None:
    """The same as `longspan.utils.clear_session`."""
    reset_names()
