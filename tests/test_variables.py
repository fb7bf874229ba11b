"""Variables: changed in place, plain tensors as results, gradients, copies."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from longspan.constraints import NonNeg
from longspan.variables import Variable


def test_values_types_and_changes() -> None:
    variable = Variable(np.ones((2, 2)), name="kernel")
    assert (
        variable.dtype == torch.float32 and variable.name == variable.path == "kernel" and variable.trainable
    )
    assert variable.assign_add(np.ones((2, 2))) is variable
    variable.assign_sub([[0.5, 0.5], [0.5, 0.5]])
    assert np.asarray(variable).tolist() == variable.numpy().tolist() == [[1.5, 1.5], [1.5, 1.5]]
    assert type(variable + 1) is torch.Tensor
    assert Variable("ones", shape=(3,), dtype="float64").dtype == torch.float64
    assert Variable(3, trainable=False).dtype == torch.int32


def test_gradients_flow_to_trainable_ones() -> None:
    variable, constant = Variable([1.0, 2.0]), Variable([1.0, 2.0], trainable=False)
    (variable.square() * constant).sum().backward()
    assert variable.grad is not None and variable.grad.tolist() == [2.0, 8.0]
    assert constant.grad is None
    variable.trainable = False
    assert not variable.requires_grad


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda item: pickle.loads(pickle.dumps(item))])
def test_copies_are_equal_and_apart(copied: object) -> None:
    variable = Variable([1.0, -2.0], name="w")
    variable.constraint = "non_neg"
    twin = copied(variable)  # pyright: ignore[reportCallIssue]
    variable.assign([0.0, 0.0])
    assert type(twin) is Variable and twin.tolist() == [1.0, -2.0] and twin.name == "w" and twin.requires_grad
    assert isinstance(twin.constraint, NonNeg)
