"""Holds the start of every printed module: its imports and the functions that its kernels call."""

from __future__ import annotations

# exp2 overflows to inf and underflows to 0, and both are right below: nothing here makes NaN of a number.
PRELUDE = '''"""Printed by longspan from a cell's equations; do not edit."""

import triton
import triton.language as tl


@triton.jit
def sigmoid(v):
    return 1.0 / (1.0 + tl.exp2(-1.4426950408889634 * v))


@triton.jit
def tanh(v):
    e = tl.exp2(-2.8853900817779268 * tl.abs(v))
    far = (1.0 - e) / (1.0 + e)
    w = v * v
    near = v - v * w * (0.33333333333 - w * (0.13333333333 - w * 0.05396825397))
    return tl.where(tl.abs(v) < 0.2, near, tl.where(v < 0.0, -far, far))


@triton.jit
def softplus(v):
    e = tl.exp(-tl.abs(v))
    low = e * (1.0 - e * (0.5 - e * (0.33333333333 - e * 0.25)))
    return larger(v, 0.0 * v) + tl.where(e < 0.02, low, tl.log(1.0 + e))


@triton.jit
def relu(v):
    return tl.where(v <= 0.0, 0.0, v)


@triton.jit
def sqrt(v):
    return tl.sqrt(v)


@triton.jit
def larger(a, b):
    return tl.where(a > b, a, tl.where(b >= a, b, a + b))


@triton.jit
def smaller(a, b):
    return tl.where(a < b, a, tl.where(b <= a, b, a + b))


@triton.jit
def greater(a, b):
    return tl.where(a > b, 1.0, 0.0)

'''
