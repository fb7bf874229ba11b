"""Computes Keras' elementwise functions: arithmetic, powers, trigonometry, comparisons, bits, rounding."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .calling import (
    binary,
    dtype_named,
    float_binary,
    float_unary,
    is_float,
    operation,
    promote,
    summed_dtype,
    to_float,
    to_tensor,
    unary,
)

abs, absolute = unary("abs"), unary("absolute")
negative, sign, conj = unary("negative"), unary("sign"), unary("conj", torch.conj_physical)
conjugate, real, trunc = unary("conjugate", torch.conj_physical), unary("real"), unary("trunc")
signbit, isreal, isfinite = unary("signbit"), unary("isreal"), unary("isfinite")
isinf, isnan, isposinf, isneginf = unary("isinf"), unary("isnan"), unary("isposinf"), unary("isneginf")
bitwise_not, bitwise_invert = unary("bitwise_not"), unary("bitwise_invert", torch.bitwise_not)

exp, exp2, expm1 = float_unary("exp"), float_unary("exp2"), float_unary("expm1")
log, log2, log10, log1p = (float_unary(name) for name in ("log", "log2", "log10", "log1p"))
sqrt, rsqrt = float_unary("sqrt"), float_unary("rsqrt")
sin, cos, tan = float_unary("sin"), float_unary("cos"), float_unary("tan")
sinh, cosh, tanh = float_unary("sinh"), float_unary("cosh"), float_unary("tanh")
arcsin, arccos, arctan = (float_unary(name) for name in ("arcsin", "arccos", "arctan"))
arcsinh, arccosh, arctanh = (float_unary(name) for name in ("arcsinh", "arccosh", "arctanh"))
sinc, i0, angle = float_unary("sinc"), float_unary("i0"), float_unary("angle")
erf, erfc, erfinv = float_unary("erf"), float_unary("erfc"), float_unary("erfinv")
ceil, floor, fabs = float_unary("ceil"), float_unary("floor"), float_unary("fabs", torch.abs)
deg2rad, rad2deg = float_unary("deg2rad"), float_unary("rad2deg")
reciprocal = float_unary("reciprocal")

add, subtract, multiply = binary("add"), binary("subtract"), binary("multiply")
maximum, minimum = binary("maximum"), binary("minimum")
mod, fmod, gcd, lcm = binary("mod", torch.remainder), binary("fmod"), binary("gcd"), binary("lcm")
fmax, fmin = binary("fmax"), binary("fmin")
equal, not_equal = binary("equal", torch.eq), binary("not_equal")
greater, greater_equal = binary("greater"), binary("greater_equal")
less, less_equal = binary("less"), binary("less_equal")
bitwise_and, bitwise_or, bitwise_xor = (binary(f"bitwise_{name}") for name in ("and", "or", "xor"))
bitwise_left_shift, bitwise_right_shift = binary("bitwise_left_shift"), binary("bitwise_right_shift")
left_shift = binary("left_shift", torch.bitwise_left_shift)
right_shift = binary("right_shift", torch.bitwise_right_shift)
divide, true_divide = float_binary("divide"), float_binary("true_divide")
arctan2, hypot, nextafter = float_binary("arctan2"), float_binary("hypot"), float_binary("nextafter")
logaddexp, logaddexp2 = float_binary("logaddexp"), float_binary("logaddexp2")
heaviside = float_binary("heaviside")


@operation
def square(x: Any) -> Tensor:
    """x times itself; truths become whole numbers."""
    tensor = to_tensor(x)
    return torch.square(tensor.to(torch.int32) if tensor.dtype == torch.bool else tensor)


@operation
def power(x1: Any, x2: Any) -> Tensor:
    """x1 to the power of x2."""
    return torch.pow(*promote(x1, x2))


@operation
def floor_divide(x1: Any, x2: Any) -> Tensor:
    """The greatest whole number that is at most x1 / x2."""
    return torch.floor_divide(*promote(x1, x2))


@operation
def divide_no_nan(x1: Any, x2: Any) -> Tensor:
    """x1 / x2, and 0 where x2 is 0."""
    first, second = (to_float(x) for x in promote(x1, x2))
    zero = second == 0
    return torch.where(zero, 0.0, first / torch.where(zero, 1.0, second))


@operation
def cbrt(x: Any) -> Tensor:
    """The cube root, of negative numbers too."""
    tensor = to_float(x)
    return tensor.sign() * tensor.abs().pow(1.0 / 3.0)


@operation
def ldexp(x1: Any, x2: Any) -> Tensor:
    """x1 times 2 to the power of x2, which are whole numbers."""
    return to_float(x1) * torch.exp2(to_float(x2))


@operation
def imag(x: Any) -> Tensor:
    """The imaginary part; zeros for a tensor of real numbers."""
    tensor = to_tensor(x)
    return tensor.imag if tensor.is_complex() else torch.zeros_like(tensor)


@operation
def round(x: Any, decimals: int = 0) -> Tensor:
    """The nearest numbers with `decimals` digits after the point, halves to even."""
    tensor = to_tensor(x)
    if is_float(tensor):
        return torch.round(tensor, decimals=decimals)
    if decimals >= 0:
        return tensor
    return torch.round(tensor.double(), decimals=decimals).to(tensor.dtype)


@operation
def clip(x: Any, x_min: Any, x_max: Any) -> Tensor:
    """x, no less than x_min and no more than x_max: numbers or tensors."""
    tensor = to_tensor(x)
    tensor = tensor.to(torch.int32) if tensor.dtype == torch.bool else tensor
    tensor, *limits = promote(tensor, *(limit for limit in (x_min, x_max) if limit is not None))
    low = None if x_min is None else limits[0]
    return torch.clamp(tensor, low, None if x_max is None else limits[-1])


@operation
def nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """x with numbers in place of NaN and of infinities; None: the dtype's largest and least."""
    tensor = to_tensor(x)
    return torch.nan_to_num(tensor, nan, posinf, neginf) if is_float(tensor) else tensor


@operation
def logical_and(x1: Any, x2: Any) -> Tensor:
    """Whether both are true (not 0)."""
    return torch.logical_and(*promote(x1, x2))


@operation
def logical_or(x1: Any, x2: Any) -> Tensor:
    """Whether at least one of the two is true (not 0)."""
    return torch.logical_or(*promote(x1, x2))


@operation
def logical_xor(x1: Any, x2: Any) -> Tensor:
    """Whether exactly one of the two is true (not 0)."""
    return torch.logical_xor(*promote(x1, x2))


@operation
def logical_not(x: Any) -> Tensor:
    """Whether it is false (0)."""
    return torch.logical_not(to_tensor(x))


@operation
def isclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Whether |x1 - x2| <= atol + rtol * |x2|."""
    return torch.isclose(*promote(x1, x2), rtol=rtol, atol=atol, equal_nan=equal_nan)


@operation
def allclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Whether `isclose` holds everywhere."""
    return torch.isclose(*promote(x1, x2), rtol=rtol, atol=atol, equal_nan=equal_nan).all()


@operation
def isin(x1: Any, x2: Any, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each value of x1 is, or with invert is not, among those of x2."""
    return torch.isin(*promote(x1, x2), assume_unique=assume_unique, invert=invert)


@operation
def where(condition: Any, x1: Any = None, x2: Any = None) -> Any:
    """x1 where the condition is true, x2 elsewhere; without both, the indices of the true values."""
    truths = to_tensor(condition).bool()
    if x1 is None or x2 is None:
        return torch.where(truths)
    return torch.where(truths, *promote(x1, x2))


@operation
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Tensor:
    """Of the first condition that is true its choice; the default where none is."""
    *choices, value = promote(*choicelist, default)
    for condition, choice in reversed(list(zip(condlist, choices, strict=True))):
        value = torch.where(to_tensor(condition).bool(), choice, value)
    return value


@operation
def polar(abs_: Any, angle: Any) -> Tensor:
    """Complex numbers of these absolute values and angles in radians."""
    return torch.polar(*(to_float(x) for x in promote(abs_, angle)))


@operation
def cast(x: Any, dtype: Any) -> Tensor:
    """x in another dtype, a name such as "float32"."""
    return to_tensor(x, dtype)


@operation
def saturate_cast(x: Any, dtype: Any) -> Tensor:
    """x in another dtype; numbers beyond its range become its least or largest."""
    tensor, wanted = to_tensor(x), dtype_named(dtype)
    if wanted.is_floating_point:
        own = torch.finfo(tensor.dtype if is_float(tensor) else torch.float64)
        limits = torch.finfo(wanted)
        low, high = max(limits.min, own.min), min(limits.max, own.max)
    elif wanted == torch.bool:
        low, high = 0, 1
    else:
        low, high = torch.iinfo(wanted).min, torch.iinfo(wanted).max
    if not is_float(tensor):
        own = torch.iinfo(torch.uint8 if tensor.dtype == torch.bool else tensor.dtype)
        low, high = max(low, own.min), min(high, own.max)
        return tensor.to(summed_dtype(tensor)).clamp(int(low), int(high)).to(wanted)
    inside = tensor.clamp(low, high).to(wanted)
    if not wanted.is_floating_point and wanted != torch.bool:  # the largest whole number is no float
        inside = torch.where(tensor >= high, torch.tensor(high, dtype=wanted), inside)
    return inside


@operation
def view_as_complex(x: Any) -> Tensor:
    """Complex numbers from the last dimension of 2: real and imaginary parts."""
    return torch.view_as_complex(to_float(x))


@operation
def view_as_real(x: Any) -> Tensor:
    """Real and imaginary parts in a last dimension of 2."""
    return torch.view_as_real(to_tensor(x))


@operation
def stop_gradient(variable: Any) -> Tensor:
    """The same values, through which no gradient flows."""
    return to_tensor(variable).detach()


@operation
def psnr(x1: Any, x2: Any, max_val: float) -> Tensor:
    """The peak signal-to-noise ratio in dB of x2 beside x1, whose largest possible value is max_val."""
    first, second = (to_float(x) for x in promote(x1, x2))
    return 20.0 * math.log10(max_val) - 10.0 * torch.log10((first - second).square().mean())
