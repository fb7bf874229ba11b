"""Knows the shapes of launches: tiles, warps, and in which numbers a product on chip is taken.

Fixed, not tuned at run time. On an H100 or H200 one program may hold 227 KB of shared memory (of 228) and
65536 registers of 4 bytes, on an A100 163 KB, on a consumer's GPU 99 KB: what keeps R on chip is bounded in
route.py to stay below. Compiled for sm_80 and sm_90, an LSTM takes 68 KB in float32 at H = 64 and 136 KB in
bfloat16 at H = 128, with 8 bytes of registers spilled at most; with every option at once 84 and 168 KB, and
128 bytes (tests/kernels/ahead.py prints them all).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from .selection import constant

CHIP = 227 * 1024  # bytes of shared memory that one program of an H100 or H200 may hold
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


@constant
def chip(device: torch.device) -> int:
    """Bytes of shared memory that one program of a device may hold; an H100's where Triton interprets."""
    if device.type != "cuda":
        return CHIP
    # not every PyTorch tells; no GPU of capability 8.0 holds less than 99 KB
    return getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", 99 * 1024)


def loose() -> bool:
    """Whether PyTorch's own products of float32 on a GPU may round to TF32."""
    # its two interfaces refuse to be mixed: the newer one answers for both
    chosen = getattr(torch.backends.cuda.matmul, "fp32_precision", None)
    return torch.get_float32_matmul_precision() != "highest" if chosen is None else chosen == "tf32"


def precision(half: bool, device: torch.device) -> dict[str, Any]:
    """How tl.dot multiplies: float32 as IEEE has it, in TF32 only where PyTorch's own products may be.

    Triton's interpreter multiplies bfloat16 as integers; there both sides are widened, no product changes.
    """
    import triton.language as tl

    rounds = device.type == "cuda" and not half and loose()
    operand = tl.bfloat16 if half and device.type == "cuda" else tl.float32
    return {"PRECISION": "tf32" if rounds else "ieee", "OPERAND": operand}


class Launch(NamedTuple):
    """A kernel, its grid and its warps."""

    kernel: Any
    grid: tuple[int, ...]
    warps: int

    def __call__(self, have: dict[str, Any]) -> None:
        """Launch it; `have` holds its arguments by name, and more."""
        arguments = (have[name] for name in self.kernel.arg_names)
        self.kernel[self.grid](*arguments, num_warps=self.warps, num_stages=1, enable_fp_fusion=True)
