"""Several processes train as one with the joined batch; precision is that of Fabric."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import longspan as ls
from longspan import layers, losses
from longspan.data import Batch, Batches, BPTTChunks
from longspan.layers import Input
from longspan.models import Sequential
from longspan.optimizers import keras
from longspan.training import (
    Callback,
    CheckpointConfig,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    evaluate,
    train,
)
from longspan.training.distributed import GradientBuffer
from longspan.training.process_groups import ProcessGroup
from longspan.training.processes import run_in_processes

needed = pytest.mark.skipif(
    find_spec("lightning_fabric") is None, reason="needs lightning-fabric, which the parallel extra installs"
)
forks = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")


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


@forks
@pytest.mark.parametrize(("kind", "options"), [("mean", {"clip_norm": 0.1}), ("sum", {}), ("chunks", {})])
def test_two_processes_are_one(kind: str, options: dict[str, Any]):
    alone, one = run(None, kind, **options)
    both, two = run(2, kind, **options)
    for a, b in zip(alone.parameters(), both.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert two.epoch == one.epoch
    assert two.history["mae"] == pytest.approx(one.history["mae"], rel=1e-5)
    assert two.history["loss"] == pytest.approx(one.history["loss"], rel=1e-5)


@forks
def test_batches_that_processes_make_for_themselves():
    made: list[int] = []

    class Parts:
        """Batches of 3, 3 and 1 rows, of which a process makes its own."""

        def __iter__(self) -> Iterator[Batch]:
            return (batch for batch, _ in self.parts(0, 1))

        def parts(self, rank: int, world: int) -> Iterator[tuple[Batch, int]]:
            for rows in torch.randperm(7).split(3):
                own = rows[rank::world] if len(rows) > rank else rows[:1]
                made.append(len(own))
                yield Batch(Y[own].repeat(1, 1, 3), Y[own]), len(rows)

    def fitted(processes: int | None) -> tuple[nn.Module, Any]:
        torch.manual_seed(1)
        network = Reader()
        optimizer = keras.SGD(0.01).build(network.parameters())
        torch.manual_seed(2)
        return network, train(network, Parts(), "mse", optimizer, epochs=2, verbose=0, processes=processes)

    (alone, one), (both, two) = fitted(None), fitted(2)
    assert made[:3] == [3, 3, 1] and made[6:9] == [2, 2, 1]
    assert two.history["loss"] == pytest.approx(one.history["loss"], rel=1e-5)
    for a, b in zip(alone.parameters(), both.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@forks
def test_a_sum_of_gradients_is_each_process_s_own():
    weight = nn.Parameter(torch.zeros(5))

    def work(group: ProcessGroup) -> Tensor:
        buffer = GradientBuffer([weight], group)
        for _ in range(2):
            weight.grad = torch.full((5,), group.rank + 1.0)
            buffer.add_up(1.0)
            assert weight.grad is not None
            group.gather(None)
            if group.rank:
                weight.grad.mul_(10.0)  # as clipping does
            group.gather(None)
        assert weight.grad is not None
        return weight.grad

    assert run_in_processes(2, [weight], work).tolist() == [3.0] * 5


@forks
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
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
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
        run(None, "mean", precision="bf16-mixed")


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
    "rows": (
        lambda: run(5, "mean"),
        ValueError,
        "processes: expected at most 3, the rows of a batch, received 5; ask for fewer",
    ),
    "nan": (
        nan,
        FloatingPointError,
        "loss: expected a finite number, received nan at epoch 1, step 1, whose batch",
    ),
}


@needed
@forks
@pytest.mark.parametrize("case", WRONG)
def test_sentence(case: str):
    wrong, kind, words = WRONG[case]
    with pytest.raises(kind, match=re.escape(words)):
        wrong()


def test_started_by_others_it_counts_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "environ", {**os.environ, "WORLD_SIZE": "3", "RANK": "0", "LOCAL_RANK": "0"})
    with pytest.raises(
        ValueError, match=r"processes: expected 3, as started, received 2; start as many, torchrun"
    ):
        run(2, "mean")


@forks
def test_a_shuffled_loader_gives_all_processes_the_same_batches():
    def rows(processes: int | None) -> nn.Module:
        torch.manual_seed(3)
        network = Reader()
        draw = torch.Generator().manual_seed(1)
        pairs = TensorDataset(torch.randn(8, 2, 3, generator=draw), torch.randn(8, 2, 1, generator=draw))
        batches = DataLoader(pairs, batch_size=3, shuffle=True)
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        train(network, batches, "mse", optimizer, epochs=2, processes=processes, verbose=0)
        return network

    for a, b in zip(rows(None).parameters(), rows(2).parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@forks
def test_the_first_process_decides_rate_and_end():
    class Halve(Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.trainer.learning_rate = 0.02 / (self.trainer.steps + 1)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = self.trainer.steps == 4  # in the middle of the second epoch

    (alone, one), (both, two) = run(None, "mean", callbacks=[Halve()]), run(2, "mean", callbacks=[Halve()])
    assert two.history["loss"] == pytest.approx(one.history["loss"], rel=1e-5) and len(two.epoch) == 2
    for a, b in zip(alone.parameters(), both.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@forks
def test_a_killed_process_is_one_sentence():
    class Deadly(Reader):
        def forward(self, batch: Batch, state: Any) -> tuple[Tensor, Any]:
            if os.getpid() != FIRST and self.training:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().forward(batch, state)

    FIRST = os.getpid()
    network = Deadly()
    batches = Batches(ROWS, Y, batch_size=3)
    optimizer = torch.optim.SGD(network.parameters())
    words = "processes: expected 2 to the end of training, received process 1 ended by SIGKILL; see whether"
    with pytest.raises(ConnectionError, match=words):
        train(network, batches, "mse", optimizer, epochs=1, processes=2, verbose=0)
    assert not torch.distributed.is_initialized() and not multiprocessing.active_children()


@forks
def test_an_error_in_another_process_is_raised_here():
    class Wrong(Reader):
        def forward(self, batch: Batch, state: Any) -> tuple[Tensor, Any]:
            if os.getpid() != FIRST:
                raise KeyError("a word of its own")
            return super().forward(batch, state)

    FIRST = os.getpid()
    network = Wrong()
    optimizer = torch.optim.SGD(network.parameters())
    with pytest.raises(KeyError, match="a word of its own"):
        train(network, Batches(ROWS, Y), "mse", optimizer, epochs=1, processes=2, verbose=0)


@forks
@pytest.mark.parametrize(
    "norm", [nn.BatchNorm1d(6), nn.BatchNorm1d(6, momentum=None), nn.BatchNorm1d(6, affine=False)]
)
def test_batch_normalization_is_over_all_rows(norm: nn.BatchNorm1d):
    class Normed(Reader):
        def __init__(self) -> None:
            super().__init__()
            self.norm = deepcopy(norm)

        def forward(self, batch: Batch, state: Any) -> tuple[Tensor, Any]:
            out, state = self.core(batch.x, state)
            return self.head(self.norm(out.transpose(1, 2)).transpose(1, 2)), state

    def fitted(processes: int | None) -> nn.Module:
        torch.manual_seed(0)
        network = Normed()
        draw = torch.Generator().manual_seed(1)
        # the last batch has one row, so that a process has none
        batches = Batches(torch.randn(7, 5, 3, generator=draw), Y, batch_size=3)
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        train(network, batches, "mse", optimizer, epochs=2, processes=processes, verbose=0)
        assert "forward" not in vars(network.norm)
        return network

    alone, both = fitted(None).state_dict(), fitted(2).state_dict()
    for name, value in alone.items():
        torch.testing.assert_close(value, both[name], rtol=1e-4, atol=1e-5)


@forks
def test_batch_normalization_of_one_value_is_refused_as_in_one_process():
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(1)

        def forward(self, batch: Batch, state: Any) -> tuple[Tensor, Any]:
            return self.norm(batch.x), state

    for processes in (None, 2):
        network = Normed()
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        with pytest.raises(ValueError, match="xpected more than 1 value"):
            train(network, Batches(Y[:3, 0], Y[:3, 0], batch_size=2), "mse", optimizer, epochs=1,
                  processes=processes, verbose=0)  # fmt: skip


@forks
def test_compiled_steps_are_shared():
    def fitted(processes: int | None) -> tuple[Any, Any]:
        torch.manual_seed(0)
        model = Sequential([Input((6, 3)), layers.LSTM(8), layers.Dense(1)])
        model.compile("adam", "mse", metrics=["mae"])
        draw = torch.Generator().manual_seed(1)
        x = torch.randn(33, 6, 3, generator=draw)
        torch.manual_seed(2)
        history = model.fit(x, x.sum((1, 2)).unsqueeze(1), epochs=2, verbose=0, processes=processes)
        assert "one compiled step" in model.explain(x)
        return model, history

    (alone, one), (both, two) = fitted(None), fitted(2)
    assert two.history["mae"] == pytest.approx(one.history["mae"], rel=1e-5)
    assert two.history["loss"] == pytest.approx(one.history["loss"], rel=1e-5)
    for a, b in zip(alone.parameters(), both.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
