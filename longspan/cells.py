"""The recurrent cells, each written once as its equations, without tensors, shapes, time or weights."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from longspan import errors

States = tuple[Any, ...]
Step = Callable[[Any, Any, Any, Any], States]


class Symbol(ABC):
    """A value that is followed through a step instead of being computed (see kernels/program.py)."""

    __slots__ = ()

    @abstractmethod
    def softplus(self) -> Symbol:
        """log(1 + exp(v)), the one allowed function that tensors lack as a method."""


class Values:
    """What a step receives: one value a letter, read as an attribute (`x.i`).

    Args:
        role: `x`, `r`, `s` or `p`, for the error message.
        letters: letter to value, each of shape (..., H).

    Raises:
        AttributeError: when the step reads a letter that the cell does not declare.
    """

    def __init__(self, role: str, letters: Mapping[str, Any]):
        self.__dict__.update(letters)
        self._role = role

    def __getattr__(self, letter: str) -> Any:
        declared = " ".join(k for k in self.__dict__ if k != "_role") or "none"
        expected, way_out = f"a declared letter ({declared})", "declare it in @cell or correct the step"
        raise AttributeError(errors.message(f"{self._role}.{letter}", expected, repr(letter), way_out))


@dataclass(frozen=True, eq=False)
class Cell:
    """A recurrent cell: its letters and the equations of one step.

    Calling it runs the step, on tensors or on symbols alike. Like a function, a cell is compared by identity,
    and copied and pickled by the place where it is defined.

    Args:
        name: an identifier; the kernels carry it.
        gates: one letter a gate, in the order of the weight rows.
        states: one letter a state, "h" (the one that recurs through R and is the output) first.
        step: `step(x, r, s, p)` -> the new states in order. `x` = W x_t + b and `r` = R h_{t-1} + b_r by gate
            letter, `s` the previous states, `p` the per-unit extras, each of shape (..., H).
        params: one letter a per-unit vector (H,), such as a peephole.
        recurrent: whether the cell has a matrix R; without it `r` has no letters.
        initial: the finite constants in which states start, 0 where not given.
        doc: the equations and their source.

    Raises:
        ValueError: when the letters do not describe a cell.
    """

    name: str
    gates: str
    states: str
    step: Step
    params: str = ""
    recurrent: bool = True
    initial: Mapping[str, float] = field(default_factory=dict[str, float])
    doc: str = ""

    def __post_init__(self) -> None:
        _check(self)
        for name, value in (("__doc__", self.doc), ("__module__", self.step.__module__)):
            object.__setattr__(self, name, value)

    def __call__(self, x: Any, r: Any, s: Any, p: Any) -> States:
        """One step: the new states in order, each shaped as the values given."""
        return self.step(x, r, s, p)

    def __reduce__(self) -> str:
        return self.step.__qualname__  # by reference, as functions are

    def __repr__(self) -> str:
        return f"Cell({self.name}: gates {self.gates}, states {self.states})"


def _check(cell: Cell) -> None:
    if not cell.name.isidentifier():
        raise errors.value_error("name", "an identifier", repr(cell.name), "define the step with def")
    for role, letters in (("gates", cell.gates), ("states", cell.states), ("params", cell.params)):
        if len(set(letters)) < len(letters) or not all(c.isascii() and c.isalpha() for c in letters):
            raise errors.value_error(
                role, "distinct single letters", repr(letters), "give each its own letter"
            )
    if not cell.gates:
        raise errors.value_error("gates", "at least one letter", "''", "name what reads the input")
    if not cell.states.startswith("h"):
        expected = "'h' first, the state that is the output"
        raise errors.value_error(
            "states", expected, repr(cell.states), "put h first and return it first from the step"
        )
    if clash := "".join(c for c in cell.gates if c in cell.states):
        expected = f"letters that no state of {cell.states!r} has"
        raise errors.value_error("gates", expected, repr(cell.gates), f"rename {clash!r} in one of them")
    if unknown := [c for c in cell.initial if c not in cell.states]:
        expected = f"constants for states of {cell.states!r}"
        raise errors.value_error("initial", expected, repr(unknown[0]), "name declared states only")
    if endless := [f"{c}={v!r}" for c, v in cell.initial.items() if not math.isfinite(v)]:
        raise errors.value_error("initial", "finite constants", endless[0], "-1e30 is as good as least")


def cell(
    *,
    gates: str,
    states: str,
    params: str = "",
    recurrent: bool = True,
    initial: Mapping[str, float] | None = None,
) -> Callable[[Step], Cell]:
    """Make a cell of a step function; kernels, gradients and the reference follow from its equations.

    A step may use `+ - * /` and unary `-` between values and numbers, the methods `sigmoid tanh exp log relu
    abs sqrt` of a value, `a.maximum(b)` and `a.minimum(b)` of two values, and from this module `softplus(v)`,
    `maximum(a, b)` and `minimum(a, b)`, where one operand may be a number. It may not branch on a value.

    Args:
        gates, states, params, recurrent, initial: as in `Cell`.

    Raises:
        ValueError: when the letters do not describe a cell.

    Example:
        >>> @cell(gates="fz", states="h")
        ... def minimal(x, r, s, p):
        ...     f = (x.f + r.f).sigmoid()
        ...     return (f * s.h + (1 - f) * x.z.tanh(),)
        >>> minimal.gates
        'fz'
    """

    def make(step: Step) -> Cell:
        doc = inspect.cleandoc(step.__doc__ or "")
        return Cell(step.__name__, gates, states, step, params, recurrent, dict(initial or {}), doc)

    return make


def maximum(a: Any, b: Any) -> Any:
    """The larger of two values, or of a value and a number; where equal, each gets half of the gradient."""
    a, b = _values(a, b)
    return a.maximum(b)


def minimum(a: Any, b: Any) -> Any:
    """The smaller of two values, or of a value and a number; where equal, each gets half of the gradient."""
    a, b = _values(a, b)
    return a.minimum(b)


def softplus(v: Any) -> Any:
    """log(1 + exp(v)) without overflow; its gradient is sigmoid(v) everywhere, at 0 as well.

    On tensors the second derivative is exact but at v = 0 itself, where the kink of |v| makes it 0.
    """
    if isinstance(v, Symbol):
        return v.softplus()
    return maximum(v, 0.0) + (-v.abs()).exp().log1p()


def _values(a: Any, b: Any) -> tuple[Any, Any]:
    if isinstance(a, (int, float)):
        return b.new_full((), a), b
    return a, a.new_full((), b) if isinstance(b, (int, float)) else b


@cell(gates="n", states="h")
def rnn(x: Values, r: Values, s: Values, p: Values) -> States:
    """h' = tanh(x_n + r_n).

    Source: Elman 1990, "Finding structure in time"; the form of torch.nn.RNN.
    """
    return ((x.n + r.n).tanh(),)


@cell(gates="n", states="h")
def rnn_relu(x: Values, r: Values, s: Values, p: Values) -> States:
    """h' = max(x_n + r_n, 0).

    Source: Le, Jaitly, Hinton 2015, arXiv 1504.00941; the form of torch.nn.RNN(nonlinearity="relu").
    """
    return ((x.n + r.n).relu(),)


@cell(gates="ifgo", states="hc")
def lstm(x: Values, r: Values, s: Values, p: Values) -> States:
    """i, f, o = sigmoid(x + r), g = tanh(x_g + r_g); c' = f c + i g; h' = o tanh(c').

    Source: Hochreiter and Schmidhuber 1997, "Long short-term memory"; with the forget gate of Gers,
    Schmidhuber and Cummins 2000, "Learning to forget". The form of torch.nn.LSTM.
    """
    i = (x.i + r.i).sigmoid()
    f = (x.f + r.f).sigmoid()
    g = (x.g + r.g).tanh()
    o = (x.o + r.o).sigmoid()
    c = f * s.c + i * g
    return o * c.tanh(), c


@cell(gates="rzn", states="h")
def gru(x: Values, r: Values, s: Values, p: Values) -> States:
    """k = sigmoid(x_r + r_r), z = sigmoid(x_z + r_z), n = tanh(x_n + k r_n); h' = (1 - z) n + z h.

    Source: Cho et al. 2014, arXiv 1406.1078, section 2.3, equations 5 to 8, in the form of torch.nn.GRU: the
    reset gate k multiplies R h + b_r after the product.
    """
    k = (x.r + r.r).sigmoid()
    z = (x.z + r.z).sigmoid()
    n = (x.n + k * r.n).tanh()
    return (n + z * (s.h - n),)


@cell(gates="ifgo", states="hc", params="ifo")
def peephole(x: Values, r: Values, s: Values, p: Values) -> States:
    """i, f = sigmoid(x + r + p c), g = tanh(x_g + r_g); c' = f c + i g; o = sigmoid(x_o + r_o + p_o c');
    h' = o tanh(c').

    Source: Gers and Schmidhuber 2000, "Recurrent nets that time and count"; as in Graves 2013,
    arXiv 1308.0850, section 2, equations 7 to 11.
    """
    i = (x.i + r.i + p.i * s.c).sigmoid()
    f = (x.f + r.f + p.f * s.c).sigmoid()
    g = (x.g + r.g).tanh()
    c = f * s.c + i * g
    o = (x.o + r.o + p.o * c).sigmoid()
    return o * c.tanh(), c


@cell(gates="fgo", states="hc")
def cifg(x: Values, r: Values, s: Values, p: Values) -> States:
    """f, o = sigmoid(x + r), g = tanh(x_g + r_g); c' = f c + (1 - f) g; h' = o tanh(c').

    The coupled input and forget gate, i = 1 - f. Source: Greff et al. 2017, "LSTM: a search space odyssey",
    arXiv 1503.04069, variant CIFG.
    """
    f = (x.f + r.f).sigmoid()
    g = (x.g + r.g).tanh()
    o = (x.o + r.o).sigmoid()
    c = g + f * (s.c - g)
    return o * c.tanh(), c


@cell(gates="ifgo", states="hcnm", initial={"m": -1e30})
def slstm(x: Values, r: Values, s: Values, p: Values) -> States:
    """i = exp(x_i + r_i), f = sigmoid(x_f + r_f), g = tanh(x_g + r_g), o = sigmoid(x_o + r_o);
    c' = f c + i g; n' = f n + i; h' = o c' / n'.

    c and n are carried divided by exp(m), with m' = max(log f + m, log i), so that nothing overflows; h does
    not depend on m. The gates reported as i and f are the stabilised ones, i exp(-m') and f exp(m - m').
    Source: Beck et al. 2024 (xLSTM), arXiv 2405.04517, section 2.2, equations 8 to 17, with the sigmoid
    forget gate. m starts at -1e30, which makes the first step exact for any input gate.
    """
    i, log_f = x.i + r.i, -softplus(-(x.f + r.f))
    m = (log_f + s.m).maximum(i)
    i, f = (i - m).exp(), (log_f + s.m - m).exp()
    g = (x.g + r.g).tanh()
    o = (x.o + r.o).sigmoid()
    c = f * s.c + i * g
    n = f * s.n + i
    return o * c / n, c, n, m


@cell(gates="n", states="h", params="u", recurrent=False)
def indrnn(x: Values, r: Values, s: Values, p: Values) -> States:
    """h' = max(x_n + u h, 0): every unit sees only its own past, through one weight u.

    Source: Li et al. 2018 (independently recurrent network), arXiv 1803.04831, section 3.
    """
    return ((x.n + p.u * s.h).relu(),)


CELLS: dict[str, Cell] = {c.name: c for c in (rnn, rnn_relu, lstm, gru, peephole, cifg, slstm, indrnn)}
