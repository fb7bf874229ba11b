"""Training that was killed resumes to the same bits as training that was not."""

from __future__ import annotations

import os
import re
import runpy
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from longspan import artifact, optimizers
from longspan.data import Batch, Batches
from longspan.errors import LongspanWarning
from longspan.training import Callback, CheckpointConfig, EarlyStopping, LambdaCallback, train

SCRIPT = Path(__file__).with_name("killed.py")
KILLED = runpy.run_path(str(SCRIPT), run_name="killed")


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@cache
def uninterrupted(kind: str) -> tuple[nn.Module, Any, bytes]:
    """The network, history and CSV file of a training that nothing stops."""
    with tempfile.TemporaryDirectory() as folder:
        csv = Path(folder) / "whole.csv"
        network, history = KILLED["run"](kind, None, csv)
        return network, history, csv.read_bytes()


@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        ("loader", 25),
        pytest.param("batches", 16, marks=pytest.mark.slow),
        pytest.param("chunks", 14, marks=pytest.mark.slow),
    ],
)
def test_killed_in_mid_epoch_it_ends_with_the_same_bits(kind: str, steps: int, tmp_path: Path):
    """By SIGKILL, in a process of its own; the next test stops every kind inside one process."""
    whole, history, rows = uninterrupted(kind)
    checkpoint, csv = tmp_path / "checkpoint", tmp_path / "killed.csv"
    start = f"import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    words = [sys.executable, "-c", start, str(checkpoint), kind, str(csv)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for _ in range(steps):
            assert child.stdout.readline().startswith(b"step")
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    kept = artifact.unflatten(artifact.load(checkpoint).config["snapshot"], artifact.load(checkpoint).tensors)
    assert kept["step"] % 10 and 0 < kept["epoch"] < KILLED["EPOCHS"] - 1, "it was not killed in mid-epoch"
    resumed, again = KILLED["run"](kind, checkpoint, csv)
    assert same(whole, resumed)
    assert again.history == history.history and again.epoch == history.epoch
    assert csv.read_bytes() == rows
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "killed.csv"]


class Stop(Exception):
    pass


def stop_at(count: int) -> Callback:
    left = [count]

    def hook(batch: int, logs: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Stop

    return LambdaCallback(on_train_batch_end=hook)


@pytest.mark.parametrize("steps", [1, 9, 10, 11, 19, 40])
@pytest.mark.parametrize("kind", ["batches", "loader", "chunks"])
def test_wherever_it_stops(kind: str, steps: int, tmp_path: Path):
    whole, history, rows = uninterrupted(kind)
    path, csv = tmp_path / "checkpoint", tmp_path / "stopped.csv"
    with pytest.raises(Stop):
        KILLED["run"](kind, path, csv, extra=(stop_at(steps),))
    resumed, again = KILLED["run"](kind, path, csv, extra=(LambdaCallback(),))
    assert same(whole, resumed) and again.history == history.history
    assert csv.read_bytes() == rows


def test_what_is_done_is_not_done_again(tmp_path: Path):
    path = tmp_path / "checkpoint"
    first, history = KILLED["run"]("batches", path, tmp_path / "a.csv")
    counted: list[int] = []
    spy = LambdaCallback(on_train_batch_end=lambda batch, logs: counted.append(batch))
    with pytest.warns(LongspanWarning, match=r"checkpoint .*checkpoint was finished: its weights are taken"):
        again, same_history = KILLED["run"]("batches", path, tmp_path / "a.csv", extra=(spy,))
    assert counted == [] and same(first, again) and same_history.history == history.history


def test_more_epochs_go_on(tmp_path: Path):
    whole, history = KILLED["run"]("batches", None, tmp_path / "a.csv")
    KILLED["run"]("batches", tmp_path / "checkpoint", tmp_path / "b.csv", epochs=2)
    longer, again = KILLED["run"]("batches", tmp_path / "checkpoint", tmp_path / "b.csv")
    assert again.epoch == [0, 1, 2, 3] and again.history == history.history and same(whole, longer)


class Line(nn.Linear):
    def forward(self, batch: Batch, state: Any) -> tuple[Any, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(batch.x), state


def line(path: Any, *, inputs: int = 1, rows: int = 8, **options: Any) -> Any:
    torch.manual_seed(0)
    network = Line(inputs, 1)
    x = torch.rand(rows, inputs)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    options = {"epochs": 2, "verbose": 0, **options}
    return train(network, Batches(x, x[:, :1], batch_size=2), "mse", optimizer, resume=path, **options)


def test_stopped_early_stays_stopped(tmp_path: Path):
    stop = EarlyStopping("loss", min_delta=100.0, patience=1)
    first = line(tmp_path / "c", epochs=9, callbacks=[stop])
    with pytest.warns(LongspanWarning, match="was finished"):
        again = line(tmp_path / "c", epochs=9, callbacks=[EarlyStopping("loss", min_delta=100.0, patience=1)])
    assert first.epoch == again.epoch == [0, 1] and again.stopped == first.stopped is not None


def test_time_decides_how_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written: list[int] = []
    write = CheckpointConfig.write
    monkeypatch.setattr(
        CheckpointConfig, "write", lambda self, kept: written.append(kept["steps"]) or write(self, kept)
    )
    line(CheckpointConfig(tmp_path / "a", seconds=1e-9))
    assert written == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 8]
    written.clear()
    line(tmp_path / "b")
    assert written == [8]


def test_a_checkpoint_of_another_identity_is_refused(tmp_path: Path):
    path = tmp_path / "c"
    line(CheckpointConfig(path, identity={"data": "sha256:1", "run": "a"}))
    for identity, words in (
        ({"data": "sha256:1", "run": "b"}, "received one with run=a instead of b; name another file"),
        ({"data": "sha256:2", "run": "a"}, "received one with other data; name another file"),
        ({"data": "sha256:2"}, "received one with other data, run=a instead of unknown; name another file"),
    ):
        with pytest.raises(ValueError, match=f"checkpoint .*c: expected one of this training, {words}"):
            line(CheckpointConfig(path, identity=identity))
    line(tmp_path / "d")
    with pytest.raises(ValueError, match="received one that does not say what it is of"):
        line(CheckpointConfig(tmp_path / "d", identity={"run": "a"}))


def test_sentences(tmp_path: Path):
    path = tmp_path / "c"
    line(path)
    words = (
        f"checkpoint {path}: expected the weights of this network, weight (1, 2), received weight (1, 1); "
        "name another file or delete this one."
    )
    with pytest.raises(ValueError, match=re.escape(words)):
        line(path, inputs=2)
    with pytest.raises(Stop):
        line(CheckpointConfig(tmp_path / "d", steps=1), callbacks=[stop_at(4)])
    with pytest.raises(ValueError, match="batches: expected the data of the checkpoint, at least 3 batches"):
        line(tmp_path / "d", rows=4)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="expected a whole saved model, received a truncated"):
        line(path)
    artifact.save(path, {"kind": "weights"}, {})
    with pytest.raises(ValueError, match="expected a training checkpoint, received a file of kind 'weights'"):
        line(path)
    artifact.save(path, {"kind": "training", "snapshot": {}}, {})
    with pytest.raises(ValueError, match="expected one of format 3, received one of format 1"):
        line(path)
    with pytest.raises(ValueError, match="steps: expected a whole number of at least 1"):
        CheckpointConfig(path, steps=0)
    with pytest.raises(ValueError, match="seconds: expected a number above 0, received 0"):
        CheckpointConfig(path, seconds=0)


@pytest.mark.parametrize("name", [".", "/dev/null", "file/below"])
def test_a_checkpoint_that_cannot_be_written_is_refused_before_training(name: str, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ValueError, match=r"^resume: expected a (file or a new name|place that can be written)"
    ):
        CheckpointConfig(tmp_path / name)


class Picture(nn.Conv2d):
    """A convolution whose weight has its channels last in memory."""

    def __init__(self) -> None:
        super().__init__(3, 2, 3)
        self.weight.data = self.weight.data.contiguous(memory_format=torch.channels_last)

    def forward(self, batch: Batch, state: Any) -> tuple[Any, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(batch.x).mean((2, 3)), state


def test_the_layout_of_weights_in_memory_does_not_matter(tmp_path: Path):
    def run(*callbacks: Callback, path: Path | None = None) -> nn.Module:
        torch.manual_seed(0)
        network, x = Picture(), torch.rand(8, 3, 5, 5)
        checkpoint = None if path is None else CheckpointConfig(path, steps=1, seconds=None)
        train(
            network, Batches(x, x.mean((2, 3))[:, :2], batch_size=2), "mse",
            optimizers.Adam(0.1).build(network.parameters()), epochs=2, verbose=0, resume=checkpoint,
            callbacks=callbacks,
        )  # fmt: skip
        return network

    with pytest.raises(Stop):
        run(stop_at(3), path=tmp_path / "checkpoint")
    assert same(run(path=tmp_path / "checkpoint"), run())
