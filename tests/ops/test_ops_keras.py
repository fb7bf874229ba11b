"""Every function of ops gives the values, shapes and dtypes of keras.ops."""

from __future__ import annotations

from collections import defaultdict
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

from longspan import ops
from tests.ops.cases import ANY_WIDTH, APART, Case, cases, is_as_numpy

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


def test_every_name_is_here_or_absent_with_a_way_out() -> None:
    names = {name for name in dir(keras.ops) if not name.startswith("_")}
    here = {name for name in names if name not in ops.INSTEAD}
    for name in here:
        getattr(ops, name)
    assert here - set(CASES) - APART == {"linalg", "nn", "numpy"}
