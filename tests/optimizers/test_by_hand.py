"""Steps that a training loop of one's own takes equal Keras'."""

from __future__ import annotations

import copy
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

from longspan import layers, optimizers
from longspan.variables import Variable

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras

NAMES = sorted(set(optimizers.CLASSES) - {"MultiOptimizer", "ScheduleFreeAdamW"})


@pytest.mark.parametrize("name", NAMES)
def test_apply_equals_keras(name: str) -> None:
    rng = np.random.default_rng(0)
    start, grads = rng.normal(size=(3, 2)).astype("float32"), rng.normal(size=(4, 3, 2)).astype("float32")
    options = {"learning_rate": 0.1, "weight_decay": 0.01}
    mine, theirs = (getattr(space.optimizers, name)(**options) for space in (optimizers_space(), keras))
    variables = (Variable(start), Variable(start[:1], name="spared"))
    others = (keras.Variable(start), keras.Variable(start[:1], name="spared"))
    mine.exclude_from_weight_decay(var_names=["spared"])
    theirs.exclude_from_weight_decay(var_names=["spared"])
    count = 0
    for grad in grads:
        count = mine.apply_gradients(zip([grad, grad[:1]], variables, strict=True))
        theirs.apply_gradients(zip([torch.tensor(grad), torch.tensor(grad[:1])], others, strict=True))
        for a, b in zip(variables, others, strict=True):
            np.testing.assert_allclose(a.numpy(), keras.ops.convert_to_numpy(b), rtol=2e-5, atol=1e-6)
    assert count == mine.iterations == 4


def optimizers_space() -> Any:
    """The namespace that has `optimizers`, as Keras is for its own."""
    return import_module("longspan")


def test_a_loop_of_ones_own_over_a_layer() -> None:
    layer, optimizer = layers.Dense(1), optimizers.Adam(0.1)
    x, y = torch.randn(64, 3), torch.randn(64, 1)
    losses = []
    for _ in range(20):
        loss = (layer(x) - y).square().mean()
        grads = torch.autograd.grad(loss, list(layer.parameters()))
        optimizer.apply(grads, list(layer.parameters()))
        losses.append(loss.item())
    assert losses[-1] < losses[0] and optimizer.iterations == 20
    assert copy.deepcopy(optimizer).iterations == 0


def test_refusals() -> None:
    variable = Variable([1.0])
    with pytest.raises(ValueError, match="grads: expected a gradient for a variable, received None for all"):
        optimizers.SGD().apply([None], [variable])
    with pytest.raises(ValueError, match="apply: expected the variables at the first step"):
        optimizers.SGD().apply([[1.0]])
    optimizer = optimizers.SGD(lambda: 0.5)
    with pytest.warns(UserWarning, match="a variable without a gradient"):
        optimizer.apply([[1.0], None], [variable, Variable([2.0])])
    assert variable.tolist() == [0.5]
    with pytest.raises(ValueError, match="exclude_from_weight_decay: expected a new optimizer"):
        optimizer.exclude_from_weight_decay(var_list=[variable])
