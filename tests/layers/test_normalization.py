"""Batch renormalization gives Keras' numbers; batches of which no step counts."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

from longspan import layers
from longspan.initializers import Constant
from longspan.layers.config import from_config, to_config

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's

pytestmark = pytest.mark.filterwarnings("ignore")  # of Keras itself


@pytest.mark.parametrize(
    "options",
    [
        {"renorm": True, "momentum": 0.8, "renorm_momentum": 0.7},
        {"renorm": True, "renorm_clipping": {"rmax": 1.1, "rmin": 0.9, "dmax": 0.2}, "scale": False},
        {"renorm": True, "moving_variance_initializer": "ones", "center": False},
    ],
)
def test_renormalization_equals_keras(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    mine, theirs = layers.BatchNormalization(**options), keras.layers.BatchNormalization(**options)
    x = rng.normal(2.0, 3.0, size=(4, 5, 3)).astype("float32")
    mine.build(x.shape)
    theirs.build(x.shape)
    weights = [rng.uniform(0.5, 2.0, size=w.shape).astype("float32") for w in theirs.get_weights()]
    mine.set_weights(weights)
    theirs.set_weights(weights)
    for training in (True, True, False):
        ours = mine(torch.tensor(x), training=training)
        expected = keras.ops.convert_to_numpy(theirs(x, training=training))
        np.testing.assert_allclose(ours.detach(), expected, rtol=1e-4, atol=1e-5)
    for a, b in zip(mine.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    again = from_config(to_config(mine))
    assert again.get_config() == mine.get_config()


def test_a_standard_deviation_begins_as_the_root_of_the_variance() -> None:
    layer: Any = layers.BatchNormalization(renorm=True, moving_variance_initializer=Constant(4.0))
    layer.build((None, 2))
    assert layer.moving_stddev.tolist() == layer.renorm_stddev.tolist() == [2.0, 2.0]


def test_a_batch_of_which_nothing_counts_has_the_mean_0() -> None:
    layer = layers.BatchNormalization(center=False, scale=False)
    out = layer(torch.zeros(4, 5), mask=torch.zeros(4), training=True)
    assert torch.equal(out, torch.zeros(4, 5))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: layers.BatchNormalization(renorm_clipping={"rmaxx": 1.0}), "nearest is 'rmax'"),
        (lambda: layers.BatchNormalization(renorm_clipping={"rmax": 0.0, "rmin": 1.0}), "rmax of at least"),
        (lambda: layers.BatchNormalization(renorm_clipping={"dmax": -1.0}), "dmax of at least 0"),
        (lambda: layers.BatchNormalization(synchronized=True), "synchronized: expected False"),
        (lambda: layers.LayerNormalization(axis={"axis": -1}), "axis: expected a dimension"),  # pyright: ignore
    ],
)
def test_refused(make: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        make()
