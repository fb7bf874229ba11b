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
