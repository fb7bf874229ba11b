"""The network beside a plain loop, in steps and in batches; its losses beside those of torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from longspan.data.batches import Batch
from longspan.tasks.speech.network import STRIDES, CausalConvolution, SpeechNetwork


def network(**options: Any) -> SpeechNetwork:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"filters": 5, "kernel_size": 3, "hidden_size": 4, "num_layers": 1}
    return SpeechNetwork(6, 7, **{**sizes, **options}).eval()


def ctc_loss(log_probs: Tensor, targets: Tensor) -> float:
    """Torch's loss of one text; log_probs: (S, V)."""
    steps, count = (torch.tensor([len(part)]) for part in (log_probs, targets))
    return float(F.ctc_loss(log_probs.unsqueeze(1), targets.unsqueeze(0), steps, count, reduction="sum"))


def test_a_convolution_sees_no_later_step() -> None:
    layer = CausalConvolution(3, 4, 5, 2)
    x = torch.randn(2, 11, 3)
    out = layer(x)
    assert out.shape == (2, 6, 4)
    weight, bias = layer.convolution.weight, layer.convolution.bias
    assert bias is not None
    padded = torch.cat([torch.zeros(2, 4, 3), x], 1)
    for step in range(6):
        seen = padded[:, 2 * step : 2 * step + 5]
        expected = layer.norm(torch.einsum("bki,oik->bo", seen, weight) + bias).relu()
        assert torch.allclose(out[:, step], expected, atol=1e-5)


@pytest.mark.parametrize("stride", list(STRIDES))
def test_padding_changes_nothing_and_lengths_are_those_of_the_output(stride: int) -> None:
    net = network(stride=stride)
    x, lengths = torch.randn(3, 21, 6), torch.tensor([21, 10, 1])
    output, _ = net(Batch(x, lengths=lengths))
    assert output.lengths.tolist() == [-(-int(length) // stride) for length in lengths]
    for row, length in enumerate(lengths.tolist()):
        alone, _ = net(Batch(x[row : row + 1, :length], lengths=lengths[row : row + 1]))
        count = int(alone.lengths)
        assert alone.log_probs.shape[1] == count
        assert torch.allclose(alone.log_probs[0], output.log_probs[row, :count], atol=1e-5)


@pytest.mark.parametrize("stride", list(STRIDES))
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_steps_give_what_the_whole_gives(stride: int, cell: str) -> None:
    net = network(stride=stride, bidirectional=False, num_layers=2, cell=cell)
    x = torch.randn(1, 29, 6)
    with torch.no_grad():
        whole = net(Batch(x, lengths=torch.tensor([29])))[0].log_probs[0]
        state, parts = net.initial_state(), []
        for part in x.split([1, 1, 3, 7, 17], 1):
            out, state = net.step(part, state)
            parts.append(out)
    assert torch.allclose(torch.cat(parts), whole, atol=1e-5)


@torch.no_grad()
def test_the_loss_of_texts_is_torchs() -> None:
    net = network(stride=2)
    targets, counts = torch.tensor([[4, 5, 5], [6, 0, 0], [4, 5, 6]]), torch.tensor([3, 1, 3])
    batch = Batch(torch.randn(3, 20, 6), (targets, counts), lengths=torch.tensor([20, 9, 3]))
    output, _ = net(batch)
    losses = [
        ctc_loss(output.log_probs[row, : output.lengths[row]], targets[row, : counts[row]])
        for row in range(2)
    ]
    assert float(net.loss(output, batch)) == pytest.approx(
        sum(losses) / 7, rel=1e-5
    )  # the third does not fit


@torch.no_grad()
def test_the_loss_of_commands_compares_commands_alone() -> None:
    net = network(stride=2, commands=True)
    batch = Batch(
        torch.randn(2, 20, 6), (torch.tensor([[4], [6]]), torch.tensor([1, 1])), lengths=torch.tensor([20, 9])
    )
    output, _ = net(batch)
    rows = [output.log_probs[row, :length] for row, length in enumerate(output.lengths.tolist())]
    scores = [[-ctc_loss(steps, torch.tensor([label])) for label in (4, 5, 6)] for steps in rows]
    expected = F.cross_entropy(torch.tensor(scores), torch.tensor([0, 2]))
    assert float(net.loss(output, batch)) == pytest.approx(float(expected), rel=1e-4)


@torch.no_grad()
def test_a_command_never_heard_does_not_count_in_the_loss() -> None:
    net = network(stride=2, commands=True)
    x, lengths = torch.randn(2, 20, 6), torch.tensor([20, 9])
    both = Batch(x, (torch.tensor([[4], [0]]), torch.tensor([1, 0])), lengths=lengths)
    first = Batch(x[:1], (torch.tensor([[4]]), torch.tensor([1])), lengths=lengths[:1])
    assert float(net.loss(net(both)[0], both)) == pytest.approx(
        float(net.loss(net(first)[0], first)), rel=1e-4
    )
