"""Knows how a call of the CPU kernels is differentiated and what PyTorch's dispatcher sees of it.

Plain tensors take an autograd function straight to the drivers. Everything that follows a program instead of
running it (torch.compile, torch.export, fake and other special tensors) sees one operator a layer, with its
backward: `longspan::recur`. Their fake implementations say the shapes and strides of what they give.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from . import cpu_driver, native_cells, reference
from .cpu_driver import WEIGHTS, Found, Given, Layout, Maybe, Spec


class Result(NamedTuple):
    """As driver.Found, without what is kept for the backward call, and always (T, B, ...)."""

    out: Tensor
    last: tuple[Tensor, ...]
    gates: Maybe


class Way(Protocol):
    """The two calls of the kernels, straight or through the dispatcher."""

    def forward(self, spec: Spec, given: Given, save: bool, /) -> Found: ...

    def backward(
        self, spec: Spec, given: Given, out: Tensor, saved: Tensor, dout: Maybe, dlast: Sequence[Maybe],
        wanted: Sequence[bool], plans: Any, /,
    ) -> list[Maybe]: ...  # fmt: skip


# The drivers by a spec's isa, such as "gpu:triton"; an instruction set is a CPU's.
WAYS: dict[str, Any] = {}


def _way(spec: Spec) -> Any:
    return WAYS.get(spec.isa, cpu_driver)


def straight(spec: Spec, given: Given) -> Result:
    """Run a call on plain tensors, differentiable where a gradient may be asked for."""
    return _by_time(spec, *_run(_way(spec), spec, given))


def dispatched(spec: Spec, given: Given) -> Result:
    """Run a call as the operator, on anything that PyTorch's dispatcher understands."""
    found = torch.ops.longspan.recur.default(*_said(spec), *_listed(given))
    S = len(spec.cell.states)
    return _by_time(spec, found[0], tuple(found[1 : 1 + S]), found[1 + S] if spec.gates else None)


def _by_time(spec: Spec, out: Tensor, last: tuple[Tensor, ...], gates: Maybe) -> Result:
    """From the order of the rows to (T, B, ...), by views of which autograd knows."""
    if spec.time_major:
        return Result(out, last, gates)
    return Result(out.transpose(0, 1), last, None if gates is None else gates.transpose(2, 3))


def needs_gradient(given: Given) -> bool:
    """Whether autograd would record a call."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given.flat())


def _run(way: Way, spec: Spec, given: Given) -> tuple[Tensor, tuple[Tensor, ...], Maybe]:
    """Out, the final states and the gates, in the order of the rows."""
    if needs_gradient(given):
        out, *rest = _applied(way, spec, given, *given.flat())
        gates = rest.pop() if spec.gates else None
        return out, tuple(rest), gates
    return way.forward(spec, given, False)[:3]


class _Recur(torch.autograd.Function):
    """(way, spec, given, *Given.flat()) -> out, the final states, and gates where wanted."""

    @staticmethod
    def forward(ctx: Any, way: Way, spec: Spec, given: Given, *flat: Any) -> Any:
        found = way.forward(spec, given, True)
        ctx.way, ctx.spec, ctx.many, ctx.plans = way, spec, len(flat), found.plans
        ctx.places = [i for i, t in enumerate(flat) if t is not None]
        ctx.save_for_backward(*[flat[i] for i in ctx.places], found.out, found.saved)
        ctx.set_materialize_grads(False)
        return (found.out, *found.last, *([found.gates] if spec.gates else ()))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        *tensors, out, saved = ctx.saved_tensors
        flat: list[Any] = [None] * ctx.many
        for i, t in zip(ctx.places, tensors, strict=True):
            flat[i] = t
        given, wanted = cpu_driver.apart(ctx.spec, flat), ctx.needs_input_grad[3:]
        if all(g is None for g in grads):
            found: Sequence[Maybe] = [None] * ctx.many
        elif torch.is_grad_enabled() or (ctx.spec.gates and grads[-1] is not None):
            found = _by_reference(ctx.spec, given, grads, wanted)
        else:
            S = len(ctx.spec.cell.states)
            found = ctx.way.backward(
                ctx.spec, given, out, saved, grads[0], grads[1 : 1 + S], wanted, ctx.plans
            )
        return None, None, None, *found


# Function.apply without its search for torch.func's wrappers: kernels.cpu sends those elsewhere.
_applied: Any = super(torch.autograd.Function, _Recur).apply  # pyright: ignore[reportAttributeAccessIssue]


def _by_reference(spec: Spec, given: Given, grads: Sequence[Maybe], wanted: Sequence[bool]) -> list[Maybe]:
    """The gradients as plain PyTorch operations: to be differentiated again, or through the gates."""
    again = torch.is_grad_enabled()
    flat: list[Any] = list(given.flat())
    places = [i for i, w in enumerate(wanted) if w]
    with torch.enable_grad():
        for i in places:  # the same tensor may be given twice, or be made of another that is given
            flat[i] = flat[i].view_as(flat[i])
        outputs = _outputs(spec, cpu_driver.apart(spec, flat))
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if g is not None and o.requires_grad]
        tops, tangents = [o for o, _ in pairs], [g for _, g in pairs]
        inputs = [flat[i] for i in places]
        values = torch.autograd.grad(tops, inputs, tangents, create_graph=again, allow_unused=True)
    found = dict(zip(places, values, strict=True))
    return [found.get(i) for i in range(len(flat))]


def _outputs(spec: Spec, given: Given) -> list[Tensor]:
    """What _Recur gives, by the reference."""
    found = reference.run(cpu_driver.job_of(spec, given))
    out, gates = found.out, None
    if found.gates is not None:
        letters = spec.cell.gates + spec.cell.states[1:]
        gates = torch.stack([torch.stack([one[k] for k in letters]) for one in found.gates])
        gates = gates.transpose(2, 3) if spec.time_major else gates
    if not spec.time_major:
        out = out.transpose(0, 1)
    return [out, *found.state, *([] if gates is None else [gates])]


_SAID = "str cell, str isa, float[] rates, bool gates, bool time_major"
_GIVEN = (
    "Tensor x, Tensor? lengths, Tensor? mask, Tensor? reset, Tensor? drop, "
    "Tensor[] state, Tensor?[] zone, Tensor?[] weights"
)
_LIBRARY = torch.library.Library("longspan", "DEF")
# On a GPU a call may capture a graph of its own and keep its memory, which a graph around it must not own.
_TAGS = [tag for name, tag in vars(torch.Tag).items() if name == "cudagraph_unsafe"]  # from PyTorch 2.8 on
# out, the final states, and gates where wanted; the second also what the third needs.
_LIBRARY.define(f"recur({_SAID}, {_GIVEN}) -> Tensor[]", tags=_TAGS)
_LIBRARY.define(f"recur_saving({_SAID}, {_GIVEN}) -> Tensor[]", tags=_TAGS)
# The wanted gradients, where there is a tensor, in the order of Given.flat().
_LIBRARY.define(
    f"recur_backward({_SAID}, {_GIVEN}, Tensor out, Tensor saved, Tensor?[] grads, bool[] wanted) "
    "-> Tensor[]",
    tags=_TAGS,
)


def _said(spec: Spec) -> tuple[Any, ...]:
    return native_cells.key(spec.cell), spec.isa, list(spec.rates), spec.gates, spec.time_major


def _listed(given: Given) -> tuple[Any, ...]:
    return *given[:5], list(given.state), list(given.zone), [t for one in given.weights for t in one]


def _understood(args: Sequence[Any]) -> tuple[Spec, Given]:
    """The spec and the tensors from an operator's arguments."""
    cell, isa, rates, gates, time_major, *tensors = args[:13]
    spec = Spec(native_cells.named(cell), isa or native_cells.WIDEST, tuple(rates), gates, time_major)
    x, lengths, mask, reset, drop, state, zone, weights = tensors
    n = len(WEIGHTS)
    by_direction = tuple(tuple(weights[i : i + n]) for i in range(0, len(weights), n))
    return spec, Given(x, lengths, mask, reset, drop, tuple(state), tuple(zone), by_direction)


class _Dispatched:
    """The drivers behind the dispatcher: what a tracer records in their place."""

    @staticmethod
    def forward(spec: Spec, given: Given, save: bool) -> Found:
        op = (torch.ops.longspan.recur_saving if save else torch.ops.longspan.recur).default
        found = list(op(*_said(spec), *_listed(given)))
        saved = found.pop() if save else None
        gates = found.pop() if spec.gates else None
        return Found(found[0], tuple(found[1:]), gates, saved)

    @staticmethod
    def backward(
        spec: Spec, given: Given, out: Tensor, saved: Tensor, dout: Maybe, dlast: Sequence[Maybe],
        wanted: Sequence[bool], plans: Any,
    ) -> list[Maybe]:  # fmt: skip
        found = iter(
            torch.ops.longspan.recur_backward.default(
                *_said(spec), *_listed(given), out, saved, [dout, *dlast], list(wanted)
            )
        )
        return [
            next(found) if w and t is not None else None for t, w in zip(given.flat(), wanted, strict=True)
        ]


def _recur(*args: Any) -> list[Tensor]:
    spec, given = _checked(args)
    found = _way(spec).forward(spec, given, False)
    return [found.out, *found.last, *([] if found.gates is None else [found.gates])]


def _recur_saving(*args: Any) -> list[Tensor]:
    spec, given = _checked(args)
    found = _way(spec).forward(spec, given, True)
    assert found.saved is not None
    return [found.out, *found.last, *([] if found.gates is None else [found.gates]), found.saved]


def _recur_backward(*args: Any) -> list[Tensor]:
    spec, given = _checked(args)
    out, saved, grads, wanted = args[13:]
    found = _way(spec).backward(spec, given, out, saved, grads[0], grads[1:], wanted)
    return [g for g in found if g is not None]


def _checked(args: Sequence[Any]) -> tuple[Spec, Given]:
    """What the layer has checked for a plain call, but may not see while a program is traced."""
    spec, given = _understood(args)
    if _way(spec) is cpu_driver and spec.isa not in native_cells.INSTRUCTION_SETS:
        here = ", ".join(native_cells.INSTRUCTION_SETS)
        raise RuntimeError(
            f"longspan::recur: expected an instruction set that this machine runs ({here}), received "
            f"{spec.isa!r}; make the program again, outside of use_backend."
        )
    steps = given.x.shape[0]
    if given.lengths is not None and given.lengths.numel():
        least, most = (int(v) for v in given.lengths.aminmax())
        if least < 0 or most > steps:
            raise ValueError(
                f"lengths: expected whole numbers from 0 to {steps}, received {least} to {most}; "
                "a row cannot be longer than the input."
            )
    return spec, given


def _fake(*args: Any) -> list[Tensor]:
    spec, given = _understood(args)
    x, state, D = given.x, given.state, len(given.weights)
    layout = Layout(x.shape[0], x.shape[1], spec.time_major)
    found = [layout.new(x, D * state[0].shape[2], zero=False)]
    found += [s.new_empty(s.shape) for s in state]
    if spec.gates:
        found.append(x.new_empty((D, cpu_driver.shown(spec.cell), *found[0].shape[:2], _hidden(spec, given))))
    return found


def _fake_saving(*args: Any) -> list[Tensor]:
    spec, given = _understood(args)
    if (way := _way(spec)) is not cpu_driver:
        return [*_fake(*args), given.x.new_empty((way.saved_size(spec, given),), dtype=torch.uint8)]
    each = cpu_driver.saved_per_row(spec, given, _hidden(spec, given))
    rows = given.x.shape[0] * given.x.shape[1]
    return [*_fake(*args), given.x.new_empty((len(given.weights), rows * each))]


def _fake_backward(*args: Any) -> list[Tensor]:
    spec, given = _understood(args)
    wanted = args[16]
    x = given.x
    layout = Layout(x.shape[0], x.shape[1], spec.time_major)
    dx = layout.back(layout.new(x, x.shape[2], zero=False))
    like = [dx if t is x else t for t in given.flat()]
    return [
        t if t is dx else t.new_empty(t.shape)
        for t, w in zip(like, wanted, strict=True)
        if w and t is not None
    ]


def _hidden(spec: Spec, given: Given) -> int:
    weight = given.weights[0][0]
    assert weight is not None
    return weight.shape[0] // len(spec.cell.gates)


def _autograd(keys: torch.DispatchKeySet, *args: Any) -> list[Tensor]:
    spec, given = _understood(args)
    spec = spec._replace(isa=args[1])
    if needs_gradient(given):
        out, last, gates = _run(_Dispatched, spec, given)
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
