"""Recurrent layers with int8 weights equal the plain reference, and refuse what int8 weights cannot do."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

import longspan as ls
from longspan import nn
from longspan.kernels import cpu, reference, single_step
from longspan.nn.parameters import int8_rows

CELLS = ["rnn", "rnn_relu", "lstm", "gru", "peephole", "cifg", "slstm", "indrnn"]
SIZES = [(1, 1, 1), (37, 50, 1), (64, 32, 5), (3, 130, 17), (300, 140, 20)]  # I, H, B
every_cell = pytest.mark.parametrize("cell", CELLS)
every_size = pytest.mark.parametrize("sizes", SIZES, ids=str)
every_isa = pytest.mark.parametrize("isa", cpu.INSTRUCTION_SETS)


@pytest.fixture(autouse=True)
def at_inference() -> Any:
    with torch.no_grad():
        yield


def quantized(cell: str, inputs: int, hidden: int, **options: Any) -> Any:
    return ls.quantize(nn.Recurrent(cell, inputs, hidden, **options))


def values_of(state: Any) -> list[Tensor]:
    return list(state) if isinstance(state, tuple) else [state]


def by_reference(layer: Any, x: Tensor, gates: dict[str, Tensor], first: list[Tensor]) -> Tensor:
    """h of every step (T, B, H) by the reference, each step from the states that the kernel gave before it.

    Rounding makes steps: a difference in the last bit of h could be one of 1 / 127 after it.
    """
    T, B, _ = x.shape
    every = [gates[name].transpose(0, 1) for name in layer.cell.states]  # (T, B, H)
    before = [torch.cat([start, values[:-1]]) for start, values in zip(first, every, strict=True)]
    states: Any = tuple(values.reshape(1, T * B, -1) for values in before)
    with ls.use_backend("reference"):
        out, _ = layer(x.reshape(1, T * B, -1), states if len(states) > 1 else states[0])
    return out.reshape(T, B, -1)


def test_weights_are_rounded_row_by_row() -> None:
    weight = torch.tensor([[1.0, -0.5, 0.0], [0.0, 0.0, 0.0], [-2.54, 0.02, 0.011]])
    whole, scale = int8_rows(weight)
    assert whole.tolist() == [[127, -64, 0], [0, 0, 0], [-127, 1, 1]]
    assert torch.allclose(scale, torch.tensor([1.0, 0.0, 2.54]) / 127)


def test_the_reference_rounds_activations_row_by_row() -> None:
    whole, scale = torch.tensor([[127, 1, -3]], dtype=torch.int8), torch.tensor([0.5])
    v = torch.tensor([[1.27, 0.014, -0.63], [0.0, 0.0, 0.0]])
    expected = 0.5 * 0.01 * (127 * 127 + 1 * 1 + 3 * 63)
    assert torch.allclose(reference.rounded_linear(v, whole, scale), torch.tensor([[expected], [0.0]]))


@every_isa
@every_size
@every_cell
def test_sequences_equal_the_reference(cell: str, sizes: tuple[int, int, int], isa: str) -> None:
    I, H, B = sizes
    layer, x = quantized(cell, I, H), torch.randn(6, B, I)
    with ls.use_backend(f"cpu:{isa}"):
        out, first = layer(x[:1])  # states that differ from the constants
        out, _, (gates,) = layer(x, first, return_gates=True)
    assert torch.allclose(out, by_reference(layer, x, gates, values_of(first)), atol=2e-6, rtol=1e-5)


@every_cell
def test_a_step_equals_the_layer(cell: str) -> None:
    layer, x = quantized(cell, 33, 40, num_layers=2), torch.randn(3, 4, 33)
    _, state = layer(x[:1])
    for rows in (x[1], x[2]):
        expected, last = layer(rows[None], state)
        out, state = layer.step(rows, state)
        assert torch.allclose(out, expected[0], atol=1e-5)
        for mine, theirs in zip(values_of(state), values_of(last), strict=True):
            assert torch.allclose(mine, theirs, atol=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_cell_layer_equals_the_reference(cell: str) -> None:
    layer: Any = ls.quantize(nn.RecurrentCell(cell, 9, 21))
    x, first = torch.randn(2, 9), layer(torch.randn(2, 9))
    with ls.use_backend("reference"):
        expected = layer(x, first)
    for mine, theirs in zip(values_of(layer(x, first)), values_of(expected), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)
    assert "int8" in repr(layer)


def test_two_directions_lengths_masks_and_resets() -> None:
    layer, x = quantized("lstm", 5, 12, bidirectional=True), torch.randn(7, 4, 5)
    mask, reset = torch.rand(7, 4) > 0.3, torch.rand(7, 4) > 0.7
    options: dict[str, Any] = {"lengths": [7, 3, 0, 5], "mask": mask, "reset": reset}
    out, state = layer(x, **options)
    with ls.use_backend("reference"):
        expected, last = layer(x, **options)
    for mine, theirs in zip((out, *state), (expected, *last), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-3)


def test_rows_do_not_depend_on_each_other_or_on_threads() -> None:
    layer, x = quantized("lstm", 48, 300), torch.randn(5, 9, 48)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        together = layer(x)[0]
        alone = torch.cat([layer(x[:, i : i + 1])[0] for i in range(9)], 1)
        torch.set_num_threads(2)
        shared = layer(x)[0]
        row = layer(x[:, :1])[0]
    finally:
        torch.set_num_threads(before)
    assert torch.equal(together, alone)
    assert torch.equal(together, shared)
    assert torch.equal(together[:, :1], row)


@every_isa
def test_values_that_are_not_finite_give_nan_in_their_row_alone(isa: str) -> None:
    layer, x = quantized("lstm", 6, 10), torch.randn(3, 4, 6)
    expected, x[1, 1, 2], x[1, 2, 3] = layer(x)[0], torch.nan, torch.inf
    with ls.use_backend(f"cpu:{isa}"):
        out = layer(x)[0]
    assert out[1:, 1:3].isnan().all()
    assert torch.allclose(out[:, [0, 3]], expected[:, [0, 3]], atol=1e-4)
    assert out[0].isfinite().all()


@every_isa
@pytest.mark.parametrize("size", [0.0, 1e-38, 1e-31, 1e-20, 1e20, 3e38])
def test_extreme_inputs_equal_the_reference(size: float, isa: str) -> None:
    layer, x = quantized("lstm", 40, 8), size * torch.randn(1, 3, 40).clamp(-1, 1)
    with ls.use_backend(f"cpu:{isa}"):
        out = layer(x)[0]
    with ls.use_backend("reference"):
        assert torch.allclose(out, layer(x)[0], atol=1e-6)
    assert out.isfinite().all()


def test_explain_names_the_int8_kernel() -> None:
    layer = quantized("gru", 4, 8)
    text = ls.explain(layer, torch.randn(5, 1, 4))
    assert "cpu runs it" in text and "int8 kernels" in text
    assert "gpu does not: the weights are int8" in text
    assert "int8" not in ls.explain(nn.GRU(4, 8), torch.randn(5, 1, 4))


def test_the_fast_step_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    if single_step.EXCHANGE is None:
        pytest.skip("needs PyTorch 2.10")
    layer, x = quantized("lstm", 4, 8), torch.randn(2, 4)
    _, state = layer.step(x)
    monkeypatch.setattr(type(layer), "forward", None)
    layer.step(x, state)


def test_the_step_of_tokens_is_that_of_the_int8_weights() -> None:
    if single_step.EXCHANGE is None:
        pytest.skip("needs PyTorch 2.10")
    wide, x = nn.LSTM(4, 8), torch.randn(2, 4)
    assert wide.token_step() is not None  # made and kept before the copy
    layer = ls.quantize(wide)
    _, (h, c) = layer(x[None])
    step = layer.token_step()
    assert step is not None
    new = step.step(layer._parameters, x, (h[0], c[0]))
    assert torch.allclose(new[0], layer(x[None], (h, c))[0][0], atol=1e-6)


def test_a_layer_in_training_is_refused() -> None:
    layer, cell = quantized("lstm", 4, 8), ls.quantize(nn.LSTMCell(4, 8))
    for module, x in ((layer, torch.randn(3, 2, 4)), (cell, torch.randn(2, 4))):
        module.train()
        with pytest.raises(
            ValueError, match="model: expected float weights to train, received int8 weights;"
        ):
            module(x)
        module.eval()
        with torch.enable_grad(), pytest.raises(ValueError, match="float weights to train"):
            module(x.requires_grad_())
        with torch.enable_grad():
            module(x.detach())


def test_other_dtypes_are_refused_or_run_by_the_reference() -> None:
    layer, x = quantized("lstm", 4, 8), torch.randn(3, 2, 4)
    with pytest.raises(TypeError, match=r"input: expected torch\.float32 values"):
        layer(x.double())
    wide = layer.double()
    assert "reference runs it" in ls.explain(wide, x.double())
    assert wide(x.double())[0].dtype is torch.float64
    layer = quantized("lstm", 4, 8)
    expected = layer(x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(layer(x)[0].float(), expected, atol=4e-3)


def test_copies_and_pickles_keep_int8_weights() -> None:
    layer, x = quantized("lstm", 4, 8, num_layers=2), torch.randn(3, 2, 4)
    twin = pickle.loads(pickle.dumps(layer))
    assert twin.weight_hh_l1.dtype is torch.int8
    assert torch.equal(twin(x)[0], layer(x)[0])
    other = ls.quantize(nn.Recurrent("lstm", 4, 8, num_layers=2))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x)[0], layer(x)[0])


def test_the_weights_in_floats_are_those_of_torch() -> None:
    layer, x = quantized("lstm", 4, 8), torch.randn(3, 2, 4)
    theirs = torch.nn.LSTM(4, 8)
    names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    theirs.load_state_dict(dict(zip(names, layer.all_weights[0], strict=True)))
    assert torch.allclose(theirs(x)[0], layer(x)[0], atol=0.02)


def test_a_compiled_layer_gives_the_same() -> None:
    layer, x = quantized("lstm", 4, 8), torch.randn(3, 2, 4)
    compiled: Any = torch.compile(layer, backend="aot_eager")
    assert torch.allclose(compiled(x)[0], layer(x)[0], atol=1e-6)
