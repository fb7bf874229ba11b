"""What a Model does with graphs, classes of one's own, files and pictures, and what it refuses."""

from __future__ import annotations

import copy
import pickle
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from longspan import errors, layers, utils
from longspan.layers import Input
from longspan.models import Model, Sequential, clone_model, load_model, model_from_json

RNG = np.random.default_rng(0)
N, T, D = 12, 5, 3
X = RNG.normal(size=(N, T, D)).astype(np.float32)
FEATURES = RNG.normal(size=(N, 2)).astype(np.float32)
CODES = RNG.integers(0, 7, size=(N, T))
Y = RNG.normal(size=(N, 1)).astype(np.float32)
LABELS = RNG.integers(0, 4, size=N)
BOTH = {"series": X, "extra": FEATURES}


class Scale(layers.Layer):
    """A layer of a user's: weights in `build`, an option, a shape found by a trial."""

    def __init__(self, power: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.power = power

    def build(self, input_shape: Any) -> None:
        self.factor = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="factor")
        self.seen = self.add_weight(name="seen", shape=(), initializer="zeros", trainable=False)
        super().build(input_shape)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if training:
            with torch.no_grad():
                self.seen += 1
        return torch.cat([inputs * self.factor**self.power, inputs], -1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "power": self.power}


class Sum(layers.Layer):
    """A layer of a user's that reads the mask."""

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        return (inputs if mask is None else inputs * mask.unsqueeze(-1)).sum(1)


class Net(Model):
    """A model with a `call` of its own, layers in a list and a layer with a mask."""

    def __init__(self, units: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.embedding = layers.Embedding(7, 3, mask_zero=True)
        self.lstm = layers.LSTM(units)
        self.blocks = [layers.Dense(units, activation="relu") for _ in range(2)]
        self.head = layers.Dense(1)

    def call(self, inputs: Any, training: bool = False) -> Tensor:
        x = self.lstm(self.embedding(inputs))
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def two_inputs() -> Model:
    series, extra = Input((T, D), name="series"), Input((2,), name="extra")
    joined = layers.Concatenate()([layers.LSTM(4)(series), extra])
    return Model([series, extra], layers.Dense(1, name="out")(joined))


def two_outputs() -> Model:
    series = Input((T, D), name="series")
    shared = layers.GRU(4)(series)
    heads = [
        layers.Dense(1, name="level")(shared),
        layers.Dense(4, activation="softmax", name="kind")(shared),
    ]
    return Model(series, heads)


def shared_twice() -> Model:
    first, second = Input((T, D)), Input((T, D))
    encoder = layers.Bidirectional(layers.LSTM(3))
    return Model([first, second], layers.Dense(1)(layers.subtract([encoder(first), encoder(second)])))


def with_operators() -> Model:
    series = Input((T, D))
    last = layers.LSTM(4, return_sequences=True)(series)[:, -1]
    return Model(series, layers.Dense(1)(torch.cat([torch.tanh(last) * 2.0 + 1.0, series[:, 0]], -1)))


def nested() -> Model:
    inner_in = Input((T, 2))
    inner = Model(inner_in, layers.LSTM(4)(inner_in))
    series = Input((T, D))
    steps = layers.TimeDistributed(Sequential([layers.Dense(4, activation="relu"), layers.Dense(2)]))
    return Model(series, layers.Dense(1)(inner(steps(series))))


def own_layer() -> Model:
    series = Input((None, D))
    return Model(series, layers.Dense(1)(Sum()(Scale(2)(series))))


MODELS: dict[str, tuple[Callable[[], Model], Any, Any]] = {
    "two inputs": (two_inputs, BOTH, Y),
    "two outputs": (two_outputs, X, {"level": Y, "kind": LABELS}),
    "shared": (shared_twice, [X, X[::-1].copy()], Y),
    "operators": (with_operators, X, Y),
    "nested": (nested, X, Y),
    "own layer": (own_layer, X, Y),
    "own model": (Net, CODES, Y),
    "model in a row": (lambda: Sequential([nested(), layers.Dense(1)]), X, Y),
}
CUSTOM = {"Scale": Scale, "Sum": Sum, "Net": Net}


def made(name: str) -> tuple[Any, Any, Any]:
    torch.manual_seed(0)
    make, x, y = MODELS[name]
    model = make()
    losses = ["mse", "sparse_categorical_crossentropy"] if isinstance(y, dict) else "mse"
    model.compile("adam", losses)
    return model, x, y


def predictions(model: Any, x: Any) -> list[np.ndarray]:
    found = model.predict(x, verbose=0)
    return found if isinstance(found, list) else [found]


def assert_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", MODELS)
def test_it_learns_and_its_file_learns_on(name: str, tmp_path: Path) -> None:
    model, x, y = made(name)
    options = {"epochs": 2, "batch_size": 4, "shuffle": False, "verbose": 0}
    history = model.fit(x, y, validation_split=0.25, **options).history
    assert {"loss", "val_loss"} <= set(history) and history["loss"][1] < history["loss"][0]
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model", custom_objects=CUSTOM)
    assert_same(predictions(loaded, x), predictions(model, x))
    model.fit(x, y, **options)
    loaded.fit(x, y, **options)
    assert_same(predictions(loaded, x), predictions(model, x))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_learns_on_alike(name: str, way: Callable[[Any], Any]) -> None:
    model, x, y = made(name)
    model.fit(x, y, verbose=0, shuffle=False)
    again = way(model)
    for one in (model, again):
        one.fit(x, y, verbose=0, shuffle=False)
    assert_same(predictions(again, x), predictions(model, x))


def test_ways_to_pass_inputs_are_equal() -> None:
    model, *_ = made("two inputs")
    expected = model.predict(BOTH, verbose=0)
    np.testing.assert_array_equal(model.predict([X, FEATURES], verbose=0), expected)
    np.testing.assert_array_equal(model.predict((X, FEATURES), verbose=0), expected)
    np.testing.assert_allclose(model([X, FEATURES]).detach(), expected, atol=1e-6)
    np.testing.assert_allclose(model(BOTH).detach(), expected, atol=1e-6)
    stream = [((X[i : i + 4], FEATURES[i : i + 4]), Y[i : i + 4]) for i in range(0, N, 4)]
    rest = [({"series": x, "extra": extra}, y) for (x, extra), y in stream]
    losses = []
    for source in (iter(stream), iter(rest)):
        model, *_ = made("two inputs")
        losses.append(model.fit(source, steps_per_epoch=3, verbose=0).history["loss"])
    model, *_ = made("two inputs")
    losses.append(model.fit(BOTH, Y, batch_size=4, shuffle=False, verbose=0).history["loss"])
    assert losses[0] == losses[1] == losses[2]


def test_outputs_have_losses_weights_and_metrics_of_their_own() -> None:
    model = two_outputs()
    y = {"level": Y, "kind": LABELS}
    model.compile(
        "sgd",
        {"level": "mse", "kind": "sparse_categorical_crossentropy"},
        loss_weights={"level": 1.0, "kind": 0.25},
        metrics={"kind": ["accuracy"], "level": ["mae"]},
    )
    logs = model.evaluate(X, y, verbose=0, return_dict=True)
    level, kind = model.predict(X, verbose=0)
    expected = float(((level - Y) ** 2).mean())
    crossed = float(-np.log(kind[np.arange(N), LABELS]).mean())
    assert logs["level_loss"] == pytest.approx(expected, rel=1e-5)
    assert logs["kind_loss"] == pytest.approx(crossed, rel=1e-5)
    assert logs["loss"] == pytest.approx(expected + 0.25 * crossed, rel=1e-5)
    assert (
        list(logs) == ["loss", "level_loss", "kind_loss", "level_mae", "kind_accuracy"] == model.metrics_names
    )
    weights = {"level": np.zeros(N, np.float32), "kind": np.ones(N, np.float32)}
    assert model.evaluate(X, y, sample_weight=weights, verbose=0, return_dict=True)["level_loss"] == 0.0


def test_a_dict_of_outputs_is_predicted_as_one() -> None:
    series = Input((T, D))
    model = Model(series, {"mean": layers.Dense(1)(layers.LSTM(3)(series)), "all": layers.LSTM(2)(series)})
    model.compile("adam", {"mean": "mse", "all": None})
    found = model.predict(X, verbose=0)
    assert {key: value.shape for key, value in found.items()} == {"mean": (N, 1), "all": (N, 2)}
    assert model.fit(X, {"mean": Y, "all": None}, verbose=0).history["loss"]


def test_models_over_inner_tensors() -> None:
    row = Sequential([Input((T, D)), layers.LSTM(4, return_sequences=True, name="lstm"), layers.GRU(2)])
    inner = Model(row.input, row.get_layer("lstm").output)
    np.testing.assert_array_equal(inner.predict(X, verbose=0), row.layers[0](torch.tensor(X)).detach())
    upper = Model(row.get_layer("lstm").output, row.output)
    found = upper.predict(inner.predict(X, verbose=0), verbose=0)
    np.testing.assert_allclose(found, row.predict(X, verbose=0), atol=1e-6)
    again = Model.from_config(upper.get_config())
    again.set_weights(upper.get_weights())
    np.testing.assert_allclose(again.predict(inner.predict(X, verbose=0), verbose=0), found, atol=1e-6)


def test_masks_and_states_flow_as_in_calls_by_hand() -> None:
    embedding, lstm = layers.Embedding(7, 3, mask_zero=True), layers.LSTM(4, return_state=True)
    codes = Input((T,))
    out, h, c = lstm(embedding(codes))
    graph = Model(codes, [out, h, c])
    by_hand = lstm(embedding(torch.tensor(CODES)))
    masked = lstm(embedding(torch.tensor(CODES)), torch.tensor(CODES) != 0)
    for found, hand, explicit in zip(graph.predict(CODES, verbose=0), by_hand, masked, strict=True):
        np.testing.assert_allclose(found, hand.detach(), atol=1e-6)
        np.testing.assert_allclose(found, explicit.detach(), atol=1e-6)


def test_a_layer_of_ones_own_counts_shows_and_updates() -> None:
    model, x, y = made("own layer")
    scale = model.layers[1]
    assert scale.output.shape == (None, None, 2 * D) and scale.count_params() == D + 1
    assert [tuple(w.shape) for w in scale.trainable_weights] == [(D,)]
    model.fit(x, y, epochs=2, batch_size=4, verbose=0)
    assert float(scale.seen) == 6.0 and not np.allclose(scale.get_weights()[0], 1.0)
    scale.trainable = False
    before = scale.get_weights()
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(scale.get_weights()[0], before[0])
    assert Scale.from_config(scale.get_config()).power == 2


def test_a_frozen_model_does_not_change() -> None:
    inner_in = Input((D,))
    inner = Model(inner_in, layers.Dense(4)(inner_in))
    inner.trainable = False
    series = Input((T, D))
    model = Model(series, layers.Dense(1)(layers.LSTM(2)(layers.TimeDistributed(inner)(series))))
    model.compile("sgd", "mse")
    before = inner.get_weights()
    model.fit(X, Y, verbose=0)
    assert_same(inner.get_weights(), before)


def test_a_chain_is_a_sequential() -> None:
    def layers_of() -> list[Any]:
        torch.manual_seed(0)
        return [layers.LSTM(4, return_sequences=True), layers.Dropout(0.2), layers.GRU(3), layers.Dense(1)]

    row = Sequential([Input((T, D)), *layers_of()])
    x = series = Input((T, D))
    for layer in layers_of():
        x = layer(x)
    chain = Model(series, x)
    for model in (row, chain):
        model.compile("adam", "mse")
        torch.manual_seed(1)
        model.fit(X, Y, epochs=2, batch_size=4, verbose=0)
    assert_same(chain.get_weights(), row.get_weights())


def test_a_graph_goes_on_from_its_checkpoint_only(tmp_path: Path) -> None:
    def run(units: int = 4) -> None:
        series = Input((T, D))
        model = Model(series, layers.Dense(1)(layers.LSTM(units)(series)))
        model.compile("adam", "mse")
        model.fit(X, Y, epochs=2, verbose=0, resume=tmp_path / "run")

    run()
    with pytest.warns(errors.LongspanWarning, match="was finished"):
        run()
    with pytest.raises(ValueError, match="received one with other model"):
        run(5)


def test_summary_and_picture(tmp_path: Path) -> None:
    model, *_ = made("two inputs")
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    assert all(word in lines[0] for word in ("Connected to", "lstm", "extra[0][0]", "Total params"))
    text = utils.plot_model(model, tmp_path / "model.svg", show_shapes=True, show_layer_names=True)
    root = ET.fromstring(text)
    assert (tmp_path / "model.svg").read_text() == text
    words = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "out (Dense)" in words and "output: (None, 5, 3)" in words
    paths = [
        element for element in root.iter("{http://www.w3.org/2000/svg}path") if element.get("marker-end")
    ]
    assert len(paths) == 4
    made("nested")[0].summary(print_fn=lines.append, expand_nested=True)
    assert "    lstm" in lines[1] and "    lstm" not in lines[0]
    with pytest.warns(errors.LongspanWarning, match=r"plot_model writes SVG: .*picture\.svg in the place of"):
        utils.plot_model(made("own layer")[0], tmp_path / "picture.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.svg", "picture.svg"]


def test_json_and_clone_keep_the_graph() -> None:
    model, x, _ = made("two inputs")
    for again in (model_from_json(model.to_json()), clone_model(model)):
        again.set_weights(model.get_weights())
        assert_same(predictions(again, x), predictions(model, x))


def test_a_lambda_is_loaded_with_its_function(tmp_path: Path) -> None:
    series = Input((T, D))
    model = Model(series, layers.Lambda(lambda x: x.mean(1), name="middle")(series))
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"function of middle: .*custom_objects=\{'middle': function\}"):
        load_model(tmp_path / "model")
    loaded = load_model(tmp_path / "model", custom_objects={"middle": lambda x: x.mean(1)})
    assert_same(predictions(loaded, X), predictions(model, X))


SERIES = Input((T, D), name="series")
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "missing input": (
        lambda: Model(SERIES, layers.add([SERIES, Input((T, D), name="other")])),
        "inputs: expected every Input that the outputs need, received no other among them",
    ),
    "no tensor": (lambda: Model(3, SERIES), "inputs: expected symbolic tensors, received int"),
    "one side": (lambda: Model(SERIES), "Model: expected inputs and outputs, received inputs alone"),
    "same name": (
        lambda: Model(SERIES, layers.Dense(1, name="a")(layers.Dense(1, name="a")(SERIES))),
        "layer: expected a name no other layer has, received 'a'",
    ),
    "name of an input": (
        lambda: made("two inputs")[0].predict({"series": X, "more": FEATURES}),
        "x: expected an array for each of series, extra, received no extra",
    ),
    "number of inputs": (
        lambda: made("two inputs")[0].predict([X]),
        "x: expected an array for each of series, extra, received 1 values",
    ),
    "shape of an input": (
        lambda: made("two inputs")[0].predict([X[:, :3], FEATURES]),
        "x: expected shape",
    ),
    "name of an output": (
        lambda: two_outputs().compile("sgd", {"level": "mse", "kinds": "mse"}),
        "loss: expected names of outputs (level, kind), received 'kinds'",
    ),
    "number of losses": (
        lambda: two_outputs().compile("sgd", ["mse"]),
        "loss: expected one for each output (level, kind), received 1 values",
    ),
    "no target": (
        lambda: made("two outputs")[0].fit(X, [Y, None], verbose=0),
        "y[1]: expected targets of kind, received None",
    ),
    "class weights": (
        lambda: made("two outputs")[0].fit(X, [Y, LABELS], class_weight={0: 1.0}, verbose=0),
        "class_weight: expected None with several outputs",
    ),
    "truth of a symbolic tensor": (
        lambda: bool(SERIES),
        "symbolic tensor: expected a layer or an operator on it, received its truth",
    ),
    "one tensor to merge": (lambda: layers.Add()(SERIES), "expected a list of tensors, received one"),
    "shapes to merge": (
        lambda: layers.Add()([SERIES, Input((T, D + 1))]),
        "expected shapes that broadcast to one",
    ),
    "shapes to concatenate": (
        lambda: layers.Concatenate()([SERIES, Input((T + 1, D))]),
        "expected shapes that differ in dimension 2 alone",
    ),
    "option of an own layer": (lambda: Scale(powr=2), "Scale: expected one of its options, received 'powr'"),
    "rankdir": (lambda: utils.plot_model(two_inputs(), rankdir="LR"), "rankdir: expected"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_one_sentence(name: str) -> None:
    call, words = REFUSED[name]
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    assert words in str(caught.value) and str(caught.value).count("\n") == 0
