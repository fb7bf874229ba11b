"""Computes a linear layer and its cross entropy together, so that the logits of all rows never lie in memory.

Both operators below are what PyTorch's dispatcher sees, so `torch.compile` and `torch.export` keep them. On
a CPU float32 and float64 run in csrc/output.cpp; everything else runs as plain operations, a chunk of rows
at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from longspan import _core, errors

from . import cpu, cpu_driver

Maybe = Tensor | None
CHUNK_NUMBERS = 1 << 24  # logits of a chunk of rows that plain operations hold at a time; 64 MiB in float32
_HALVES = (torch.float16, torch.bfloat16)

_LIBRARY = torch.library.Library("longspan", "FRAGMENT")
# The weighted sum of the losses, a scalar; and of its gradients those that are wanted, else empty tensors.
_LIBRARY.define(
    "linear_cross_entropy(Tensor x, Tensor weight, Tensor? bias, Tensor target, Tensor scale, "
    "float smoothing, int ignore_index, bool[] wanted) -> (Tensor, Tensor, Tensor, Tensor)"
)
# The loss of each row, 0 where the target is ignored.
_LIBRARY.define(
    "linear_cross_entropy_rows(Tensor x, Tensor weight, Tensor? bias, Tensor target, float smoothing, "
    "int ignore_index) -> Tensor"
)


def weighted_sum(
    x: Tensor, weight: Tensor, bias: Maybe, target: Tensor, scale: Tensor, smoothing: float, ignore: int
) -> Tensor:
    """The sum of scale[n] * loss[n]: its gradients are made in the same pass.

    Args:
        x: (N, K); weight: (V, K); bias: (V,) or None; target: (N,) int64; scale: (N,), without a gradient.
        smoothing: share of the target's probability that is spread over all V classes.
        ignore: the target of rows that do not count.
    """
    learns = torch.is_grad_enabled()
    wanted = [learns and t is not None and t.requires_grad for t in (x, weight, bias)]
    if not any(wanted):
        return (rows(x, weight, bias, target, smoothing, ignore) * scale).sum()
    op = torch.ops.longspan.linear_cross_entropy.default
    return op(x, weight, bias, target, scale, smoothing, ignore, wanted)[0]


def rows(x: Tensor, weight: Tensor, bias: Maybe, target: Tensor, smoothing: float, ignore: int) -> Tensor:
    """The loss of each row (N,); arguments as of `weighted_sum`. Its gradients compute the logits again."""
    return torch.ops.longspan.linear_cross_entropy_rows.default(x, weight, bias, target, smoothing, ignore)


def reference(
    x: Tensor, weight: Tensor, bias: Maybe, target: Tensor, smoothing: float, ignore: int
) -> Tensor:
    """The plain pair, whose numbers are the law: the loss of each row (N,)."""
    logits = F.linear(x, weight, bias)
    return F.cross_entropy(logits, target, reduction="none", ignore_index=ignore, label_smoothing=smoothing)


def _losses(
    x: Tensor, weight: Tensor, bias: Maybe, target: Tensor, scale: Maybe, smoothing: float, ignore: int,
    wanted: Sequence[bool],
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """The losses (N,); with a scale, the wanted gradients of their weighted sum, else empty tensors."""
    compiled = x.device.type == "cpu" and x.dtype in cpu.DTYPES and weight.numel() > 0
    run = _compiled if compiled else _chunked
    return run(x, weight, bias, target, scale, smoothing, ignore, wanted)


def _compiled(
    x: Tensor, weight: Tensor, bias: Maybe, target: Tensor, scale: Maybe, smoothing: float, ignore: int,
    wanted: Sequence[bool],
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    given = [t if t is None else t.contiguous() for t in (x, weight, bias, target, scale)]
    losses = x.new_empty(x.shape[0])
    grads = _room((x, weight, bias), wanted)
    tensors = [*given, losses, *(g if w else None for g, w in zip(grads, wanted, strict=True))]
    at = [0 if t is None or not t.numel() else t.data_ptr() for t in tensors]
    sizes = [x.shape[0], x.shape[1], weight.shape[0]]
    isa, f64 = cpu.instruction_set(), x.dtype is torch.float64
    bad = _core.output_loss(isa, f64, sizes, at, ignore, smoothing, torch.get_num_threads())
    if bad >= 0:
        raise errors.value_error(
            "target",
            f"class numbers from 0 to {weight.shape[0] - 1}, or ignore_index ({ignore})",
            int(target[bad]),
            "give the output layer a row for every class",
        )
    return losses, grads


def _room(like: Sequence[Maybe], wanted: Sequence[bool]) -> list[Tensor]:
    """Memory for the gradients of tensors; nothing where not wanted."""
    first = like[0]
    assert first is not None
    return [
        cpu_driver.allocate(first, t.shape, zero=False) if w and t is not None else first.new_empty(0)
        for t, w in zip(like, wanted, strict=True)
    ]


def _chunked(
    x: Tensor, weight: Tensor, bias: Maybe, target: Tensor, scale: Maybe, smoothing: float, ignore: int,
    wanted: Sequence[bool],
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """Plain operations over a chunk of rows at a time; gradients of half precision are summed in float32."""
    wide = torch.float32 if x.dtype in _HALVES else x.dtype
    like = (x, weight, bias)
    sums = [
        t.new_zeros(t.shape, dtype=wide) if w and t is not None else x.new_empty(0)
        for t, w in zip(like, wanted, strict=True)
    ]
    losses = x.new_zeros(x.shape[0], dtype=wide)
    step = max(1, CHUNK_NUMBERS // max(1, weight.shape[0]))
    for start in range(0, x.shape[0], step):
        part = slice(start, start + step)
        ignored = target[part] == ignore
        inputs = x[part].masked_fill(ignored.unsqueeze(1), 0.0)
        logits = F.linear(inputs, weight, bias).to(wide)
        losses[part] = F.cross_entropy(
            logits, target[part], reduction="none", ignore_index=ignore, label_smoothing=smoothing
        )
        if scale is not None:
            share = scale[part].masked_fill(ignored, 0.0).to(wide)
            slopes = _slopes(logits, target[part].masked_fill(ignored, 0), share, smoothing)
            _add_gradients(sums, wanted, part, slopes, inputs, weight)
    return losses, [s.to(x.dtype) for s in sums]


def _slopes(logits: Tensor, target: Tensor, share: Tensor, smoothing: float) -> Tensor:
    """The gradient of the weighted sum of the losses with respect to the logits (N, V), in place of these."""
    slopes = torch.softmax(logits, 1).sub_(smoothing / logits.shape[1])
    places = target.unsqueeze(1)
    slopes.scatter_(1, places, slopes.gather(1, places) - (1.0 - smoothing))
    return slopes.mul_(share.unsqueeze(1))


def _add_gradients(
    sums: Sequence[Tensor], wanted: Sequence[bool], part: slice, slopes: Tensor, x: Tensor, weight: Tensor
) -> None:
    dx, dw, db = sums
    narrow = slopes.to(x.dtype)
    if wanted[0]:
        dx[part] = narrow @ weight
    if wanted[1]:
        dw += narrow.T @ x
    if wanted[2]:
        db += slopes.sum(0)


def _sum(x: Tensor, weight: Tensor, bias: Maybe, target: Tensor, scale: Tensor, *rest: Any) -> Any:
    losses, grads = _losses(x, weight, bias, target, scale, *rest)
    return ((losses * scale).sum(), *grads)


def _sum_shapes(x: Tensor, weight: Tensor, bias: Maybe, target: Tensor, scale: Tensor, *rest: Any) -> Any:
    like, wanted = (x, weight, bias), rest[-1]
    shapes = [t.shape if w and t is not None else (0,) for t, w in zip(like, wanted, strict=True)]
    grads = [x.new_empty(shape) for shape in shapes]
    return (_rows_shape(x, weight, bias, target).new_empty(()), *grads)


def _rows(x: Tensor, weight: Tensor, bias: Maybe, target: Tensor, smoothing: float, ignore: int) -> Tensor:
    return _losses(x, weight, bias, target, None, smoothing, ignore, (False, False, False))[0]


def _rows_shape(x: Tensor, weight: Tensor, bias: Maybe, target: Tensor, *rest: Any) -> Tensor:
    return x.new_empty(x.shape[0], dtype=torch.float32 if x.dtype in _HALVES else x.dtype)


def _keep_sum(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.smoothing, ctx.ignore, ctx.wanted = inputs
    ctx.save_for_backward(*tensors)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)  # as large zeros for these
    ctx.gradients = output[1:]


def _sum_backward(ctx: Any, grad: Maybe, *_: Any) -> tuple[Any, ...]:
    if grad is None:
        return (None,) * 8
    x, weight, bias, target, scale = ctx.saved_tensors
    if torch.is_grad_enabled():
        return *_again(ctx, x, weight, bias, target, grad * scale), None, None, None, None, None
    gradients, ctx.gradients = ctx.gradients, None
    if gradients is None:  # they were handed out, and their memory with them
        op = torch.ops.longspan.linear_cross_entropy.default
        gradients = op(x, weight, bias, target, scale, ctx.smoothing, ctx.ignore, ctx.wanted)[1:]
    if torch.compiler.is_compiling() or grad.device.type != "cpu" or _traced(grad) or grad != 1.0:
        gradients = [g * grad.to(g.dtype) for g in gradients]
    found = [g if w else None for g, w in zip(gradients, ctx.wanted, strict=True)]
    return *found, None, None, None, None, None


def _traced(tensor: Tensor) -> bool:
    return type(tensor) is not Tensor


def _keep_rows(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.smoothing, ctx.ignore = inputs
    ctx.save_for_backward(*tensors)


def _rows_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, weight, bias, target = ctx.saved_tensors
    ctx.wanted = list(ctx.needs_input_grad[:3])
    if torch.is_grad_enabled():
        return *_again(ctx, x, weight, bias, target, grad), None, None, None
    op = torch.ops.longspan.linear_cross_entropy.default
    found = op(x, weight, bias, target, grad, ctx.smoothing, ctx.ignore, ctx.wanted)[1:]
    return *[g if w else None for g, w in zip(found, ctx.wanted, strict=True)], None, None, None


def _again(
    ctx: Any, x: Tensor, weight: Tensor, bias: Maybe, target: Tensor, grad: Tensor
) -> list[Tensor | None]:
    """The gradients through the plain pair, to be differentiated again; grad: (N,) of the losses."""
    x, weight, bias = x.view_as(x), weight.view_as(weight), None if bias is None else bias.view_as(bias)
    losses = reference(x, weight, bias, target, ctx.smoothing, ctx.ignore)
    inputs = [t for t, w in zip((x, weight, bias), ctx.wanted, strict=True) if w and t is not None]
    values = iter(torch.autograd.grad(losses, inputs, grad.to(losses.dtype), create_graph=True))
    return [next(values) if w else None for w in ctx.wanted]


for device in ("CPU", "CUDA"):
    _LIBRARY.impl("linear_cross_entropy", _sum, device)
    _LIBRARY.impl("linear_cross_entropy_rows", _rows, device)
torch.library.register_fake("longspan::linear_cross_entropy", _sum_shapes, lib=_LIBRARY)
torch.library.register_fake("longspan::linear_cross_entropy_rows", _rows_shape, lib=_LIBRARY)
torch.library.register_autograd(
    "longspan::linear_cross_entropy", _sum_backward, setup_context=_keep_sum, lib=_LIBRARY
)
torch.library.register_autograd(
    "longspan::linear_cross_entropy_rows", _rows_backward, setup_context=_keep_rows, lib=_LIBRARY
)
