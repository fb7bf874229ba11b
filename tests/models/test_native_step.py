"""Tests that the compiled training step gives the general loop's numbers, and knows what it cannot take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from longspan import layers, losses, optimizers, use_backend
from longspan.models import Model, Sequential
from longspan.models.native_step import NativeStep

ROWS, STEPS, WIDTH = 22, 5, 3
Layers = list[layers.Layer]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For every batch, whether the compiled step took it; empty where there was none."""
    seen: list[bool] = []
    run = NativeStep.run

    def watched(self: NativeStep, batch: Any) -> Any:
        answer = run(self, batch)
        seen.append(answer is not None)
        return answer

    monkeypatch.setattr(NativeStep, "run", watched)
    return seen


def fitted(
    make: Callable[[], Layers],
    x: Any,
    y: Any,
    loss: Any,
    *,
    general: bool,
    optimizer: Any = "adam",
    metrics: Any = ("mae",),
    **options: Any,
) -> tuple[list[float], list[np.ndarray]]:
    """The losses of three epochs and the weights after them; general: by the general loop."""
    torch.manual_seed(0)
    model = Sequential([layers.Input(x.shape[1:]), *make()])
    model.compile(optimizer=optimizer, loss=loss, metrics=list(metrics))
    if general:
        model.layers[-1].register_forward_hook(lambda *_: None)
    history = model.fit(x, y, epochs=3, batch_size=8, verbose=0, **options)
    return [number for values in history.history.values() for number in values], model.get_weights()


def check(make: Callable[[], Layers], x: Any, y: Any, loss: Any, taken: list[bool], **options: Any) -> None:
    """The compiled step takes every batch, and its numbers are those of the general loop."""
    found, weights = fitted(make, x, y, loss, general=False, **options)
    assert len(taken) == 9 and all(taken)
    expected, others = fitted(make, x, y, loss, general=True, **options)
    assert len(taken) == 9
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    for a, b in zip(weights, others, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=3e-5)


def series(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ROWS, *shape)).astype(np.float32)


CHAINS: dict[str, Callable[[], Layers]] = {
    "lstm": lambda: [layers.LSTM(6), layers.Dense(1)],
    "stack": lambda: [
        layers.LSTM(6, return_sequences=True),
        layers.Dropout(0.3),
        layers.GRU(5, return_sequences=True),
        layers.SimpleRNN(4, go_backwards=True),
        layers.Dropout(0.2),
        layers.Dense(4, "relu"),
        layers.Dense(1, use_bias=False),
    ],
    "wide": lambda: [layers.LSTM(33), layers.Dense(17, "tanh"), layers.Dense(9, "sigmoid"), layers.Dense(1)],
    "both ways": lambda: [
        layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
        layers.Bidirectional(layers.GRU(3)),
        layers.Dense(1),
    ],
    "flattened": lambda: [layers.LSTM(4, return_sequences=True), layers.Flatten(), layers.Dense(1)],
    "no bias": lambda: [layers.LSTM(4, use_bias=False), layers.Dense(1)],
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains(name: str, taken: list[bool]) -> None:
    check(CHAINS[name], series(STEPS, WIDTH), series(1), "mse", taken)


def test_a_target_for_every_step(taken: list[bool]) -> None:
    def make() -> Layers:
        return [layers.LSTM(6, return_sequences=True), layers.TimeDistributed(layers.Dense(2))]

    check(make, series(STEPS, WIDTH), series(STEPS, 2), "mae", taken)


def test_codes(taken: list[bool]) -> None:
    def make() -> Layers:
        return [layers.Embedding(10, 4), layers.LSTM(6), layers.Dense(1, "sigmoid")]

    codes = np.random.default_rng(0).integers(10, size=(ROWS, STEPS))
    check(make, codes, codes[:, 0] > 4, "binary_crossentropy", taken)


LOSSES: dict[str, tuple[Any, str | None, bool]] = {
    "categorical": ("categorical_crossentropy", "softmax", True),
    "categorical logits": (losses.CategoricalCrossentropy(from_logits=True), None, True),
    "sparse": ("sparse_categorical_crossentropy", "softmax", False),
    "sparse logits": (losses.SparseCategoricalCrossentropy(from_logits=True), None, False),
    "binary": ("binary_crossentropy", "sigmoid", True),
    "binary logits": (losses.BinaryCrossentropy(from_logits=True), None, True),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("stepwise", [False, True])
def test_losses(name: str, stepwise: bool, taken: list[bool]) -> None:
    loss, activation, one_hot = LOSSES[name]
    y = np.random.default_rng(1).integers(5, size=(ROWS, STEPS) if stepwise else ROWS)
    target = np.eye(5, dtype=np.float32)[y] if one_hot else y

    def make() -> Layers:
        return [layers.LSTM(6, return_sequences=stepwise), layers.Dense(5, activation)]

    found, weights = _without_metrics(make, target, loss, general=False)
    assert len(taken) == 9 and all(taken)
    expected, others = _without_metrics(make, target, loss, general=True)
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    for a, b in zip(weights, others, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=3e-5)


def _without_metrics(
    make: Callable[[], Layers], target: Any, loss: Any, *, general: bool
) -> tuple[list[float], list[np.ndarray]]:
    torch.manual_seed(0)
    x = series(STEPS, WIDTH)
    model = Sequential([layers.Input(x.shape[1:]), *make()])
    model.compile(optimizer="adam", loss=loss)
    if general:
        model.layers[-1].register_forward_hook(lambda *_: None)
    history = model.fit(x, target, epochs=3, batch_size=8, verbose=0)
    return history.history["loss"], model.get_weights()


@pytest.mark.parametrize(
    "optimizer",
    [
        optimizers.SGD(0.1, momentum=0.9),
        optimizers.RMSprop(0.01),
        optimizers.Adam(0.02, clipnorm=0.1, weight_decay=0.01, amsgrad=True),
        optimizers.Adam(lambda step: 0.01 / (1 + step), global_clipnorm=0.1, use_ema=True),
        optimizers.AdamW(0.01, gradient_accumulation_steps=2),
    ],
    ids=["sgd", "rmsprop", "adam", "scheduled", "adamw"],
)
def test_optimizers(optimizer: Any, taken: list[bool]) -> None:
    check(CHAINS["lstm"], series(STEPS, WIDTH), series(1), "mse", taken, optimizer=optimizer)


def test_limits_of_fit(taken: list[bool]) -> None:
    check(CHAINS["lstm"], series(STEPS, WIDTH), series(1), "mse", taken, clip_norm=0.1, clip_value=0.02)


def test_a_graph_that_is_a_chain(taken: list[bool]) -> None:
    torch.manual_seed(0)
    inputs = layers.Input((STEPS, WIDTH))
    model = Model(inputs, layers.Dense(1)(layers.LSTM(4)(inputs)))
    model.compile(loss="mse")
    model.fit(series(STEPS, WIDTH), series(1), batch_size=11, verbose=0)
    assert taken == [True, True]


def test_frozen_weights_stay(taken: list[bool]) -> None:
    model = Sequential([layers.Input((STEPS, WIDTH)), layers.LSTM(4), layers.Dense(1)])
    model.layers[0].trainable = False
    model.compile(loss="mse")
    before = model.get_weights()
    model.fit(series(STEPS, WIDTH), series(1), verbose=0)
    after = model.get_weights()
    assert taken == [True]
    assert all(np.array_equal(a, b) for a, b in zip(before[:3], after[:3], strict=True))
    assert not np.array_equal(before[3], after[3])


@pytest.mark.parametrize("dims", [(ROWS,), (ROWS, 1), (ROWS, 1, 1)])
def test_shapes_of_a_target(dims: tuple[int, ...], taken: list[bool]) -> None:
    model = Sequential([layers.Input((STEPS, WIDTH)), layers.LSTM(4), layers.Dense(1)])
    model.compile(loss="mse")
    if len(dims) == 3:
        model.fit(series(STEPS, WIDTH), series(1).reshape(dims), verbose=0)
        return
    model.fit(series(STEPS, WIDTH), series(1).reshape(dims), verbose=0)
    assert taken == [True]


def small(*between: layers.Layer, loss: Any = "mse", **options: Any) -> Sequential:
    model = Sequential([layers.Input((STEPS, WIDTH)), layers.LSTM(4, **options), *between, layers.Dense(1)])
    model.compile(loss=loss)
    return model


UNFIT: dict[str, tuple[Callable[[], Any], str]] = {
    "one dropout for each direction": (
        lambda: small(layers.RepeatVector(2), layers.Bidirectional(layers.GRU(2, dropout=0.1))),
        "is a RepeatVector",
    ),
    "zeros at the end": (lambda: small(zero_output_for_mask=True), "has zero_output_for_mask"),
    "state": (lambda: small(stateful=True), "carries or returns its state"),
    "activation": (lambda: small(activation="elu"), "has no compiled kernel"),
    "layer": (lambda: small(layers.LayerNormalization()), "is a LayerNormalization"),
    "regularizer": (lambda: small(kernel_regularizer="l2"), "something is added to the loss"),
    "loss": (lambda: small(loss="huber"), "the loss is huber"),
    "smoothing": (
        lambda: small(loss=losses.BinaryCrossentropy(label_smoothing=0.1)),
        "with options of its own",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_is_left_to_the_general_loop(name: str, taken: list[bool]) -> None:
    make, reason = UNFIT[name]
    model = make()
    model.fit(series(STEPS, WIDTH)[:16], (series(1) > 0)[:16], batch_size=16, verbose=0)
    assert taken == []
    assert reason in model.explain(series(STEPS, WIDTH)[:16])


def test_explain_says_which_step_trains() -> None:
    model = small()
    assert "fit: one compiled step a batch" in model.explain(series(STEPS, WIDTH))
    handle = model.layers[0].register_forward_hook(lambda *_: None)
    assert "fit: the general loop, since LSTM has hooks" in model.explain(series(STEPS, WIDTH))
    handle.remove()
    with use_backend("reference"):
        assert "since use_backend forces 'reference'" in model.explain(series(STEPS, WIDTH))


def test_a_hook_on_a_weight_is_called(taken: list[bool]) -> None:
    model, seen = small(), []
    next(model.parameters()).register_hook(seen.append)
    model.fit(series(STEPS, WIDTH), series(1), verbose=0)
    assert taken == [] and len(seen) == 1


DROPOUTS: dict[str, Callable[[], Layers]] = {
    "input": lambda: [layers.LSTM(6, dropout=0.3), layers.Dense(1)],
    "recurrent": lambda: [layers.GRU(6, recurrent_dropout=0.3), layers.Dense(1)],
    "both, stacked": lambda: [
        layers.Dropout(0.1),
        layers.LSTM(6, dropout=0.2, recurrent_dropout=0.3, return_sequences=True),
        layers.SpatialDropout1D(0.4),
        layers.SimpleRNN(5, dropout=0.1, recurrent_dropout=0.1, go_backwards=True),
        layers.Dropout(0.5),
        layers.Dense(1),
    ],
    "both ways": lambda: [layers.Bidirectional(layers.LSTM(4, recurrent_dropout=0.4)), layers.Dense(1)],
}


@pytest.mark.parametrize("name", DROPOUTS)
def test_dropout_of_recurrent_layers(name: str, taken: list[bool]) -> None:
    check(DROPOUTS[name], series(STEPS, WIDTH), series(1), "mse", taken)


def codes_with_holes() -> np.ndarray:
    """Codes 1 to 9 with padding 0 before, behind and between them, in the first row alone."""
    generator = np.random.default_rng(2)
    codes = generator.integers(1, 10, size=(ROWS, STEPS)) * (generator.random((ROWS, STEPS)) > 0.4)
    codes[0], codes[1, 0] = 0, 0
    return codes


MASKED: dict[str, Callable[[], Layers]] = {
    "last": lambda: [layers.LSTM(6), layers.Dense(1)],
    "backwards": lambda: [layers.LSTM(6, go_backwards=True), layers.Dense(1)],
    "both ways": lambda: [
        layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
        layers.Dropout(0.2),
        layers.Bidirectional(layers.GRU(3)),
        layers.Dense(1),
    ],
    "stacked, dropped": lambda: [
        layers.GRU(5, return_sequences=True, dropout=0.2, recurrent_dropout=0.2),
        layers.LSTM(4, return_sequences=True, zero_output_for_mask=True),
        layers.SimpleRNN(3),
        layers.Dense(1),
    ],
}


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("trained", [True, False])
def test_padding_is_masked(name: str, trained: bool, taken: list[bool]) -> None:
    def make() -> Layers:
        return [layers.Embedding(10, 4, mask_zero=True, trainable=trained), *MASKED[name]()]

    check(make, codes_with_holes(), series(1), "mse", taken)


@pytest.mark.parametrize("value", [0.0, -1.5])
@pytest.mark.parametrize("name", MASKED)
def test_steps_of_one_value_are_masked(name: str, value: float, taken: list[bool]) -> None:
    x = series(STEPS, WIDTH)
    x[codes_with_holes() == 0] = value
    check(lambda: [layers.Masking(value), *MASKED[name]()], x, series(1), "mse", taken)


STEPWISE: dict[str, tuple[Any, str | None, bool]] = {
    **LOSSES,
    "squared": ("mse", None, True),
    "by weights": (losses.MeanAbsoluteError(reduction="mean_with_sample_weight"), None, True),
}


@pytest.mark.parametrize("weights", ["none", "rows", "steps"])
@pytest.mark.parametrize("name", STEPWISE)
def test_a_masked_and_weighted_target_for_every_step(name: str, weights: str, taken: list[bool]) -> None:
    loss, activation, one_hot = STEPWISE[name]
    y = np.random.default_rng(1).integers(5, size=(ROWS, STEPS))
    target = np.eye(5, dtype=np.float32)[y] if one_hot else y
    shape = {"none": None, "rows": ROWS, "steps": (ROWS, STEPS)}[weights]
    weight = None if shape is None else np.random.default_rng(3).random(shape).astype(np.float32)

    def make() -> Layers:
        recurrent = layers.LSTM(6, return_sequences=True)
        return [layers.Embedding(10, 4, mask_zero=True), recurrent, layers.Dense(5, activation)]

    metrics = [] if name.startswith("sparse") else ["mae"]
    check(make, codes_with_holes(), target, loss, taken, sample_weight=weight, metrics=metrics)


@pytest.mark.parametrize("name", ["mse", "binary_crossentropy"])
def test_weights_of_rows(name: str, taken: list[bool]) -> None:
    def make() -> Layers:
        return [layers.LSTM(6), layers.Dense(1, "sigmoid")]

    weight = np.random.default_rng(3).random(ROWS).astype(np.float32)
    y = (series(1) > 0)[:, 0].astype(np.float32)
    check(make, series(STEPS, WIDTH), y, name, taken, sample_weight=weight)
    taken.clear()
    check(make, series(STEPS, WIDTH), y, name, taken, class_weight={0: 0.5, 1: 3.0})


def test_masked_predictions_are_those_of_the_layers() -> None:
    torch.manual_seed(0)
    codes = codes_with_holes()
    recurrent = layers.Bidirectional(layers.LSTM(6, return_sequences=True))
    model = Sequential([layers.Embedding(10, 4, mask_zero=True), recurrent, layers.Dense(3)])
    model.compile("adam", "mse", metrics=["mae"])
    y = series(STEPS, 3)
    found = [model.predict(codes, verbose=0), *model.evaluate(codes, y, verbose=0)]
    model.layers[-1].register_forward_hook(lambda *_: None)
    expected = [model.predict(codes, verbose=0), *model.evaluate(codes, y, verbose=0)]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_masks_that_end_and_odd_weights_go_through_the_loop(taken: list[bool]) -> None:
    recurrent = layers.LSTM(4, return_sequences=True)
    flat = Sequential([layers.Masking(), recurrent, layers.Flatten(), layers.Dense(1)])
    flat.compile(loss="mse")
    with pytest.warns(UserWarning, match="does not pass masks on"):
        flat.fit(series(STEPS, WIDTH), series(1), verbose=0)
    assert taken == [False]
    stepwise = Sequential([layers.LSTM(4, return_sequences=True), layers.Dense(1)])
    stepwise.compile(loss="mse")
    stepwise.fit(series(STEPS, WIDTH), series(STEPS), sample_weight=np.ones(ROWS), verbose=0)
    assert taken == [False, False]


def test_a_loss_that_is_not_finite_changes_no_weight(taken: list[bool]) -> None:
    model = small()
    y = series(1)
    y[-1] = np.inf
    before = model.get_weights()
    with pytest.raises((FloatingPointError, ValueError)):
        model.fit(series(STEPS, WIDTH) * 1e30, y * 1e30, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_class_out_of_range_is_the_loss_own_error(taken: list[bool]) -> None:
    model = Sequential([layers.Input((STEPS, WIDTH)), layers.LSTM(4), layers.Dense(3, "softmax")])
    model.compile(loss="sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match=r"^y: expected class numbers from 0 to 2"):
        model.fit(series(STEPS, WIDTH), np.full(ROWS, 3), verbose=0)
    coded = Sequential([layers.Embedding(3, 2), layers.LSTM(4), layers.Dense(1)])
    coded.compile(loss="mse")
    with pytest.raises(ValueError, match="0 to 2"):
        coded.fit(np.full((ROWS, STEPS), 3), series(1), verbose=0)


def test_a_large_dense_layer_and_many_shapes_go_through_the_loop(
    taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longspan.kernels.training_step._MOST_PRODUCTS", 10)
    small().fit(series(STEPS, WIDTH), series(1), verbose=0)
    monkeypatch.setattr("longspan.kernels.training_step._MOST_PRODUCTS", 1 << 20)
    monkeypatch.setattr("longspan.kernels.training_step._MOST_SHAPES", 1)
    small().fit(series(STEPS, WIDTH), series(1), batch_size=20, verbose=0, shuffle=False)
    assert taken == [False, True, False]


def test_number_of_threads_does_not_change_a_number() -> None:
    answers = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            torch.manual_seed(0)
            # the orthogonal initializer's numbers depend on the threads of LAPACK
            lstm = layers.LSTM(130, recurrent_initializer="glorot_uniform")
            model = Sequential([layers.Input((STEPS, WIDTH)), lstm, layers.Dense(1)])
            model.compile("adam", "mse")
            model.fit(series(STEPS, WIDTH), series(1), epochs=2, verbose=0)
            answers.append(model.get_weights())
    finally:
        torch.set_num_threads(threads)
    assert all(np.array_equal(a, b) for a, b in zip(*answers, strict=True))


def test_dropout_draws_what_torch_draws() -> None:
    torch.manual_seed(3)
    expected = torch.dropout(torch.ones(4, 5), 0.3, True)
    torch.manual_seed(3)
    assert torch.equal(torch.empty(4, 5).bernoulli_(0.7).div_(0.7), expected)


@pytest.mark.parametrize("name", CHAINS)
def test_predictions_by_one_call(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = series(STEPS, WIDTH)
    model = Sequential([layers.Input(x.shape[1:]), *CHAINS[name]()])
    model.compile("adam", "mse")
    seen: list[bool] = []
    predict = NativeStep.predict

    def watched(self: NativeStep, batch: Any) -> Any:
        answer = predict(self, batch)
        seen.append(answer is not None)
        return answer

    monkeypatch.setattr(NativeStep, "predict", watched)
    found, loss = model.predict(x, batch_size=8, verbose=0), model.evaluate(x, series(1), verbose=0)
    assert seen == [True] * 4
    model.layers[-1].register_forward_hook(lambda *_: None)
    np.testing.assert_allclose(found, model.predict(x, batch_size=8, verbose=0), rtol=1e-5, atol=1e-6)
    assert model.evaluate(x, series(1), verbose=0) == pytest.approx(loss, rel=1e-5)
    assert seen == [True] * 4


def test_validation_follows_the_weights(taken: list[bool]) -> None:
    x, y = series(STEPS, WIDTH), series(1)
    model = small()
    history = model.fit(x, y, epochs=2, validation_data=(x, y), verbose=0)
    assert history.history["val_loss"][-1] == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-6)
    assert len(taken) == 2 and all(taken)


def test_a_code_out_of_range_is_the_layers_own_error_in_predict() -> None:
    model = Sequential([layers.Input((4,), dtype="int32"), layers.Embedding(3, 2), layers.LSTM(4)])
    with pytest.raises(ValueError, match="0 to 2"):
        model.predict(np.full((2, 4), 3), verbose=0)


@pytest.mark.parametrize("shape", [(ROWS, STEPS, WIDTH + 2), (ROWS, STEPS, WIDTH - 1), (ROWS, STEPS)])
@pytest.mark.parametrize("verb", ["fit", "evaluate"])
def test_batches_of_another_width_are_refused_by_the_layer(verb: str, shape: tuple[int, ...]) -> None:
    """Batches of a DataLoader are not checked beforehand, and must not be read beyond the weights."""
    model = small()
    before = model.get_weights()
    data = TensorDataset(torch.zeros(shape), torch.zeros(ROWS, 1))
    with pytest.raises(ValueError, match="expected"):
        getattr(model, verb)(DataLoader(data, batch_size=11), verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_predictions_for_a_loader_are_those_for_its_rows() -> None:
    model, x = small(), series(STEPS, WIDTH)
    loader = DataLoader(TensorDataset(torch.from_numpy(x), torch.zeros(ROWS, 1)), batch_size=11)
    same = model.predict(x, batch_size=11, verbose=0)
    np.testing.assert_array_equal(model.predict(loader, verbose=0), same)
