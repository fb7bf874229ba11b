"""Every sentence with which the layers refuse a wrong argument."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from longspan import cell, errors, nn

T, B, I, H = 5, 3, 4, 6


def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(shape, dtype=dtype)


def lstm(**options: Any) -> nn.LSTM:
    return nn.LSTM(I, H, **options)


@cell(gates="n", states="h")
def short(x: Any, r: Any, s: Any, p: Any) -> Any:
    return ()


def plain_function(x: Any, r: Any, s: Any, p: Any) -> Any:
    return (x.n,)


X = zeros(T, B, I)
HC = zeros(1, B, H)
PACKED = pack_padded_sequence(X, [5, 3, 1])

CONSTRUCTION: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no input": (
        lambda: nn.LSTM(0, H),
        ValueError,
        "input_size: expected a whole number of at least 1, received 0; give the number of values a step.",
    ),
    "no units": (
        lambda: nn.LSTM(I, 0),
        ValueError,
        "hidden_size: expected a whole number of at least 1, received 0; give the number of units.",
    ),
    "half a unit": (
        lambda: nn.GRU(I, 2.5),  # pyright: ignore[reportArgumentType]
        TypeError,
        "hidden_size: expected a whole number of at least 1, received float; give the number of units.",
    ),
    "no units above": (
        lambda: nn.GRU(I, [6, 0]),
        ValueError,
        "hidden_size: expected a whole number of at least 1",
    ),
    "sizes for other layers": (
        lambda: nn.LSTM(I, [6, 3], num_layers=3),
        ValueError,
        "hidden_size: expected one number for each of 3 layers, received (6, 3); "
        "give one number a layer and leave num_layers out.",
    ),
    "no sizes": (lambda: nn.LSTM(I, []), ValueError, "hidden_size: expected one number for each of 1 layers"),
    "no layers": (
        lambda: lstm(num_layers=0),
        ValueError,
        "num_layers: expected a whole number of at least 1",
    ),
    "bias a number": (
        lambda: lstm(bias=1),
        TypeError,
        "bias: expected True or False, received int; pass it by its keyword.",
    ),
    "batch_first a number": (lambda: lstm(batch_first=0), TypeError, "batch_first: expected True or False"),
    "bidirectional a number": (
        lambda: lstm(bidirectional=2),
        TypeError,
        "bidirectional: expected True or False",
    ),
    "layer_norm a word": (lambda: lstm(layer_norm="yes"), TypeError, "layer_norm: expected True or False"),
    "dropout high": (
        lambda: lstm(num_layers=2, dropout=1.5),
        ValueError,
        "dropout: expected a number in [0, 1], received 1.5; "
        "give the share of values to act on, such as 0.2.",
    ),
    "dropout true": (
        lambda: lstm(dropout=True),
        TypeError,
        "dropout: expected a number in [0, 1], received bool",
    ),
    "dropout nan": (lambda: lstm(dropout=float("nan")), ValueError, "dropout: expected a number in [0, 1]"),
    "recurrent_dropout all": (
        lambda: lstm(recurrent_dropout=1.0),
        ValueError,
        "recurrent_dropout: expected a number in [0, 1), received 1.0",
    ),
    "recurrent_dropout without R": (
        lambda: nn.Recurrent("indrnn", I, H, recurrent_dropout=0.1),
        ValueError,
        "recurrent_dropout: expected a cell with a recurrent matrix, received the cell indrnn; "
        "leave recurrent_dropout out.",
    ),
    "weight_dropout negative": (
        lambda: lstm(weight_dropout=-0.1),
        ValueError,
        "weight_dropout: expected a number in [0, 1), received -0.1",
    ),
    "zoneout high": (lambda: lstm(zoneout=2), ValueError, "zoneout: expected a number in [0, 1], received 2"),
    "zoneout a word": (
        lambda: lstm(zoneout="h"),
        TypeError,
        "zoneout: expected a number in [0, 1], received str",
    ),
    "zoneout for other states": (
        lambda: lstm(zoneout=(0.1, 0.2, 0.3)),
        ValueError,
        "zoneout: expected one number, or one for each state (h, c), received 3 numbers; "
        "0.0 leaves a state alone.",
    ),
    "forget_bias without f": (
        lambda: nn.GRU(I, H, forget_bias=1.0),
        ValueError,
        "forget_bias: expected a cell with a gate f, received the cell gru with gates rzn; "
        "leave forget_bias out.",
    ),
    "forget_bias without biases": (
        lambda: lstm(bias=False, forget_bias=1.0),
        ValueError,
        "forget_bias: expected a layer with biases, received bias=False; leave one of the two out.",
    ),
    "forget_bias a word": (
        lambda: lstm(forget_bias="1"),
        TypeError,
        "forget_bias: expected a number or None",
    ),
    "forget_bias endless": (
        lambda: lstm(forget_bias=float("inf")),
        ValueError,
        "forget_bias: expected a finite",
    ),
    "proj_size negative": (
        lambda: lstm(proj_size=-1),
        ValueError,
        "proj_size: expected a whole number of at least 0, received -1; give 0 for no projection.",
    ),
    "proj_size large": (
        lambda: lstm(proj_size=H),
        ValueError,
        "proj_size: expected a number below hidden_size, 6, received 6; choose a smaller one.",
    ),
    "proj_size of gru": (
        lambda: nn.Recurrent("gru", I, H, proj_size=2),
        ValueError,
        "proj_size: expected 0 for a cell that reads h other than through its recurrent matrix, "
        "received 2 with the cell gru; leave proj_size out.",
    ),
    "proj_size of indrnn": (
        lambda: nn.Recurrent("indrnn", I, H, proj_size=2),
        ValueError,
        "received 2 with the cell indrnn; leave proj_size out.",
    ),
    "proj_size to GRU": (
        lambda: nn.GRU(I, H, proj_size=2),  # pyright: ignore[reportCallIssue]
        TypeError,
        "proj_size",
    ),
    "unknown nonlinearity": (
        lambda: nn.RNN(I, H, nonlinearity="tahn"),
        ValueError,
        "nonlinearity: expected one of 'tanh', 'relu', received 'tahn'; the nearest is 'tanh'.",
    ),
    "nonlinearity's place taken": (
        lambda: nn.RNN(I, H, 1, True),  # pyright: ignore[reportArgumentType]
        TypeError,
        "nonlinearity: expected one of 'tanh', 'relu', received bool; choose one of these.",
    ),
    "unknown cell": (
        lambda: nn.Recurrent("lsmt", I, H),
        ValueError,
        "received 'lsmt'; the nearest is 'lstm'.",
    ),
    "cell unlike any": (
        lambda: nn.Recurrent("transformer", I, H),
        ValueError,
        "received 'transformer'; choose one of these.",
    ),
    "a plain function": (
        lambda: nn.Recurrent(plain_function, I, H),  # pyright: ignore[reportArgumentType]
        TypeError,
        "cell: expected a name or a cell, received function; put @longspan.cell(...) over the step function.",
    ),
    "a step without states": (
        lambda: nn.Recurrent(short, I, H),
        ValueError,
        "short: expected the step to return",
    ),
    "integer weights": (
        lambda: lstm(dtype=torch.int64),
        TypeError,
        "dtype: expected a floating dtype, received torch.int64; leave it out for the default, float32.",
    ),
    "misspelt option": (
        lambda: lstm(bidirectonal=True),
        TypeError,
        "bidirectonal",
    ),
    "one-step cell without units": (
        lambda: nn.LSTMCell(I, 0),
        ValueError,
        "hidden_size: expected a whole number",
    ),
    "one-step cell of no cell": (lambda: nn.RecurrentCell("gur", I, H), ValueError, "the nearest is 'gru'."),
}

CALL: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a list": (
        lambda: lstm()([[1.0]]),
        TypeError,
        "input: expected a tensor or a PackedSequence, received list; convert it with torch.as_tensor.",
    ),
    "rank": (
        lambda: lstm()(zeros(I)),
        ValueError,
        "input: expected a tensor of shape (T, B, 4) or (T, 4), received (4,); add or remove a dimension.",
    ),
    "rank, batch first": (
        lambda: lstm(batch_first=True)(zeros(1, 2, 3, I)),
        ValueError,
        "input: expected a tensor of shape (B, T, 4) or (T, 4), received (1, 2, 3, 4)",
    ),
    "width": (
        lambda: lstm()(zeros(T, B, 7)),
        ValueError,
        "input: expected a tensor of shape (T, B, 4) or (T, 4), received (5, 3, 7); "
        "the last dimension is input_size, 4.",
    ),
    "packed width": (
        lambda: nn.LSTM(7, H)(PACKED),
        ValueError,
        "input: expected a tensor of shape (N, 7), received (9, 4)",
    ),
    "codes": (
        lambda: lstm()(zeros(T, B, I, dtype=torch.int64)),
        TypeError,
        "input: expected torch.float32 values like the weights, received torch.int64; "
        "look codes up in torch.nn.Embedding, or convert numbers with .float().",
    ),
    "dtype": (
        lambda: lstm()(X.double()),
        TypeError,
        "input: expected torch.float32 values like the weights, received torch.float64; "
        "convert the input with .to(torch.float32) or the layer with .to(torch.float64).",
    ),
    "device": (
        lambda: lstm()(X.to("meta")),
        ValueError,
        "input: expected a tensor on cpu like the weights, received meta; move it with .to(device).",
    ),
    "no steps": (
        lambda: lstm()(zeros(0, B, I)),
        ValueError,
        "input: expected at least one time step, received none; skip empty chunks; lengths may be 0.",
    ),
    "one state of two": (
        lambda: lstm()(X, HC),
        TypeError,
        "state: expected a tuple (h, c), received Tensor; pass every state of the cell in this order.",
    ),
    "three states of two": (
        lambda: lstm()(X, (HC, HC, HC)),
        ValueError,
        "state: expected a tuple (h, c), received 3 values; pass every state of the cell in this order.",
    ),
    "state shape": (
        lambda: lstm()(X, (HC, zeros(2, B, H))),
        ValueError,
        "state c: expected shape (1, 3, 6), (layers * directions, B, H), received (2, 3, 6); "
        "pass None to start afresh.",
    ),
    "state without rows": (
        lambda: nn.GRU(I, H)(zeros(T, I), HC),
        ValueError,
        "state h: expected shape (1, 6), (layers * directions, H), received (1, 3, 6)",
    ),
    "state a number": (
        lambda: nn.GRU(I, H)(X, 0),  # pyright: ignore[reportArgumentType]
        TypeError,
        "state h: expected a tensor of shape (1, 3, 6), (layers * directions, B, H), received int",
    ),
    "state a tuple of one": (
        lambda: nn.GRU(I, H)(X, (HC,)),
        TypeError,
        "state h: expected a tensor of shape",
    ),
    "state dtype": (
        lambda: lstm()(X, (HC, HC.double())),
        TypeError,
        "state c: expected torch.float32 values like the input, received torch.float64; "
        "convert it with .to(torch.float32).",
    ),
    "state device": (
        lambda: lstm()(X, (HC, HC.to("meta"))),
        ValueError,
        "state c: expected a tensor on cpu like the input, received meta; move it with .to(device).",
    ),
    "state of a projection": (
        lambda: lstm(proj_size=2)(X, (HC, HC)),
        ValueError,
        "state h: expected shape (1, 3, 2), (layers * directions, B, H), received (1, 3, 6)",
    ),
    "state by layer, not a tuple": (
        lambda: nn.GRU(I, [6, 3])(X, HC),
        TypeError,
        "state h: expected a tuple of 2 tensors, one a layer, received Tensor; "
        "pass it as the layer returned it.",
    ),
    "state by layer, one short": (
        lambda: nn.GRU(I, [6, 3])(X, (HC,)),
        ValueError,
        "one a layer, received 1 values",
    ),
    "state by layer, size": (
        lambda: nn.GRU(I, [6, 3])(X, (HC, HC)),
        ValueError,
        "state h: expected shape (1, 3, 3), (directions, B, H) of its layer, received (1, 3, 6)",
    ),
    "lengths a number": (
        lambda: lstm()(X, lengths=5),
        TypeError,
        "lengths: expected 3 whole numbers from 0 to 5, one a row, received int; "
        "give the number of real steps of every row.",
    ),
    "lengths long": (
        lambda: lstm()(X, lengths=[5, 6, 1]),
        ValueError,
        "lengths: expected 3 whole numbers from 0 to 5, one a row, received [5, 6, 1]; "
        "a row cannot be longer than the input.",
    ),
    "lengths negative": (
        lambda: lstm()(X, lengths=torch.tensor([-1, 2, 3])),
        ValueError,
        "lengths: expected 3 whole numbers from 0 to 5, one a row, received [-1, 2, 3]",
    ),
    "lengths few": (lambda: lstm()(X, lengths=[5, 3]), ValueError, "one a row, received shape (2,)"),
    "lengths none": (lambda: lstm()(X, lengths=[]), ValueError, "one a row, received shape (0,)"),
    "lengths in two dimensions": (
        lambda: lstm()(X, lengths=torch.ones(3, 1, dtype=torch.int64)),
        ValueError,
        "one a row, received shape (3, 1)",
    ),
    "lengths broken": (
        lambda: lstm()(X, lengths=[5.0, 3.0, 1.0]),
        TypeError,
        "lengths: expected 3 whole numbers from 0 to 5, one a row, received torch.float32; "
        "convert them with .long().",
    ),
    "lengths a mask": (lambda: lstm()(X, lengths=torch.ones(3).bool()), TypeError, "received torch.bool"),
    "lengths beside packed": (
        lambda: lstm()(PACKED, lengths=[5, 3, 1]),
        ValueError,
        "lengths: expected None, since a PackedSequence has its own, received a value; "
        "leave lengths out, or pass the padded tensor.",
    ),
    "mask dtype": (
        lambda: lstm()(X, mask=torch.ones(T, B)),
        TypeError,
        "mask: expected a bool tensor of shape (5, 3), (T, B), received torch.float32; "
        "convert it with mask.bool().",
    ),
    "mask the other way round": (
        lambda: lstm()(X, mask=torch.ones(B, T).bool()),
        ValueError,
        "mask: expected a bool tensor of shape (5, 3), (T, B), received shape (3, 5); "
        "mark every step of every row.",
    ),
    "mask, batch first": (
        lambda: lstm(batch_first=True)(zeros(B, T, I), mask=torch.ones(T, B).bool()),
        ValueError,
        "mask: expected a bool tensor of shape (3, 5), (B, T), received shape (5, 3)",
    ),
    "mask of one sequence": (
        lambda: lstm()(zeros(T, I), mask=torch.ones(T, 1).bool()),
        ValueError,
        "mask: expected a bool tensor of shape (5,), (T,), received shape (5, 1)",
    ),
    "mask a list": (
        lambda: lstm()(X, mask=[[True]]),
        TypeError,
        "mask: expected a bool tensor of shape (5, 3), (T, B), received list; "
        "convert it with torch.as_tensor.",
    ),
    "mask device": (
        lambda: lstm()(X, mask=torch.ones(T, B).bool().to("meta")),
        ValueError,
        "mask: expected a tensor on cpu like the input, received meta",
    ),
    "reset by row": (
        lambda: lstm()(X, reset=torch.ones(B).bool()),
        ValueError,
        "reset: expected a bool tensor of shape (5, 3), (T, B), received shape (3,); "
        "mark every step of every row.",
    ),
    "reset dtype": (
        lambda: lstm()(X, reset=torch.ones(T, B).int()),
        TypeError,
        "convert it with reset.bool().",
    ),
    "misspelt keyword": (lambda: lstm()(X, length=[5, 3, 1]), TypeError, "length"),
    "step of a two-way layer": (
        lambda: lstm(bidirectional=True).step(zeros(B, I)),
        ValueError,
        "step: expected a layer of one direction, since the other begins at the end of a sequence, "
        "received bidirectional=True; call the layer on whole sequences.",
    ),
    "step of a sequence": (
        lambda: lstm().step(X),
        ValueError,
        "input of step: expected a tensor of shape (B, 4) or (4,), received (5, 3, 4); "
        "call the layer itself on whole sequences.",
    ),
    "one-step rank": (
        lambda: nn.LSTMCell(I, H)(X),
        ValueError,
        "input: expected a tensor of shape (B, 4) or (4,), received (5, 3, 4)",
    ),
    "one-step list": (
        lambda: nn.LSTMCell(I, H)([1.0]),
        TypeError,
        "input: expected a tensor, received list; convert it with torch.as_tensor.",
    ),
    "one-step state": (
        lambda: nn.LSTMCell(I, H)(zeros(B, I), (zeros(B, H), zeros(1, H))),
        ValueError,
        "state c: expected shape (3, 6), (B, H), received (1, 6)",
    ),
    "one-step state of one row": (
        lambda: nn.GRUCell(I, H)(zeros(I), zeros(1, H)),
        ValueError,
        "state h: expected shape (6,), (H,), received (1, 6)",
    ),
}


@pytest.mark.parametrize("case", [*CONSTRUCTION, *CALL])
def test_sentence(case: str):
    wrong, kind, words = {**CONSTRUCTION, **CALL}[case]
    with pytest.raises(kind, match=re.escape(words)):
        wrong()


def test_the_two_tables_share_no_name():
    assert not set(CONSTRUCTION) & set(CALL)


def test_autocast_takes_floating_inputs_only():
    with torch.autocast("cpu", torch.bfloat16):
        assert lstm()(X.half())[0].isfinite().all()
        with pytest.raises(TypeError, match=r"received torch\.int32"):
            lstm()(X.int())


def test_shape_of_a_sentence():
    error = errors.value_error("a", "b", 3, "c")
    assert (str(error), type(error)) == ("a: expected b, received 3; c.", ValueError)
    error = errors.type_error("a", "b", 3, "c")
    assert (str(error), type(error)) == ("a: expected b, received int; c.", TypeError)
