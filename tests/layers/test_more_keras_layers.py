"""Layers around a network's recurrent core give Keras' numbers, configs and copies; absent names say so."""

from __future__ import annotations

import copy
import pickle
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

from longspan import layers
from longspan.layers.config import from_config, to_config

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's
pytestmark = pytest.mark.filterwarnings("ignore")  # of Keras itself

RNG = np.random.default_rng(0)
STEPS = RNG.normal(size=(2, 6, 4)).astype(np.float32)
PIXELS = RNG.normal(size=(2, 6, 5, 4)).astype(np.float32)
VOXELS = RNG.normal(size=(2, 6, 5, 4, 4)).astype(np.float32)
CASES: list[tuple[str, dict[str, Any], np.ndarray]] = [
    ("Identity", {}, STEPS),
    ("ELU", {}, STEPS),
    ("ELU", {"alpha": 0.5}, STEPS),
    ("PReLU", {}, STEPS),
    ("PReLU", {"shared_axes": [1]}, STEPS),
    ("PReLU", {"alpha_initializer": "ones", "shared_axes": [1, 2]}, PIXELS),
    ("Softmax", {}, STEPS),
    ("Softmax", {"axis": 1}, STEPS),
    ("Softmax", {"axis": (1, 2)}, STEPS),
    ("GaussianNoise", {"stddev": 0.5}, STEPS),
    ("GaussianDropout", {"rate": 0.5}, STEPS),
    ("SpatialDropout2D", {"rate": 0.5}, PIXELS),
    ("SpatialDropout3D", {"rate": 0.5}, VOXELS),
    ("UpSampling1D", {"size": 3}, STEPS),
    ("UpSampling2D", {"size": (2, 3)}, PIXELS),
    ("UpSampling2D", {"interpolation": "bilinear"}, PIXELS),
    ("UpSampling3D", {"size": (1, 2, 3)}, VOXELS),
    ("ZeroPadding1D", {"padding": 2}, STEPS),
    ("ZeroPadding1D", {"padding": (0, 3)}, STEPS),
    ("ZeroPadding2D", {"padding": (1, 2)}, PIXELS),
    ("ZeroPadding2D", {"padding": ((1, 0), (2, 3))}, PIXELS),
    ("ZeroPadding3D", {"padding": ((1, 0), (2, 3), (0, 1))}, VOXELS),
    ("Cropping1D", {}, STEPS),
    ("Cropping1D", {"cropping": (0, 3)}, STEPS),
    ("Cropping2D", {"cropping": ((1, 0), (2, 1))}, PIXELS),
    ("Cropping3D", {}, VOXELS),
    ("Conv3D", {"filters": 3, "kernel_size": 2}, VOXELS),
    (
        "Conv3D",
        {"filters": 4, "kernel_size": (3, 2, 1), "strides": 2, "padding": "same", "groups": 2},
        VOXELS,
    ),
    ("Conv3D", {"filters": 3, "kernel_size": 2, "dilation_rate": 2, "activation": "relu"}, VOXELS),
    ("MaxPooling3D", {"pool_size": (2, 1, 3), "padding": "same"}, VOXELS),
    ("MaxPooling3D", {}, VOXELS),
    ("AveragePooling3D", {"pool_size": 3, "strides": 1, "padding": "same"}, VOXELS),
    ("GlobalMaxPooling3D", {}, VOXELS),
    ("GlobalAveragePooling3D", {"keepdims": True}, VOXELS),
]


def named(case: Any) -> str:
    return case if isinstance(case, str) else f"{case}" if isinstance(case, dict) else str(case.ndim)


@pytest.mark.parametrize(("name", "options", "x"), CASES, ids=named)
def test_numbers_shapes_configs_and_copies(name: str, options: dict[str, Any], x: np.ndarray) -> None:
    mine, theirs = getattr(layers, name)(**options).eval(), getattr(keras.layers, name)(**options)
    expected = theirs(x, training=False) if "Dropout" in name or "Noise" in name else theirs(x)
    mine(x)
    weights = [RNG.normal(size=w.shape).astype(np.float32) for w in theirs.get_weights()]
    if weights:
        theirs.set_weights(weights)
        mine.set_weights(weights)
        expected = theirs(x)
    expected = keras.ops.convert_to_numpy(expected)
    found = mine(x)
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-5, atol=1e-5)
    assert mine.compute_output_shape((None, *x.shape[1:])) == (None, *expected.shape[1:])
    again = from_config(to_config(mine)).eval()
    again.build((None, *x.shape[1:]))
    again.set_weights(mine.get_weights())
    for other in (again, copy.deepcopy(mine), pickle.loads(pickle.dumps(mine))):
        assert torch.equal(other(x), found)


@pytest.mark.parametrize(
    ("name", "options"), [("GaussianNoise", {"stddev": 0.5}), ("GaussianDropout", {"rate": 0.2})]
)
def test_noise_has_its_spread_in_training(name: str, options: dict[str, float]) -> None:
    torch.manual_seed(0)
    out = getattr(layers, name)(**options).train()(torch.ones(400, 100))
    assert float(out.mean()) == pytest.approx(1.0, abs=0.01) and float(out.std()) == pytest.approx(
        0.5, abs=0.01
    )


def test_spatial_dropout_drops_whole_channels() -> None:
    torch.manual_seed(0)
    out = layers.SpatialDropout2D(0.5).train()(torch.ones(50, 3, 3, 8))
    assert set(out.unique().tolist()) == {0.0, 2.0} and torch.equal(out, out[:, :1, :1].expand_as(out))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: layers.ZeroPadding2D((1, 2, 3)), "padding: expected sizes for 2 dimensions"),
        (lambda: layers.Cropping1D(-1), "cropping: expected a whole number of at least 0, received -1"),
        (lambda: layers.Cropping1D(3)(STEPS), "more values than are cut off"),
        (lambda: layers.UpSampling2D(interpolation="bicubic"), "interpolation: .*received 'bicubic'"),
        (lambda: layers.GaussianNoise(-1.0), "stddev: expected a number of at least 0, received -1.0"),
        (lambda: layers.Conv3D(3, 2, padding="causal"), "padding: .*received 'causal'"),
    ],
)
def test_what_does_not_fit_is_one_sentence(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


def test_every_layer_of_keras_is_there_or_says_what_to_use() -> None:
    for name, kind in vars(keras.layers).items():
        if isinstance(kind, type) and issubclass(kind, keras.layers.Layer) and not hasattr(layers, name):
            with pytest.raises(AttributeError, match=rf"received Keras' {name}, which is not there; use "):
                getattr(layers, name)
    with pytest.raises(AttributeError, match="received 'LSMT'; the nearest is 'LSTM'"):
        layers.LSMT  # noqa: B018  # pyright: ignore
