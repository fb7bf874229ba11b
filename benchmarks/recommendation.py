"""Measures Recommender with its defaults: Beauty, Tmall sessions, speed beside PyTorch, answers, memory.

    python -m benchmarks.recommendation --data FOLDER [--sections beauty,tmall,speed,answer,memory]
        [--seeds 0,1,2] [--part test] [--results FILE] [--rivals PYTHON]

Beauty (S3-Rec) is split by leave-one-out and ranked in full; a Tmall session is scored after each of its
events. With --part validation the last events of the training parts are scored, by which defaults are chosen;
the test parts are touched once. FOLDER is that of the data sets. Speed is in seconds of one thread, so that
others on the machine do not count. PYTHON is an interpreter that has RecBole, whose GRU4Rec is then trained
beside ours by its own trainer.
"""

from __future__ import annotations

import argparse
import gzip
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time, thread_time
from typing import Any, TextIO, cast

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longspan import optimizers
from longspan.tasks.recommend.batches import SessionParallelBatches
from longspan.tasks.recommend.recommender import Recommender

from .pairs import remember, show

SECTIONS = ("beauty", "tmall", "speed", "answer", "memory")
_MODELS = {"longspan": "", "most popular": "popular_", "followers": "markov_", "item kNN": "knn_"}
_METRICS = ("hr@10", "ndcg@10", "recall@20", "mrr@20")
_GOALS = {
    "beauty": "hr@10 at least 0.055, ndcg@10 at least 0.030; SASRec 0.0605, 0.0318",
    "tmall": "recall@20 at least 0.23 (aim 0.28), mrr@20 at least 0.107; NARM 0.233, 0.107",
}
_VALIDATION_SESSIONS = 1500
_ROUNDS, _STEPS = 3, 4  # samples of each side, and training steps of a sample
_EVENTS = 10_000_000  # of the measurement of memory

Parts = tuple[Any, Any]  # sources to fit and to evaluate


def beauty(data: Path, part: str) -> Parts:
    """Events but for each user's last one, and the last ones."""
    path = data / "recommendation/s3rec_beauty/Beauty.txt.gz"
    rows = [line.split() for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    if part == "validation":
        rows = [row[:-1] for row in rows]
    events = [(row[0], item, step) for row in rows for step, item in enumerate(row[1:])]
    frame = pl.DataFrame(events, schema=["user", "item", "time"], orient="row")
    last = pl.col("time") == pl.col("time").max().over("user")
    return frame.filter(~last), frame.filter(last)


def tmall(data: Path, part: str) -> Parts:
    """Sessions to fit, and sessions to score after each event: the prefixes of the test file put together."""
    folder = data / "recommendation/tmall"
    train = gzip.decompress((folder / "train_sessions.txt.gz").read_bytes()).decode().splitlines()
    sessions = [line.split() for line in train]
    if part == "validation":
        return sessions[:-_VALIDATION_SESSIONS], sessions[-_VALIDATION_SESSIONS:]
    lines = gzip.decompress((folder / "test_prefix_target.tsv.gz").read_bytes()).decode().splitlines()
    tested: list[list[str]] = []
    rows: list[list[str]] = []
    for line in lines:
        prefix, _, target = line.partition("\t")
        rows.append([*prefix.split(), target])
        if len(rows) == 1 or rows[-1] != rows[-2][:-1]:
            tested.append(rows[-1])
    if sum(len(row) - 1 for row in tested) != len(lines):
        raise ValueError("tmall: expected every prefix of a session in the test file")
    return sessions, tested


def own_items(sessions: Any) -> dict[str, float]:
    """Scores of the trivial answer that is a session's own items so far, the last one first."""
    ranks: list[float] = []
    for session in sessions if isinstance(sessions, list) else ():
        for place in range(1, len(session)):
            own = list(dict.fromkeys(reversed(session[:place])))[:20]
            ranks.append(1.0 + own.index(session[place]) if session[place] in own else np.inf)
    if not ranks:
        return {}
    reciprocal = [1.0 / rank for rank in ranks]
    return {"recall@20": float(np.mean(np.isfinite(ranks))), "mrr@20": float(np.mean(reciprocal))}


_SETS: dict[str, Callable[[Path, str], Parts]] = {"beauty": beauty, "tmall": tmall}


def accuracy(
    name: str, data: Path, part: str, seeds: Sequence[int], options: dict[str, Any], results: Path | None
) -> None:
    """Fit with each seed and print the scores beside the baselines'."""
    train, test = _SETS[name](data, part)
    rows: dict[str, dict[str, Any]] = {}
    for seed in seeds:
        began = process_time()
        task = Recommender(seed=seed, **options).fit(train, verbose=2)
        spent = process_time() - began
        scores = task.evaluate(test)
        remember(results, {"section": name, "part": part, "seed": seed, "seconds": spent, **scores})
        if not rows:
            rows = {
                model: {metric: scores[prefix + metric] for metric in _METRICS}
                for model, prefix in _MODELS.items()
                if prefix
            }
            rows |= {"own items, last first": own_items(test)} if isinstance(test, list) else {}
        own = {metric: scores[metric] for metric in _METRICS}
        weights = " ".join(f"{weight:.2f}" for weight in task.codec_.scorer.weights)
        rows[f"longspan, seed {seed}"] = {
            **own, "coverage@10": scores["coverage@10"], "seconds": round(spent),
            "epochs": len(task.history_.epoch), "weights": weights,
        }  # fmt: skip
        show(f"{name}, {part}; {_GOALS[name]}", rows)


# ---- speed


class Rival(nn.Module):
    """GRU4Rec as RecBole has it: vectors, dropout, nn.GRU, a linear map, scores of all items (tied)."""

    def __init__(self, items: int, embedding_size: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(items, embedding_size, padding_idx=0)
        self.drop = nn.Dropout(dropout)
        self.gru = nn.GRU(embedding_size, hidden_size, bias=False, batch_first=True)
        self.dense = nn.Linear(hidden_size, embedding_size)

    def forward(self, items: Tensor, last: Tensor) -> Tensor:
        """(B, T) padded and (B,) -> (B, D) after each row's last item."""
        out, _ = self.gru(self.drop(self.embedding(items)))
        return self.dense(out)[torch.arange(len(items)), last]

    def every(self, items: Tensor) -> Tensor:
        """(B, T) padded -> (B, T, D)."""
        return self.dense(self.gru(self.drop(self.embedding(items)))[0])


def speed(data: Path, results: Path | None, rivals: str | None) -> None:
    """Training steps: ours, PyTorch's on padded users and with a row a prefix as RecBole, and RecBole's own.

    rivals: a Python that has RecBole, None to leave it out.
    """
    train, _ = beauty(data, "validation")
    task = Recommender(
        embedding_size=128, hidden_size=128, dropout=0.0, embedding_dropout=0.3, neighbors=False
    )
    events = task.read(train)
    codec = task.codec().fit(events)
    torch.manual_seed(0)
    ours = task.network(codec, events)
    items, _ = codec.encode(events)
    users = [items[a:b] for a, b in zip(events.starts[:-1], events.starts[1:], strict=True)]
    sides = {
        "longspan": _our_steps(ours, codec.training_batches(events, task.batch_size, task.chunk_length)),
        "PyTorch, users padded": _user_steps(Rival(codec.trained, 128, 128, 0.3), users),
        "PyTorch, a row a prefix": _prefix_steps(Rival(codec.trained, 128, 128, 0.3), users),
    }
    measured: dict[str, Callable[[], float]] = {name: partial(_rate, step) for name, step in sides.items()}
    with ExitStack() as processes:
        if rivals is not None:
            measured["RecBole"] = processes.enter_context(_recbole(rivals, train))
        rates: dict[str, list[float]] = {name: [] for name in measured}
        for sample in range(_ROUNDS + 1):
            for name, rate in measured.items():
                rows_a_second = rate()
                rates[name] += [rows_a_second] if sample else []  # the first one warms up
    shown: dict[str, dict[str, object]] = {n: {"rows a second": round(median(r))} for n, r in rates.items()}
    for name in list(measured)[1:]:
        ratio = median(a / b for a, b in zip(rates["longspan"], rates[name], strict=True))
        shown[name]["ratio"] = f"{ratio:.2f} (goal 1.6)"
        remember(results, {"section": "speed", "rival": name, "ratio": ratio})
    show("Training, events predicted a second of one thread; full cross entropy over 12,101 items", shown)


def _rate(step: Callable[[], int]) -> float:
    """Events predicted a second of this thread, over a few steps."""
    began = thread_time()
    rows = sum(step() for _ in range(_STEPS))
    return rows / (thread_time() - began)


@contextmanager
def _recbole(python: str, train: pl.DataFrame) -> Iterator[Callable[[], float]]:
    """A function that trains by RecBole and gives the rows a second, while its process lives."""
    with tempfile.TemporaryDirectory() as scratch:
        events = Path(scratch) / "beauty/beauty.inter"
        events.parent.mkdir()
        names = ["user_id:token", "item_id:token", "timestamp:float"]
        train.rename(dict(zip(train.columns, names, strict=True))).write_csv(events, separator="\t")
        command = [python, "-I", str(Path(__file__).with_name("recbole_rival.py")), str(events)]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        ) as rival:
            orders, replies = cast(TextIO, rival.stdin), cast(TextIO, rival.stdout)
            if replies.readline().strip() != "ready":
                raise SystemExit(f"rivals: expected a Python with RecBole and numpy<2, received {python}")

            def rate() -> float:
                orders.write("\n")
                orders.flush()
                return float(replies.readline())

            yield rate


def _our_steps(network: Any, batches: SessionParallelBatches) -> Callable[[], int]:
    optimizer: Any = optimizers.Adam(1e-3).build(network.parameters())
    states: list[Any] = [None]

    def epochs() -> Any:
        while True:
            yield from batches

    stream = epochs()

    def step() -> int:
        batch = next(stream)
        out, state = network(batch, states[0] if batch.continues else None)
        states[0] = state.detach()
        _descend(network, optimizer, network.loss(out, batch))
        return int((batch.y > 0).sum())

    return step


def _user_steps(network: Rival, users: Sequence[np.ndarray]) -> Callable[[], int]:
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    draw = np.random.default_rng(0)

    def step() -> int:
        rows = [users[user][-51:] for user in draw.integers(0, len(users), 256)]
        x = torch.zeros(len(rows), max(len(row) for row in rows), dtype=torch.int64)
        for place, row in enumerate(rows):
            x[place, : len(row)] = torch.from_numpy(row)
        y = x[:, 1:]
        hidden = network.every(x[:, :-1])[y > 0]
        _descend(network, optimizer, F.cross_entropy(hidden @ network.embedding.weight.T, y[y > 0]))
        return len(hidden)

    return step


def _prefix_steps(network: Rival, users: Sequence[np.ndarray]) -> Callable[[], int]:
    """RecBole's rows: each prefix of at most 50 items, padded to 50, with the next item as its target."""
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    prefixes = [(user, end) for user, row in enumerate(users) for end in range(1, len(row))]
    draw = np.random.default_rng(0)

    def step() -> int:
        chosen = [prefixes[row] for row in draw.integers(0, len(prefixes), 512)]
        x, y = torch.zeros(512, 50, dtype=torch.int64), torch.zeros(512, dtype=torch.int64)
        last = torch.zeros(512, dtype=torch.int64)
        for place, (user, end) in enumerate(chosen):
            prefix = users[user][max(0, end - 50) : end]
            x[place, : len(prefix)], last[place] = torch.from_numpy(prefix), len(prefix) - 1
            y[place] = int(users[user][end])
        scores = network(x, last) @ network.embedding.weight.T
        _descend(network, optimizer, F.cross_entropy(scores, y))
        return 512

    return step


def _descend(network: nn.Module, optimizer: Any, loss: Tensor) -> None:
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def answer(results: Path | None) -> None:
    """One more event of a user, and ten of 12,000 items for it."""
    draw = np.random.default_rng(0)
    walk = draw.integers(0, 12_000, (2000, 20))
    walk[0, :], walk[:600] = np.arange(20), np.arange(12_000).reshape(600, 20)
    task = Recommender(epochs=1).fit([row.tolist() for row in walk], verbose=0)
    seconds = []
    for row in walk[:200].tolist():
        for item in row:
            began = thread_time()
            task.update(f"user {row[0]}", item)
            task.recommend(f"user {row[0]}", 10)
            seconds.append(thread_time() - began)
    shares = {"lowest tenth": 0.1, "median": 0.5, "99 %": 0.99}
    spent = {name: 1e3 * float(np.quantile(seconds, share)) for name, share in shares.items()}
    remember(results, {"section": "answer", **spent})
    shown: dict[str, dict[str, object]] = {"update and recommend, ms": {**spent, "goal": "under 1"}}
    show(f"Ten of {len(task.codec_.items):,} items after one more event, one thread", shown)


# ---- memory

_MEMORY = "from benchmarks.recommendation import fit_many_events; fit_many_events()"


def memory(results: Path | None) -> None:
    """The highest memory of a fit of ten million events, in a process of its own."""
    output = subprocess.run(
        [sys.executable, "-c", _MEMORY], check=True, capture_output=True, text=True
    ).stdout
    table, before, most = (float(word) for word in output.split()[-3:])
    ratio = (most - before) / table
    remember(results, {"section": "memory", "table": table, "before": before, "most": most, "ratio": ratio})
    shown: dict[str, dict[str, object]] = {
        "fit": {
            "table, MB": table,
            "libraries, MB": before,
            "highest, MB": most,
            "ratio": f"{ratio:.2f} (goal 3)",
        }
    }
    show(f"A fit of {_EVENTS:,} events, one epoch; the table counts too, what PyTorch takes does not", shown)


def fit_many_events() -> None:
    """Fit a table of ten million events; print its size, the memory before it and the highest, in MB."""
    draw = np.random.default_rng(0)
    small = [draw.integers(0, 50, 5).tolist() for _ in range(50)]
    Recommender(epochs=1, hidden_size=8, embedding_size=8).fit(small, verbose=0)  # what libraries take once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    frame = pl.DataFrame({"user": draw.integers(0, 500_000, _EVENTS)})
    items = (20_000 * draw.random(_EVENTS, dtype=np.float32) ** 2).astype(np.int64)
    frame = frame.with_columns(item=pl.Series(items), time=pl.int_range(_EVENTS))
    del items
    task = Recommender(
        epochs=1, hidden_size=16, embedding_size=16, loss="sampled_softmax", num_samples=64, batch_size=512,
        validation_fraction=0.01,
    )  # fmt: skip
    task.fit(frame, verbose=0)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(frame.estimated_size("mb"), before, most)


def main(arguments: Sequence[str]) -> int:
    """Run the sections that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recommendation", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--part", default="test", choices=("test", "validation"))
    parser.add_argument("--options", default="", help="options of Recommender that differ from the defaults")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--rivals", help="a Python that has RecBole; none to leave it out")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    changed = Recommender.from_string(options.options).changed_params()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    for section in options.sections.split(","):
        if section == "speed":
            speed(options.data, options.results, options.rivals)
        elif section == "answer":
            answer(options.results)
        elif section == "memory":
            memory(options.results)
        else:
            accuracy(section, options.data, options.part, seeds, changed, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
