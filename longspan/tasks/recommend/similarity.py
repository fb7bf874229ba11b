"""Finds the items whose vectors are nearest to one item's."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch
from torch.nn import functional as F

from longspan import errors

from .codec import RecommendCodec
from .network import RecommendNetwork


@torch.no_grad()
def similar_items(codec: RecommendCodec, network: RecommendNetwork, item: Any, k: int) -> pl.DataFrame:
    """The k nearest items by the cosine of their vectors: rank, item, score.

    Raises:
        ValueError, TypeError: the item is not known, or k is above the number of the others.
    """
    number = codec.items.number(item)
    if number < 0:
        expected, way_out = "an item that training has seen", "items are written as in the source of fit"
        raise errors.value_error("item", expected, repr(item), way_out)
    k, others = errors.check_int("k", k, 1, "give the number of items"), len(codec.items) - 1
    if k > others:
        raise errors.value_error("k", f"at most the number of other items, {others}", k, "ask for fewer")
    vectors, _ = network.all_item_vectors()
    cosines = F.cosine_similarity(vectors[1:], vectors[1 + number].unsqueeze(0))
    cosines[number] = -torch.inf
    best = cosines.topk(k)
    return pl.DataFrame(
        [
            pl.Series("rank", np.arange(1, k + 1)),
            codec.items.ids.gather(best.indices.cpu().numpy()).alias(codec.items.ids.name),
            pl.Series("score", best.values.cpu().numpy()),
        ]
    )
