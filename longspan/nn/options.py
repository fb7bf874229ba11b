"""Checks the options of recurrent layers, each alone and those that must agree."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, TypedDict, TypeVar

import torch

from longspan import errors
from longspan.cells import CELLS, Cell
from longspan.kernels.program import program

Function = TypeVar("Function", bound=Callable[..., Any])


class RecurrentOptions(TypedDict, total=False):
    """The keywords of longspan's recurrent layers that torch.nn does not have; see `longspan.nn.LSTM`."""

    layer_norm: bool
    recurrent_dropout: float
    zoneout: float | Sequence[float]
    weight_dropout: float
    forget_bias: float | None


# What each keyword is when it is left out: torch.nn's behaviour.
DEFAULTS = RecurrentOptions(
    layer_norm=False, recurrent_dropout=0.0, zoneout=0.0, weight_dropout=0.0, forget_bias=None
)


TORCH_DEFAULTS = {
    "proj_size": 0,
    "num_layers": 1,
    "bias": True,
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
}


def changed(layer: Any, cell: Cell) -> list[str]:
    """The options of a layer that differ from their defaults, as "name=value"; "int8" for int8 weights."""
    defaults = {**TORCH_DEFAULTS, **DEFAULTS, "zoneout": (0.0,) * len(cell.states)}
    values = {name: getattr(layer, name) for name in defaults}
    options = [f"{name}={value}" for name, value in values.items() if value != defaults[name]]
    return [*options, "int8"] if layer._weights.int8 else options


def with_defaults(layer: type, chosen: RecurrentOptions) -> dict[str, Any]:
    """`chosen` and the default of every other keyword; a keyword that `layer` does not have is an error."""
    for name in chosen:
        if name not in DEFAULTS:
            way_out = errors.did_you_mean(name, inspect.signature(layer).parameters)
            raise UnknownOption(errors.message(layer.__name__, "one of its arguments", repr(name), way_out))
    return {**DEFAULTS, **chosen}


class UnknownOption(TypeError, ValueError):
    """An argument that the layer does not have; torch.nn raises one or the other of the two."""


def show_options(init: Function) -> Function:
    """`init`, whose signature, as help() prints it, names the keywords behind `**extra`."""
    signature = inspect.signature(init)
    keywords = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in DEFAULTS.items()
    ]
    named = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    init.__signature__ = signature.replace(parameters=[*named, *keywords])  # pyright: ignore
    return init


def resolve_cell(cell: object) -> Cell:
    """A cell by its name in longspan.cells.CELLS, or the cell itself once its step has been traced."""
    if isinstance(cell, str):
        return CELLS[errors.check_choice("cell", cell, CELLS)]
    if not isinstance(cell, Cell):
        raise errors.type_error(
            "cell", "a name or a cell", cell, "put @longspan.cell(...) over the step function"
        )
    program(cell)
    return cell


def elman_cell_name(nonlinearity: object) -> str:
    """The name of the Elman cell with this nonlinearity."""
    return {"tanh": "rnn", "relu": "rnn_relu"}[
        errors.check_choice("nonlinearity", nonlinearity, ("tanh", "relu"))
    ]


def hidden_sizes(hidden_size: object, num_layers: object) -> tuple[int, ...]:
    """H of every layer: `hidden_size` repeated, or its own numbers where it has one a layer."""
    layers = errors.check_int("num_layers", num_layers, 1, "give the number of stacked layers")
    if not isinstance(hidden_size, Sequence) or isinstance(hidden_size, str):
        return (errors.check_int("hidden_size", hidden_size, 1, "give the number of units"),) * layers
    sizes = tuple(
        errors.check_int("hidden_size", size, 1, "give the number of units") for size in hidden_size
    )
    if not sizes or layers not in (1, len(sizes)):
        way_out = "give one number a layer and leave num_layers out"
        raise errors.value_error("hidden_size", f"one number for each of {layers} layers", sizes, way_out)
    return sizes


def check_proj_size(proj_size: object, cell: Cell, sizes: Sequence[int]) -> int:
    """proj_size, 0 for none; refused for cells that read h other than through R."""
    size = errors.check_int("proj_size", proj_size, 0, "give 0 for no projection")
    if size and size >= min(sizes):
        raise errors.value_error(
            "proj_size", f"a number below hidden_size, {min(sizes)}", size, "choose a smaller one"
        )
    if size and (not cell.recurrent or program(cell).reads_h):
        expected = "0 for a cell that reads h other than through its recurrent matrix"
        raise errors.value_error(
            "proj_size", expected, f"{size} with the cell {cell.name}", "leave proj_size out"
        )
    return size


def check_forget_bias(forget_bias: object, cell: Cell, bias: bool) -> float | None:
    """forget_bias as a number, None to leave the biases as they are drawn."""
    if forget_bias is None:
        return None
    if isinstance(forget_bias, bool) or not isinstance(forget_bias, Real):
        raise errors.type_error("forget_bias", "a number or None", forget_bias, "1.0 is a common choice")
    if not math.isfinite(forget_bias):
        raise errors.value_error("forget_bias", "a finite number", forget_bias, "1.0 is a common choice")
    if "f" not in cell.gates:
        received = f"the cell {cell.name} with gates {cell.gates}"
        raise errors.value_error("forget_bias", "a cell with a gate f", received, "leave forget_bias out")
    if not bias:
        raise errors.value_error(
            "forget_bias", "a layer with biases", "bias=False", "leave one of the two out"
        )
    return float(forget_bias)


def zoneout_rates(zoneout: object, cell: Cell) -> tuple[float, ...]:
    """The zoneout rate of each state, in the cell's order: one number for all, or one number a state."""
    if not isinstance(zoneout, Sequence) or isinstance(zoneout, str):
        return (errors.check_fraction("zoneout", zoneout),) * len(cell.states)
    if len(zoneout) != len(cell.states):
        expected = f"one number, or one for each state ({', '.join(cell.states)})"
        raise errors.value_error("zoneout", expected, f"{len(zoneout)} numbers", "0.0 leaves a state alone")
    return tuple(errors.check_fraction("zoneout", value) for value in zoneout)


def check_recurrent_rate(argument: str, value: object, cell: Cell) -> float:
    """A rate in [0, 1) for an option that acts on the recurrent matrix R."""
    share = errors.check_fraction(argument, value, below_one=True)
    if share and not cell.recurrent:
        received = f"the cell {cell.name}"
        raise errors.value_error(
            argument, "a cell with a recurrent matrix", received, f"leave {argument} out"
        )
    return share


def check_layer_dropout(dropout: object, layers: int) -> float:
    """The dropout rate between layers; with one layer there is nothing between, which is worth a warning."""
    share = errors.check_fraction("dropout", dropout)
    if share and layers == 1:
        message = (
            f"dropout: acts between layers, so dropout={share} does nothing with num_layers=1; add a layer."
        )
        warnings.warn(message, stacklevel=5)
    return share


def check_floating(dtype: torch.dtype | None) -> torch.dtype | None:
    """`dtype` itself, or an error unless it is a floating dtype or None."""
    if dtype is not None and not dtype.is_floating_point:
        raise TypeError(
            errors.message("dtype", "a floating dtype", dtype, "leave it out for the default, float32")
        )
    return dtype
