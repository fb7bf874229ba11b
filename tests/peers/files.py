"""Keras' wrappers of os.path and open, as its tests call them."""

from __future__ import annotations

from os import listdir as listdir
from os import makedirs as makedirs
from os.path import exists as exists
from os.path import join as join


def set_logging_verbosity(level: str) -> None:
    """Nothing: the logger "longspan" has its level from the program."""


File = open
