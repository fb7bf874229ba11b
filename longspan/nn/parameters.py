"""Names, shapes and initial values of a layer's parameters, and the kernels' view of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import is_

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from longspan.cells import Cell
from longspan.kernels.job import Weights

# A field of kernels.job.Weights -> the parameter's name, in the order in which torch.nn draws them.
PARAMETER_NAMES = {
    "x": "weight_ih",
    "r": "weight_hh",
    "bx": "bias_ih",
    "br": "bias_hh",
    "proj": "weight_hr",
    "p": "weight_p",
    "norm_x": "norm_x",
    "norm_r": "norm_r",
    "norm_c": "norm_c",
    "norm_c_bias": "norm_c_bias",
}


def parameter_shapes(
    cell: Cell, inputs: int, hidden: int, *, proj: int = 0, bias: bool = True, layer_norm: bool = False
) -> dict[str, tuple[int, ...]]:
    """Field -> shape, for the fields that one direction of a layer has: I inputs, H units, R = proj or H.

    x (G*H, I), r (G*H, R), bx and br (G*H,), proj (R, H), p (P, H), norm_x and norm_r (G*H,), norm_c and
    norm_c_bias (H,), the last two only for cells with a state c.
    """
    wide = len(cell.gates) * hidden
    every = {
        "x": (wide, inputs),
        "r": (wide, proj or hidden) if cell.recurrent else None,
        "bx": (wide,) if bias else None,
        "br": (wide,) if bias and cell.recurrent else None,
        "proj": (proj, hidden) if proj else None,
        "p": (len(cell.params), hidden) if cell.params else None,
        "norm_x": (wide,) if layer_norm else None,
        "norm_r": (wide,) if layer_norm and cell.recurrent else None,
        "norm_c": (hidden,) if layer_norm and "c" in cell.states else None,
        "norm_c_bias": (hidden,) if layer_norm and "c" in cell.states else None,
    }
    return {field: shape for field, shape in every.items() if shape is not None}


@torch.no_grad()
def initialise(fields: Mapping[str, Tensor], cell: Cell, hidden: int, forget_bias: float | None) -> None:
    """Draw uniform(-1/sqrt(H), 1/sqrt(H)) in torch.nn's order; norms start as the identity.

    `forget_bias` then becomes the sum of the two biases at the gate f (Jozefowicz et al. 2015, section 2.2).
    """
    bound = 1.0 / math.sqrt(hidden)
    for field, tensor in fields.items():
        if field == "norm_c_bias":
            tensor.zero_()
        elif field.startswith("norm"):
            tensor.fill_(1.0)
        else:
            tensor.uniform_(-bound, bound)
    if forget_bias is not None:
        first = cell.gates.index("f") * hidden
        fields["bx"][first : first + hidden] = forget_bias
        if "br" in fields:
            fields["br"][first : first + hidden] = 0.0


class ParameterTable:
    """The parameters of a module by layer, direction and field, and the kernels' view of them.

    Attributes:
        rows: one dict a layer and direction, field -> name of the parameter.
    """

    def __init__(self, directions: int) -> None:
        self.rows: list[dict[str, str]] = []
        self._directions, self._names = directions, []
        self._cache: tuple[list[Tensor], list[tuple[Weights, ...]]] | None = None

    def add(
        self,
        module: Module,
        shapes: Mapping[str, tuple[int, ...]],
        suffix: str,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        """Register one more direction's parameters, not yet drawn, each named with `suffix`."""
        row = {field: PARAMETER_NAMES[field] + suffix for field in shapes}
        for field, shape in shapes.items():
            module.register_parameter(row[field], Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.rows.append(row)
        self._names += row.values()

    def fields(self, module: Module) -> list[dict[str, Tensor]]:
        """One dict a layer and direction, field -> tensor as the module has it now."""
        return self._by_field(self._tensors(module))

    def weights(self, module: Module) -> Sequence[tuple[Weights, ...]]:
        """Per layer, per direction; cached until a parameter is replaced by another object."""
        now = self._tensors(module)
        if torch.compiler.is_compiling():  # where nothing outlives the call
            return self._new_weights(now)
        cached = self._cache
        if cached is not None and all(map(is_, now, cached[0])):
            return cached[1]
        weights = self._new_weights(now)
        # Tensors computed for one call, as by a parametrization, would keep their graph alive in the cache.
        if all(type(tensor) is Parameter for tensor in now):
            self._cache = now, weights
        return weights

    def _tensors(self, module: Module) -> list[Tensor]:
        own = module._parameters
        try:
            return [own[name] for name in self._names]  # pyright: ignore[reportReturnType]
        except KeyError:
            # Parametrized, pruned and replicated weights are attributes, computed when read.
            return [getattr(module, name) for name in self._names]

    def _by_field(self, tensors: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        values = iter(tensors)
        return [{field: next(values) for field in row} for row in self.rows]

    def _new_weights(self, tensors: Sequence[Tensor]) -> list[tuple[Weights, ...]]:
        flat = [Weights(**row) for row in self._by_field(tensors)]
        return [tuple(flat[i : i + self._directions]) for i in range(0, len(flat), self._directions)]
