"""Finds the cell with a Keras layer's activations: one of the library's, or one generated for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from longspan.activations import STEPS
from longspan.cells import CELLS, Cell, States, Step, cell


@cache
def lstm(activation: str, recurrent_activation: str) -> Cell:
    """The LSTM with these activations in place of tanh and sigmoid; names from STEPS."""
    if (activation, recurrent_activation) == ("tanh", "sigmoid"):
        return CELLS["lstm"]
    act, gate = STEPS[activation], STEPS[recurrent_activation]

    def step(x: Any, r: Any, s: Any, p: Any) -> States:
        """i, f, o = gate(x + r), g = act(x_g + r_g); c' = f c + i g; h' = o act(c')."""
        i, f, o = gate(x.i + r.i), gate(x.f + r.f), gate(x.o + r.o)
        c = f * s.c + i * act(x.g + r.g)
        return o * act(c), c

    return cell(gates="ifgo", states="hc")(_named(step, "lstm", activation, recurrent_activation))


@cache
def gru(activation: str, recurrent_activation: str) -> Cell:
    """The GRU, reset gate after the product, with these activations in place of tanh and sigmoid."""
    if (activation, recurrent_activation) == ("tanh", "sigmoid"):
        return CELLS["gru"]
    act, gate = STEPS[activation], STEPS[recurrent_activation]

    def step(x: Any, r: Any, s: Any, p: Any) -> States:
        """k = gate(x_r + r_r), z = gate(x_z + r_z), n = act(x_n + k r_n); h' = (1 - z) n + z h."""
        k, z = gate(x.r + r.r), gate(x.z + r.z)
        n = act(x.n + k * r.n)
        return (n + z * (s.h - n),)

    return cell(gates="rzn", states="h")(_named(step, "gru", activation, recurrent_activation))


@cache
def rnn(activation: str) -> Cell:
    """The Elman cell with this activation in place of tanh."""
    if activation in ("tanh", "relu"):
        return CELLS[{"tanh": "rnn", "relu": "rnn_relu"}[activation]]
    act = STEPS[activation]

    def step(x: Any, r: Any, s: Any, p: Any) -> States:
        """h' = act(x_n + r_n)."""
        return (act(x.n + r.n),)

    return cell(gates="n", states="h")(_named(step, "rnn", activation))


def _named(step: Step, kind: str, *activations: str) -> Step:
    """The step under a name by which its cell is found again, since cells are pickled by place."""
    step.__name__ = "__".join((kind, *activations))
    step.__qualname__ = f"GENERATED_CELLS.{step.__name__}"
    return step


class _GeneratedCells:
    """The cells above by name, such as GENERATED_CELLS.lstm__relu__sigmoid."""

    def __getattr__(self, name: str) -> Cell:
        kind, *activations = name.split("__")
        makers: dict[str, Callable[..., Cell]] = {"lstm": lstm, "gru": gru, "rnn": rnn}
        if kind not in makers or not set(activations) <= STEPS.keys():
            raise AttributeError(name)
        return makers[kind](*activations)


GENERATED_CELLS = _GeneratedCells()
