"""Names layers after their classes, no name twice in one process."""

from __future__ import annotations

import re
from collections import Counter

_COUNTS: Counter[str] = Counter()


def snake_case(name: str) -> str:
    """The class's name as Keras writes it into layers' names.

    >>> snake_case("SimpleRNN"), snake_case("Conv2D"), snake_case("LSTM")
    ('simple_rnn', 'conv2d', 'lstm')
    """
    words = re.sub(r"\W+", "", name)
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", words)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def unique_name(stem: str) -> str:
    """`stem`, then `stem_1`, `stem_2`, …; no name twice in one process."""
    _COUNTS[stem] += 1
    return stem if _COUNTS[stem] == 1 else f"{stem}_{_COUNTS[stem] - 1}"


def reset_names() -> None:
    """Start the counts of `unique_name` again."""
    _COUNTS.clear()
