"""Runs layers under torch.vmap and torch.func.grad: all models in one call, each model on one thread.

`torch.vmap` gives the tensors of an autograd function a dimension of models; nested maps are merged into one.
Second derivatives are taken through the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import cpu_driver
from .cpu_driver import CallSpec, Inputs
from .operators import TimeMajorOutputs, reference_backward, time_major


@dataclass(frozen=True)
class Models:
    """How many models a call has, and which of its tensors have a first dimension of that size.

    count: K; 0 for a single model whose tensors have no such dimension.
    stacked: one flag a tensor; the tensors without that dimension are shared by all models.
    """

    count: int
    stacked: tuple[bool, ...]


@dataclass(frozen=True)
class _Call:
    """What an autograd function gets besides its tensors; one object, since maps walk through tuples.

    present: the positions of its tensors among all `size` ones, of which the others are None.
    extra: whether to save, or which gradients are wanted.
    """

    spec: CallSpec
    models: Models
    extra: Any
    present: tuple[int, ...]
    size: int

    def every(self, values: Sequence[Any]) -> list[Any]:
        """The values of the tensors, with None for those that are not there."""
        whole: list[Any] = [None] * self.size
        for position, value in zip(self.present, values, strict=True):
            whole[position] = value
        return whole

    def gradients(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """What a function's `backward` returns; values: one for each of all tensors."""
        return (None, *[values[position] for position in self.present])


def _apply(function: Any, spec: CallSpec, models: Models, extra: Any, tensors: Sequence[Any]) -> Any:
    present = tuple([i for i, tensor in enumerate(tensors) if tensor is not None])
    call = _Call(spec, models, extra, present, len(tensors))
    return function.apply(call, *[tensors[i] for i in present])


def _mapped(function: Any, info: Any, in_dims: Any, call: _Call, tensors: Sequence[Tensor]) -> Any:
    """The outputs of a function under one more map, and their dimensions of models."""
    dims, whole = call.every(in_dims[1:]), call.every(tensors)
    models, merged = _merged(info.batch_size, dims, call.models, whole)
    outputs = _apply(function, call.spec, models, call.extra, merged)
    return _split(outputs, info.batch_size), (0,) * len(outputs)


def run(spec: CallSpec, inputs: Inputs) -> TimeMajorOutputs:
    """Run a call under torch.vmap, torch.func.grad or both, differentiable once by the kernels."""
    flat = inputs.flat()
    save = torch.is_grad_enabled()  # a tensor of a map does not tell whether it needs a gradient
    out, *last, _ = _apply(_Recur, spec, Models(0, (False,) * len(flat)), save, flat)
    return time_major(spec, out, tuple(last), None)


class _Recur(torch.autograd.Function):
    """(call, the tensors of inputs.flat()) -> out, the final states, and what the backward call needs."""

    @staticmethod
    def forward(call: _Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs = cpu_driver.unflatten(call.spec, call.every(tensors))
        if call.models.count:
            return _forward(call.spec, call.models, inputs, call.extra)
        outputs = cpu_driver.forward(call.spec, inputs, call.extra)
        return (outputs.out, *outputs.last, inputs.x.new_empty(0) if outputs.saved is None else outputs.saved)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.call, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[-1])
        ctx.save_for_backward(*tensors, output[0], output[-1])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        call, (*tensors, out, saved) = ctx.call, ctx.saved_tensors
        if all(g is None for g in grads):
            return (None,) * (1 + len(tensors))
        wanted, count = _wanted(call, ctx.needs_input_grad[1:]), call.models.count
        models = Models(count, (*call.models.stacked, *[bool(count)] * (1 + len(grads))))
        flat = [*call.every(tensors), out, saved, *grads[:-1]]
        values = iter(_apply(_RecurBackward, call.spec, models, wanted, flat))
        by_input = [next(values) if w else None for w in wanted]
        # a tensor that all models share gets the sum of their gradients
        return call.gradients(
            [
                g.sum(0) if count and g is not None and not s else g
                for g, s in zip(by_input, call.models.stacked, strict=True)
            ]
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        return _mapped(_Recur, info, in_dims, args[0], args[1:])


class _RecurBackward(torch.autograd.Function):
    """(call, the tensors of inputs.flat(), out, saved, dout, *dlast) -> each model's wanted gradients."""

    @staticmethod
    def forward(call: _Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        wanted, whole = call.extra, call.every(tensors)
        inputs = cpu_driver.unflatten(call.spec, whole[: len(wanted)])
        out, saved, dout, *dlast = whole[len(wanted) :]
        if call.models.count:
            return _backward(call.spec, inputs, call.models, (out, saved), (dout, *dlast), wanted)
        grads = cpu_driver.backward(call.spec, inputs, out, saved, dout, dlast, wanted)
        return tuple(g for g in grads if g is not None)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.call, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *tops: Any) -> Any:
        """Second derivatives: those of the gradients that the reference computes, model by model."""
        call, create_graph = ctx.call, torch.is_grad_enabled()
        tensors, needs = call.every(ctx.saved_tensors), call.every(ctx.needs_input_grad[1:])
        asked, grads = [i for i, need in enumerate(needs) if need], list[Tensor | None]([None] * len(tensors))
        with torch.enable_grad():
            for i in asked:  # a tensor may occur twice, or be computed from another one
                tensors[i] = tensors[i].view_as(tensors[i])
            values = _reference_gradients(call.spec, call.models, call.extra, tensors)
            pairs = [(v, t) for v, t in zip(values, tops, strict=True) if t is not None and v.requires_grad]
            second = torch.autograd.grad(
                [v for v, _ in pairs], [tensors[i] for i in asked], [t for _, t in pairs],
                create_graph=create_graph, allow_unused=True,
            )  # fmt: skip
        for i, value in zip(asked, second, strict=True):
            grads[i] = value
        return call.gradients(grads)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        return _mapped(_RecurBackward, info, in_dims, args[0], args[1:])


def _wanted(call: _Call, needs: Sequence[bool]) -> tuple[bool, ...]:
    """Which of Inputs.flat() get a gradient: those of x, the states and the weights that need one."""
    states, weights = range(5, 5 + len(call.spec.cell.states)), cpu_driver.first_weight_index(call.spec)
    whole = enumerate(call.every(needs))
    return tuple([bool(need) and (i == 0 or i in states or i >= weights) for i, need in whole])


def _merged(
    size: int, dims: Sequence[int | None], models: Models, tensors: Sequence[Any]
) -> tuple[Models, list[Any]]:
    """The models of a map and those of the maps inside it, in one first dimension of the tensors.

    Args:
        size: the number of models of the map; dims: where each tensor has their dimension, None for nowhere.
        models: of the maps inside.
    """
    moved = [t if dim is None else t.movedim(dim, 0) for t, dim in zip(tensors, dims, strict=True)]
    mapped = [dim is not None for dim in dims]
    if not models.count:
        return Models(size, tuple(mapped)), moved
    both = list(zip(moved, mapped, models.stacked, strict=True))
    merged = [_in_both(t, size, models.count, m, s) if m or s else t for t, m, s in both]
    return Models(size * models.count, tuple(m or s for _, m, s in both)), merged


def _in_both(tensor: Tensor | None, size: int, count: int, mapped: bool, stacked: bool) -> Tensor | None:
    """A tensor with one or both of the dimensions (size, count), with both as one."""
    if tensor is None:
        return None
    whole = tensor if mapped else tensor.unsqueeze(0).expand(size, *tensor.shape)
    whole = whole if stacked else whole.unsqueeze(1).expand(size, count, *whole.shape[1:])
    return whole.reshape(size * count, *whole.shape[2:])


def _split(outputs: Sequence[Tensor], size: int) -> tuple[Tensor, ...]:
    """Outputs of all models, those of a map's `size` models in front, those of the maps inside it after."""
    return tuple(t if t.shape[0] == size else t.unflatten(0, (size, t.shape[0] // size)) for t in outputs)


# A tensor of the calls, and whether its first dimension is the models'.
_Stacked = tuple[Tensor | None, bool]


@dataclass(frozen=True)
class _Calls:
    """What the forward and the backward calls of all models have in common; first: the inputs of a model."""

    spec: CallSpec
    count: int
    single: cpu_driver.PreparedCall
    plans: tuple[Any, ...]
    first: Inputs

    def new(self, like: Tensor, *shape: int, zero: bool = False) -> Tensor:
        """A tensor of this shape for each model."""
        return cpu_driver.allocate(like, (self.count, *shape), zero=zero)

    def tensors(
        self,
        inputs: Inputs,
        stacked: Sequence[bool],
        out: _Stacked,
        saved: _Stacked,
        last: Sequence[_Stacked],
    ) -> list[_Stacked]:
        """The tensors of both calls, in the order of csrc/arguments.h; stacked: of Inputs.flat()."""
        S = len(inputs.state)
        x, _, _, _, drop, *rest = zip(inputs.flat(), stacked, strict=True)
        first_weight = cpu_driver.first_weight_index(self.spec) - 5
        states, masks, weights = rest[:S], rest[S:first_weight], rest[first_weight:]
        x, *masks = [self._by_rows(pair) for pair in (x, *(masks or [(None, False)] * S))]
        return [x, out, drop, (None, False), saved, *states, *last, *masks, *weights]

    def _by_rows(self, pair: _Stacked) -> _Stacked:
        """A tensor (..., T, B, W) in the order of the rows."""
        tensor, stacked = pair
        if tensor is None or self.single.layout.time_major:
            return pair
        return tensor.transpose(-3, -2), stacked

    def run(self, verb: Any, tensors: Sequence[_Stacked]) -> None:
        values, flags = zip(*tensors, strict=True)
        sizes, threads = self.single.sizes, torch.get_num_threads()
        directions = len(self.first.weights)
        verb(
            self.plans, values, [int(f) for f in flags], self.count, directions, *sizes, threads,
            self.spec.rates,
        )  # fmt: skip


def _calls(spec: CallSpec, models: Models, inputs: Inputs) -> _Calls:
    flat = inputs.flat()
    first = _of_model(spec, models, flat, 0)
    single = cpu_driver.prepare(spec, first)
    plans = single.plans
    if any(models.stacked[1:4]):  # lengths, mask or reset
        each = [_of_model(spec, models, flat, k) for k in range(models.count)]
        plans = tuple(plan for own in each for plan in cpu_driver.plans_of(own, single.layout))
    return _Calls(spec, models.count, single, plans, first)


def _of_model(spec: CallSpec, models: Models, flat: Sequence[Any], model: int) -> Inputs:
    """The inputs of one model, as views."""
    flags = models.stacked[: len(flat)]
    tensors = [t[model] if s and t is not None else t for t, s in zip(flat, flags, strict=True)]
    return cpu_driver.unflatten(spec, tensors)


def _forward(spec: CallSpec, models: Models, inputs: Inputs, save: bool) -> tuple[Tensor, ...]:
    """The outputs of all models, and what the backward call needs: empty unless `save`."""
    c, x = _calls(spec, models, inputs), inputs.x
    (_, H, R, rows), D = c.single.sizes, len(inputs.weights)
    out = c.new(x, *c.single.layout.leading, D * R, zero=inputs.lengths is not None)
    last = [c.new(x, *s.shape) for s in c.first.state]
    saved = c.new(x, D, rows * cpu_driver.saved_per_row(spec, c.first, H) if save else 0)
    outputs = (out, True), (saved if save else None, True), [(s, True) for s in last]
    c.run(c.single.kernels.forward_many, c.tensors(inputs, models.stacked, *outputs))
    return (out, *last, saved)


def _backward(
    spec: CallSpec,
    inputs: Inputs,
    models: Models,
    outputs: Sequence[Tensor],
    tops: Sequence[Tensor | None],
    wanted: Sequence[bool],
) -> tuple[Tensor, ...]:
    """The wanted gradients of all models.

    Args:
        models: whose flags are those of Inputs.flat(), of `outputs` and of `tops`.
        outputs: out, and what the forward call saved for this one.
        tops: the gradients of out and of the final states.
    """
    c, x, S = _calls(spec, models, inputs), inputs.x, len(inputs.state)
    first, layout, count = c.first.flat(), c.single.layout, len(wanted)
    skips = inputs.lengths is not None or inputs.mask is not None
    grads: list[Any] = [
        c.new(x, *t.shape) if w and t is not None else None for t, w in zip(first, wanted, strict=True)
    ]
    if wanted[0]:
        grads[0] = c.new(x, *layout.leading, x.shape[-1], zero=skips)
    out, saved, dout, *dlast = zip([*outputs, *tops], models.stacked[count:], strict=True)
    dx, *dstate = [(g, True) for g in [grads[0], *grads[5 : 5 + S]]]
    dweights = [(g, True) for g in grads[cpu_driver.first_weight_index(spec) :]]
    tensors = c.tensors(inputs, models.stacked[:count], out, saved, [(None, False)] * S)
    c.run(c.single.kernels.backward_many, [*tensors, dout, dx, *dlast, *dstate, *dweights])
    if wanted[0] and not layout.time_major:
        grads[0] = grads[0].transpose(1, 2)
    return tuple(g for g in grads if g is not None)


def _reference_gradients(
    spec: CallSpec, models: Models, wanted: Sequence[bool], tensors: Sequence[Any]
) -> list[Tensor]:
    """What `_RecurBackward` returns, by the reference, to be differentiated again."""
    n, rows = len(wanted), []
    for k in range(models.count or 1):
        own = [t[k] if s and t is not None else t for t, s in zip(tensors, models.stacked, strict=True)]
        grads = reference_backward(spec, cpu_driver.unflatten(spec, own[:n]), own[n + 2 :], wanted)
        pairs = [(g, t) for g, t, w in zip(grads, own[:n], wanted, strict=True) if w and t is not None]
        rows.append([torch.zeros_like(t) if g is None else g for g, t in pairs])
    return [torch.stack(column) for column in zip(*rows, strict=True)] if models.count else rows[0]
