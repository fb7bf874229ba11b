"""Names, shapes and initial values of a layer's parameters, and the kernels' view of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import is_

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from longspan import errors
from longspan.cells import Cell
from longspan.kernels.job import Weights, no_training

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


def int8_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix (N, K) as int8 numbers from -127 to 127 and the scale (N,) of each row, symmetric around 0."""
    scale = weight.abs().amax(1) / 127.0
    divisor = torch.where(scale > 0, scale, 1.0)[:, None]
    return (weight / divisor).round().clamp(-127, 127).to(torch.int8), scale


class ParameterTable:
    """The parameters of a module by layer, direction and field, and the kernels' view of them.

    Attributes:
        rows: one dict a layer and direction, field -> name of the parameter.
        int8: whether W and R are int8 numbers with a scale for each row (`to_int8`).
    """

    def __init__(self, directions: int) -> None:
        self.rows: list[dict[str, str]] = []
        self.int8 = False
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

    def float_fields(self, module: Module) -> list[dict[str, Tensor]]:
        """The same with W and R in floats: those that int8 numbers and their scales stand for."""
        if not self.int8:
            return self.fields(module)
        return [
            {
                field: tensor if f"{field}_scale" not in row else tensor * row[f"{field}_scale"][:, None]
                for field, tensor in row.items()
                if field not in ("x_scale", "r_scale")
            }
            for row in self.fields(module)
        ]

    def to_int8(self, module: Module) -> None:
        """Replace W and R by int8 numbers and a scale for each row; no parameter needs a gradient then.

        The scale of weight_ih_l0 is the parameter weight_ih_l0_scale (G*H,), before it.
        """
        computed = [name for name in self._names if name not in module._parameters]
        if computed:
            way_out = "remove it with torch.nn.utils.parametrize.remove_parametrizations"
            raise errors.value_error("model", "plain weights", f"a parametrized {computed[0]}", way_out)
        rows, fields = self.rows, self.fields(module)
        for name in self._names:
            delattr(module, name)
        self.rows, self._names, self._cache, self.int8 = [], [], None, True
        for names, tensors in zip(rows, fields, strict=True):
            row: dict[str, str] = {}
            for field, tensor in tensors.items():
                if field in ("x", "r"):
                    whole, scale = int8_rows(tensor.detach())
                    row[f"{field}_scale"] = f"{names[field]}_scale"
                    module.register_parameter(row[f"{field}_scale"], Parameter(scale, requires_grad=False))
                    tensor = whole
                row[field] = names[field]
                module.register_parameter(names[field], Parameter(tensor.detach(), requires_grad=False))
            self.rows.append(row)
            self._names += row.values()

    def weights(self, module: Module) -> Sequence[tuple[Weights, ...]]:
        """Per layer, per direction; cached until a parameter is replaced by another object.

        Raises:
            ValueError: the weights are int8, and the module is in training mode.
        """
        if self.int8 and module.training:
            raise no_training()
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
