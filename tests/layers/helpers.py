"""Defines the small input that the layers' tests share, and the check of an error's sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from longspan.layers.base import Layer

B, T, I, H = 3, 6, 4, 5
X = np.random.default_rng(0).normal(size=(B, T, I))
MASK = np.array([[0, 1, 1, 0, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 1, 1]], bool)


def built(layer: Layer) -> Any:
    """The layer with its weights, made for inputs (B, T, I)."""
    layer.build((None, T, I))
    return layer


def check_refusal(call: Callable[[], Any], expected: str) -> None:
    """The call raises one sentence of the house's form that matches the regular expression."""
    with pytest.raises((ValueError, TypeError), match=expected) as caught:
        call()
    assert re.fullmatch(r"[^:]+: expected .+, received .+; .+\.", str(caught.value))
