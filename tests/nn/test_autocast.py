"""Half precision and autocast give torch.nn's dtypes; sums are made in float32."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from longspan import nn
from tests.nn.beside_torch import B, H, I, T, both, flat, gradients, kinds, same

# oneDNN says once that it leaves projections to the plain implementation, which is the one we compare with.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def under_autocast(theirs: torch.nn.Module, x: Any) -> Any:
    """What torch.nn's layer gives in autocast to bfloat16.

    oneDNN runs torch.nn's LSTM on float32 that is not packed. It has no bfloat16 LSTM for processors without
    AVX-512, where PyTorch fails: there, the LSTM's float32 numbers rounded to the dtype that oneDNN gives.
    """
    lstm = isinstance(theirs, torch.nn.LSTM) and not theirs.proj_size
    on_onednn = lstm and isinstance(x, Tensor) and x.dtype is torch.float32
    if on_onednn and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return [t.bfloat16() for t in flat(theirs(x))]
    with torch.autocast("cpu", torch.bfloat16):
        return theirs(x)


class TestPrecision:
    """The dtypes of torch.nn."""

    @kinds
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_parameters(self, backend: str, kind: str, dtype: torch.dtype):
        theirs, ours = both(kind, num_layers=2, bidirectional=True, dtype=dtype)
        x = torch.randn(T, B, I, dtype=dtype, requires_grad=True)
        found, wanted = ours(x), theirs(x)
        assert {t.dtype for t in flat(found)} == {dtype}
        same(found, wanted, rtol=0.05, atol=0.05)
        assert {g.dtype for g in gradients(found, [x, *ours.parameters()])} == {dtype}

    @kinds
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("packed", [True, False])
    def test_autocast(self, backend: str, kind: str, dtype: torch.dtype, packed: bool):
        theirs, ours = both(kind)
        x: Any = torch.randn(T, B, I).to(dtype)
        if packed:
            x = pack_padded_sequence(x, [5, 3, 1])
        wanted = under_autocast(theirs, x)
        with torch.autocast("cpu", torch.bfloat16):
            found = ours(x)
        assert [t.dtype for t in flat(found)] == [t.dtype for t in flat(wanted)]
        same(found, wanted, rtol=0.05, atol=0.05)

    def test_autocast_without_onednn(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
        theirs, ours = both("lstm")
        x = torch.randn(T, B, I)
        with torch.autocast("cpu", torch.bfloat16):
            found, wanted = ours(x), theirs(x)
        assert [t.dtype for t in flat(found)] == [t.dtype for t in flat(wanted)]

    def test_sums_are_made_in_float32(self, backend: str):
        layer = nn.LSTM(I, H, dtype=torch.bfloat16)
        wide = nn.LSTM(I, H)
        wide.load_state_dict(layer.state_dict())
        x = torch.randn(T, B, I, dtype=torch.bfloat16)
        wanted = wide(x.float())[0].bfloat16()
        assert torch.equal(layer(x)[0], wanted)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(wide(x)[0], wanted)
