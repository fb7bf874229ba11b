"""One weight of a layer with Keras' name, shape and layout, over the PyTorch tensors that hold it."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import Parameter

from longspan import constraints, errors, initializers, regularizers
from longspan.constraints import ConstraintLike
from longspan.initializers import InitializerLike
from longspan.ops.calling import dtype_named, to_tensor
from longspan.regularizers import RegularizerLike
from longspan.variables import Variable, VariableBase


@dataclass(frozen=True)
class KerasLayout:
    """How a weight's tensor in PyTorch maps to Keras' array: the order of gates and of dimensions.

    Args:
        gates: for each gate in Keras' order, the index of its block of rows in PyTorch's tensor; empty
            without gates.
        dims: the dimensions of PyTorch's tensor in Keras' order; empty where the order is the same.
    """

    gates: tuple[int, ...] = ()
    dims: tuple[int, ...] = ()

    def keras(self, tensor: Tensor) -> Tensor:
        """PyTorch's tensor in Keras' layout."""
        ordered = _blocks(tensor, self.gates)
        return ordered.permute(self.dims) if self.dims else ordered

    def torch(self, value: Tensor) -> Tensor:
        """Keras' array in PyTorch's layout."""
        value = value.permute(_inverse(self.dims)) if self.dims else value
        return _blocks(value, _inverse(self.gates))


def _inverse(order: Sequence[int]) -> tuple[int, ...]:
    return tuple(order.index(i) for i in range(len(order)))


def _blocks(tensor: Tensor, order: Sequence[int]) -> Tensor:
    """The gates' blocks of rows in another order."""
    if list(order) == sorted(order):
        return tensor
    blocks = tensor.chunk(len(order))
    return torch.cat([blocks[i] for i in order])


SAME_LAYOUT = KerasLayout()


class WeightParameter(VariableBase, Parameter):
    """A parameter with Keras' ways to read and change it."""

    def __deepcopy__(self, memo: dict[int, Any]) -> WeightParameter:
        twin = _parameter(self.detach().clone(), self.requires_grad, dict(self.__dict__))
        memo[id(self)] = twin
        return twin

    def __reduce_ex__(self, protocol: Any) -> Any:
        values = self.detach().as_subclass(Tensor)
        return _parameter, (values, self.requires_grad, dict(self.__dict__))


def _parameter(values: Tensor, requires_grad: bool, attributes: dict[str, Any]) -> WeightParameter:
    parameter = Tensor._make_subclass(WeightParameter, values.as_subclass(Tensor), requires_grad)
    for name, value in attributes.items():
        setattr(parameter, name, value)
    return parameter


def give_keras_methods(
    parameter: Parameter, path: str, constraint: Any = None, regularizer: Any = None
) -> Parameter:
    """The parameter with Keras' ways to read and change it, as attributes of this one object.

    As methods of a subclass they would cost time in every call of a torch function. Copies and pickles
    have them too.
    """
    methods = {name: getattr(VariableBase, name) for name in ("assign", "assign_add", "assign_sub", "numpy")}
    methods |= {"__deepcopy__": _copied, "__reduce_ex__": _reduced}
    for name, method in methods.items():
        setattr(parameter, name, partial(method, parameter))
    given: Any = parameter
    given.value, given.path, given.constraint, given.regularizer = parameter, path, constraint, regularizer
    return parameter


def _described(parameter: Any) -> tuple[str, Any, Any]:
    return parameter.path, parameter.constraint, parameter.regularizer


def _copied(parameter: Parameter, memo: dict[int, Any]) -> Parameter:
    twin = Parameter(parameter.detach().clone(), parameter.requires_grad)
    memo[id(parameter)] = twin
    return give_keras_methods(twin, *copy.deepcopy(_described(parameter), memo))


def _reduced(parameter: Parameter, protocol: Any) -> Any:
    return _restored, (parameter.detach(), parameter.requires_grad, *_described(parameter))


def _restored(values: Tensor, requires_grad: bool, *described: Any) -> Parameter:
    return give_keras_methods(Parameter(values, requires_grad), *described)


class WeightView(VariableBase):
    """A weight in Keras' layout: `assign` changes the layer's tensors, gradients flow through.

    After a backward pass `grad` is the gradient of the layer's tensors, in Keras' layout.
    """

    weight: Weight

    def assign(self, value: Any) -> WeightView:
        values = to_tensor(value).to(self.dtype)
        if tuple(values.shape) != self.weight.shape:
            expected, way_out = f"shape {self.weight.shape}", "assign values of this shape"
            raise errors.value_error(self.name, expected, tuple(values.shape), way_out)
        self.weight.set(values)
        self.data = values.clone()
        return self

    def by_source(self, grad: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
        return self.weight.by_source(grad)

    @property
    def value(self) -> Tensor:
        """The weight itself, whose `grad` is that of the layer's tensors."""
        return self

    @property
    def grad(self) -> Tensor | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The gradient of the layer's tensors, in Keras' layout; None before a backward pass."""
        return self.weight.gradient()


class Weight:
    """One weight with Keras' name, shape and layout, over the PyTorch tensors that hold its values.

    Attributes:
        name: Keras' name, such as "kernel".
        shape: Keras' shape.
        trainable: whether gradients reach it.
        sources: the tensors as (module, attribute).
        layout: how the tensors map to Keras' array.
        constraint: the projection after every step of the optimizer, None for none.
    """

    def __init__(
        self,
        name: str,
        shape: Sequence[int],
        initializer: InitializerLike,
        sources: Sequence[tuple[nn.Module, str]],
        layout: KerasLayout = SAME_LAYOUT,
        *,
        trainable: bool = True,
        regularizer: RegularizerLike = None,
        constraint: ConstraintLike = None,
    ) -> None:
        """`sources`: the tensors as (module, attribute); of several, each is one row of Keras' array."""
        self.name, self.shape, self.trainable = name, tuple(shape), trainable
        self._initializer, self.sources = initializers.get(initializer), sources
        self.layout = layout
        self.regularizer = regularizers.get(regularizer)
        self.constraint = constraints.get(constraint)

    def tensors(self) -> list[Tensor]:
        """The PyTorch tensors that hold the values."""
        return [getattr(module, name) for module, name in self.sources]

    def get(self) -> Tensor:
        """The values in Keras' layout; gradients flow through."""
        parts = [self.layout.keras(tensor) for tensor in self.tensors()]
        return parts[0] if len(parts) == 1 else torch.stack(parts)

    def variable(self, layer: str) -> WeightView:
        """The weight as users get it, in Keras' layout, with the name of its layer before its own."""
        view = self.get().as_subclass(WeightView)
        view.weight, view._label = self, f"{layer}/{self.name}"
        view._constraint, view._regularizer = self.constraint, self.regularizer
        return view

    def name_parameter(self, layer: nn.Module, label: str) -> None:
        """Give Keras' methods to the parameter that is the layer's attribute of the weight's own name."""
        tensor = layer._parameters.get(self.name) if self.sources == [(layer, self.name)] else None
        if type(tensor) is Parameter:
            give_keras_methods(tensor, f"{label}/{self.name}", self.constraint, self.regularizer)

    def by_source(self, grad: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
        """The tensors, each with its part of a gradient in Keras' layout."""
        if grad is None:
            return [(tensor, None) for tensor in self.tensors()]
        parts = [grad] if len(self.sources) == 1 else list(grad.unbind(0))
        return [(tensor, self.layout.torch(part)) for tensor, part in zip(self.tensors(), parts, strict=True)]

    def gradient(self) -> Tensor | None:
        """The tensors' gradient in Keras' layout; None where one has none."""
        grads = [tensor.grad for tensor in self.tensors()]
        if any(grad is None for grad in grads):
            return None
        parts = [self.layout.keras(grad) for grad in grads if grad is not None]
        return parts[0] if len(parts) == 1 else torch.stack(parts)

    @torch.no_grad()
    def set(self, value: Tensor) -> None:
        """Copy values in Keras' layout into the tensors."""
        parts = [value] if len(self.sources) == 1 else value.unbind(0)
        for tensor, part in zip(self.tensors(), parts, strict=True):
            tensor.copy_(self.layout.torch(part))

    def draw(self) -> None:
        """Draw the values by the initializer."""
        self.set(self._initializer(self.shape))

    def regularization_loss(self) -> Tensor | None:
        """What the regularizer adds to the loss; None without a regularizer."""
        return None if self.regularizer is None else self.regularizer(self.get())

    def project(self) -> None:
        """Apply the constraint; nothing without one, or where fitting does not change the values."""
        if self.constraint is not None and self.is_fitted():
            with torch.no_grad():
                self.set(self.constraint(self.get()))

    def is_fitted(self) -> bool:
        """Whether fitting changes the values."""
        return self.trainable and all(tensor.requires_grad for tensor in self.tensors())

    def require_grad(self, wanted: bool) -> None:
        """Let fitting change the values or not; nothing for a weight that is never trainable."""
        if self.trainable:
            for tensor in self.tensors():
                tensor.requires_grad_(wanted)


def sum_of(terms: Sequence[Tensor | None]) -> Tensor | None:
    """The sum of the terms that are there, None without any."""
    present = [term for term in terms if term is not None]
    return torch.stack(present).sum() if present else None


def register_weight(
    module: nn.Module,
    name: str,
    shape: Sequence[int],
    trainable: bool,
    dtype: torch.dtype | None = None,
) -> tuple[nn.Module, str]:
    """A new parameter of a module, or a buffer where it is not trainable, as `Weight` takes its source.

    The attribute has the weight's name, or one with a number where the module has such an attribute.
    """
    stem = re.sub(r"\W", "_", name)
    attribute = next(
        name for name in chain([stem], (f"{stem}_{number}" for number in count(1))) if name not in dir(module)
    )
    tensor = torch.empty(tuple(shape), dtype=dtype)
    if trainable:
        module.register_parameter(attribute, WeightParameter(tensor))
    else:
        module.register_buffer(attribute, tensor)
    return module, attribute


def variable_weight(module: nn.Module, name: str, variable: Variable) -> Weight:
    """The weight for a variable that becomes an attribute of a module, with the values that it has."""
    trainable = variable.trainable
    if trainable:
        given: Any = variable
        given._is_param = True  # for which torch takes it as a parameter, and the variable stays itself
        module.register_parameter(name, given)
    else:
        module.register_buffer(name, variable)
    label = name if variable.name == "variable" else variable.name
    source: list[tuple[nn.Module, str]] = [(module, name)]
    return Weight(label, tuple(variable.shape), "zeros", source, trainable=trainable)


def rename_parameter(module: nn.Module, name: str, weights: Sequence[Weight]) -> None:
    """Give a weight's parameter another attribute, for a module that takes the attribute `name`."""
    parameter = module._parameters.pop(name)
    attribute = next(other for other in (f"{name}_{n}" for n in count(1)) if other not in dir(module))
    module.register_parameter(attribute, parameter)
    for weight in weights:
        weight.sources = [
            (owner, attribute if (owner, own) == (module, name) else own) for owner, own in weight.sources
        ]


def weight_dtype(name: Any, trainable: bool) -> torch.dtype:
    """The dtype of a new weight: torch's default for floats, a named one for whole numbers and bools.

    Raises:
        ValueError: a trainable weight of no floats.
    """
    dtype = torch.get_default_dtype() if name is None else dtype_named(name)
    if dtype.is_floating_point:
        return torch.get_default_dtype()
    if trainable:
        raise errors.value_error("dtype", "floats for a trainable weight", name, "pass trainable=False")
    return dtype


def assign(name: str, targets: Sequence[Weight], weights: Sequence[Any]) -> None:
    """Set every weight of the layer or model `name`, or none where a shape is wrong."""
    if len(weights) != len(targets):
        expected = f"{len(targets)} arrays ({', '.join(weight.name for weight in targets)})"
        way_out = "build the layer first" if not targets else "pass what get_weights() gives"
        raise errors.value_error(f"weights of {name}", expected, len(weights), way_out)
    values = [torch.as_tensor(np.asarray(value)) for value in weights]
    for weight, value in zip(targets, values, strict=True):
        if tuple(value.shape) != weight.shape:
            argument, way_out = f"weight {weight.name} of {name}", "pass weights of a layer of these sizes"
            raise errors.value_error(argument, f"shape {weight.shape}", tuple(value.shape), way_out)
    for weight, value in zip(targets, values, strict=True):
        weight.set(value)
