"""Parameters have names, shapes and first values; the forget gate's bias starts where it is asked to."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from longspan import nn
from tests.nn.beside_torch import H, I


class TestParameters:
    """Beyond torch.nn's parameters."""

    def test_extra_parameters_have_names_and_first_values(self):
        layer = nn.Recurrent("peephole", I, H, bidirectional=True, layer_norm=True)
        shapes = {name: tuple(p.shape) for name, p in layer.named_parameters()}
        for end in ("", "_reverse"):
            assert shapes[f"weight_p_l0{end}"] == (3, H)
            assert shapes[f"norm_x_l0{end}"] == shapes[f"norm_r_l0{end}"] == (4 * H,)
            assert shapes[f"norm_c_l0{end}"] == shapes[f"norm_c_bias_l0{end}"] == (H,)
        values = dict(layer.named_parameters())
        assert all((p == 1).all() for k, p in values.items() if k.startswith("norm") and "bias" not in k)
        assert not values["norm_c_bias_l0"].any()
        assert set(dict(nn.Recurrent("indrnn", I, H).named_parameters())) == {
            "weight_ih_l0",
            "bias_ih_l0",
            "weight_p_l0",
        }

    @pytest.mark.parametrize("name", ["lstm", "cifg", "slstm", "peephole"])
    def test_forget_bias_is_the_sum(self, name: str):
        layer = nn.Recurrent(name, I, H, bidirectional=True, forget_bias=1.5)
        first = layer.cell.gates.index("f") * H
        for end in ("", "_reverse"):
            total = getattr(layer, f"bias_ih_l0{end}") + getattr(layer, f"bias_hh_l0{end}")
            assert (total[first : first + H] == 1.5).all()
            assert (total[:first] != 1.5).all() and (total[first + H :] != 1.5).all()

    def test_forget_bias_leaves_the_other_draws_alone(self):
        torch.manual_seed(5)
        plain: Any = nn.LSTM(I, H, 2)
        torch.manual_seed(5)
        forgetful: Any = nn.LSTM(I, H, 2, forget_bias=1.0)
        assert torch.equal(plain.weight_hh_l1, forgetful.weight_hh_l1)
