"""Attention of several heads gives Keras' numbers under every kind of mask."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

from longspan import layers
from longspan.layers.structure import with_mask

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's

pytestmark = pytest.mark.filterwarnings("ignore")  # of Keras itself

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(2, 4, 5, 3)).astype(np.float32)
MASK_B = RNG.random((4, 5)) > 0.4


@pytest.mark.parametrize(
    ("options", "call"),
    [
        ({}, {}),
        ({"value_dim": 2, "output_shape": 7, "use_bias": False}, {}),
        ({}, {"use_causal_mask": True}),
        ({}, {"attention_mask": RNG.random((4, 5, 5)) > 0.3}),
        ({}, {"masked": True}),
        ({}, {"return_attention_scores": True}),
    ],
    ids=["plain", "sizes", "causal", "attention mask", "masks", "scores"],
)
def test_attention_of_several_heads(options: dict[str, Any], call: dict[str, Any]) -> None:
    theirs = keras.layers.MultiHeadAttention(2, 3, **options)
    ours = layers.MultiHeadAttention(2, 3, **options)
    call = dict(call)
    masked = call.pop("masked", False)
    query, value = keras.ops.convert_to_tensor(A), keras.ops.convert_to_tensor(B)
    x, y = torch.tensor(A), torch.tensor(B)
    if masked:
        seen = MASK_B.copy()
        seen[:, 0] = True
        keras.src.backend.set_keras_mask(value, keras.ops.convert_to_tensor(seen))
        y = with_mask(y, torch.tensor(seen))
    expected = theirs(query, value, **call)
    ours(x, y)
    ours.set_weights(theirs.get_weights())
    found = ours(x, y, **call)
    pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    for a, b in pairs:
        np.testing.assert_allclose(a.detach(), b.detach().cpu(), atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # of Keras itself
@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize(
    ("name", "options"),
    [("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "value_dim": 5}),
     ("GroupQueryAttention", {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2})],
)  # fmt: skip
def test_gates_and_shared_keys_equal_keras(name: str, options: dict[str, Any], gate: bool) -> None:
    rng = np.random.default_rng(0)
    query, value = (torch.tensor(rng.normal(size=(2, steps, 4)).astype("float32")) for steps in (5, 6))
    outputs, weights = [], []
    for space in (keras.layers, layers):
        layer = getattr(space, name)(**options, use_gate=gate)
        layer.build((2, 5, 4), (2, 6, 4))
        weights = weights or [rng.normal(size=w.shape).astype("float32") for w in layer.get_weights()]
        layer.set_weights(weights)
        outputs.append(layer(query, value, use_causal_mask=True))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("axes", "asked", "read", "mask", "output"),
    [
        ((2,), (3, 4), (3, 2), (3, 2, 4, 2), None),
        ((2,), (3, 4), (3, 2), (4, 2), 5),
        (-2, (3, 4), (3, 2), None, (5, 2)),
        ((1, 2), (3, 4), (3, 2), (3, 4, 3, 2), None),
        ((2, 3), (5, 3, 4), (5, 3, 2), (3, 4, 3, 2), None),
        (1, (4, 3), (4, 3), None, None),
        (None, (3, 4), (3, 2), None, None),
    ],
)
def test_any_dimensions_are_attended_along_as_in_keras(
    axes: Any, asked: tuple[int, ...], read: tuple[int, ...], mask: tuple[int, ...] | None, output: Any
) -> None:
    options = {"num_heads": 2, "key_dim": 3, "attention_axes": axes, "output_shape": output}
    query, value = (torch.tensor(RNG.normal(size=(2, *size, 4)).astype("float32")) for size in (asked, read))
    seen = None if mask is None else torch.tensor(RNG.random((2, *mask)) > 0.3)
    results, weights = [], []
    for space in (keras.layers, layers):
        layer: Any = space.MultiHeadAttention(**options)
        layer.build(query_shape=query.shape, value_shape=value.shape)
        weights = weights or [RNG.normal(size=w.shape).astype("float32") for w in layer.get_weights()]
        layer.set_weights(weights)
        results.append(layer(query, value, attention_mask=seen, return_attention_scores=True))
    layer = layers.MultiHeadAttention(**options)
    specs: Any = layer(layers.Input((*asked, 4)), layers.Input((*read, 4)), return_attention_scores=True)
    for theirs, ours, spec in zip(*results, specs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
        assert spec.shape[1:] == ours.shape[1:]


def test_masks_of_tensors_with_further_dimensions() -> None:
    x, seen = torch.tensor(RNG.normal(size=(2, 3, 4, 5)).astype("float32")), torch.ones(2, 3, 4).bool()
    seen[0, 1, 2:] = False
    layer = layers.MultiHeadAttention(2, 3, attention_axes=2)
    _, weights = layer(x, with_mask(x.clone(), seen), return_attention_scores=True)
    assert weights.shape == (2, 3, 2, 4, 4)
    assert weights[0, 1, :, :, 2:].abs().max() == 0 and weights[0, 0].min() > 0
    _, causal = layer(x, x, use_causal_mask=True, return_attention_scores=True)
    assert causal.triu(1).abs().max() == 0


@pytest.mark.parametrize("is_causal", [False, True])
def test_a_sliding_window(is_causal: bool) -> None:
    x = torch.tensor(A)
    layer = layers.GroupedQueryAttention(3, 4, 2, sliding_window=2)
    _, weights = layer(x, x, use_causal_mask=is_causal, return_attention_scores=True)
    apart = torch.arange(5).unsqueeze(1) - torch.arange(5)
    near = (apart.abs() < 2) & (apart >= 0 if is_causal else True)
    assert torch.equal(weights > 0, near.expand_as(weights))
    assert layer.get_config()["sliding_window"] == 2


def test_a_class_of_ones_own_computes_the_attention() -> None:
    class Sharp(layers.MultiHeadAttention):
        def _compute_attention(self, query: Any, *others: Any, **options: Any) -> Any:
            return super()._compute_attention(4.0 * query, *others, **options)

    plain, sharp, x = layers.MultiHeadAttention(1, 3), Sharp(1, 3), torch.tensor(A)
    plain(x, x)
    sharp(x, x)
    sharp.set_weights(plain.get_weights())
    tops = [layer(x, x, return_attention_scores=True)[1].max(-1).values for layer in (plain, sharp)]
    assert (tops[1] > tops[0]).all()
    heads = torch.tensor(RNG.normal(size=(2, 5, 1, 3)))
    mixed, weights = plain._compute_attention(heads, heads, heads, use_causal_mask=True)
    assert mixed.shape == (2, 5, 1, 3) and weights.triu(1).abs().max() == 0


@pytest.mark.parametrize(
    ("options", "call", "words"),
    [
        ({"sliding_window": 0}, None, "sliding_window: "),
        ({"output_shape": 8.0}, None, "output_shape: "),
        ({"attention_axes": 3}, (2, 3, 4, 5), "attention_axes: expected dimensions between"),
        ({"sliding_window": 2}, (2, 3, 4, 5), "attention_axes: expected one dimension for a causal mask"),
    ],
)
def test_refused(options: dict[str, Any], call: tuple[int, ...] | None, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        layer = layers.MultiHeadAttention(2, 3, **options)
        x = torch.zeros(call or (1, 1, 1))
        layer(x, x)


def test_keys_for_other_steps_than_the_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"key of multi_head_attention.*: expected as many steps"):
        layers.MultiHeadAttention(2, 3)(torch.zeros(2, 4, 8), torch.zeros(2, 2, 8), torch.zeros(2, 1, 7))


def test_projections_are_named_as_in_keras() -> None:
    layer = layers.MultiHeadAttention(2, 3, kernel_constraint="non_neg", use_bias=False)
    layer.build((None, 4, 8), (None, 4, 8))
    for projection in (layer.query_dense, layer.key_dense, layer.value_dense, layer.output_dense):
        kernel: Any = projection.kernel
        assert type(kernel.constraint).__name__ == "NonNeg" and projection.bias is None
