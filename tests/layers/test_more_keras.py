"""Transposed, depthwise and separable convolutions, pooling, normalization and einsum equal Keras'."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

from longspan import layers

from .beside_keras import PIXELS, RNG, STEPS, VOXELS, Case, case_id, check_equals_keras

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's

pytestmark = pytest.mark.filterwarnings("ignore")  # of Keras itself

VOLUMES = RNG.normal(size=(2, 3, 4, 3, 3, 2)).astype("float32")
TRANSPOSED: list[dict[str, Any]] = [
    {"strides": 2},
    {"strides": 2, "padding": "same"},
    {"strides": 3, "padding": "same", "activation": "relu"},
    {"strides": 3, "output_padding": 1},
    {"strides": 3, "padding": "same", "output_padding": 2},
    {"dilation_rate": 2, "use_bias": False},
]
CASES: list[Case] = [
    *[("Conv1DTranspose", {"filters": 3, "kernel_size": k, **o}, STEPS) for o in TRANSPOSED for k in (2, 3)],
    *[("Conv2DTranspose", {"filters": 3, "kernel_size": (3, 2), **o}, PIXELS) for o in TRANSPOSED],
    *[("Conv3DTranspose", {"filters": 2, "kernel_size": 2, **o}, VOXELS) for o in TRANSPOSED[:2]],
    ("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2, "padding": "same"}, STEPS),
    ("DepthwiseConv1D", {"kernel_size": 2, "dilation_rate": 2, "use_bias": False}, STEPS),
    ("DepthwiseConv2D", {"kernel_size": (3, 2), "strides": 2, "padding": "same"}, PIXELS),
    ("SeparableConv1D", {"filters": 3, "kernel_size": 3, "padding": "same"}, STEPS),
    ("SeparableConv1D", {"filters": 3, "kernel_size": 2, "depth_multiplier": 2, "activation": "tanh"}, STEPS),
    ("SeparableConv2D", {"filters": 3, "kernel_size": 2, "strides": 2, "use_bias": False}, PIXELS),
    ("AdaptiveAveragePooling1D", {"output_size": 4}, STEPS),
    ("AdaptiveMaxPooling1D", {"output_size": 4}, STEPS),
    ("AdaptiveAveragePooling2D", {"output_size": (2, 3)}, PIXELS),
    ("AdaptiveMaxPooling2D", {"output_size": 2}, PIXELS),
    ("AdaptiveAveragePooling3D", {"output_size": 2}, VOXELS),
    ("AdaptiveMaxPooling3D", {"output_size": (2, 1, 3)}, VOXELS),
    ("GroupNormalization", {"groups": 2}, STEPS),
    ("LayerNormalization", {"rms_scaling": True}, STEPS),
    ("LayerNormalization", {"axis": [2, 3], "rms_scaling": True}, PIXELS),
    ("UpSampling2D", {"size": (2, 3), "interpolation": "bicubic"}, PIXELS),
    ("GroupNormalization", {"groups": -1, "axis": 1, "scale": False}, PIXELS),
    ("RMSNormalization", {}, STEPS),
    ("RMSNormalization", {"axis": [2, 3], "epsilon": 1e-3}, PIXELS),
    ("UnitNormalization", {}, STEPS),
    ("UnitNormalization", {"axis": [1, 2]}, STEPS),
    ("EinsumDense", {"equation": "abc,cd->abd", "output_shape": (None, 5), "bias_axes": "d"}, STEPS),
    ("EinsumDense", {"equation": "abc,bcd->ad", "output_shape": 5, "activation": "relu"}, STEPS),
    ("EinsumDense", {"equation": "...x,xy->...y", "output_shape": 5, "bias_axes": "y"}, PIXELS),
    ("EinsumDense", {"equation": "abc,cde->abde", "output_shape": (None, 2, 3), "bias_axes": "de"}, STEPS),
    ("EinsumDense", {"equation": "ab...,bc->ac...", "output_shape": 5, "bias_axes": "c"}, STEPS),
    ("AlphaDropout", {"rate": 0.5}, STEPS),
    ("ConvLSTM1D", {"filters": 3, "kernel_size": 2, "return_sequences": True}, PIXELS),
    ("ConvLSTM1D", {"filters": 3, "kernel_size": 3, "padding": "same", "strides": 2}, PIXELS),
    ("ConvLSTM2D", {"filters": 3, "kernel_size": (2, 3), "go_backwards": True}, VOXELS),
    ("ConvLSTM3D", {"filters": 2, "kernel_size": 2, "return_sequences": True}, VOLUMES),
    ("Rescaling", {"scale": 0.5, "offset": 1.0}, STEPS),
    ("Rescaling", {"scale": [1.0, 2.0, 3.0, 4.0]}, STEPS),
    ("ReLU", {"threshold": 0.5, "negative_slope": 0.1, "max_value": 1.0}, STEPS),
]
FIRST: list[Case] = [
    ("Conv1D", {"filters": 3, "kernel_size": 2, "strides": 2}, STEPS),
    ("Conv2D", {"filters": 3, "kernel_size": 2, "padding": "same", "groups": 1}, PIXELS),
    ("Conv2DTranspose", {"filters": 3, "kernel_size": 2, "strides": 2}, PIXELS),
    ("DepthwiseConv2D", {"kernel_size": 2, "depth_multiplier": 2}, PIXELS),
    ("SeparableConv2D", {"filters": 3, "kernel_size": 2}, PIXELS),
    ("MaxPooling2D", {"pool_size": 2}, PIXELS),
    ("AveragePooling1D", {"pool_size": 2, "padding": "same"}, STEPS),
    ("GlobalAveragePooling2D", {"keepdims": True}, PIXELS),
    ("GlobalMaxPooling1D", {}, STEPS),
    ("AdaptiveMaxPooling2D", {"output_size": 2}, PIXELS),
    ("UpSampling2D", {"size": (2, 3), "interpolation": "bilinear"}, PIXELS),
    ("ZeroPadding2D", {"padding": (1, 2)}, PIXELS),
    ("ZeroPadding1D", {"padding": 1}, STEPS),
    ("Cropping2D", {"cropping": 1}, PIXELS),
    ("SpatialDropout2D", {"rate": 0.5}, PIXELS),
    ("Flatten", {}, PIXELS),
]
FRAMES: list[Case] = [
    ("ConvLSTM1D", {"filters": 3, "kernel_size": 2, "return_sequences": True}, PIXELS),
    ("ConvLSTM2D", {"filters": 3, "kernel_size": 2}, VOXELS),
]


@pytest.mark.parametrize(("name", "options", "x"), CASES, ids=case_id)
def test_equals_keras(name: str, options: dict[str, Any], x: np.ndarray) -> None:
    check_equals_keras(name, options, x)


@pytest.mark.parametrize(("name", "options", "x"), FIRST, ids=case_id)
def test_features_first_equals_keras(name: str, options: dict[str, Any], x: np.ndarray) -> None:
    check_equals_keras(name, {**options, "data_format": "channels_first"}, np.moveaxis(x, -1, 1).copy())


@pytest.mark.parametrize(("name", "options", "x"), FRAMES, ids=case_id)
def test_frames_with_channels_first_equal_keras(name: str, options: dict[str, Any], x: np.ndarray) -> None:
    check_equals_keras(name, {**options, "data_format": "channels_first"}, np.moveaxis(x, -1, 2).copy())


@pytest.mark.parametrize(
    ("name", "options", "x"),
    [case for case in CASES if "Conv" in case[0] or "Einsum" in case[0]],
    ids=case_id,
)
def test_gradients_equal_keras(name: str, options: dict[str, Any], x: np.ndarray) -> None:
    grads = []
    weights: list[np.ndarray] = []
    for space in (keras.layers, layers):
        layer, inputs = getattr(space, name)(**options), torch.tensor(x, requires_grad=True)
        layer(inputs)
        weights = weights or [RNG.normal(size=w.shape).astype("float32") for w in layer.get_weights()]
        layer.set_weights(weights)
        layer(inputs).square().sum().backward()
        own = [w.value.grad if space is keras.layers else w.grad for w in layer.trainable_weights]
        grads.append([inputs.grad, *own])
    for theirs, mine in zip(*grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_spectral_normalization_equals_keras() -> None:
    x, kernel = RNG.normal(size=(5, 4)).astype("float32"), RNG.normal(size=(4, 3)).astype("float32")
    outputs = []
    for space in (layers, keras.layers):
        layer = space.SpectralNormalization(space.Dense(3), power_iterations=2)
        layer.build((None, 4))
        u = np.array([[0.1, -0.2, 0.3]], "float32")
        layer.set_weights([kernel, u, np.ones(3, "float32")])
        outputs.append(np.asarray(layer(x, training=True).detach()))
        outputs.append(np.asarray(layer(x, training=False).detach()))
    np.testing.assert_allclose(outputs[:2], outputs[2:], rtol=1e-5, atol=1e-5)


def test_weights_of_a_wrapped_kernel_stand_in_keras_order() -> None:
    mine = layers.SpectralNormalization(layers.Dense(3))
    theirs = keras.layers.SpectralNormalization(keras.layers.Dense(3))
    for layer in (mine, theirs):
        layer.build((None, 4))
    assert [w.name for w in mine.weights] == [w.name for w in theirs.weights]


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    torch.manual_seed(0)
    x = torch.randn(200, 100)
    out = layers.AlphaDropout(0.3)(x, training=True)
    assert abs(out.mean().item()) < 0.03 and abs(out.std().item() - 1.0) < 0.05
    dropped = out.flatten().mode().values
    assert (out == dropped).float().mean().item() == pytest.approx(0.3, abs=0.02)


def test_activity_is_added_to_the_loss() -> None:
    layer = layers.ActivityRegularization(l1=0.5, l2=1.0)
    layer(torch.full((2, 3), 2.0))
    assert layer.losses[0].item() == pytest.approx((0.5 * 12 + 24) / 2)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: layers.Conv1DTranspose(3, 2, strides=2, dilation_rate=2),
            "expected strides or a dilation_rate",
        ),
        (
            lambda: layers.Conv1DTranspose(3, 2, strides=2, output_padding=2),
            "output_padding: expected numbers",
        ),
        (lambda: layers.GroupNormalization(3)(torch.zeros(2, 4)), "expected a divisor of 4 features"),
        (lambda: layers.EinsumDense("abc", 3)(torch.zeros(2, 3)), "equation: expected an equation"),
        (lambda: layers.EinsumDense("ab,bc->ac", 3)(torch.zeros(2, 3, 4)), "expected 2 dimensions"),
        (lambda: layers.EinsumDense("ab,cd->ad", 3)(torch.zeros(2, 3)), "expected a size for 'c'"),
        (lambda: layers.SpectralNormalization(layers.Identity())(torch.zeros(2, 3)), "a layer with a kernel"),
        (lambda: layers.ReLU(threshold=-1.0), "threshold: expected a number of at least 0"),
    ],
)
def test_refusals(make: Any, sentence: str) -> None:
    with pytest.raises((ValueError, TypeError), match=sentence):
        make()
