"""Stops training by the ranking of held-out events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from longspan.data.batches import Batch
from longspan.training import evaluate

from .network import RecommendNetwork
from .ranking import Ranking, ndcg

MONITORED = "val_ndcg@10"


def ranked_validation(
    network: RecommendNetwork, batches: Iterable[Batch], exclude_seen: bool | None
) -> Callable[[], Mapping[str, float]]:
    """A function that gives the loss and the NDCG@10 of held-out events, by the network alone.

    Args:
        batches: of the held-out events; exclude_seen: as for the network's `predict`.
    """

    def validate() -> dict[str, float]:
        ranks: list[Tensor] = []

        def rank_and_score(output: Tensor, batch: Batch) -> Tensor:
            ranking: Ranking = network.rank(output, batch, exclude_seen=exclude_seen, compare=False)
            assert ranking.ranks is not None
            ranks.append(ranking.ranks[:, 0].cpu())
            return network.loss(output, batch)

        logs = evaluate(network, batches, rank_and_score)
        return {**logs, "ndcg@10": ndcg(torch.cat(ranks).numpy(), 10)}

    return validate
