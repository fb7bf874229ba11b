"""Updates lists of tensors in place by PyTorch's fused functions, or by plain loops where PyTorch lacks them.

The fused functions have no public names, and another version of PyTorch may change them: all calls are here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

Tensors = list[Tensor]

# torch.optim wraps these methods so that torch.compile leaves them alone, and to do so loads torch._dynamo at
# the first call: a second of waiting before the first step of a model that nobody compiles.
UNWRAPPED: dict[str, Callable[..., Any]] = {
    name: inspect.unwrap(vars(Optimizer)[name])
    for name in ("add_param_group", "state_dict", "load_state_dict", "zero_grad")
}


def _plain_multiply_(tensors: Tensors, factor: float | Tensor) -> None:
    for tensor in tensors:
        tensor.mul_(factor)


def _plain_add_scalar_(tensors: Tensors, scalar: float) -> None:
    for tensor in tensors:
        tensor.add_(scalar)


def _plain_add_(tensors: Tensors, others: Tensors, alpha: float = 1.0) -> None:
    for tensor, other in zip(tensors, others, strict=True):
        tensor.add_(other, alpha=alpha)


def _plain_add_scalar(tensors: Tensors, scalar: float) -> Tensors:
    return [tensor + scalar for tensor in tensors]


def _plain_subtract_(tensors: Tensors, others: Tensors) -> None:
    for tensor, other in zip(tensors, others, strict=True):
        tensor.sub_(other)


def _plain_add_product_(tensors: Tensors, first: Tensors, second: Tensors, value: float = 1.0) -> None:
    for tensor, a, b in zip(tensors, first, second, strict=True):
        tensor.addcmul_(a, b, value=value)


def _plain_add_product(tensors: Tensors, first: Tensors, second: Tensors, value: float = 1.0) -> Tensors:
    return [t.addcmul(a, b, value=value) for t, a, b in zip(tensors, first, second, strict=True)]


def _plain_add_quotient_(tensors: Tensors, first: Tensors, second: Tensors, value: float = 1.0) -> None:
    for tensor, a, b in zip(tensors, first, second, strict=True):
        tensor.addcdiv_(a, b, value=value)


def _plain_sqrt_(tensors: Tensors) -> None:
    for tensor in tensors:
        tensor.sqrt_()


def _plain_at_least_(tensors: Tensors, low: float) -> None:
    for tensor in tensors:
        tensor.clamp_min_(low)


def _plain_at_most_(tensors: Tensors, high: float) -> None:
    for tensor in tensors:
        tensor.clamp_max_(high)


def _plain_norms(tensors: Tensors) -> Tensors:
    return [torch.linalg.vector_norm(tensor) for tensor in tensors]


def _plain_adamw_(
    params: Tensors,
    grads: Tensors,
    averages: Tensors,
    squares: Tensors,
    largest_squares: Tensors,
    steps: Tensors,
    *,
    amsgrad: bool,
    lr: float,
    beta1: float,
    beta2: float,
    weight_decay: float,
    eps: float,
    maximize: bool,
) -> None:
    """AdamW as torch.optim writes it: the denominator is sqrt(v / (1 - beta2^t)) + eps."""
    for index, (param, grad, average, square, step) in enumerate(
        zip(params, grads, averages, squares, steps, strict=True)
    ):
        param.mul_(1.0 - lr * weight_decay)
        average.lerp_(grad, 1.0 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1.0 - beta2)
        if amsgrad:
            square = torch.maximum(largest_squares[index], square, out=largest_squares[index])
        first, second = 1.0 - beta1 ** step.item(), 1.0 - beta2 ** step.item()
        param.addcdiv_(
            average, square.div(second).sqrt_().add_(eps), value=(1 if maximize else -1) * lr / first
        )


def _plain_adagrad_(
    params: Tensors,
    grads: Tensors,
    sums: Tensors,
    steps: Tensors,
    *,
    lr: float,
    lr_decay: float,
    weight_decay: float,
    eps: float,
    maximize: bool,
) -> None:
    """Adagrad as torch.optim writes it: the denominator is sqrt(sum) + eps."""
    for param, grad, total, step in zip(params, grads, sums, steps, strict=True):
        grad = (-grad if maximize else grad) + weight_decay * param
        total.addcmul_(grad, grad)
        param.addcdiv_(grad, total.sqrt().add_(eps), value=-lr / (1.0 + (step.item() - 1.0) * lr_decay))


# Name here -> the name in PyTorch and the plain function that gives the same numbers.
FUNCTIONS: dict[str, tuple[str, Callable[..., Any]]] = {
    "multiply_": ("_foreach_mul_", _plain_multiply_),
    "add_": ("_foreach_add_", _plain_add_),
    "add_scalar_": ("_foreach_add_", _plain_add_scalar_),
    "add_scalar": ("_foreach_add", _plain_add_scalar),
    "subtract_": ("_foreach_sub_", _plain_subtract_),
    "add_product_": ("_foreach_addcmul_", _plain_add_product_),
    "add_product": ("_foreach_addcmul", _plain_add_product),
    "add_quotient_": ("_foreach_addcdiv_", _plain_add_quotient_),
    "sqrt_": ("_foreach_sqrt_", _plain_sqrt_),
    "at_least_": ("_foreach_clamp_min_", _plain_at_least_),
    "at_most_": ("_foreach_clamp_max_", _plain_at_most_),
    "norms": ("_foreach_norm", _plain_norms),
    "adamw_": ("_fused_adamw_", _plain_adamw_),
    "adagrad_": ("_fused_adagrad_", _plain_adagrad_),
}


def _choose(name: str) -> Callable[..., Any]:
    fused, plain = FUNCTIONS[name]
    return vars(torch).get(fused, plain)


multiply_, add_, subtract_ = _choose("multiply_"), _choose("add_"), _choose("subtract_")
add_scalar_, add_scalar = _choose("add_scalar_"), _choose("add_scalar")
add_product_, add_product = _choose("add_product_"), _choose("add_product")
add_quotient_, sqrt_ = _choose("add_quotient_"), _choose("sqrt_")
at_least_, at_most_, norms = _choose("at_least_"), _choose("at_most_"), _choose("norms")
adamw_, adagrad_ = _choose("adamw_"), _choose("adagrad_")
