"""Models made of the layers of others, changed on the way, and how models read their inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from longspan import errors
from longspan.layers import LSTM, Dense, Dropout, Input, InputLayer, Layer
from longspan.layers.symbolic import KerasTensor
from longspan.models import Model, Sequential, clone_model

X = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


def inner() -> Model:
    x = Input((3,))
    return Model(x, Dense(3, name="deep")(x), name="inner")


def graph() -> Model:
    x, y = Input((3,), name="x"), Input((3,), name="y")
    shared = Dense(3, name="shared")
    return Model({"x": x, "y": y}, {"sum": Dense(2, name="last")(inner()(shared(shared(x)) + shared(y)))})


def test_layers_are_cloned_once_and_changed() -> None:
    model = graph()
    copy = clone_model(model)
    assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
    assert copy.layers[2] is not model.layers[2] and len(copy.get_weights()) == len(model.get_weights())
    copy.set_weights(model.get_weights())
    data = {"x": X, "y": X + 1}
    np.testing.assert_array_equal(copy.predict(data, verbose=0)["sum"], model.predict(data, verbose=0)["sum"])
    wide = clone_model(model, clone_function=lambda layer: layer if layer.name != "last" else Dense(7))
    assert wide.output["sum"].shape == (None, 7) and wide.get_layer("shared") is model.get_layer("shared")


def test_calls_are_changed() -> None:
    def then_dropout(layer: Any, *args: Any, **kwargs: Any) -> Any:
        output = layer(*args, **kwargs)
        return Dropout(0.5)(output) if isinstance(layer, Dense) else output

    def mine(layer: Any) -> Any:
        return type(layer).from_config({**layer.get_config(), "name": layer.name + "_new"})

    model = graph()
    new = clone_model(model, clone_function=mine, call_function=then_dropout, recursive=True)
    assert sum(isinstance(layer, Dropout) for layer in new.layers) == 4
    within = new.get_layer("inner")
    assert [type(layer) for layer in within.layers] == [InputLayer, Dense, Dropout]
    assert within.layers[1].name == "deep_new" and model.get_layer("inner").layers[1].name == "deep"
    row = Sequential([Input((3,)), inner(), Sequential([Dense(2, name="a")], name="row")])
    again = clone_model(row, clone_function=mine, recursive=True)
    assert again.layers[0].layers[1].name == "deep_new" and again.layers[1].layers[0].name == "a_new"
    with pytest.raises(ValueError, match="call_function: expected None for a Sequential"):
        clone_model(row, call_function=then_dropout)


def test_a_clone_upon_other_inputs() -> None:
    x = Input((3,), batch_size=5)
    copy = clone_model(graph(), input_tensors={"x": x, "y": KerasTensor((5, 3))})
    assert copy.input["x"] is x and isinstance(copy.input["y"].node.layer, InputLayer)
    row = clone_model(Sequential([LSTM(2), Dense(1)]), input_tensors=[Input((4, 3))])
    assert row.output_shape == (None, 1)
    with pytest.raises(ValueError, match="input_tensors: expected the structure of the model's inputs"):
        clone_model(graph(), input_tensors=[x, x])
    with pytest.raises(TypeError, match="input_tensors: expected symbolic tensors"):
        clone_model(inner(), input_tensors=3)

    class Own(Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    assert isinstance(clone_model(Own()), Own)
    with pytest.raises(TypeError, match="model: expected a Sequential or a model of symbolic tensors"):
        clone_model(Own(), clone_function=mine_none)


def mine_none(layer: Any) -> Any:
    return layer


def test_a_clone_is_compiled_alike() -> None:
    model = Sequential([Input((3,)), Dense(1)])
    assert not clone_model(model).compiled
    model.compile("sgd", "mse", metrics=["mae"])
    model.fit(X, X[:, :1], verbose=0)
    copy = clone_model(model)
    assert copy.compiled and copy.metrics_names == model.metrics_names
    assert copy.metrics[0] is not model.metrics[0] and copy.optimizer is not model.optimizer
    copy.fit(X, X[:, :1], verbose=0)


def test_options_of_a_graphs_own_class_are_kept() -> None:
    class Named(Model):
        def __init__(self, *args: Any, note: str = "", **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.note = note

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "note": self.note}

    x = Input((3,))
    model = Named(inputs=x, outputs=(Dense(1)(x), Dense(2)(x)), note="kept")
    again = Named.from_config(model.get_config())
    assert again.note == "kept" and isinstance(again(X), tuple)


def test_inputs_of_another_rank() -> None:
    x, column = Input((3,)), Input((3, 1))
    flat, deep = Model(x, Dense(2)(x)), Model(column, Dense(2)(column))
    np.testing.assert_array_equal(flat(X[..., None]).detach(), flat(X).detach())
    assert deep(X).shape == (4, 3, 2)
    for wrong in (X[:, :2], np.zeros((4, 3, 2)), np.zeros(3)):
        with pytest.raises(ValueError, match=r"input .* expected shape \(None, 3\)"):
            flat(wrong)
    with pytest.raises(ValueError, match=r"expected one array for .*, received 2 arrays"):
        flat([X, X])


def test_another_structure_is_said() -> None:
    a, b = Input((3,), name="a"), Input((3,), name="b")
    model, single = Model({"a": a, "b": b}, a - b), Model({"a": a}, a * 2.0)
    with pytest.warns(
        errors.LongspanWarning, match="structure of `inputs` doesn't match .* a list in the place"
    ):
        model.predict([X, X], verbose=0)
    with pytest.warns(errors.LongspanWarning, match="takes a and leaves out more"):
        assert single({"a": X, "more": X}).shape == (4, 3)
    with pytest.raises(ValueError, match="expected an array for a, received c, b"):
        single({"c": X, "b": X})
    swapped = Model({"b": b, "a": a}, a - b)
    with pytest.raises(ValueError, match="expected a dict with the keys b, a, received a list"):
        swapped([X, X])
    for fixed in (model, Sequential([Dense(1)])):
        with pytest.raises(AttributeError, match=r"layers of .*: expected no assignment"):
            fixed.layers = []


def test_an_inner_tensor_has_an_input_among_the_layers() -> None:
    x = Input((3,))
    middle = Dense(4, name="middle")(x)
    part = Model(middle, Dense(1, name="end")(middle))
    assert [layer.name for layer in part.layers] == ["middle_input", "end"]
    again = Model.from_config(part.get_config())
    again.set_weights(part.get_weights())
    np.testing.assert_array_equal(again.predict(np.ones((2, 4))), part.predict(np.ones((2, 4))))


class Twice(Layer):
    def call(self, inputs: Any) -> Any:
        return {key: 2 * value for key, value in inputs.items()} if isinstance(inputs, dict) else 2 * inputs

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


def test_a_row_of_layers_whose_shapes_are_found_by_calls() -> None:
    for data in (X, {"a": X, "b": X}):
        model = Sequential([Twice(), Twice()])
        found = model(data)
        found = found["b"] if isinstance(found, dict) else found
        torch.testing.assert_close(found, torch.tensor(4 * X))
        model.summary(print_fn=str)
    with pytest.raises(ValueError, match="expected a model with layers, received an empty one"):
        Sequential()(X)
    with pytest.raises(
        ValueError, match=r"build: expected shape \(None, 3\) of the Input, received \(2, 4\)"
    ):
        Sequential([Input((3,)), Dense(1)]).build((2, 4))
