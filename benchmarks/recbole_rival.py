"""Trains RecBole's GRU4Rec by its own trainer; run by recommendation.py.

    python -I recbole_rival.py EVENTS.inter    # in an environment of its own, with recbole 1.2.1 and numpy<2

For each line of standard input it trains on the next batches and prints the rows a second of one thread.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sized
from itertools import islice
from pathlib import Path
from time import thread_time

BATCHES = 5  # of RecBole's usual 2,048 rows
SIZES = {"embedding_size": 128, "hidden_size": 128, "dropout_prob": 0.3, "loss_type": "CE"}


class Part:
    """The next batches of a loader, which the trainer takes for a whole epoch."""

    def __init__(self, loader: Iterable[Sized]) -> None:
        self._batches = iter(loader)
        self.rows = 0

    def __iter__(self) -> Iterator[Sized]:
        for batch in islice(self._batches, BATCHES):
            self.rows += len(batch)
            yield batch


def main(events: str) -> None:
    import torch
    from recbole.config import Config  # pyright: ignore[reportMissingImports]
    from recbole.data import create_dataset, data_preparation  # pyright: ignore[reportMissingImports]
    from recbole.model.sequential_recommender import GRU4Rec  # pyright: ignore[reportMissingImports]
    from recbole.trainer import Trainer  # pyright: ignore[reportMissingImports]

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    sys.argv = sys.argv[:1]  # RecBole reads options there
    path = Path(events)
    options = {
        "data_path": str(path.parent.parent),
        "checkpoint_dir": tempfile.mkdtemp(),
        "use_gpu": False,
        "train_neg_sample_args": None,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "state": "ERROR",
        **SIZES,
    }
    config = Config(model="GRU4Rec", dataset=path.stem, config_dict=options)
    batches = data_preparation(config, create_dataset(config))[0]
    trainer = Trainer(config, GRU4Rec(config, batches.dataset))
    print("ready", flush=True)
    for epoch, _ in enumerate(sys.stdin):
        part, began = Part(batches), thread_time()
        trainer._train_epoch(part, epoch, show_progress=False)
        print(part.rows / (thread_time() - began), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
