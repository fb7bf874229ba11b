"""Differentiates calls of the kernels, and registers them as PyTorch operators.

Plain tensors go through an autograd function to the drivers. What traces a program instead of running it
(torch.compile, torch.export, fake tensors and other subclasses) sees one operator a layer, `longspan::recur`,
and its backward. The fake implementations give the shapes and strides of the outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from . import cpu_driver, native_cells, reference
from .cpu_driver import WEIGHTS, CallSpec, Inputs, Outputs, RowLayout


class TimeMajorOutputs(NamedTuple):
    """cpu_driver.Outputs without what is saved for the backward call, and always (T, B, ...)."""

    out: Tensor
    last: tuple[Tensor, ...]
    gates: Tensor | None


class Driver(Protocol):
    """The two calls of the kernels, of a device or through PyTorch's dispatcher."""

    def forward(self, spec: CallSpec, inputs: Inputs, save: bool, /) -> Outputs: ...

    def backward(
        self,
        spec: CallSpec,
        inputs: Inputs,
        out: Tensor,
        saved: Tensor,
        dout: Tensor | None,
        dlast: Sequence[Tensor | None],
        wanted: Sequence[bool],
        plans: Any,
        /,
    ) -> list[Tensor | None]: ...


# The drivers by the `isa` of a call, such as "gpu:triton"; instruction sets are cpu_driver's.
DRIVERS: dict[str, Any] = {}


def _driver(spec: CallSpec) -> Any:
    return DRIVERS.get(spec.isa, cpu_driver)


def run_eager(spec: CallSpec, inputs: Inputs) -> TimeMajorOutputs:
    """Run a call on plain tensors, differentiable where a gradient may be asked for."""
    return time_major(spec, *_run(_driver(spec), spec, inputs))


def run_operator(spec: CallSpec, inputs: Inputs) -> TimeMajorOutputs:
    """Run a call as the operator, on anything that PyTorch's dispatcher takes."""
    out, *rest = torch.ops.longspan.recur.default(*_encode(spec), *_flatten(inputs))
    S = len(spec.cell.states)
    return time_major(spec, out, tuple(rest[:S]), rest[S] if spec.gates else None)


def time_major(
    spec: CallSpec, out: Tensor, last: tuple[Tensor, ...], gates: Tensor | None
) -> TimeMajorOutputs:
    """From the order of the rows to (T, B, ...), by views that autograd records."""
    if spec.time_major:
        return TimeMajorOutputs(out, last, gates)
    return TimeMajorOutputs(out.transpose(0, 1), last, None if gates is None else gates.transpose(2, 3))


def needs_gradient(inputs: Inputs) -> bool:
    """Whether autograd would record a call."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs.flat())


def _run(driver: Driver, spec: CallSpec, inputs: Inputs) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
    """Out, the final states and the gates, in the order of the rows."""
    if needs_gradient(inputs):
        out, *rest = _apply(driver, spec, inputs, *inputs.flat())
        gates = rest.pop() if spec.gates else None
        return out, tuple(rest), gates
    return driver.forward(spec, inputs, False)[:3]


class _Recur(torch.autograd.Function):
    """(driver, spec, inputs, *inputs.flat()) -> out, the final states, and gates where wanted."""

    @staticmethod
    def forward(ctx: Any, driver: Driver, spec: CallSpec, inputs: Inputs, *flat: Any) -> Any:
        outputs = driver.forward(spec, inputs, True)
        ctx.driver, ctx.spec, ctx.count, ctx.plans = driver, spec, len(flat), outputs.plans
        ctx.present = [i for i, t in enumerate(flat) if t is not None]
        ctx.save_for_backward(*[flat[i] for i in ctx.present], outputs.out, outputs.saved)
        ctx.set_materialize_grads(False)
        return (outputs.out, *outputs.last, *([outputs.gates] if spec.gates else ()))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        *tensors, out, saved = ctx.saved_tensors
        flat: list[Any] = [None] * ctx.count
        for i, t in zip(ctx.present, tensors, strict=True):
            flat[i] = t
        inputs, wanted = cpu_driver.unflatten(ctx.spec, flat), ctx.needs_input_grad[3:]
        if all(g is None for g in grads):
            input_grads: Sequence[Tensor | None] = [None] * ctx.count
        elif torch.is_grad_enabled() or (ctx.spec.gates and grads[-1] is not None):
            input_grads = reference_backward(ctx.spec, inputs, grads, wanted)
        else:
            S = len(ctx.spec.cell.states)
            input_grads = ctx.driver.backward(
                ctx.spec, inputs, out, saved, grads[0], grads[1 : 1 + S], wanted, ctx.plans
            )
        return None, None, None, *input_grads


# Function.apply without its search for torch.func's wrappers: kernels.cpu refuses those.
_apply: Any = super(torch.autograd.Function, _Recur).apply  # pyright: ignore[reportAttributeAccessIssue]


def reference_backward(
    spec: CallSpec, inputs: Inputs, grads: Sequence[Tensor | None], wanted: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients as plain PyTorch operations: to be differentiated again, or through the gates."""
    create_graph = torch.is_grad_enabled()
    flat: list[Any] = list(inputs.flat())
    indices = [i for i, w in enumerate(wanted) if w]
    with torch.enable_grad():
        for i in indices:  # a tensor may occur twice in the inputs, or be computed from another input
            flat[i] = flat[i].view_as(flat[i])
        outputs = _reference_outputs(spec, cpu_driver.unflatten(spec, flat))
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if g is not None and o.requires_grad]
        roots, root_grads = [o for o, _ in pairs], [g for _, g in pairs]
        leaves = [flat[i] for i in indices]
        values = torch.autograd.grad(roots, leaves, root_grads, create_graph=create_graph, allow_unused=True)
    by_index = dict(zip(indices, values, strict=True))
    return [by_index.get(i) for i in range(len(flat))]


def _reference_outputs(spec: CallSpec, inputs: Inputs) -> list[Tensor]:
    """What _Recur returns, by the reference."""
    result = reference.run(cpu_driver.job_of(spec, inputs))
    out, gates = result.out, None
    if result.gates is not None:
        letters = spec.cell.gates + spec.cell.states[1:]
        gates = torch.stack([torch.stack([by_name[k] for k in letters]) for by_name in result.gates])
        gates = gates.transpose(2, 3) if spec.time_major else gates
    if not spec.time_major:
        out = out.transpose(0, 1)
    return [out, *result.state, *([] if gates is None else [gates])]


_SPEC = "str cell, str isa, float[] rates, bool gates, bool time_major"
_INPUTS = (
    "Tensor x, Tensor? lengths, Tensor? mask, Tensor? reset, Tensor? dropout_mask, "
    "Tensor[] state, Tensor?[] zoneout_masks, Tensor?[] weights"
)
_LIBRARY = torch.library.Library("longspan", "DEF")
# On a GPU a call may capture a CUDA graph and keep its memory, which an enclosing graph must not own.
_TAGS = [tag for name, tag in vars(torch.Tag).items() if name == "cudagraph_unsafe"]  # from PyTorch 2.8 on
# out, the final states, and gates where wanted; `recur_saving` also what `recur_backward` needs.
_LIBRARY.define(f"recur({_SPEC}, {_INPUTS}) -> Tensor[]", tags=_TAGS)
_LIBRARY.define(f"recur_saving({_SPEC}, {_INPUTS}) -> Tensor[]", tags=_TAGS)
# The wanted gradients, where there is a tensor, in the order of Inputs.flat().
_LIBRARY.define(
    f"recur_backward({_SPEC}, {_INPUTS}, Tensor out, Tensor saved, Tensor?[] grads, bool[] wanted) "
    "-> Tensor[]",
    tags=_TAGS,
)


def _encode(spec: CallSpec) -> tuple[Any, ...]:
    """A spec as the operators' first five arguments."""
    return native_cells.key_of(spec.cell), spec.isa, list(spec.rates), spec.gates, spec.time_major


def _flatten(inputs: Inputs) -> tuple[Any, ...]:
    """The tensors as the operators' next eight arguments."""
    weights = [t for direction in inputs.weights for t in direction]
    return *inputs[:5], list(inputs.state), list(inputs.zoneout_masks), weights


def _decode(args: Sequence[Any]) -> tuple[CallSpec, Inputs]:
    """The spec and the tensors from an operator's arguments."""
    cell, isa, rates, gates, time_major, *tensors = args[:13]
    spec = CallSpec(native_cells.cell_of(cell), isa or native_cells.WIDEST, tuple(rates), gates, time_major)
    x, lengths, mask, reset, dropout_mask, state, zoneout_masks, weights = tensors
    n = len(WEIGHTS)
    by_direction = tuple(tuple(weights[i : i + n]) for i in range(0, len(weights), n))
    return spec, Inputs(
        x, lengths, mask, reset, dropout_mask, tuple(state), tuple(zoneout_masks), by_direction
    )


class _OperatorDriver:
    """The drivers through PyTorch's dispatcher: a tracer records the operators."""

    @staticmethod
    def forward(spec: CallSpec, inputs: Inputs, save: bool) -> Outputs:
        op = (torch.ops.longspan.recur_saving if save else torch.ops.longspan.recur).default
        out, *rest = op(*_encode(spec), *_flatten(inputs))
        saved = rest.pop() if save else None
        gates = rest.pop() if spec.gates else None
        return Outputs(out, tuple(rest), gates, saved)

    @staticmethod
    def backward(
        spec: CallSpec,
        inputs: Inputs,
        out: Tensor,
        saved: Tensor,
        dout: Tensor | None,
        dlast: Sequence[Tensor | None],
        wanted: Sequence[bool],
        plans: Any,
    ) -> list[Tensor | None]:
        grads = iter(
            torch.ops.longspan.recur_backward.default(
                *_encode(spec), *_flatten(inputs), out, saved, [dout, *dlast], list(wanted)
            )
        )
        return [
            next(grads) if w and t is not None else None for t, w in zip(inputs.flat(), wanted, strict=True)
        ]


def _recur(*args: Any) -> list[Tensor]:
    spec, inputs = _checked(args)
    outputs = _driver(spec).forward(spec, inputs, False)
    return [outputs.out, *outputs.last, *([] if outputs.gates is None else [outputs.gates])]


def _recur_saving(*args: Any) -> list[Tensor]:
    spec, inputs = _checked(args)
    outputs = _driver(spec).forward(spec, inputs, True)
    assert outputs.saved is not None
    gates = [] if outputs.gates is None else [outputs.gates]
    return [outputs.out, *outputs.last, *gates, outputs.saved]


def _recur_backward(*args: Any) -> list[Tensor]:
    spec, inputs = _checked(args)
    out, saved, grads, wanted = args[13:]
    input_grads = _driver(spec).backward(spec, inputs, out, saved, grads[0], grads[1:], wanted)
    return [g for g in input_grads if g is not None]


def _checked(args: Sequence[Any]) -> tuple[CallSpec, Inputs]:
    """The spec and the tensors, with the checks of values that a layer leaves out while it is traced."""
    spec, inputs = _decode(args)
    if _driver(spec) is cpu_driver and spec.isa not in native_cells.INSTRUCTION_SETS:
        here = ", ".join(native_cells.INSTRUCTION_SETS)
        raise RuntimeError(
            f"longspan::recur: expected an instruction set that this machine runs ({here}), received "
            f"{spec.isa!r}; trace the program again, outside of use_backend."
        )
    steps = inputs.x.shape[0]
    if inputs.lengths is not None and inputs.lengths.numel():
        shortest, longest = (int(v) for v in inputs.lengths.aminmax())
        if shortest < 0 or longest > steps:
            raise ValueError(
                f"lengths: expected whole numbers from 0 to {steps}, received {shortest} to {longest}; "
                "a row cannot be longer than the input."
            )
    return spec, inputs


def _fake(*args: Any) -> list[Tensor]:
    spec, inputs = _decode(args)
    x, state, D = inputs.x, inputs.state, len(inputs.weights)
    layout = RowLayout(x.shape[0], x.shape[1], spec.time_major)
    outputs = [layout.new(x, D * state[0].shape[2], zero=False)]
    outputs += [s.new_empty(s.shape) for s in state]
    if spec.gates:
        count, H = cpu_driver.returned_gates(spec.cell), cpu_driver.hidden_size(spec, inputs)
        outputs.append(x.new_empty((D, count, *outputs[0].shape[:2], H)))
    return outputs


def _fake_saving(*args: Any) -> list[Tensor]:
    spec, inputs = _decode(args)
    if (driver := _driver(spec)) is not cpu_driver:
        return [*_fake(*args), inputs.x.new_empty((driver.saved_size(spec, inputs),), dtype=torch.uint8)]
    per_row = cpu_driver.saved_per_row(spec, inputs, cpu_driver.hidden_size(spec, inputs))
    rows = inputs.x.shape[0] * inputs.x.shape[1]
    return [*_fake(*args), inputs.x.new_empty((len(inputs.weights), rows * per_row))]


def _fake_backward(*args: Any) -> list[Tensor]:
    spec, inputs = _decode(args)
    wanted = args[16]
    x = inputs.x
    layout = RowLayout(x.shape[0], x.shape[1], spec.time_major)
    dx = layout.from_rows(layout.new(x, x.shape[2], zero=False))
    tensors = [dx if t is x else t for t in inputs.flat()]
    return [
        t if t is dx else t.new_empty(t.shape)
        for t, w in zip(tensors, wanted, strict=True)
        if w and t is not None
    ]


def _autograd(keys: torch.DispatchKeySet, *args: Any) -> list[Tensor]:
    spec, inputs = _decode(args)
    spec = spec._replace(isa=args[1])
    if needs_gradient(inputs):
        out, last, gates = _run(_OperatorDriver, spec, inputs)
        return [out, *last, *([] if gates is None else [gates])]
    below = keys & torch._C._after_autograd_keyset
    with torch._C._AutoDispatchBelowAutograd():
        return torch.ops.longspan.recur.default.redispatch(below, *args)


for device in ("CPU", "CUDA"):
    _LIBRARY.impl("recur", _recur, device)
    _LIBRARY.impl("recur_saving", _recur_saving, device)
    _LIBRARY.impl("recur_backward", _recur_backward, device)
_LIBRARY.impl("recur", _autograd, "Autograd", with_keyset=True)
torch.library.register_fake("longspan::recur", _fake, lib=_LIBRARY)
torch.library.register_fake("longspan::recur_saving", _fake_saving, lib=_LIBRARY)
torch.library.register_fake("longspan::recur_backward", _fake_backward, lib=_LIBRARY)
