"""Recorded layers take sequences of other lengths, and torch's own ONNX exporter writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from longspan import nn
from tests.nn.beside_torch import KINDS, H, I, kinds, same

pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's, of its own tracer and exporter
    pytest.mark.filterwarnings("ignore:Exporting a model to ONNX with a batch_size"),
]
OPTIONS: list[dict[str, Any]] = [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}]
options = pytest.mark.parametrize("options", OPTIONS, ids=str)


def made(kind: str, **options: Any) -> Any:
    name, own = KINDS[kind]
    return getattr(nn, name)(I, H, batch_first=True, **own, **options)


@kinds
@options
@pytest.mark.parametrize("rows", [(), (3,)])
def test_a_traced_layer_takes_other_lengths(kind: str, options: dict[str, Any], rows: tuple[int, ...]):
    layer = made(kind, **options)
    traced: Any = torch.jit.trace(layer, torch.randn(*rows, 5, I))
    for steps in (9, 2):
        x = torch.randn(*rows, steps, I)
        same(traced(x), layer(x))


def test_a_traced_layer_takes_a_state_and_packed_rows():
    layer = made("lstm")

    class Packing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor, h: Tensor, c: Tensor, lengths: Tensor) -> Tensor:
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return self.layer(packed, (h, c))[1][1]

    state = torch.randn(1, 3, H), torch.randn(1, 3, H)
    traced: Any = torch.jit.trace(Packing(), (torch.randn(3, 5, I), *state, torch.tensor([2, 5, 1])))
    x, lengths = torch.randn(3, 8, I), torch.tensor([8, 1, 4])
    same(traced(x, *state, lengths), layer(x, state, lengths=lengths)[1][1])


@pytest.mark.parametrize(
    ("layer", "extra", "said"),
    [
        (lambda: nn.LSTM(I, H, zoneout=0.1), {}, "received zoneout"),
        (lambda: nn.LSTM(I, H, layer_norm=True), {}, "received layer_norm"),
        (lambda: nn.Recurrent("slstm", I, H), {}, "received the cell slstm"),
        (lambda: nn.GRU(I, H), {"lengths": [5, 5]}, "received lengths"),
    ],
)
def test_what_torch_lacks_is_refused_by_name(layer: Any, extra: dict[str, Any], said: str):
    module = layer()

    def run(x: Tensor) -> Tensor:
        return module(x, **extra)[0]

    with pytest.raises(ValueError, match=f"torch.jit.trace: .*{said}; use torch.export.export"):
        torch.jit.trace(run, torch.randn(5, 2, I))


@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
@options
def test_torchs_onnx_exporter_writes_a_layer(kind: str, options: dict[str, Any], tmp_path: Path):
    layer, file = made(kind, **options).eval(), str(tmp_path / "layer.onnx")
    axes = {"x": {0: "rows", 1: "steps"}}
    torch.onnx.export(
        layer, (torch.randn(2, 5, I),), file, dynamo=False, input_names=["x"], dynamic_axes=axes
    )
    x = torch.randn(3, 9, I)
    answers: Any = onnxruntime.InferenceSession(file).run(None, {"x": x.numpy()})
    same([torch.from_numpy(array) for array in answers], layer(x))
