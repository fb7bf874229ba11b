"""Callbacks stop and restore, lower the learning rate, save, and log."""

from __future__ import annotations

import csv
import math
import re
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlencode

import pytest
import torch
from torch import nn

from longspan import artifact, config, errors, ops, optimizers
from longspan.callbacks import RemoteMonitor, SwapEMAWeights
from longspan.data import Batch, Batches
from longspan.training import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
    train,
)


class Line(nn.Linear):
    def forward(self, batch: Batch, state: Any) -> tuple[Any, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(batch.x), state


def run(
    callbacks: Any, scores: list[float] | None = None, network: nn.Module | None = None, **options: Any
) -> Any:
    """Train a line; validation says what `scores` holds, epoch by epoch."""
    torch.manual_seed(0)
    network = Line(1, 1) if network is None else network
    x = torch.linspace(0, 1, 8).view(8, 1)
    given = iter(scores or [])
    validate = None if scores is None else lambda: {"loss": next(given), "accuracy": 0.5}
    optimizer = options.pop("optimizer", None) or optimizers.SGD(0.1).build(network.parameters())
    options = {"epochs": len(scores or [0, 0]), "verbose": 0, **options}
    return train(
        network,
        Batches(x, 2 * x, batch_size=len(x) // options.pop("batches", 2)),
        "mse",
        optimizer,
        validate=validate,
        callbacks=callbacks,
        **options,
    )


@pytest.mark.parametrize("restore", [True, False])
def test_early_stopping_restores_the_best(restore: bool, capsys: pytest.CaptureFixture[str]):
    network, seen = Line(1, 1), []
    keep = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(network.weight.item()))
    stop = EarlyStopping(patience=2, restore_best_weights=restore, verbose=1)
    history = run([keep, stop], [5, 3, 4, 3.5, 1, 1], network)
    assert history.epoch == [0, 1, 2, 3] and history.stopped == "val_loss did not improve for 2 epochs"
    assert network.weight.item() == seen[1 if restore else 3]
    said = capsys.readouterr().out
    assert "Epoch 4: early stopping" in said
    assert ("Restoring the weights of the best epoch: 2." in said) is restore


@pytest.mark.parametrize(
    ("options", "scores", "epochs"),
    [
        ({"patience": 1, "min_delta": 0.5}, [5, 4.8, 4.6, 1], 2),
        ({"patience": 1, "mode": "max"}, [1, 2, 3, 2.5, 9], 4),
        ({"patience": 0}, [3, 2, 2, 1], 3),
        ({"patience": 1, "start_from_epoch": 2}, [1, 2, 3, 4, 5], 4),
        ({"patience": 2, "baseline": 2.0}, [5, 4, 4, 1, 1], 3),
        ({"patience": 1, "monitor": "val_accuracy", "mode": "max"}, [1, 1, 1], 2),
        ({"patience": 9}, [3, 3, 3], 3),
    ],
)
def test_when_it_stops(options: dict[str, Any], scores: list[float], epochs: int):
    history = run([EarlyStopping(**options)], scores)
    assert len(history.epoch) == epochs


def test_plateaus_lower_the_rate(capsys: pytest.CaptureFixture[str]):
    network = Line(1, 1)
    optimizer = optimizers.SGD(1e-3).build(network.parameters())
    lower = ReduceLROnPlateau(factor=0.5, patience=2, cooldown=1, min_lr=3e-4, verbose=1)
    history = run([lower], [5, 5, 5, 5, 5, 5, 5, 5, 5, 5], network, optimizer=optimizer)
    rates = history.history["learning_rate"]
    assert rates == pytest.approx([1e-3] * 3 + [5e-4] * 2 + [3e-4] * 5)
    assert optimizer.learning_rate == pytest.approx(3e-4)
    said = capsys.readouterr().out
    assert "Epoch 3: ReduceLROnPlateau reducing learning rate to 0.0005." in said


def test_rates_by_epoch():
    for schedule in (lambda epoch: 0.1 / (epoch + 1), lambda epoch, rate: 0.1 if epoch == 0 else rate / 2):
        history = run([LearningRateScheduler(schedule)], epochs=2)
        assert history.history["learning_rate"] == pytest.approx([0.1, 0.05])


def test_checkpoints(tmp_path: Path):
    network = Line(1, 1)
    best = ModelCheckpoint(tmp_path / "best-{epoch:02d}-{val_loss:.1f}", save_best_only=True)
    every = ModelCheckpoint(tmp_path / "step-{epoch}-{batch}", save_freq=3)
    run([best, every], [5, 3, 4], network)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best-01-5.0",
        "best-02-3.0",
        "step-2-1",
        "step-3-2",
    ]
    config, tensors = artifact.load(tmp_path / "step-3-2")
    assert config == {"kind": "weights"} and torch.equal(tensors["weight"], network.weight)


def test_models_write_themselves(tmp_path: Path):
    class Model:
        stop_training = False

        def save(self, path: str) -> None:
            Path(path).write_text("whole")

        def save_weights(self, path: str) -> None:
            Path(path).write_text("weights")

    for weights_only in (False, True):
        run([ModelCheckpoint(tmp_path / str(weights_only), save_weights_only=weights_only)], model=Model())
    assert (tmp_path / "False").read_text() == "whole" and (tmp_path / "True").read_text() == "weights"


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter=";"))


@pytest.mark.parametrize("as_json", [False, True])
def test_numbers_go_to_a_server(as_json: bool) -> None:
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.path.encode() + b" " + self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    root = f"http://127.0.0.1:{server.server_port}"
    try:
        RemoteMonitor(root, "/log", send_as_json=as_json).on_epoch_end(1, {"loss": 0.5})
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    text = '{"epoch": 1, "loss": 0.5}'
    assert bodies == [f"/log {text if as_json else urlencode({'data': text})}".encode()]
    with pytest.warns(errors.LongspanWarning, match="Could not reach RemoteMonitor root server"):
        RemoteMonitor(root).on_epoch_end(1, {"loss": 0.5})


def test_csv_of_a_validation_every_other_epoch(tmp_path: Path) -> None:
    run([CSVLogger(tmp_path / "log", separator=";")], [3.0], epochs=2, validation_freq=2)
    assert [row["val_loss"] for row in read(tmp_path / "log")] == ["NA", "3.0"]


def test_csv(tmp_path: Path):
    path = tmp_path / "logs" / "run.csv"
    history = run([CSVLogger(path, separator=";")], [3, 2], metrics=["mae"])
    rows = read(path)
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert list(rows[0]) == ["epoch", "loss", "mae", "val_accuracy", "val_loss"]
    assert [float(row["loss"]) for row in rows] == history.history["loss"]
    run([CSVLogger(path, separator=";", append=True)], [1])
    assert [float(row["val_loss"]) for row in read(path)] == [3, 2, 1]
    assert read(path)[2]["mae"] == "NA"
    run([CSVLogger(path)], [1])
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_tensorboard(tmp_path: Path):
    reading = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard"
    )
    history = run([TensorBoard(tmp_path)], [3, 2])
    for folder, tag, values in (
        ("train", "epoch_loss", history.history["loss"]),
        ("validation", "epoch_loss", [3, 2]),
    ):
        events = reading.EventAccumulator(str(tmp_path / folder))
        events.Reload()
        assert [event.value for event in events.Scalars(tag)] == pytest.approx(values)


def test_missing_tensorboard(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    words = "expected the package tensorboard, received none; run pip install 'longspan[tensorboard]'."
    with pytest.raises(ImportError, match=re.escape(words)):
        TensorBoard()


@pytest.mark.parametrize(
    ("callback", "scores", "words"),
    [
        (
            EarlyStopping(monitor="vall_loss", mode="min"), [1.0, 2.0],
            "EarlyStopping monitors 'vall_loss', which is not among loss, val_loss, val_accuracy, and does "
            "nothing; choose one of these.",
        ),
        (ReduceLROnPlateau(), None, "which is not among loss, and does nothing; pass validation data."),
    ],
)  # fmt: skip
def test_a_monitored_number_that_is_not_there_is_said_once(
    callback: Any, scores: list[float] | None, words: str
) -> None:
    with pytest.warns(errors.LongspanWarning) as said:
        history = run([callback], scores)
    assert len(history.epoch) == 2 and len(said) == 1 and words in str(said[0].message)


def test_a_checkpoint_without_its_number_is_saved(tmp_path: Path) -> None:
    with pytest.warns(errors.LongspanWarning, match="monitors 'val_loss', which .* and saves every time"):
        run([ModelCheckpoint(tmp_path / "{epoch}", save_best_only=True)])
    assert len(list(tmp_path.iterdir())) == 2


def test_a_monitored_name_that_no_metric_has_is_an_error() -> None:
    with pytest.raises(
        ValueError, match=r"monitor: expected one of the numbers loss, .*'vall_loss'.*val_loss"
    ):
        run([EarlyStopping(monitor="vall_loss")], [1.0])


def test_callbacks_in_a_loop_of_ones_own() -> None:
    class Model:
        stop_training, weights = False, 0

        def get_weights(self) -> int:
            return self.weights

        def set_weights(self, weights: int) -> None:
            self.weights = weights

    stop, model = EarlyStopping("loss", patience=2, restore_best_weights=True), Model()
    stop.set_model(model)
    stop.on_train_begin()
    for epoch, loss in enumerate([3.0, 1.0, 2.0, 2.0, 0.5]):
        model.weights = epoch
        stop.on_epoch_end(epoch, {"loss": loss})
        if model.stop_training:
            break
    stop.on_train_end()
    assert (stop.stopped_epoch, model.weights) == (3, 1) and stop.monitor_op is ops.less


@pytest.mark.parametrize(
    "callback", [LearningRateScheduler(lambda epoch: 0.1), ReduceLROnPlateau("val_loss", patience=1)]
)
def test_an_optimizer_with_a_schedule_is_refused(callback: Callback) -> None:
    network = Line(1, 1)
    optimizer = optimizers.SGD(optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)).build(
        network.parameters()
    )
    with pytest.raises(TypeError, match="learning_rate: expected a number beside"):
        run([callback], [1.0, 1.0], network, optimizer=optimizer)


def test_what_callbacks_report_goes_to_a_logger(caplog: pytest.LogCaptureFixture) -> None:
    config.disable_interactive_logging()
    try:
        with caplog.at_level("INFO", "longspan"):
            run([LearningRateScheduler(lambda epoch: 0.5, verbose=1)], epochs=1)
    finally:
        config.enable_interactive_logging()
    assert "LearningRateScheduler setting learning rate to 0.5" in caplog.text


def test_the_epoch_of_a_bad_loss_is_in_the_history() -> None:
    network = Line(1, 1)
    nn.init.constant_(network.weight, float("inf"))
    history = run([TerminateOnNaN()], network=network, epochs=5)
    assert history.epoch == [0] and not math.isfinite(history.history["loss"][0])
    with pytest.raises(RuntimeError, match="epoch 1, step 1"):
        run([TerminateOnNaN(raise_error=True)], network=network)


@pytest.mark.parametrize("on_epoch", [False, True])
def test_validation_with_averages_of_the_weights(on_epoch: bool) -> None:
    network, values = Line(1, 1), []

    def validate() -> dict[str, float]:
        values.append(network.weight.item())
        return {"loss": 0.0}

    optimizer = optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5).build(network.parameters())
    at_end: list[float] = []
    keep = LambdaCallback(on_epoch_end=lambda epoch, logs: at_end.append(network.weight.item()))
    batches = Batches(torch.ones(4, 1), torch.ones(4, 1), batch_size=2)
    swap = SwapEMAWeights(swap_on_epoch=on_epoch)
    train(network, batches, "mse", optimizer, epochs=2, validate=validate, callbacks=[swap, keep], verbose=0)
    average = optimizer.state[network.weight]["average"].item()
    assert values[-1] == average != network.weight.item()
    assert (at_end == values) is on_epoch
    with pytest.raises(ValueError, match="SwapEMAWeights: expected an optimizer that keeps averages"):
        run([SwapEMAWeights()])


def test_functions_of_other_names() -> None:
    assert LambdaCallback(of_mine=lambda: 3).of_mine() == 3  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match="hook: expected one of"):
        LambdaCallback(on_epoch_ends=lambda epoch, logs: None)


def test_a_validation_every_other_epoch() -> None:
    stopping = EarlyStopping(patience=1)
    history = run([stopping], [3.0, 4.0, 5.0], epochs=9, validation_freq=2)
    assert history.history["val_loss"] == [3.0, 4.0] and history.epoch == [0, 1, 2, 3]
    assert history.epochs_of["val_loss"] == [1, 3]
    history = run([], [3.0, 4.0], epochs=5, validation_freq=[2, 5])
    assert history.epochs_of["val_loss"] == [1, 4] and history.history["val_loss"] == [3.0, 4.0]
    with pytest.raises(ValueError, match="validation_freq: expected a whole number of at least 1"):
        run([], [1.0], validation_freq=0)


def test_older_names_of_hooks_and_names_that_are_none() -> None:
    class Older(Callback):
        def __init__(self) -> None:
            self.batches: list[int] = []

        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            self.batches.append(batch)

    class Both(Older):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            super().on_train_batch_end(batch, logs)

    class Wrong(Callback):
        def on_epoch_ends(self, epoch: int, logs: Any = None) -> None:
            raise AssertionError

    older, both = Older(), Both()
    with pytest.warns(errors.LongspanWarning, match="Wrong.on_epoch_ends is not a hook .* 'on_epoch_end'"):
        run([older, both, Wrong()], epochs=1)
    assert older.batches == both.batches == [0, 1]


def test_training_ends_after_the_step_that_stops_it() -> None:
    class Stop(Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = True

    history = run(Stop(), [1.0, 2.0], batches=8)
    assert len(history.epoch) == 1 and history.history["val_loss"] == [1.0] and history.stopped


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "direction": (
        lambda: run([EarlyStopping("val_accuracy")], [1, 2]),
        'monitor \'val_accuracy\': expected mode="min" or mode="max", since it is not known which way this '
        'metric improves, received mode="auto"; say which.',
    ),
    "mode": (lambda: EarlyStopping(mode="up"), "mode: expected one of 'auto', 'min', 'max', received 'up'"),
    "patience": (lambda: EarlyStopping(patience=-1), "patience: expected a whole number of at least 0"),
    "factor": (lambda: ReduceLROnPlateau(factor=1.0), "factor: expected a number in [0, 1), received 1.0"),
    "frequency": (
        lambda: ModelCheckpoint("x", save_freq=0),
        "save_freq: expected a whole number of at least 1",
    ),
    "name": (
        lambda: run([ModelCheckpoint("{val_los}")], [1]),
        "filepath: expected names among epoch, loss, val_loss, val_accuracy, received 'val_los'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_sentence(case: str):
    wrong, words = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        wrong()


def test_metrics_say_their_direction():
    class Two(Line):
        def forward(self, batch: Batch, state: Any) -> tuple[Any, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
            return super().forward(batch, state)[0].sigmoid(), None

    stop = EarlyStopping("mae", patience=0)
    history = run([stop], network=Two(1, 1), metrics=["mae"], epochs=3)
    assert len(history.epoch) == 3 and stop.best == history.history["mae"][-1]
