"""Every function of ops gives the values, shapes and dtypes of keras.ops."""

from __future__ import annotations

from collections import defaultdict
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

import longspan as ls
from longspan import layers, ops
from longspan.layers.structure import flatten
from tests.ops.cases import ANY_WIDTH, APART, Case, V, cases, is_as_numpy

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's

CASES: dict[str, list[Case]] = defaultdict(list)
for case in cases():
    CASES[case[0]].append(case)


def as_tensors(value: Any) -> Any:
    """Arrays in lists and tuples as tensors: not every function of Keras takes arrays."""
    if isinstance(value, (list, tuple)):
        return type(value)(as_tensors(part) for part in value)
    return torch.as_tensor(value) if isinstance(value, np.ndarray) else value


def as_array(value: Any) -> np.ndarray:
    """The values of a tensor, an array or a number."""
    return value.detach().resolve_conj().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def expected(case: Case) -> Any:
    """What Keras, or NumPy, returns."""
    name, args, kwargs = case
    if is_as_numpy(case):
        return getattr(np, name)(*args, **kwargs)
    options = {key: as_tensors(value) for key, value in kwargs.items()}
    return getattr(keras.ops, name)(*as_tensors(args), **options)


def check_equal(result: Any, wanted: Any, case: Case) -> None:
    """The same structure, shapes, dtypes and values."""
    what = f"{case[0]}{case[1]}, {case[2]}"
    if isinstance(wanted, (list, tuple)) and not isinstance(result, torch.Tensor):
        assert len(result) == len(wanted), what
        for part, other in zip(result, wanted, strict=True):
            check_equal(part, other, case)
        return
    if isinstance(wanted, (str, int, float, type(None))):
        assert result == wanted, what
        return
    values, truths = as_array(result), as_array(wanted)
    assert values.shape == truths.shape, what
    if is_as_numpy(case) or case[0] in ANY_WIDTH:
        assert values.dtype.kind == truths.dtype.kind, what
    else:
        assert values.dtype == truths.dtype, what
    np.testing.assert_allclose(values, truths, rtol=2e-5, atol=2e-5, err_msg=what)


@pytest.mark.filterwarnings("ignore:.*")
@pytest.mark.parametrize("name", sorted(CASES))
def test_equals_keras(name: str) -> None:
    for case in CASES[name]:
        result = getattr(ops, name)(*case[1], **case[2])
        check_equal(result, expected(case), case)


def is_row_wise(case: Case) -> bool:
    """Whether the call's first argument is `V` and no other one says how many rows there are."""
    _, args, kwargs = case
    others = [*args[1:], *kwargs.values()]
    rows = [value for value in others if isinstance(value, np.ndarray) and value.shape[:1] == V.shape[:1]]
    return len(args) > 0 and args[0] is V and not rows


# Functions that say something of a tensor, and those that divide the rows.
NO_LAYERS = {"convert_to_numpy", "dtype", "is_tensor", "ndim", "shape", "split", "vsplit"}
SYMBOLIC = {
    name: [case for case in CASES[name] if is_row_wise(case)] for name in sorted({*CASES} - NO_LAYERS)
}


@pytest.mark.parametrize("name", [name for name in SYMBOLIC if SYMBOLIC[name]])
def test_a_symbolic_tensor_gives_a_layer_with_the_same_values(name: str) -> None:
    _, args, kwargs = SYMBOLIC[name][0]
    inputs = layers.Input(shape=V.shape[1:])
    outputs = getattr(ops, name)(inputs, *args[1:], **kwargs)
    results = flatten(ls.Model(inputs, outputs)(torch.as_tensor(V)))
    for result, wanted in zip(results, flatten(getattr(ops, name)(*args, **kwargs)), strict=True):
        np.testing.assert_allclose(result.detach(), wanted, rtol=1e-5, atol=1e-6)


def test_every_name_is_here_or_absent_with_a_way_out() -> None:
    names = {name for name in dir(keras.ops) if not name.startswith("_")}
    here = {name for name in names if name not in ops.INSTEAD}
    for name in here:
        getattr(ops, name)
    assert here - set(CASES) - APART == {"linalg", "nn", "numpy"}
