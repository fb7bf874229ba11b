"""The network of a summarizer: reads a text, and writes or copies the words of its summary."""

from __future__ import annotations

from typing import final

from longspan.tasks.pair_network import PairNetwork


@final
class SummaryNetwork(PairNetwork):
    """Encoder and decoder with one embedding, since both sides have one vocabulary."""
