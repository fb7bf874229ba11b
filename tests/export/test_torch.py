"""Weights go from torch.nn's modules to layers and back, with the same outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from longspan import export, layers, models

RNG = np.random.default_rng(0)
B, T, D = 5, 7, 3
X = RNG.normal(size=(B, T, D)).astype(np.float32)
CODES = RNG.integers(0, 9, size=(B, T))


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_torch_recurrent(kind: str, both: bool) -> None:
    theirs = getattr(torch.nn, kind)(D, 4, batch_first=True, bidirectional=both)
    ours = getattr(layers, {"RNN": "SimpleRNN"}.get(kind, kind))(4, return_sequences=True)
    ours = layers.Bidirectional(ours) if both else ours
    x = torch.as_tensor(X)
    ours(x)
    export.from_torch(ours, theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs(x)[0], atol=1e-6, rtol=1e-5)
    back = getattr(torch.nn, kind)(D, 4, batch_first=True, bidirectional=both)
    back.load_state_dict(export.to_torch(ours))
    torch.testing.assert_close(back(x)[0], theirs(x)[0], atol=1e-6, rtol=1e-5)


def test_torch_stack() -> None:
    theirs = torch.nn.LSTM(D, 4, num_layers=2, batch_first=True)
    stack = [layers.LSTM(4, return_sequences=True) for _ in range(2)]
    model = models.Sequential([layers.Input((T, D)), *stack])
    export.from_torch(model.layers, theirs.state_dict())
    torch.testing.assert_close(model(X), theirs(torch.as_tensor(X))[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("ours", "theirs", "x"),
    [
        (layers.Dense(4), torch.nn.Linear(D, 4), X[:, 0]),
        (layers.Embedding(9, 4), torch.nn.Embedding(9, 4), CODES),
        (layers.LayerNormalization(epsilon=1e-5), torch.nn.LayerNorm(D), X),
        (layers.BatchNormalization(epsilon=1e-5), torch.nn.BatchNorm1d(D), X[:, 0]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_torch_plain(ours: layers.Layer, theirs: torch.nn.Module, x: np.ndarray) -> None:
    ours(x)
    export.from_torch(ours, theirs.state_dict())
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(torch.as_tensor(x)))


def test_torch_says_what_does_not_fit() -> None:
    layer = layers.LSTM(4)
    layer(X)
    with pytest.raises(
        ValueError, match=r"weight_ih_l0 for .*: expected shape \(16, 3\), received \(16, 2\)"
    ):
        export.from_torch(layer, torch.nn.LSTM(2, 4).state_dict())
    with pytest.raises(ValueError, match="weights of 1 layers"):
        export.from_torch(layer, torch.nn.LSTM(D, 4, 2).state_dict())
    with pytest.raises(ValueError, match="difference in"):
        export.from_torch(layer, torch.nn.Linear(3, 4).state_dict())


def test_torch_names_of_a_layer_are_those_of_its_module() -> None:
    layer = layers.Bidirectional(layers.LSTM(4))
    layer(X)
    assert export.to_torch(layer).keys() == torch.nn.LSTM(D, 4, bidirectional=True).state_dict().keys()


def test_torch_biases_become_their_sum() -> None:
    theirs, layer = torch.nn.LSTM(D, 4, batch_first=True), layers.LSTM(4)
    layer(X)
    export.from_torch(layer, theirs.state_dict())
    biases = theirs.state_dict()["bias_ih_l0"] + theirs.state_dict()["bias_hh_l0"]
    ours = export.to_torch(layer)
    torch.testing.assert_close(ours["bias_ih_l0"], biases)
    assert not ours["bias_hh_l0"].any()


def test_torch_a_refused_state_leaves_the_layer_as_it_was() -> None:
    layer = layers.LSTM(4)
    layer(X)
    before = [w.copy() for w in layer.get_weights()]
    with pytest.raises(ValueError, match="match units and inputs"):
        export.from_torch(layer, torch.nn.LSTM(2, 4).state_dict())
    assert all(map(np.array_equal, before, layer.get_weights()))
