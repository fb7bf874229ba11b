"""Maps a summary of a memory to the states that a decoder begins with."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from longspan.nn.linear import Linear


class Bridge(nn.Module):
    """Makes the initial states of the layers from one vector: h by a linear map and tanh, c by a linear map.

    Other states start from the cell's constants.
    """

    def __init__(self, size: int, sizes: Sequence[int], states: str) -> None:
        super().__init__()
        self.letters = [k for k in states if k in "hc"]
        self.states = states
        self.maps = nn.ModuleList(Linear(size, width * len(self.letters)) for width in sizes)

    def forward(
        self, summary: Tensor, constants: tuple[tuple[Tensor, ...], ...]
    ) -> tuple[tuple[Tensor, ...], ...]:
        """summary: (B, size); constants: for each layer the cell's constants, used for states but h and c."""
        layers = []
        for linear, defaults in zip(self.maps, constants, strict=True):
            mapped = dict(zip(self.letters, linear(summary).chunk(len(self.letters), -1), strict=True))
            mapped = {k: v.tanh() if k == "h" else v for k, v in mapped.items()}
            layers.append(tuple(mapped.get(k, t) for k, t in zip(self.states, defaults, strict=True)))
        return tuple(layers)
