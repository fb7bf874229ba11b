"""Resets what one process keeps between models: random states and the counts of names."""

from __future__ import annotations

import random

import numpy as np
import torch

from longspan.layers.naming import reset_names


def set_random_seed(seed: int) -> None:
    """Seed Python, NumPy and PyTorch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def clear_session(free_memory: bool = True) -> None:
    """Count the names of layers from the start again; nothing else is kept between models.

    Args:
        free_memory: accepted without effect.
    """
    reset_names()
