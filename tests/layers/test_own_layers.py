"""Layers of a user's own, called and described as Keras calls and describes them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from longspan import layers, metrics, saving
from longspan.backend import KerasTensor, Variable
from longspan.layers.config import from_config, to_config
from longspan.layers.structure import mask_of
from longspan.models import Model, Sequential


class Adding(layers.Layer):
    """Adds the sum of its inputs to the loss."""

    def call(self, inputs: Tensor) -> Tensor:
        self.add_loss(inputs.sum())
        return inputs


def test_the_outermost_call_forgets_the_losses_of_the_calls_before() -> None:
    layer = Adding()
    for _ in range(2):
        layer(np.ones((2, 1)))
        assert [float(loss) for loss in layer.losses] == [2.0]
    model = Sequential([Sequential([layer])])
    model(np.ones((3, 1)))
    assert [float(loss) for loss in model.losses] == [3.0]
    layer(layers.Input((1,)))
    assert layer.losses == []  # a symbolic call adds nothing


def test_a_layer_that_a_model_calls_twice_adds_twice() -> None:
    layer, x = Adding(), layers.Input((1,))
    model = Model(x, layers.Dense(1)(layer(2.0 * layer(x))))
    model(np.ones((1, 1)))
    assert sum(float(loss) for loss in model.losses) == 3.0
    model.compile(loss=lambda y, out: 0.0 * out.sum())
    model.fit(np.ones((1, 1)), np.ones((1, 1)), verbose=0)
    assert model.evaluate(np.ones((1, 1)), np.ones((1, 1)), verbose=0) == pytest.approx(3.0)


class Pair(layers.Layer):
    """Adds two tensors, and keeps their masks."""

    def call(self, a: Any, b: Any, a_mask: Any = None, b_mask: Any = None) -> Any:
        self.seen = (a_mask, b_mask)
        return a + b


def test_inputs_by_name_and_masks_of_single_inputs() -> None:
    masked = layers.Masking()(torch.tensor([[[1.0], [0.0]]]))
    layer = Pair()
    assert layer(a=masked, b=torch.ones(1, 2, 1)).shape == (1, 2, 1)
    assert layer.seen[0].tolist() == [[True, False]] and layer.seen[1] is None
    given = torch.tensor([[False, True]])
    layer(masked, torch.ones(1, 2, 1), a_mask=given)
    assert layer.seen[0] is given
    assert mask_of((masked, masked))[0] is mask_of(masked)
    assert Pair()(a=layers.Input((2,)), b=layers.Input((2,))).shape == (None, 2)


def test_variables_and_metrics_are_found_among_the_attributes() -> None:
    class Early(layers.Layer):
        def __init__(self) -> None:
            self.first = Variable([1.0, 2.0])  # before the layer's own attributes exist
            super().__init__()
            self.fixed = Variable([3.0], trainable=False)
            self.metric = metrics.MeanSquaredError()

        def call(self, inputs: Tensor) -> Tensor:
            return inputs * self.first + self.fixed

    layer = Early()
    assert [w.tolist() for w in layer.trainable_weights] == [[1.0, 2.0]]
    assert [w.tolist() for w in layer.non_trainable_weights] == [[3.0]]
    assert [name for name, _ in layer.named_parameters()] == ["first"]
    layer(torch.ones(1, 2)).sum().backward()
    assert layer.first.grad is not None
    twin = copy.deepcopy(layer)
    twin.first.assign([5.0, 5.0])
    assert twin(torch.ones(1, 2)).tolist() == [[8.0, 8.0]] and layer.first.tolist() == [1.0, 2.0]
    assert layer.metrics == [layer.metric] and len(layer.metrics_variables) == 2


def test_weights_of_other_dtypes_and_names_that_layers_take() -> None:
    class Named(layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.count = self.add_weight(shape=(2, 2), dtype="int32", trainable=False)
            self.own: Any = self.add_weight(shape=(1,), name="inner")
            self.inner = layers.Dense(1)

        def call(self, inputs: Tensor) -> Tensor:
            return self.inner(inputs) + self.own

    layer = Named()
    assert layer.count.dtype == torch.int32 and layer.count.tolist() == [[0, 0], [0, 0]]
    layer.own.assign([2.0])
    assert [w.tolist() for w in layer.weights[:1]] == [[2.0]] and layer(torch.ones(1, 1)).shape == (1, 1)
    assert len(layer.weights) == 4


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Adding(trainable=1), "trainable: expected True or False"),  # pyright: ignore
        (lambda: layers.Dense(1, trainable=None), "trainable: expected True or False"),  # pyright: ignore
        (lambda: Adding().add_weight("w"), "shape: .*name='w'"),  # pyright: ignore
        (lambda: Adding().add_weight(dtype="int32"), "dtype: .*trainable=False"),
        (
            lambda: Pair()(layers.Input((1,)), 3.0),
            "call of pair.*: expected tensors as arguments by position",
        ),
        (lambda: layers.Wrapper(3), "layer: expected a layer"),  # pyright: ignore
    ],
)
def test_refused(call: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def test_an_unfinished_layer_says_what_to_define() -> None:
    unfinished = type("Unfinished", (layers.Layer,), {"__module__": __name__})()
    with pytest.raises(NotImplementedError, match=r"Unfinished: .*define call"):
        unfinished(torch.ones(1, 1))
    with pytest.raises(NotImplementedError, match="define it in a class of your own"):
        layers.Layer().compute_output_shape((1, 1))  # pyright: ignore[reportAbstractUsage]


def test_build_gets_the_shapes_that_its_arguments_name() -> None:
    class Wrong(Pair):
        def build(self, a_shape: Any, other: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            """Never reached."""

    with pytest.raises(ValueError, match=r"arguments of build: .*received other"):
        Wrong()(torch.ones(1, 1), torch.ones(1, 1))


def test_shapes_in_dicts_and_inputs_that_are_none() -> None:
    class Both(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs["a"]

        def compute_output_shape(self, input_shape: Any) -> Any:
            return {"x": input_shape["a"], "y": [input_shape["a"]]}

    specs = Both().compute_output_spec({"a": KerasTensor((2, 3))})
    assert specs["x"].shape == specs["y"][0].shape == (2, 3)

    class Optional(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs["a"]

    assert Optional()({"a": layers.Input((3,)), "b": None}).shape == (None, 3)


class Doubled(layers.Wrapper):
    """Twice what another layer returns."""

    def call(self, inputs: Tensor) -> Tensor:
        return 2.0 * self.layer(inputs)


def test_a_wrapper_has_the_weights_of_its_layer_and_is_described_with_it() -> None:
    layer = Doubled(layers.Dense(2))
    assert layer(torch.ones(1, 3)).shape == (1, 2) and len(layer.weights) == 2
    assert not layer.supports_masking and isinstance(layers.TimeDistributed(layers.Dense(1)), layers.Wrapper)
    again = saving.deserialize_keras_object(saving.serialize_keras_object(layer))  # its module is imported
    assert type(again) is Doubled and again.layer.units == 2


class Counting(layers.Layer):
    """A cell that counts its steps."""

    state_size = 1

    def call(self, inputs: Tensor, states: Any) -> Any:
        return inputs, [states[0] + 1.0]


def test_a_cell_of_a_module_that_is_imported_is_found_by_its_name() -> None:
    layer = layers.RNN(Counting(), return_state=True)
    again = saving.deserialize_keras_object(saving.serialize_keras_object(layer))
    assert type(again.cell) is Counting and again(torch.zeros(2, 3, 1))[1].tolist() == [[3.0], [3.0]]
    described = to_config(Doubled(Counting()))
    with pytest.raises(ValueError, match="'Counted'"):
        from_config({**described, "class_name": "Counted"})


def test_an_embedding_is_reversed() -> None:
    layer = layers.ReversibleEmbedding(3, 2, mask_zero=True, logit_soft_cap=5.0)
    vectors = layer(torch.tensor([[2, 0]]))
    assert mask_of(vectors).tolist() == [[True, False]]
    scores = layer(vectors, reverse=True)
    torch.testing.assert_close(scores, 5.0 * torch.tanh(vectors @ layer.weight.T / 5.0))
    assert mask_of(scores) is None
    untied = layers.ReversibleEmbedding(3, 2, tie_weights=False, reverse_dtype="float64")
    untied.build()
    assert [w.shape for w in untied.weights] == [(3, 2), (2, 3)]
    assert untied(torch.ones(1, 2), reverse=True).dtype == torch.float64
    assert untied(layers.Input((4, 2)), reverse=True).shape == (None, 4, 3)
    again = from_config(to_config(untied))
    assert again.get_config() == untied.get_config()
    with pytest.raises(ValueError, match="logit_soft_cap"):
        layers.ReversibleEmbedding(3, 2, logit_soft_cap=0.0)


def test_an_embedding_with_weights_has_them_at_once() -> None:
    layer = layers.Embedding(2, 1, weights=np.ones((2, 1)))
    assert layer.built and layer.get_weights()[0].tolist() == [[1.0], [1.0]]
    assert layers.Embedding(2, 1, mask_zero=True).compute_mask(np.array([[1, 0]])).tolist() == [[True, False]]  # pyright: ignore


def square(x: Tensor) -> Tensor:
    """x squared."""
    return x * x


def test_a_lambda_of_a_named_function_is_described_by_the_name() -> None:
    layer = layers.Lambda(square, mask=torch.tensor([True]), name="middle")
    described = saving.serialize_keras_object(layer)
    with pytest.raises(ValueError, match=r"function of middle: .*custom_objects=\{'square': function\}"):
        saving.deserialize_keras_object(described)
    again = saving.deserialize_keras_object(described, {"square": square})
    assert again(torch.tensor([[3.0]])).tolist() == [[9.0]] and again.compute_mask(None).tolist() == [True]
    config = layers.Lambda(lambda x: x).get_config()
    with pytest.raises(ValueError, match="safe_mode=False"):
        layers.Lambda.from_config(config)
    assert layers.Lambda.from_config(config, safe_mode=False)(torch.ones(1)).tolist() == [1.0]


def test_a_softmax_leaves_masked_values_out() -> None:
    softmax = layers.Softmax()
    x = torch.zeros(2, 3)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert softmax(x, mask=mask).tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    assert softmax(x, mask=torch.tensor([1.0, 0.0, 1.0])).tolist() == [[0.5, 0.0, 0.5]] * 2


def test_a_built_layer_refuses_symbolic_inputs_of_other_features() -> None:
    layer = layers.Dense(2)
    layer(layers.Input((3,)))
    with pytest.raises(ValueError, match=r"input of dense.*: expected shape \(B, …, 3\)"):
        layer(layers.Input((4,)))
    with pytest.raises(ValueError, match=r"groups of conv2d.*: expected a divisor of 5 filters"):
        layers.Conv2D(5, 2, groups=2)


def test_the_input_layer_of_a_symbolic_tensor() -> None:
    tensor = KerasTensor((2, 3), "int32")
    layer = layers.InputLayer(input_tensor=tensor, batch_size=2)
    assert layer.output is tensor and layer.batch_shape == (2, 3) and layer.dtype == "int32"
    again = from_config(to_config(layer))
    assert again.output.shape == (2, 3) and again.output.dtype == "int32"
    wrong: list[dict[str, Any]] = [{"shape": (4,)}, {"batch_size": 5}, {"dtype": "float32"}]
    for options in wrong:
        with pytest.raises(ValueError, match="of input_tensor"):
            layers.InputLayer(input_tensor=KerasTensor((2, 3), "int32"), **options)
    with pytest.raises(ValueError, match="a tensor of no layer"):
        layers.InputLayer(input_tensor=tensor)
    with pytest.raises(ValueError, match="sparse: expected False"):
        layers.InputLayer((3,), sparse=True)
    with pytest.raises(ValueError, match="one of batch_size and batch_shape"):
        layers.InputLayer(batch_shape=(2, 3), batch_size=2)
    with pytest.warns(UserWarning, match="Use `shape`"):
        assert layers.InputLayer(input_shape=(3,)).call() is None
