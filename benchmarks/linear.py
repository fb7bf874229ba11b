"""Times large linear layers: `longspan.nn.Linear` beside `torch.nn.Linear`, outputs and gradients.

    python -m benchmarks.linear
    python -m benchmarks.linear --threads 1 --sizes 1024x256x256

Outputs and gradients are compared first; no time is printed where they differ.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from longspan.kernels.linear import LARGE, onednn_is_faster
from longspan.nn import Linear

from .measure import Column, Table, environment, interleaved, threads

LIMIT = 1e-5  # relative to the largest number of a tensor
SIZES = "256x64x64,1024x128x128,1600x256x256,3200x128x512,64x512x2000,4096x512x512"
COLUMNS = (
    Column("mode", ""),
    Column("size", "NxKxU"),
    Column("threads", "threads", ""),
    Column("torch", "torch.nn ms", "ms"),
    Column("longspan", "longspan ms", "ms"),
    Column("ratio", "", "times"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, then measure; 1 if the numbers differ."""
    given = _parser().parse_args(arguments)
    console = Console()
    console.print(", ".join(f"{name}: {value}" for name, value in environment().items()), soft_wrap=True)
    library = "oneDNN" if onednn_is_faster() else "PyTorch's own choice"
    console.print(f"From {LARGE:,} multiply-adds on, linear layers are multiplied here by {library}.")
    table = Table("Linear layers", COLUMNS)
    for size in given.sizes.split(","):
        pair = _Pair(*map(int, size.split("x")))
        if (worst := pair.difference()) > LIMIT:
            console.print(f"{size}: outputs or gradients differ by {worst:.1e}, so nothing is measured.")
            return 1
        for count in map(int, given.threads.split(",")):
            with threads(count):
                for mode, calls in pair.calls().items():
                    timing = interleaved(calls, given.seconds)
                    table.rows.append(
                        {
                            "mode": mode,
                            "size": size,
                            "threads": str(count),
                            "torch": timing.median("torch"),
                            "longspan": timing.median("longspan"),
                            "ratio": timing.ratio("torch", "longspan"),
                        }
                    )
    console.print(table.picture())
    if given.json:
        given.json.write_text(json.dumps({"environment": environment(), "rows": table.rows}, indent=1) + "\n")
    return 0


class _Pair:
    """The same layer twice, with N rows of inputs and gradients."""

    def __init__(self, rows: int, inputs: int, outputs: int) -> None:
        self.x, self.grad = torch.randn(rows, inputs, requires_grad=True), torch.randn(rows, outputs)
        self.torch, self.longspan = torch.nn.Linear(inputs, outputs), Linear(inputs, outputs)
        self.longspan.load_state_dict(self.torch.state_dict())

    def step(self, layer: torch.nn.Linear) -> list[Tensor]:
        """The outputs and every gradient."""
        out = layer(self.x)
        return [out, *torch.autograd.grad(out, [self.x, *layer.parameters()], self.grad)]

    def difference(self) -> float:
        mine, theirs = self.step(self.longspan), self.step(self.torch)
        pairs = zip(mine, theirs, strict=True)
        return max(float(((a - b).abs().max() / b.abs().max()).detach()) for a, b in pairs)

    def calls(self) -> dict[str, dict[str, Callable[[], object]]]:
        layers = {"torch": self.torch, "longspan": self.longspan}

        def inference(layer: torch.nn.Linear) -> Tensor:
            with torch.inference_mode():
                return layer(self.x)

        return {
            "inference": {name: lambda layer=layer: inference(layer) for name, layer in layers.items()},
            "training": {name: lambda layer=layer: self.step(layer) for name, layer in layers.items()},
        }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.linear", description=__doc__)
    parser.add_argument("--sizes", default=SIZES, metavar="NxKxU,...")
    parser.add_argument("--threads", default="1,2", metavar="1,2")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each comparison")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
