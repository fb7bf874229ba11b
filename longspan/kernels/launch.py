"""Chooses the shapes of Triton launches: tiles, warps, and the precision of products on chip.

Fixed, not tuned at run time. On an H100 or H200 one program may hold 227 KB of shared memory (of 228) and
65536 registers of 4 bytes, on an A100 163 KB, on a consumer's GPU 99 KB. gpu_routes.py bounds the sizes that
keep R on chip accordingly. Compiled for sm_80 and sm_90, an LSTM takes 68 KB in float32 at H = 64 and 136 KB
in bfloat16 at H = 128, with 8 bytes of registers spilled at most; with every option 84 and 168 KB, and
128 bytes (tests/kernels/ahead.py prints them all).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from .selection import constant

SHARED_MEMORY = 227 * 1024  # bytes that one program of an H100 or H200 may hold
TILE_ROWS = 16  # rows of a persistent program: tl.dot takes no fewer on every GPU that Triton supports
TILE_NUMBERS = 512  # rows times columns of a pointwise program: four for each thread of four warps


def cdiv(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def padded(n: int) -> int:
    """The next power of two, at least the 16 that tl.dot takes."""
    return max(16, 1 << (n - 1).bit_length())


def warps(columns: int, half: bool) -> int:
    """How many warps a persistent program gets: wide ones spread their registers over more threads."""
    return 4 if columns <= 32 or (half and columns <= 64) else 8


@constant
def shared_memory(device: torch.device) -> int:
    """Bytes of shared memory that one program of a device may hold; an H100's where Triton interprets."""
    if device.type != "cuda":
        return SHARED_MEMORY
    # not every PyTorch has this; no GPU of capability 8.0 holds less than 99 KB
    return getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", 99 * 1024)


def allow_tf32() -> bool:
    """Whether PyTorch's own products of float32 on a GPU may round to TF32."""
    # its two interfaces refuse to be mixed: the newer one answers for both
    precision = getattr(torch.backends.cuda.matmul, "fp32_precision", None)
    return torch.get_float32_matmul_precision() != "highest" if precision is None else precision == "tf32"


def dot_precision(half: bool, device: torch.device) -> dict[str, Any]:
    """The arguments of tl.dot: IEEE float32, and TF32 only where PyTorch's own products may use it.

    Triton's interpreter multiplies bfloat16 as integers; there both sides are widened, no product changes.
    """
    import triton.language as tl

    rounds = device.type == "cuda" and not half and allow_tf32()
    operand = tl.bfloat16 if half and device.type == "cuda" else tl.float32
    return {"PRECISION": "tf32" if rounds else "ieee", "OPERAND": operand}


class Launch(NamedTuple):
    """A kernel, its grid and its warps."""

    kernel: Any
    grid: tuple[int, ...]
    warps: int

    def __call__(self, values: dict[str, Any]) -> None:
        """Launch the kernel; `values` holds its arguments by name, and may hold more."""
        arguments = (values[name] for name in self.kernel.arg_names)
        self.kernel[self.grid](*arguments, num_warps=self.warps, num_stages=1, enable_fp_fusion=True)
