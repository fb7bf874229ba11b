"""Two processes train as one with the joined batch; precision is that of Fabric."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import longspan as ls
from longspan import losses
from longspan.data import Batch, Batches, BPTTChunks
from longspan.optimizers import keras
from longspan.training import CheckpointConfig, CSVLogger, EarlyStopping, LambdaCallback, evaluate, train

needed = pytest.mark.skipif(
    find_spec("lightning_fabric") is None, reason="needs lightning-fabric, which the parallel extra installs"
)
# forking a process with threads warns from Python 3.12 on; Fabric's own warnings are not ours
quiet = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.core = ls.nn.LSTM(3, 6, batch_first=True)
        self.head = nn.Linear(6, 1)

    def forward(self, batch: Batch, state: Any) -> tuple[Tensor, Any]:
        out, state = self.core(batch.x, state, lengths=batch.lengths)
        return self.head(out), state


DRAW = torch.Generator().manual_seed(0)
ROWS = [torch.randn(n, 3, generator=DRAW) for n in (5, 2, 4, 1, 3, 5, 5)]
Y = torch.randn(7, 5, 1, generator=DRAW)


def run(processes: int | None, kind: str, **options: Any) -> tuple[nn.Module, Any]:
    torch.manual_seed(1)
    network = Reader()
    # batches of 3, 3 and 1: uneven parts, and one that leaves a process without a row
    batches: Any = Batches(ROWS, Y, batch_size=3, shuffle=True, weight=torch.arange(1.0, 8.0))
    if kind == "chunks":
        batches = BPTTChunks(
            torch.stack([r[:1].repeat(8, 1) for r in ROWS[:3]]), torch.ones(3, 8, 1), chunk_length=3
        )
    loss = losses.MeanSquaredError(reduction="sum" if kind == "sum" else "sum_over_batch_size")
    optimizer = keras.SGD(0.01).build(network.parameters())
    options = {"epochs": 2, "verbose": 0, "metrics": ["mae"], **options}
    history = train(network, batches, loss, optimizer, processes=processes, **options)
    return network, history


@needed
@quiet
@pytest.mark.parametrize(("kind", "options"), [("mean", {"clip_norm": 0.1}), ("sum", {}), ("chunks", {})])
def test_two_processes_are_one(kind: str, options: dict[str, Any]):
    alone, one = run(None, kind, **options)
    both, two = run(2, kind, **options)
    for a, b in zip(alone.parameters(), both.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert two.epoch == one.epoch
    assert two.history["mae"] == pytest.approx(one.history["mae"], rel=1e-5)
    if kind == "chunks":
        assert two.history["loss"] == pytest.approx(one.history["loss"], rel=1e-5)


@needed
@quiet
def test_callbacks_files_and_resume(tmp_path: Path):
    def options(name: str) -> dict[str, Any]:
        stop = EarlyStopping("loss", min_delta=100.0, patience=2, restore_best_weights=True)
        return {
            "epochs": 9,
            "callbacks": [stop, CSVLogger(tmp_path / f"{name}.csv")],
            "resume": CheckpointConfig(tmp_path / name, steps=2),
        }

    pids: list[int] = []
    whole, history = run(2, "mean", **options("a"))
    assert history.epoch == [0, 1, 2] and history.stopped == "loss did not improve for 2 epochs"
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 4
    crash = LambdaCallback(on_epoch_begin=lambda epoch, logs: pids.append(1 // (1 - epoch)))
    cut = options("b")
    with pytest.raises(ZeroDivisionError, match="integer division or modulo by zero"):
        run(2, "mean", **{**cut, "callbacks": [*cut["callbacks"], crash]})
    resumed, again = run(
        2, "mean", **{**options("b"), "callbacks": [*options("b")["callbacks"], LambdaCallback()]}
    )
    assert again.history == history.history
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(
        ValueError, match="processes: expected 2, as many as wrote the checkpoint, received 1"
    ):
        run(None, "mean", **options("a"))


@needed
@quiet
def test_precision():
    network, history = run(None, "mean", precision="bf16-mixed", epochs=20, validate=Batches(ROWS, Y))
    plain, wanted = run(None, "mean", epochs=20, validate=Batches(ROWS, Y))
    assert history.history["val_loss"] == pytest.approx(wanted.history["val_loss"], rel=0.02)
    assert history.history["loss"] != wanted.history["loss"]
    assert all(p.dtype == torch.float32 for p in network.parameters())
    assert evaluate(plain, Batches(ROWS, Y), "mse")["loss"] == pytest.approx(wanted.history["val_loss"][-1])


def test_missing_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    words = "expected the package lightning-fabric, received none; run pip install 'longspan[parallel]'."
    with pytest.raises(ImportError, match=re.escape(words)):
        run(2, "mean")
    with pytest.raises(ImportError, match=re.escape(words)):
        run(None, "mean", precision="bf16-mixed")


def loader() -> Any:
    rows = DataLoader(TensorDataset(torch.zeros(4, 2, 3), torch.zeros(4, 2, 1)), batch_size=2, shuffle=True)
    network = Reader()
    return train(
        network, rows, "mse", torch.optim.SGD(network.parameters()), epochs=1, processes=2, verbose=0
    )


def nan() -> Any:
    network = Reader()
    bad = [Batch(torch.full((2, 2, 3), float("nan")), torch.zeros(2, 2, 1))]
    return train(network, bad, "mse", torch.optim.SGD(network.parameters()), epochs=1, processes=2, verbose=0)


WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "precision": (
        lambda: run(None, "mean", precision="bf16"),
        ValueError,
        "precision: expected one of '32-true'",
    ),
    "none": (
        lambda: run(0, "mean"),
        ValueError,
        "processes: expected a whole number of at least 1, received 0",
    ),
    "order": (loader, ValueError, "batches: expected a DataLoader with a generator, so that all processes"),
    "nan": (
        nan,
        FloatingPointError,
        "loss: expected a finite number, received nan at epoch 1, step 1, whose batch",
    ),
}


@needed
@quiet
@pytest.mark.parametrize("case", WRONG)
def test_sentence(case: str):
    wrong, kind, words = WRONG[case]
    with pytest.raises(kind, match=re.escape(words)):
        wrong()


@needed
def test_started_by_others_it_counts_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "environ", {**os.environ, "WORLD_SIZE": "3", "RANK": "0", "LOCAL_RANK": "0"})
    with pytest.raises(
        ValueError, match=r"processes: expected 3, as started, received 2; start as many, torchrun"
    ):
        run(2, "mean")
