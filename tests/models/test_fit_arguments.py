"""Tests that what fit, evaluate and predict take acts: steps, validations, and the hooks of callbacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longspan import config, errors, utils
from longspan.callbacks import BackupAndRestore, Callback, LambdaCallback, TerminateOnNaN
from longspan.layers import LSTM, Dense, Input
from longspan.models import Model, Sequential

X = np.arange(24.0).reshape(12, 2)
Y = X.sum(1, keepdims=True)


def model() -> Sequential:
    made = Sequential([Input((2,)), Dense(1)])
    made.compile("sgd", "mse", metrics=["mae"])
    return made


class Recorder(Callback):
    """Records every hook that is called."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_test_begin(self, logs: Any = None) -> None:
        self.calls.append("test")

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.calls.append(f"test {batch}")

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        assert set(logs) == {"loss", "mae"}

    def on_test_end(self, logs: Any = None) -> None:
        self.calls.append("tested")

    def on_predict_begin(self, logs: Any = None) -> None:
        assert isinstance(self.model, Sequential) and self.params["steps"] == 3
        self.calls.append("predict")

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        self.calls.append(f"predict {batch} {tuple(logs['outputs'].shape)}")

    def on_predict_end(self, logs: Any = None) -> None:
        self.calls.append("predicted")


def test_callbacks_of_evaluate_and_predict() -> None:
    recorder = Recorder()
    model().evaluate(X, Y, batch_size=6, callbacks=[recorder])
    assert recorder.calls == ["test", "test 0", "test 1", "tested"]
    recorder.calls = []
    model().predict(X, batch_size=5, callbacks=recorder)
    assert recorder.calls == [
        "predict",
        "predict 0 (5, 1)",
        "predict 1 (5, 1)",
        "predict 2 (2, 1)",
        "predicted",
    ]


def test_validation_calls_the_hooks_of_batches() -> None:
    recorder = Recorder()
    model().fit(X, Y, validation_data=(X, Y), validation_batch_size=6, callbacks=recorder, verbose=0)
    assert recorder.calls == ["test", "test 0", "test 1", "tested"]


@pytest.mark.parametrize("shuffle", [False, True])
def test_epochs_of_so_many_steps_go_through_all_rows(shuffle: bool) -> None:
    fitted, seen = model(), []
    last = LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(batch))
    options: dict[str, Any] = {"batch_size": 4, "epochs": 4, "steps_per_epoch": 2, "verbose": 0}
    fitted.set_weights(start := [np.ones((2, 1)), np.zeros(1)])
    with pytest.warns(errors.LongspanWarning, match="the data end after 1 batches of an epoch"):
        fitted.fit(X, Y, shuffle=shuffle, callbacks=last, **options)
    assert seen == [0, 1, 0, 0, 1, 0]  # three batches are one epoch of two and one of one
    if not shuffle:
        plain = model()
        plain.set_weights(start)
        plain.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        for ours, theirs in zip(fitted.get_weights(), plain.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    seen.clear()
    model().fit(X, Y, callbacks=last, **{**options, "batch_size": 3})
    assert seen == [0, 1] * 4


def test_a_generator_that_ends_ends_training() -> None:
    with pytest.warns(errors.LongspanWarning, match="The data ended after 1 of 3 epochs"):
        history = model().fit((batch for batch in [(X, Y)] * 2), epochs=3, verbose=0)
    assert history.epoch == [0] and history.stopped == "the data ended"


class Endless(utils.PyDataset):
    def __init__(self, length: int | None) -> None:
        super().__init__()
        self.length = length

    @property
    def num_batches(self) -> int | None:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return X[:4], (Y[:4] > 10).astype(int)


@pytest.mark.parametrize("length", [3, None])
def test_class_weights_of_batches(length: int | None) -> None:
    weights, seen = {0: 1.0, 1: 3.0}, []
    for data in (Endless(length), (X[:4], (Y[:4] > 10).astype(int))):
        fitted = model()
        fitted.set_weights([np.ones((2, 1)), np.zeros(1)])
        x, y = data if isinstance(data, tuple) else (data, None)
        options: dict[str, Any] = {"steps_per_epoch": 1, "class_weight": weights, "verbose": 0}
        seen.append(fitted.fit(x, y, shuffle=False, **options).history["loss"][0])
    assert seen[0] == pytest.approx(seen[1]) and seen[0] > 0
    if length is None:
        with pytest.raises(TypeError, match="Endless: expected a data set with a length"):
            model().fit(Endless(None), verbose=0)


def test_callbacks_end_evaluate_and_predict() -> None:
    class Stop(Callback):
        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_evaluating = batch == 1

        def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_predicting = batch == 1

    def forever() -> Any:
        while True:
            yield X[:2], Y[:2]

    fitted = model()
    assert fitted.evaluate(forever(), callbacks=[Stop()]) == pytest.approx(fitted.evaluate(X[:2], Y[:2]))
    assert fitted.predict(forever(), callbacks=[Stop()], verbose=0).shape == (4, 1)


@pytest.mark.parametrize("inputs", [1, 2])
def test_targets_that_are_not_finite_end_training(inputs: int) -> None:
    bad = np.where(np.arange(12)[:, None] == 5, np.inf, Y)
    x = [Input((2,)) for _ in range(inputs)]
    made = Model(x, Dense(1)(x[0]))
    made.compile("sgd", "mse")
    options: dict[str, Any] = {"batch_size": 4, "shuffle": False, "verbose": 0}
    history = made.fit([X] * inputs, bad, callbacks=TerminateOnNaN(), **options)
    assert history.history["loss"] == [np.inf] and "epoch 1, step 2" in str(history.stopped)
    with pytest.raises(RuntimeError, match="epoch 1, step 2"):
        made.fit([X] * inputs, bad, callbacks=TerminateOnNaN(raise_error=True), **options)
    with pytest.raises(ValueError, match="y: expected finite numbers"):
        made.fit([X] * inputs, bad, **options)


def test_limits_of_every_fit() -> None:
    config.set_max_epochs(2)
    config.set_max_steps_per_epoch(1)
    try:
        seen: list[int] = []
        last = LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(batch))
        model().fit(X, Y, batch_size=4, epochs=5, callbacks=last, verbose=0)
    finally:
        config.set_max_epochs(None)
        config.set_max_steps_per_epoch(None)
    assert seen == [0, 0]


def test_losses_that_layers_add_alone() -> None:
    made = Sequential([Input((2,)), Dense(1, kernel_regularizer="l2")])
    made.compile("sgd", jit_compile=True)
    assert made.jit_compile and not made.run_eagerly
    losses = made.fit(X, epochs=3, verbose=0).history["loss"]
    assert losses[2] < losses[0]
    plain = Sequential([Input((2,)), Dense(1)])
    plain.compile("sgd")
    with pytest.raises(ValueError, match="expected a model compiled with a loss, received one without"):
        plain.fit(X, Y, verbose=0)


def test_targets_for_the_outputs_that_have_losses() -> None:
    x = Input((2,))
    y = Dense(1)(x)
    made = Model(x, [y, y, y])
    made.compile("sgd", ["mse", None, "mae"])
    both = made.evaluate(X, [Y, Y], verbose=0, return_dict=True)
    assert both == made.evaluate(X, [Y, None, Y], verbose=0, return_dict=True)
    made.compile("sgd", ["mse", None, None])
    assert (
        made.evaluate(X, Y, verbose=0, return_dict=True)["loss"]
        == both[f"{(made.output_names or [])[0]}_loss"]
    )


def test_validation_of_so_many_steps_every_so_many_epochs() -> None:
    fitted = model()
    options = {"validation_data": (X, Y), "validation_steps": 1, "validation_batch_size": 4, "epochs": 4}
    history = fitted.fit(X, Y, validation_freq=2, verbose=0, **options)
    assert len(history.history["val_loss"]) == 2 and len(history.history["loss"]) == 4
    assert history.history["val_loss"][-1] == pytest.approx(fitted.evaluate(X[:4], Y[:4])[0])
    assert history.model is fitted


def test_evaluate_and_predict_on_so_many_steps() -> None:
    fitted = model()
    assert fitted.evaluate(X, Y, batch_size=4, steps=2) == pytest.approx(fitted.evaluate(X[:8], Y[:8]))
    assert fitted.predict(X, batch_size=4, steps=2).shape == (8, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps_per_epoch": 0}, "steps: expected a whole number of at least 1, received 0"),
        (
            {"steps_per_epoch": 2, "resume": "file"},
            "steps_per_epoch: expected None beside resume, received 2",
        ),
        ({"validation_data": (X, Y), "validation_steps": 0}, "validation_steps: expected a whole number"),
        ({"validation_data": (X, Y), "validation_freq": 1.5}, "validation_freq: expected a whole number"),
    ],
)
def test_counts_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        model().fit(X, Y, verbose=0, **options)


class Numbered(utils.PyDataset):
    """Three batches of four rows by their numbers, which it records."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.epochs = 0

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        self.seen.append(index)
        return X[4 * index : 4 * index + 4], Y[4 * index : 4 * index + 4]

    def on_epoch_end(self) -> None:
        self.epochs += 1


class Plain:
    """Batches by number, of no class of this library."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return X[4 * index : 4 * index + 4], Y[4 * index : 4 * index + 4]


def test_batches_by_number() -> None:
    fitted, data = model(), Numbered()
    fitted.fit(data, epochs=3, shuffle=False, verbose=0)
    assert data.epochs == 3
    assert data.seen[-3:] == [0, 1, 2] and len(data.seen) in (9, 10)  # one more, to build the model
    assert fitted.evaluate(data) == pytest.approx(fitted.evaluate(X, Y))
    assert fitted.evaluate(Plain()) == pytest.approx(fitted.evaluate(X, Y))
    np.testing.assert_allclose(fitted.predict(data), fitted.predict(X), rtol=1e-6)
    data.seen = []
    np.random.seed(0)
    fitted.fit(data, epochs=4, verbose=0)
    orders = [tuple(data.seen[start : start + 3]) for start in range(len(data.seen) - 12, len(data.seen), 3)]
    assert all(sorted(order) == [0, 1, 2] for order in orders) and len(set(orders)) > 1
    with pytest.raises(ValueError, match="Refused: expected one worker in this process, received workers=2"):
        type("Refused", (Numbered,), {"__init__": lambda self: utils.PyDataset.__init__(self, workers=2)})()


def test_batches_are_unpacked_and_packed() -> None:
    for x, y in utils.timeseries_dataset_from_array(np.arange(9.0), np.arange(9.0), sequence_length=3):
        assert x.shape == (7, 3) and y.shape == (7,)
    assert utils.unpack_x_y_sample_weight(utils.pack_x_y_sample_weight(X, Y)) == (X, Y, None)
    assert utils.pack_x_y_sample_weight(X) is X
    np.testing.assert_allclose(utils.normalize(X * 1.0, axis=0), X / np.linalg.norm(X, axis=0))


def test_backup_and_restore_goes_on_after_a_kill(tmp_path: Path) -> None:
    class Killed(Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 2:
                raise KeyboardInterrupt

    def fitted(*callbacks: Callback, epochs: int = 4) -> list[np.ndarray]:
        made = model()
        made.set_weights([np.ones((2, 1)), np.zeros(1)])
        made.fit(X / 24, Y / 24, batch_size=4, epochs=epochs, shuffle=False, callbacks=callbacks, verbose=0)
        return made.get_weights()

    folder = tmp_path / "backup"
    with pytest.raises(KeyboardInterrupt):
        fitted(BackupAndRestore(folder), Killed())
    assert (folder / "training.checkpoint").exists()
    seen: list[int] = []
    resumed = fitted(
        BackupAndRestore(folder), LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.append(epoch))
    )
    assert seen == [2, 3] and not (folder / "training.checkpoint").exists()
    for ours, theirs in zip(resumed, fitted(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    fitted(BackupAndRestore(folder, save_freq=2, delete_checkpoint=False), epochs=1)
    assert (folder / "training.checkpoint").exists()
    with pytest.raises(ValueError, match="resume: expected None beside BackupAndRestore"):
        model().fit(X, Y, callbacks=BackupAndRestore(folder), resume="file", verbose=0)
    with pytest.raises(ValueError, match="steps_per_epoch: expected None beside resume, received 2"):
        model().fit(X, Y, callbacks=BackupAndRestore(folder), steps_per_epoch=2, verbose=0)


def test_callbacks_may_come_one_after_another() -> None:
    seen: list[int] = []
    hooks: Any = iter([LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))])
    model().fit(X, Y, callbacks=hooks, verbose=0)
    assert seen == [0]


def test_weights_by_name() -> None:
    dense, lstm = Dense(3), LSTM(2)
    dense(X.astype(np.float32))
    lstm(np.zeros((1, 4, 3), np.float32))
    np.testing.assert_array_equal(dense.kernel.detach(), dense.get_weights()[0])
    assert lstm.recurrent_kernel.shape == (2, 8) and lstm.bias.shape == (8,)
    with pytest.raises(AttributeError, match="gamma"):
        _ = dense.gamma
