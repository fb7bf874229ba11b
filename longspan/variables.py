"""Variables: tensors that are changed in place, as Keras' Variable."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from longspan import constraints, initializers, regularizers
from longspan.ops.calling import dtype_named, to_tensor

__all__ = ["Variable", "VariableBase", "name_scope"]

_SCOPES: ContextVar[tuple[str, ...]] = ContextVar("_SCOPES", default=())  # the names that are open now


@contextmanager
def name_scope(name: str) -> Iterator[str]:
    """A name that the paths of variables begin with which a `with` block makes; scopes may be nested.

    >>> with name_scope("encoder"):
    ...     Variable([1.0], name="kernel").path
    'encoder/kernel'
    """
    token = _SCOPES.set((*_SCOPES.get(), name))
    try:
        yield "/".join(_SCOPES.get())
    finally:
        _SCOPES.reset(token)


class VariableBase(Tensor):
    """A tensor with Keras' ways to read and change it. Abstract; results of it are plain tensors.

    Attributes:
        constraint: called on the values after every step of an optimizer, None for none.
        regularizer: called on the values for the loss, None for none.
    """

    __torch_function__: ClassVar[Any] = torch._C._disabled_torch_function_impl  # results are plain tensors
    _label: str = "variable"
    _constraint: Any = None
    _regularizer: Any = None

    def assign(self, value: Any) -> Self:
        """Set it to a value of its shape."""
        with torch.no_grad():
            self.copy_(to_tensor(value))
        return self

    def assign_add(self, value: Any) -> Self:
        """Add a value to it."""
        return self.assign(self.detach() + to_tensor(value))

    def assign_sub(self, value: Any) -> Self:
        """Subtract a value from it."""
        return self.assign(self.detach() - to_tensor(value))

    def by_source(self, grad: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
        """The tensors that hold the values, each with its part of a gradient."""
        return [(self, grad)]

    @property
    def value(self) -> Tensor:
        """The values as a plain tensor, through which gradients flow."""
        return self.as_subclass(Tensor)

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """A copy of the values as an array."""
        return self.detach().as_subclass(Tensor).numpy(force=force).copy()

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """A function of NumPy, such as np.min, of the values as an array."""

        def plain(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                return type(value)(plain(part) for part in value)
            return value.numpy() if isinstance(value, VariableBase) else value

        return function(*plain(args), **{key: plain(value) for key, value in kwargs.items()})

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return np.asarray(self.numpy(), *args, **kwargs)

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The name for messages."""
        return self._label.rpartition("/")[2]

    @property
    def path(self) -> str:
        """The name, after that of the layer whose weight it is."""
        return self._label

    @property
    def trainable(self) -> bool:
        """Whether gradients flow to it."""
        return self.requires_grad

    @trainable.setter
    def trainable(self, wanted: bool) -> None:
        self.requires_grad_(wanted and self.is_floating_point())

    @property
    def constraint(self) -> Any:
        """What projects the values after every step of an optimizer, None for none."""
        return self._constraint

    @constraint.setter
    def constraint(self, constraint: Any) -> None:
        self._constraint = constraints.get(constraint)

    @property
    def regularizer(self) -> Any:
        """What the loss gets for the values, None for none."""
        return self._regularizer

    @regularizer.setter
    def regularizer(self, regularizer: Any) -> None:
        self._regularizer = regularizers.get(regularizer)


class Variable(VariableBase):
    """A tensor that keeps its identity while `assign` changes its values; results of it are plain tensors.

    An attribute of a layer of your own that is a Variable is one of the layer's weights.

    Args:
        initializer: the first values: an array, list, number or tensor, or an initializer for `shape`.
        shape: needed with an initializer.
        dtype: None: that of the values, torch's default for floats.
        trainable: whether gradients flow to it.
        autocast, aggregation, synchronization, layout: of Keras, accepted without effect.
        name: for messages.

    >>> total = Variable([1.0, 2.0], trainable=False)
    >>> total.assign_add([1.0, 1.0]).tolist()
    [2.0, 3.0]
    """

    def __new__(
        cls,
        initializer: Any,
        shape: Sequence[int] | None = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        aggregation: str = "none",
        synchronization: str = "auto",
        name: str | None = None,
        layout: Any = None,
    ) -> Self:
        wanted = None if dtype is None else dtype_named(dtype)
        if callable(initializer) or isinstance(initializer, str):
            values = initializers.get(initializer)(tuple(shape or ()))  # pyright: ignore[reportArgumentType]
        else:
            values = to_tensor(initializer).detach().clone()
            if wanted is None and values.is_floating_point():
                wanted = torch.get_default_dtype()
        values = values if wanted is None else values.to(wanted)
        grad = trainable and values.is_floating_point()
        variable: Any = Tensor._make_subclass(cls, values, grad)
        variable._label, variable._trainable = "/".join((*_SCOPES.get(), name or "variable")), trainable
        return variable

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    @property
    def trainable(self) -> bool:
        """Whether gradients flow to it."""
        return self._trainable

    @trainable.setter
    def trainable(self, wanted: bool) -> None:
        self._trainable = wanted
        self.requires_grad_(wanted and self.is_floating_point())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin: Any = type(self)(self.detach().clone(), dtype=self.dtype, trainable=self.trainable)
        memo[id(self)] = twin
        for name, value in self.__dict__.items():
            setattr(twin, name, copy.deepcopy(value, memo))
        return twin

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _restored, (type(self), self.detach().as_subclass(Tensor), dict(self.__dict__))


def _restored(kind: type[Variable], values: Tensor, attributes: dict[str, Any]) -> Variable:
    variable: Any = kind(values, dtype=values.dtype, trainable=attributes["_trainable"])
    for name, value in attributes.items():
        setattr(variable, name, value)
    return variable
