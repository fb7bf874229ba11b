"""The network of a translator: reads a sentence in both directions, writes another with attention."""

from __future__ import annotations

from typing import final

from longspan.tasks.pair_network import PairNetwork


@final
class TranslationNetwork(PairNetwork):
    """Encoder and decoder with an embedding each, unless both sides have one vocabulary."""
