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
