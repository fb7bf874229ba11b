"""What a Sequential does with data, weights and files, and what it refuses in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import longspan as ls
from longspan import artifact, callbacks, data, errors, layers, models, optimizers, regularizers, utils

RNG = np.random.default_rng(0)
N, T, D, K = 24, 6, 3, 4
X = RNG.normal(size=(N, T, D)).astype(np.float32)
Y = X.sum((1, 2))[:, None]
LABELS = RNG.integers(0, K, N)


def made(*row: Any, loss: Any = "mse", optimizer: Any = "adam", metrics: Any = None) -> models.Sequential:
    torch.manual_seed(0)
    model = models.Sequential([*(row or (layers.LSTM(5), layers.Dense(1)))])
    model.compile(optimizer, loss, metrics=metrics)
    return model


def fit(model: models.Sequential, x: Any = X, y: Any = Y, **options: Any) -> dict[str, list[float]]:
    return model.fit(x, y, **{"verbose": 0, "shuffle": False, **options}).history


def as_pandas() -> tuple[Any, Any]:
    pandas = pytest.importorskip("pandas", reason="the package pandas is not installed")
    return pandas.DataFrame(X[:, 0]), pandas.Series(Y[:, 0])


def as_polars() -> tuple[Any, Any]:
    import polars

    return polars.DataFrame(X[:, 0]), polars.Series(Y[:, 0])


TABLES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "numpy": lambda: (X[:, 0], Y),
    "float64": lambda: (X[:, 0].astype(np.float64), Y[:, 0].astype(np.float64)),
    "torch": lambda: (torch.as_tensor(X[:, 0]), torch.as_tensor(Y)),
    "lists": lambda: (X[:, 0].tolist(), Y[:, 0].tolist()),
    "pandas": as_pandas,
    "polars": as_polars,
}


@pytest.mark.parametrize("kind", TABLES)
def test_inputs_are_alike(kind: str) -> None:
    x, y = TABLES[kind]()
    expected = fit(made(layers.Dense(4, activation="tanh"), layers.Dense(1)), X[:, 0], Y)
    found = fit(made(layers.Dense(4, activation="tanh"), layers.Dense(1)), x, y)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-6)


def test_loaders_and_generators() -> None:
    loader = DataLoader(TensorDataset(torch.as_tensor(X), torch.as_tensor(Y)), batch_size=8)
    expected = fit(made(), batch_size=8, epochs=2)
    assert fit(made(), loader, None, epochs=2)["loss"] == pytest.approx(expected["loss"])
    assert fit(made(), data.Batches(X, Y, batch_size=8), None, epochs=2)["loss"] == pytest.approx(
        expected["loss"]
    )

    def forever() -> Any:
        while True:
            for i in range(0, N, 8):
                yield X[i : i + 8], Y[i : i + 8]

    found = fit(made(), forever(), None, epochs=2, steps_per_epoch=3)
    assert found["loss"] == pytest.approx(expected["loss"])


def test_ragged_lists_are_padded_and_masked() -> None:
    """What is padded changes nothing: one row at a time gives the same answers."""
    rows = [X[i, : 1 + i % T] for i in range(N)]
    model = made(layers.LSTM(5, return_sequences=True), layers.GRU(4), layers.Dense(1))
    fit(model, rows, Y)
    together = model.predict(rows)
    apart = np.concatenate([model.predict(row[None]) for row in rows])
    np.testing.assert_allclose(together, apart, atol=1e-6)


def test_spans_carry_the_state() -> None:
    """Truncated back-propagation: every chunk starts where the last one ended."""
    model = made(layers.GRU(5, return_sequences=True), layers.Dense(1))
    answers = np.cumsum(X.sum(2), 1)[..., None]
    chunks = data.BPTTChunks(X, answers, chunk_length=2)
    whole = model.evaluate(X, answers, verbose=0)
    from longspan.models.train_step import CompiledLoss, TrainingAdapter

    adapter, state, found = TrainingAdapter(model, carries=True), None, []
    for batch in chunks:
        out, state = adapter(batch, state if batch.continues else None)
        found.append(CompiledLoss(adapter, model.targets)(out, batch).item())
    assert np.mean(found) == pytest.approx(whole, rel=1e-5)
    before = fit(model, chunks, None, epochs=3)["loss"]
    assert before[-1] < before[0]
    assert not model.layers[0].stateful  # pyright: ignore


def test_fitting_learns_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    model = made(metrics=["mae"])
    history = model.fit(X, Y, epochs=3, verbose=2, validation_split=0.25)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all("val_mae" in line for line in lines)
    assert list(history.history) == ["loss", "mae", "val_loss", "val_mae"]
    assert history.epoch == [0, 1, 2]
    assert model.history is history


def test_callbacks_see_the_model() -> None:
    class Looks(callbacks.Callback):
        seen: Any = None

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            Looks.seen = self.model.predict(X[:2])
            self.model.stop_training = epoch == 1

    model = made()
    history = model.fit(X, Y, epochs=9, verbose=0, callbacks=[Looks()])
    assert Looks.seen.shape == (2, 1)
    assert history.epoch == [0, 1]


def test_early_stopping_restores_the_best() -> None:
    model = made(optimizer=optimizers.SGD(0.5))
    weights: list[Any] = []
    keep = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: weights.append(model.get_weights()))
    stop = callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    options: dict[str, Any] = {"epochs": 30, "validation_split": 0.3, "verbose": 0}
    losses = model.fit(X, Y, callbacks=[keep, stop], **options).history["val_loss"]
    best = int(np.argmin(losses))
    assert len(losses) == best + 3 < 30
    for restored, expected, last in zip(model.get_weights(), weights[best], weights[-1], strict=True):
        np.testing.assert_array_equal(restored, expected)
        assert not np.array_equal(restored, last)


def test_same_seed_same_weights() -> None:
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        model = made(layers.LSTM(5, dropout=0.2, recurrent_dropout=0.2), layers.Dropout(0.3), layers.Dense(1))
        fit(model, epochs=3, batch_size=5, shuffle=True)
        found.append(model.get_weights())
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("stateful", [False, True])
def test_resumed_where_it_was_killed(stateful: bool, tmp_path: Path) -> None:
    class Dies(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if self.trainer.steps == 7:
                raise KeyboardInterrupt

    def run(**options: Any) -> list[np.ndarray]:
        torch.manual_seed(1)
        row = [layers.LSTM(5, recurrent_dropout=0.3, stateful=stateful, return_sequences=True), layers.GRU(3)]
        model = made(*row, layers.Dense(1))
        model.fit(X, Y, epochs=3, batch_size=6, verbose=0, **options)
        return model.get_weights()

    from longspan.training import CheckpointConfig

    keep = CheckpointConfig(tmp_path / "run", steps=1)
    expected = run()
    with pytest.raises(KeyboardInterrupt):
        run(resume=keep, callbacks=[Dies()])
    for a, b in zip(run(resume=keep), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_checkpoint_of_another_fit_is_refused(tmp_path: Path) -> None:
    def run(
        x: Any = X, y: Any = Y, *, dropout: float = 0.0, rate: float = 0.1, loss: str = "mse", **options: Any
    ):
        torch.manual_seed(1)
        model = models.Sequential([layers.LSTM(3, dropout=dropout, input_shape=(T, D)), layers.Dense(1)])
        model.compile(optimizers.SGD(rate), loss, metrics=["mae"])
        arguments = {"epochs": 2, "batch_size": 6, "verbose": 0, "resume": tmp_path / "run", **options}
        model.fit(x, y, **arguments)

    run()
    run(epochs=3)  # goes on
    cases: list[tuple[str, dict[str, Any]]] = [
        ("other model", {"dropout": 0.1}),
        ("optimizer=.*0.1.* instead of .*0.2", {"rate": 0.2}),
        ("loss=.*MeanSquaredError.* instead of .*MeanAbsoluteError", {"loss": "mae"}),
        ("other data", {"x": X + 1}),
        ("other data", {"y": Y + 1}),
        ("other data", {"sample_weight": np.arange(len(X), dtype=np.float32)}),
        ("data_batch_size=6 instead of 5", {"batch_size": 5}),
        ("shuffle=True instead of False", {"shuffle": False}),
        ("other validation data", {"validation_data": (X, Y)}),
        ("clip_norm=None instead of 1.0", {"clip_norm": 1.0}),
    ]
    for words, changes in cases:
        with pytest.raises(
            ValueError, match=f"checkpoint .*: expected one of this training, received .*{words}"
        ):
            run(epochs=4, **changes)


def test_penalties_are_added() -> None:
    plain = made(layers.Dense(1))
    held = made(layers.Dense(1, kernel_regularizer=regularizers.L2(0.5)))
    plain.build((None, D))
    held.build((None, D))
    held.set_weights(plain.get_weights())
    extra = 0.5 * float((plain.get_weights()[0] ** 2).sum())
    assert held.evaluate(X[:, 0], Y) == pytest.approx(plain.evaluate(X[:, 0], Y) + extra, rel=1e-5)


def test_frozen_layers_stay() -> None:
    model = made()
    model.build((None, T, D))
    model.layers[0].trainable = False
    before = model.get_weights()
    fit(model, epochs=2)
    after = model.get_weights()
    assert [bool((a != b).any()) for a, b in zip(before, after, strict=True)] == [False] * 3 + [True] * 2


def test_training_is_off_until_asked_for() -> None:
    model = made(layers.Dropout(0.5), layers.Dense(1))
    x = torch.as_tensor(X[:, 0])
    torch.testing.assert_close(model(x), model(x))
    assert not torch.equal(model(x, training=True), model(x, training=True))
    assert not model.training
    fit(model, X[:, 0])
    assert not model.training


def test_answers_come_without_dropout() -> None:
    model = made(layers.Dense(4), layers.Dropout(0.5), layers.Dense(1))
    fit(model, X[:, 0], validation_split=0.25)
    first = model.predict(X[:, 0])
    assert model.evaluate(X[:, 0], Y) == model.evaluate(X[:, 0], Y)
    np.testing.assert_array_equal(model.predict(X[:, 0]), first)
    model.train()
    np.testing.assert_array_equal(model.predict(X[:, 0]), first)
    assert model.training
    assert model.layers[1].training


def test_it_is_a_module(tmp_path: Path) -> None:
    model = made()
    model.build((None, T, D))
    assert [type(layer).__name__ for layer in model] == ["LSTM", "Dense"]
    assert len(model) == 2
    assert model[1] is model.get_layer(index=1) is model.get_layer(model[1].name)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.as_tensor(X), torch.as_tensor(Y)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    other = made()
    other.build((None, T, D))
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(x), model(x))
    torch.save(model, tmp_path / "module")
    torch.testing.assert_close(torch.load(tmp_path / "module", weights_only=False)(x), model(x))


def test_a_torch_optimizer_is_taken() -> None:
    model = made()
    model.build((None, T, D))
    model.compile(torch.optim.SGD(model.parameters(), lr=0.05), "mse")
    losses = fit(model, epochs=4)["loss"]
    assert losses[-1] < losses[0]


def test_summary(capsys: pytest.CaptureFixture[str]) -> None:
    model = models.Sequential(
        [
            layers.LSTM(50, activation="tanh", input_shape=(10, 1)),
            layers.BatchNormalization(),
            layers.Dense(1),
        ],
        name="mine",
    )
    model.summary()
    shown = capsys.readouterr().out
    assert 'Model: "mine"' in shown
    assert "(None, 50)" in shown
    assert "10,400" in shown
    assert "Total params: 10,651" in shown
    assert "Non-trainable params: 100" in shown
    lines: list[str] = []
    models.Sequential([layers.Dense(1)]).summary(print_fn=lines.append)
    assert "unbuilt" in lines[0]


def test_saved_and_loaded(tmp_path: Path) -> None:
    row = [
        layers.Embedding(9, 4, mask_zero=True),
        layers.Bidirectional(layers.LSTM(5, return_sequences=True)),
        layers.RNN([layers.GRUCell(4), layers.LSTMCell(3)]),
        layers.BatchNormalization(),
        layers.Dense(K, activation="softmax"),
    ]
    model = made(*row, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    codes = RNG.integers(1, 9, (N, T))
    fit(model, codes, LABELS, epochs=2)
    file = tmp_path / "model.keras"
    model.save(file)
    loaded = models.load_model(file)
    np.testing.assert_array_equal(loaded.predict(codes), model.predict(codes))
    assert loaded.evaluate(codes, LABELS) == pytest.approx(model.evaluate(codes, LABELS))
    np.testing.assert_array_equal(fit(loaded, codes, LABELS)["loss"], fit(model, codes, LABELS)["loss"])
    model.save_weights(tmp_path / "weights")
    other = models.Sequential.from_config(model.get_config())
    other.load_weights(tmp_path / "weights")
    np.testing.assert_array_equal(other.predict(codes), model.predict(codes))
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save(file, overwrite=False)


@ls.cell(gates="fn", states="h")
def minimal(x: Any, r: Any, s: Any, p: Any) -> Any:
    """A cell of one's own."""
    f = (x.f + r.f).sigmoid()
    return (f * s.h + (1 - f) * (x.n + r.n).tanh(),)


def test_own_cells_are_saved_by_name(tmp_path: Path) -> None:
    model = made(layers.RNN(minimal, units=4), layers.Dense(1))
    fit(model)
    model.save(tmp_path / "model")
    loaded = models.load_model(tmp_path / "model", custom_objects={"minimal": minimal})
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    with pytest.raises(ValueError, match=r"custom_objects=.'minimal': your_cell."):
        models.load_model(tmp_path / "model")


def test_functions_of_ones_own_are_left_out_of_files(tmp_path: Path) -> None:
    model = made(loss=lambda y, answer: (y - answer).abs().mean(-1))
    fit(model)
    with pytest.warns(
        errors.LongspanWarning, match=r"saved without the arguments of compile.*pass it again after loading"
    ):
        model.save(tmp_path / "model")
    loaded = models.load_model(tmp_path / "model")
    assert loaded.loss is None
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_truncated_files_are_refused_and_never_left(tmp_path: Path) -> None:
    model = made()
    fit(model)
    file = tmp_path / "model"
    model.save(file)
    content = file.read_bytes()
    for size in (0, 4, len(content) // 2, len(content) - 9):
        file.write_bytes(content[:size])
        with pytest.raises(ValueError, match="truncated, damaged or foreign file"):
            models.load_model(file)
    with pytest.raises(FileNotFoundError, match="nothing there"):
        models.load_model(tmp_path / "nowhere")
    model.save_weights(file)
    with pytest.raises(ValueError, match="a file of weights; build the model and call load_weights"):
        models.load_model(file)
    model.layers[1].__dict__["_options"]["activation"] = lambda v: v
    with pytest.raises(TypeError, match=r"activation of dense.*save_weights"):
        model.save(file)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def softmax_model() -> models.Sequential:
    row = layers.GRU(3), layers.Dense(K, activation="softmax")
    return made(*row, loss="sparse_categorical_crossentropy")


SENTENCES: dict[str, tuple[Callable[[], Any], str]] = {
    "not compiled": (
        lambda: models.Sequential([layers.Dense(1)]).fit(X, Y),
        r"call compile\(optimizer, loss\) first",
    ),
    "empty": (lambda: made_empty().fit(X, Y), "expected a model with layers"),
    "optimizer": (lambda: made(optimizer="adamm"), "optimizer: .*received 'adamm'; the nearest is 'adam'"),
    "loss": (lambda: made(loss="mean_square"), "loss: .*'mean_square'; the nearest"),
    "metric": (lambda: made(metrics=["acuracy"]), "metric: .*'acuracy'; the nearest is 'accuracy'"),
    "no data": (lambda: fit(made(), X[:0], Y[:0]), "x: expected at least one value"),
    "no x": (lambda: fit(made(), None, None), "x: expected data"),
    "no y": (lambda: fit(made(), X, None), "y: expected a target for every row"),
    "nan": (lambda: fit(made(), np.where(X > 1, np.nan, X), Y), "x: expected finite numbers"),
    "rows": (lambda: fit(made(), X, Y[:-1]), "y: expected 24 rows like x, received 23"),
    "text": (lambda: fit(made(), ["a", "b"], [0, 1]), "x: expected numbers"),
    "two inputs": (lambda: fit(made(), (X, X), Y), "x: expected one array, since the model has one input"),
    "shape": (
        lambda: fit(made(layers.LSTM(3, input_shape=(5, 3)), layers.Dense(1))),
        r"x: expected shape \(N, 5, 3\), received \(24, 6, 3\)",
    ),
    "rank": (lambda: fit(made(), X[:, 0], Y), r"input of lstm.*: expected shape \(B, T, I\)"),
    "label": (
        lambda: fit(softmax_model(), X, LABELS + 1),
        "y: expected class numbers from 0 to 3, received 4",
    ),
    "one hot": (
        lambda: fit(made(layers.GRU(3), layers.Dense(K), loss="categorical_crossentropy"), X, LABELS),
        "y: expected one-hot rows",
    ),
    "labels of two classes": (
        lambda: fit(made(layers.GRU(3), layers.Dense(1), loss="binary_crossentropy"), X, LABELS),
        "y: expected labels from 0 to 1, received 0 to 3; for more than two classes",
    ),
    "an answer for every step": (
        lambda: fit(made(layers.GRU(3, return_sequences=True), layers.Dense(1))),
        "set return_sequences only where y has a target for every step",
    ),
    "widths": (
        lambda: fit(made(), [X[0], X[1][:, :2]] * 12, Y),
        r"x: expected rows of one shape, received \(6, 3\) in row 0 and \(6, 2\) in row 1",
    ),
    "widths in a row": (
        lambda: fit(made(), [[[1.0], [2.0, 3.0]], [[1.0], [2.0]]], Y[:2]),
        "x: expected rows of one shape, received .*row",
    ),
    "hidden": (
        lambda: fit(made(layers.Masking(), layers.LSTM(3), layers.Dense(1)), X * 0, Y),
        "x: expected a step that masking.* shows, received a mask that hides everything",
    ),
    "split": (lambda: fit(made(), validation_split=1.0), r"validation_split: expected a number in \[0, 1\)"),
    "weights of a loader": (
        lambda: fit(made(), data.Batches(X, Y), None, sample_weight=Y),
        "sample_weight: expected None beside an x of batches",
    ),
    "validation": (lambda: fit(made(), validation_data=3), "validation_data: expected .x, y."),
    "class weight": (
        lambda: fit(softmax_model(), X, LABELS, class_weight={0: 1.0}),
        "class_weight: expected a weight for class 1",
    ),
    "callback": (lambda: fit(made(), callbacks=[3]), "callbacks: expected Callback objects"),
    "twice": (lambda: twice(), "layer: expected a name no other layer has"),
    "no layer": (lambda: models.Sequential([3]), "layer: expected a layer, received int"),  # pyright: ignore
    "late input": (
        lambda: models.Sequential([layers.Dense(1), layers.Input((3,))]),
        "Input: expected the first place",
    ),
    "unbuilt": (
        lambda: models.Sequential([layers.Dense(1)]).build(),
        "build: expected the shape of the input",
    ),
    "no shape": (lambda: models.Sequential([layers.Dense(1)]).input_shape, "expected a model that is built"),
    "empty stream": (lambda: fit(made(), iter(()), None), "x: expected at least one batch"),
}


def made_empty() -> models.Sequential:
    model = models.Sequential()
    model.compile("adam", "mse")
    return model


def twice() -> models.Sequential:
    layer = layers.Dense(1)
    return models.Sequential([layer, layer])


def test_a_model_of_frozen_layers_is_fitted_to_no_effect() -> None:
    model = made(layers.Dense(1, trainable=False))
    model.build((None, D))
    before = model.get_weights()
    with pytest.warns(UserWarning, match="no weight may change"):
        history = fit(model, X[:, 0])
    assert history["loss"]
    np.testing.assert_array_equal(before[0], model.get_weights()[0])


@pytest.mark.parametrize("name", SENTENCES)
def test_sentences(name: str) -> None:
    call, expected = SENTENCES[name]
    with pytest.raises((ValueError, TypeError), match=expected) as caught:
        call()
    said = str(caught.value)
    assert said.endswith(".")
    assert "\n" not in said


def test_a_loss_that_is_no_number_stops_at_once() -> None:
    model = made(layers.Dense(1), optimizer=optimizers.SGD(1e20))
    with pytest.raises(FloatingPointError, match="epoch 1, step"):
        fit(model, X[:, 0] * 1e10, Y, batch_size=2)


def test_a_saved_model_made_by_hand_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "model"
    model = made(layers.Dense(1))
    fit(model, X[:, 0])
    model.save(path)
    saved = artifact.load(path)
    for name, value in [
        ("shape", "x"),
        ("shape", [None, 10**30]),
        ("model", {}),
        ("model", 3),
        ("compiled", {}),
    ]:
        artifact.save(path, {**saved.config, name: value}, saved.tensors)
        with pytest.raises(ValueError, match=": expected ") as caught:
            models.load_model(path)
        assert "\n" not in str(caught.value)
    artifact.save(path, {"kind": "task"}, {})
    with pytest.raises(ValueError, match="model: expected weights of a model, received a file of kind 'ta"):
        made(layers.Dense(1)).load_weights(path)
    path.write_bytes(b"PK\x03\x04" + b"\0" * 80 + b"PK\x05\x06" + b"\xff" * 18)
    with pytest.raises(ValueError, match=r"^file .*model: expected a whole saved model"):
        models.load_model(path)


def test_little_helpers() -> None:
    np.testing.assert_array_equal(utils.to_categorical([[1], [0]]), [[0, 1], [1, 0]])
    with pytest.raises(ValueError, match="class numbers from 0 to 1, received 0 to 2"):
        utils.to_categorical([0, 2], 2)
    found = utils.pad_sequences([[1, 2, 3], [4], []], maxlen=2, padding="post", truncating="post", value=9)
    np.testing.assert_array_equal(found, [[1, 2], [4, 9], [9, 9]])
    np.testing.assert_array_equal(utils.pad_sequences([[[1, 1]], [[2, 2], [3, 3]]])[0], [[0, 0], [1, 1]])
    utils.set_random_seed(0)
    first = torch.rand(1), np.random.rand()
    utils.set_random_seed(0)
    assert (torch.rand(1), np.random.rand()) == first


@pytest.mark.filterwarnings("ignore")  # of torch.jit
def test_a_traced_model_gives_the_same_for_other_rows() -> None:
    model = models.Sequential([layers.Input((T, D)), layers.LSTM(4), layers.Dense(1)])
    traced: Any = torch.jit.trace(model, torch.zeros(2, T, D))
    x = torch.randn(5, T, D)
    torch.testing.assert_close(traced(x), model(x))
    assert not hasattr(models.Sequential([layers.Dense(1)]), "input")
