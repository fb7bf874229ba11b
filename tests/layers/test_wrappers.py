"""Bidirectional, RNN and TimeDistributed equal the layers that they hold, called one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import longspan as ls
from longspan import layers
from tests.layers.helpers import MASK, B, H, I, T, X, check_refusal

pytestmark = pytest.mark.usefixtures("in_float64")

RECURRENT: dict[str, Callable[..., Any]] = {
    "LSTM": layers.LSTM,
    "GRU": layers.GRU,
    "GRU, reset before": lambda units, **options: layers.GRU(units, reset_after=False, **options),
    "SimpleRNN": layers.SimpleRNN,
}


@pytest.mark.parametrize("name", RECURRENT)
@pytest.mark.parametrize("merge", ["concat", "ave", None])
def test_two_ways_are_two_layers(name: str, merge: str | None) -> None:
    """One call of two directions gives what two layers give, one of them reading backwards."""
    make = RECURRENT[name]
    both = layers.Bidirectional(make(H, return_sequences=True), merge_mode=merge)
    x, mask = torch.as_tensor(X), torch.as_tensor(MASK)
    both(x)
    half = len(both.get_weights()) // 2
    ahead, back = make(H, return_sequences=True), make(H, return_sequences=True, go_backwards=True)
    for layer, weights in ((ahead, both.get_weights()[:half]), (back, both.get_weights()[half:])):
        layer.build((None, T, I))
        layer.set_weights(weights)
    hidden = ~mask.unsqueeze(2)
    y, z = (out.masked_fill(hidden, 0.0) for out in (ahead(x, mask), back(x, mask).flip(1)))
    found = both(x, mask)
    expected = {"concat": lambda: torch.cat((y, z), 2), "ave": lambda: (y + z) / 2, None: lambda: (y, z)}[
        merge
    ]()
    torch.testing.assert_close(found, expected)


def test_own_cells_run() -> None:
    layer = layers.RNN("peephole", units=H, return_sequences=True)
    assert layer(torch.as_tensor(X)).shape == (B, T, H)
    assert [w.shape for w in layer.get_weights()] == [(I, 4 * H), (H, 4 * H), (4 * H,), (3, H)]
    whole = ls.nn.Recurrent("peephole", I, H, batch_first=True)
    whole.load_state_dict(layer.parts[0].core.state_dict())  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close(layer(torch.as_tensor(X)), whole(torch.as_tensor(X))[0])


def test_explain_covers_both_directions_and_every_cell() -> None:
    x = torch.zeros(2, T, I)
    assert "two directions" in layers.Bidirectional(layers.LSTM(H)).explain(x)
    assert layers.RNN([layers.LSTMCell(H), layers.GRUCell(H)]).explain(x).count("runs it") == 2


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: layers.Bidirectional(layers.LSTM(3), merge_mode="add"), "merge_mode: .*received 'add'"),
        (lambda: layers.Bidirectional(3), "layer: expected a recurrent layer"),  # pyright: ignore
        (
            lambda: layers.Bidirectional(layers.LSTM(3), backward_layer=layers.LSTM(3)),
            "backward_layer: expected the other go_backwards",
        ),
        (lambda: layers.RNN("lstmm", units=3), "cell: .*the nearest is 'lstm'"),
        (lambda: layers.RNN("lstm"), "units: expected a whole number"),
        (lambda: layers.TimeDistributed(layers.Dense(2))(torch.zeros(2, 3)), r"expected shape \(B, T, …\)"),
    ],
)
def test_wrong_layers_cells_and_inputs_are_refused(call: Callable[[], Any], expected: str) -> None:
    check_refusal(call, expected)


def test_a_mask_of_other_rows_or_steps_is_refused_over_time() -> None:
    layer, x = layers.TimeDistributed(layers.Dense(2)), torch.zeros(4, 5, 3)
    assert layer(x, mask=torch.ones(4, 5).bool()).shape == (4, 5, 2)
    for shape in ((4, 6), (3, 5), (4, 6, 2)):
        with pytest.raises(
            ValueError, match=r"mask of time_distributed.*: expected a mask of \(4, 5\) steps"
        ):
            layer(x, mask=torch.ones(shape).bool())
