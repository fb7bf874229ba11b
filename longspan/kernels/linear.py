"""Computes linear layers by the faster of two libraries that PyTorch holds: MKL, its own choice, and oneDNN.

MKL uses AVX-512 on Intel's processors alone; on others oneDNN is up to twice as fast. Which of them takes
large products is measured when the first comes and kept under `$LONGSPAN_CACHE`, else `~/.cache/longspan`, so
that a machine stays with it. Small products, other devices and types, compiled and traced ones are PyTorch's.
"""

from __future__ import annotations

import json
import os
import platform
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from longspan.atomic_file import atomic_write

from .cache import cache_folder
from .tracing import in_transform, is_tracing

LARGE = 1 << 23  # multiply-adds from which a call that takes longer to begin pays
FASTER = 1.25  # times as fast that oneDNN must be
_PLAIN = (Tensor, torch.nn.Parameter)
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """torch.nn.functional.linear: x (..., K), weight (U, K), bias (U,) -> (..., U).

    The gradients are taken by the same library, those of gradients by PyTorch's operations.

    >>> linear(torch.ones(2, 3), torch.ones(4, 3), torch.zeros(4))
    tensor([[3., 3., 3., 3.],
            [3., 3., 3., 3.]])
    """
    if torch.compiler.is_compiling() or not _is_large(x, weight) or not _by_onednn(x, weight, bias):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, weight, bias)):
        return _Linear.apply(x, weight, bias)  # type: ignore[no-any-return]
    return _product(x, weight, bias)


def _is_large(x: Tensor, weight: Tensor) -> bool:
    """Whether the product is large, of more than one row."""
    if type(x) not in _PLAIN or not x.dim() or not weight.dim():  # torch.fx's stand-ins for tensors too
        return False
    return x.numel() * weight.shape[0] >= LARGE and x.numel() > x.shape[-1]


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether oneDNN takes this product."""
    return (
        all(t is None or (type(t) in _PLAIN and _is_dense(t)) for t in (x, weight, bias))
        and x.shape[-1] == weight.shape[-1]
        and weight.dim() == 2
        and (bias is None or (bias.shape == weight.shape[:1] and bias.is_contiguous()))  # it reads no strides
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.enabled
        and not _is_seen()
        and onednn_is_faster()
    )


def _is_seen() -> bool:
    """Whether others see the operations, forward-mode differentiation too, of which oneDNN's have none."""
    return is_tracing() or in_transform()


def _is_dense(tensor: Tensor) -> bool:
    return tensor.dtype is torch.float32 and tensor.device.type == "cpu" and tensor.layout is torch.strided


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a (..., K), b (U, K) -> a b^T + bias."""
    return torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")


class _Linear(torch.autograd.Function):
    """The product with gradients by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        wanted_x, wanted_weight, wanted_bias = ctx.needs_input_grad
        rows, inputs = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1])
        again = torch.is_grad_enabled() or _is_seen()  # it will be differentiated, or is seen by others
        product = F.linear if again else _product
        dx = product(rows, weight.t()).view(x.shape) if wanted_x else None
        dw = product(rows.t(), inputs.t()) if wanted_weight else None
        return dx, dw, rows.sum(0) if wanted_bias else None


@lru_cache(maxsize=1)
def onednn_is_faster() -> bool:
    """Whether oneDNN takes the large products of this machine: as kept, else measured now (some 10 ms)."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    path, machine = cache_folder() / "linear.json", _machine()
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        known = {}
    known = known if isinstance(known, dict) else {}
    if isinstance(known.get(machine), bool):
        return known[machine]
    known[machine] = _ratio() >= FASTER
    try:
        with atomic_write(path) as file:
            file.write(json.dumps(known, indent=1).encode())
    except (OSError, ValueError):
        return known[machine]  # where nothing can be kept, each process measures
    return known[machine]


def _machine() -> str:
    """The processor, PyTorch's version, and what holds its libraries to an instruction set."""
    names = {"vendor_id", "cpu family", "model", "model name", "stepping"}
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    parts = [line.partition(":")[2].strip() for line in lines if line.partition("\t")[0].strip() in names]
    limits = [f"{name}={os.environ[name]}" for name in _LIMITS if name in os.environ]
    return " ".join([*(parts or [platform.processor()]), f"torch {torch.__version__}", *limits])


def _ratio() -> float:
    """How many times as fast oneDNN multiplies, by the best of some turns."""
    x, weight = (torch.ones(rows, 256, dtype=torch.float32, device="cpu") for rows in (512, 256))
    best = [float("inf"), float("inf")]
    with torch.no_grad():
        for _ in range(8):
            for i, product in enumerate((F.linear, _product)):
                began = perf_counter()
                product(x, weight)
                best[i] = min(best[i], perf_counter() - began)
    return best[0] / best[1]
