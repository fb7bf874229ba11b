"""Knows the shapes of launches: tiles, warps, and in which numbers a product on chip is taken.

Fixed, not tuned at run time. On an H100 or H200 one program may hold 227 KB of shared memory (of 228) and
65536 registers of 4 bytes: what keeps R on chip is bounded in route.py to stay below. Compiled for sm_90, an
LSTM takes 68 KB in float32 at H = 64 and 136 KB in bfloat16 at H = 128, without spilled registers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

TILE = 16  # rows of a program: tl.dot takes no fewer on every GPU that Triton supports
POINT = 512  # numbers of a pointwise program: four for each thread of four warps


def cdiv(a: int, b: int) -> int:
    return -(-a // b)


def padded(n: int) -> int:
    """The next power of two, at least the 16 that tl.dot takes."""
    return max(16, 1 << (n - 1).bit_length())


def warps(columns: int, half: bool) -> int:
    """Of a program that keeps R on chip: wide ones spread their registers over more threads."""
    return 4 if columns <= 32 or (half and columns <= 64) else 8


def precision(half: bool, device: torch.device) -> dict[str, Any]:
    """How tl.dot multiplies: float32 as IEEE has it, in TF32 only where PyTorch's own products may be.

    Triton's interpreter multiplies bfloat16 as integers; there both sides are widened, no product changes.
    """
    import triton.language as tl

    loose = device.type == "cuda" and not half and torch.get_float32_matmul_precision() != "highest"
    operand = tl.bfloat16 if half and device.type == "cuda" else tl.float32
    return {"PRECISION": "tf32" if loose else "ieee", "OPERAND": operand}


class Launch(NamedTuple):
    """A kernel, its grid and its warps."""

    kernel: Any
    grid: tuple[int, ...]
    warps: int

    def __call__(self, have: dict[str, Any]) -> None:
        """Launch it; `have` holds its arguments by name, and more."""
        arguments = (have[name] for name in self.kernel.arg_names)
        self.kernel[self.grid](*arguments, num_warps=self.warps, num_stages=1, enable_fp_fusion=True)
