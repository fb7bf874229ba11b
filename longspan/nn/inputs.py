"""Checks sequences, lengths, masks, states and packed batches, and lays them out by time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from longspan import errors
from longspan.kernels.job import Weights
from longspan.kernels.tracing import is_mapped

_TO_TENSOR = "convert it with torch.as_tensor"


class InputError(ValueError, RuntimeError):
    """A shape or device that does not fit; a RuntimeError too, which torch.nn raises for it."""


class DtypeError(TypeError, ValueError):
    """A dtype that does not fit; a ValueError too, which torch.nn raises for it."""


class SequenceInfo(NamedTuple):
    """Lengths, mask and reset of a batch, as kernels.job.Job takes them.

    lengths: (B,) int64 on the CPU; mask and reset: (T, B) bool; None where the caller gave none.
    """

    lengths: Tensor | None = None
    mask: Tensor | None = None
    reset: Tensor | None = None


NO_SEQUENCE_INFO = SequenceInfo()


def check_values(
    x: Tensor, weights: Weights, ranks: Sequence[int], layouts: Sequence[str], half: torch.dtype | None
) -> None:
    """Refuse an input whose rank, width, length, dtype or device does not suit W (G*H, I).

    `ranks` and `layouts` have the shapes to expect, the latter in letters, such as ("(T, B, I)", "(T, I)");
    `half` is autocast's dtype where it is on, and lets every floating dtype through.
    """
    weight, dtype = weights.x, weights.dtype
    width = weight.shape[1]
    if x.dim() not in ranks:
        raise _wrong_shape(x, width, layouts, "add or remove a dimension")
    if x.shape[-1] != width:
        raise _wrong_shape(x, width, layouts, f"the last dimension is input_size, {width}")
    if x.dtype != dtype and (half is None or not x.is_floating_point()):
        raise _wrong_dtype(x, dtype)
    if x.device != weight.device:
        raise _wrong_device("input", x, weight, "the weights")


def check_steps(x: Tensor) -> None:
    """Refuse a time-major sequence (T, B, I) without a step, as torch.nn does."""
    if x.shape[0] == 0:
        way_out = "skip empty chunks; lengths may be 0"
        raise InputError(errors.message("input", "at least one time step", "none", way_out))


def check_step(input: object, input_size: int, *, bidirectional: bool) -> None:
    """Refuse a single step where the layer, or the shape of the input, needs whole sequences."""
    if bidirectional:
        expected = "a layer of one direction, since the other begins at the end of a sequence"
        way_out = "call the layer on whole sequences"
        raise errors.value_error("step", expected, "bidirectional=True", way_out)
    if not isinstance(input, Tensor) or input.dim() not in (1, 2):
        received = tuple(input.shape) if isinstance(input, Tensor) else type(input).__name__
        expected = f"a tensor of shape (B, {input_size}) or ({input_size},)"
        way_out = "call the layer itself on whole sequences"
        raise errors.value_error("input of step", expected, received, way_out)


def _wrong_shape(x: Tensor, width: int, layouts: Sequence[str], way_out: str) -> ValueError:
    shapes = " or ".join(layout.replace("I", str(width)) for layout in layouts)
    return InputError(errors.message("input", f"a tensor of shape {shapes}", tuple(x.shape), way_out))


def _wrong_dtype(x: Tensor, dtype: torch.dtype) -> TypeError:
    if not x.is_floating_point():
        way_out = "look codes up in torch.nn.Embedding, or convert numbers with .float()"
    else:
        way_out = f"convert the input with .to({dtype}) or the layer with .to({x.dtype})"
    return DtypeError(errors.message("input", f"{dtype} values like the weights", x.dtype, way_out))


def _wrong_device(argument: str, value: Tensor, like: Tensor, what: str) -> ValueError:
    expected, way_out = f"a tensor on {like.device} like {what}", "move it with .to(device)"
    return InputError(errors.message(argument, expected, value.device, way_out))


def check_state(
    name: str, value: object, shape: tuple[int, ...], letters: str, like: Tensor, half: torch.dtype | None
) -> Tensor:
    """`value` itself, or an error unless it is a tensor of this shape, dtype and device."""
    argument = f"state {name}"
    if not isinstance(value, Tensor):
        raise errors.type_error(argument, f"a tensor of shape {shape}, {letters}", value, _TO_TENSOR)
    if tuple(value.shape) != shape:
        way_out = "pass None to start afresh"
        raise InputError(errors.message(argument, f"shape {shape}, {letters}", tuple(value.shape), way_out))
    if value.dtype != like.dtype and (half is None or not value.is_floating_point()):
        way_out = f"convert it with .to({like.dtype})"
        raise DtypeError(
            errors.message(argument, f"{like.dtype} values like the input", value.dtype, way_out)
        )
    if value.device != like.device:
        raise _wrong_device(argument, value, like, "the input")
    return value


def check_states(states: str, value: object) -> Sequence[object]:
    """The states one by one: a lone value for a cell with one, else a tuple or list in its order."""
    if len(states) == 1:
        return (value,)
    order = ", ".join(states)
    if not isinstance(value, (tuple, list)):
        raise errors.type_error(
            "state", f"a tuple ({order})", value, "pass every state of the cell in this order"
        )
    if len(value) != len(states):
        raise errors.value_error(
            "state",
            f"a tuple ({order})",
            f"{len(value)} values",
            "pass every state of the cell in this order",
        )
    return value


def check_layer_states(letter: str, value: object, layers: int) -> Sequence[object]:
    """One state of a stack whose layers differ in size: a tuple or list with a tensor a layer."""
    argument, expected = f"state {letter}", f"a tuple of {layers} tensors, one a layer"
    if not isinstance(value, (tuple, list)):
        raise errors.type_error(argument, expected, value, "pass it as the layer returned it")
    if len(value) != layers:
        raise errors.value_error(
            argument, expected, f"{len(value)} values", "pass it as the layer returned it"
        )
    return value


def check_lengths(lengths: object, steps: int, rows: int) -> Tensor:
    """`lengths` (a sequence of ints or an integer tensor) as (B,) int64 on the CPU, each between 0 and T."""

    def kind() -> str:  # only where it is said: a tracer would take the sizes for constants
        return f"{rows} whole numbers from 0 to {steps}, one a row"

    way_out = "give the number of real steps of every row"
    if not isinstance(lengths, (Tensor, Sequence)) or isinstance(lengths, str):
        raise errors.type_error("lengths", kind(), lengths, way_out)
    tensor = lengths if isinstance(lengths, Tensor) else torch.as_tensor(list(lengths) or [0])[: len(lengths)]
    if tensor.dtype.is_floating_point or tensor.dtype.is_complex or tensor.dtype is torch.bool:
        raise DtypeError(errors.message("lengths", kind(), tensor.dtype, "convert them with .long()"))
    if tensor.dim() != 1 or tensor.shape[0] != rows:
        raise errors.value_error("lengths", kind(), f"shape {tuple(tensor.shape)}", way_out)
    if isinstance(lengths, Tensor) and torch.compiler.is_compiling():
        inside = ((tensor >= 0) & (tensor <= steps)).all()
        words = (
            "lengths: expected whole numbers from 0 to the steps of the input, received others; shorten them."
        )
        torch.ops.aten._assert_async(inside, words)
    elif is_mapped(tensor):
        expected, received = "the same for all models of torch.vmap", "a dimension of models"
        raise errors.value_error(
            "lengths", expected, received, "give a mask instead, which each model may have"
        )
    else:
        values = tensor.tolist() if isinstance(lengths, Tensor) else list(lengths)
        if values and not 0 <= min(values) <= max(values) <= steps:
            raise errors.value_error("lengths", kind(), values, "a row cannot be longer than the input")
    return tensor.detach().to("cpu", torch.int64)


def sequence_info(
    x: Tensor, lengths: object, mask: object, reset: object, *, batched: bool, batch_first: bool
) -> SequenceInfo:
    """The caller's lengths, mask and reset, laid out as the input was, for a time-major `x` (T, B, I)."""
    steps, rows = x.shape[0], x.shape[1]
    return SequenceInfo(
        None if lengths is None else check_lengths(lengths, steps, rows),
        None if mask is None else _by_time("mask", mask, x, batched, batch_first),
        None if reset is None else _by_time("reset", reset, x, batched, batch_first),
    )


def _by_time(name: str, value: object, x: Tensor, batched: bool, batch_first: bool) -> Tensor:
    """A (B, T), (T, B) or (T,) bool tensor as (T, B) on the input's device."""
    steps, rows = x.shape[0], x.shape[1]
    letters, shape = ("(T, B)", (steps, rows)) if not batch_first else ("(B, T)", (rows, steps))
    if not batched:
        letters, shape = "(T,)", (steps,)

    def kind() -> str:  # as in check_lengths
        return f"a bool tensor of shape {shape}, {letters}"

    if not isinstance(value, Tensor):
        raise errors.type_error(name, kind(), value, _TO_TENSOR)
    if value.dtype is not torch.bool:
        raise DtypeError(errors.message(name, kind(), value.dtype, f"convert it with {name}.bool()"))
    if tuple(value.shape) != shape:
        raise errors.value_error(name, kind(), f"shape {tuple(value.shape)}", "mark every step of every row")
    if value.device != x.device:
        raise _wrong_device(name, value, x, "the input")
    if not batched:
        return value.unsqueeze(1)
    return value.transpose(0, 1) if batch_first else value


class Unpacked(NamedTuple):
    """A PackedSequence as a padded batch, rows in the packed (longest first) order.

    x: (T, B, I); lengths: (B,) int64 on the CPU, None when all rows are T long; positions: (N,), where in T*B
    each of the N real steps is, None likewise.
    """

    x: Tensor
    lengths: Tensor | None
    positions: Tensor | None


def unpack(packed: PackedSequence) -> Unpacked:
    """The padded form; packed data are already in time order, so one scatter does it."""
    data, sizes = packed.data, packed.batch_sizes
    steps, rows = sizes.shape[0], int(sizes[0])
    if data.shape[0] == steps * rows:
        return Unpacked(data.reshape(steps, rows, data.shape[1]), None, None)
    real = torch.arange(rows) < sizes.unsqueeze(1)
    positions = real.flatten().nonzero().squeeze(1).to(data.device)
    padded = data.new_zeros(steps * rows, data.shape[1]).index_copy(0, positions, data)
    return Unpacked(padded.view(steps, rows, data.shape[1]), real.sum(0), positions)


def repack(out: Tensor, packed: PackedSequence, positions: Tensor | None) -> PackedSequence:
    """`out` (T, B, W), rows in the packed order, with the batch sizes and the order of `packed`."""
    flat = out.reshape(-1, out.shape[2])
    data = flat if positions is None else flat.index_select(0, positions)
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
