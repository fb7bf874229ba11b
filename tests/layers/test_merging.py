"""Merging layers give Keras' numbers, shapes and masks."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

from longspan import layers
from longspan.layers import Input
from longspan.layers.structure import mask_of, with_mask

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's

pytestmark = pytest.mark.filterwarnings("ignore")  # of Keras itself

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(2, 4, 5, 3)).astype(np.float32)
ROW = RNG.normal(size=(4, 1, 3)).astype(np.float32)
FLAT, OTHER = RNG.normal(size=(2, 4, 3)).astype(np.float32)
MASK_A, MASK_B = RNG.random((2, 4, 5)) > 0.4

MERGES: dict[str, tuple[str, dict[str, Any], list[np.ndarray]]] = {
    "add": ("Add", {}, [A, B, A]),
    "add broadcast": ("Add", {}, [A, ROW]),
    "add another rank": ("Add", {}, [A, FLAT]),
    "subtract": ("Subtract", {}, [A, B]),
    "multiply": ("Multiply", {}, [A, B]),
    "average": ("Average", {}, [A, B, B]),
    "maximum": ("Maximum", {}, [A, B]),
    "minimum": ("Minimum", {}, [A, B]),
    "concatenate": ("Concatenate", {}, [A, B]),
    "concatenate time": ("Concatenate", {"axis": 1}, [A, ROW, B]),
    "dot vectors": ("Dot", {"axes": 1}, [FLAT, OTHER]),
    "dot cosine": ("Dot", {"axes": 1, "normalize": True}, [FLAT, OTHER]),
    "dot steps": ("Dot", {"axes": 2}, [A, B]),
    "dot pair of axes": ("Dot", {"axes": (2, 1)}, [A, FLAT]),
    "dot time": ("Dot", {"axes": (1, 1)}, [A, B]),
}


@pytest.mark.parametrize("name", MERGES)
def test_values_and_shapes(name: str) -> None:
    kind, options, arrays = MERGES[name]
    expected = keras.layers.__dict__[kind](**options)([keras.ops.convert_to_tensor(a) for a in arrays])
    found = getattr(layers, kind)(**options)([torch.tensor(a) for a in arrays])
    np.testing.assert_allclose(found, expected.detach().cpu(), atol=1e-6)
    symbolic = getattr(layers, kind)(**options)([Input(a.shape[1:]) for a in arrays])
    assert symbolic.shape == (None, *found.shape[1:])


@pytest.mark.parametrize("name", ["add", "subtract", "maximum", "concatenate", "concatenate time"])
@pytest.mark.parametrize("masks", ["both", "first"])
def test_masks(name: str, masks: str) -> None:
    kind, options, _ = MERGES[name]
    given = [MASK_A, MASK_B if masks == "both" else None]
    ours = [
        with_mask(torch.tensor(a), None if m is None else torch.tensor(m))
        for a, m in zip((A, B), given, strict=True)
    ]
    theirs = [keras.ops.convert_to_tensor(a) for a in (A, B)]
    for tensor, mask in zip(theirs, given, strict=True):
        if mask is not None:
            keras.src.backend.set_keras_mask(tensor, keras.ops.convert_to_tensor(mask))
    expected = keras.src.backend.get_keras_mask(keras.layers.__dict__[kind](**options)(theirs))
    found = mask_of(getattr(layers, kind)(**options)(ours))
    if expected is None:
        assert found is None
    else:
        np.testing.assert_array_equal(found, expected.cpu())


@pytest.mark.parametrize("name", ["Multiply", "Maximum", "Minimum"])
def test_inputs_do_not_count_where_their_masks_hide_them(name: str) -> None:
    masking, layer = layers.Masking(), getattr(layers, name)()
    first = torch.tensor([[[0.0, 0.0], [1.0, 2.0], [0.0, 0.0], [-3.0, -4.0]]])
    second = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [-1.0, 2.0], [3.0, 4.0]]])
    both = layer([first, second])[:, 3:]
    of_one = layer([masking(first), second])
    assert torch.equal(of_one[:, 2:3], second[:, 2:3]) and torch.equal(of_one[:, 3:], both)
    assert mask_of(of_one) is None
    of_both = layer([masking(first), masking(second)])
    assert torch.equal(of_both, torch.cat([first[:, :2], second[:, 2:3], both], 1))
    assert mask_of(of_both).tolist() == [[False, True, True, True]]


def test_subtract_takes_two() -> None:
    x = layers.Input((2,))
    for inputs in ([x, x, x], [x]):
        with pytest.raises(ValueError, match="input of subtract"):
            layers.Subtract()(inputs)
